"""Options of the uncertainty budget: what they may be is said before anything is read."""

import pytest

from rtplan import cli

FLAME = ("--protocol", "prostate_boost_flame")


@pytest.mark.parametrize("command", [("run", "nowhere"), ("study", "--patients", "phantom:1")])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--dose-samples", "12"), "do not show a 95 % interval"),
        (("--contours", "2"), "SD,LENGTH"),
        (("--contours", "0,15"), "SD of up to 20 mm"),
    ],
)
def test_senseless_options_are_refused(tmp_path, capsys, command, options, words):
    with pytest.raises(SystemExit) as left:
        cli.main([*command, *FLAME, "--out", str(tmp_path / "out"), *options])
    assert left.value.code == 1
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told
    assert not (tmp_path / "out").exists()


def test_an_outcome_names_its_budget_and_other_alpha_beta(tmp_path, capsys):
    table = tmp_path / "rectum.csv"
    table.write_text("# type: differential\ndose_gy,volume_cc\n20,30\n50,10\n60,5\n", encoding="utf-8")
    asked = ["outcome", "--dvh", str(table), "--model", "rectum_bleeding_g2_quantec2010", "--fractions", "20"]
    with pytest.raises(SystemExit) as left:
        cli.main([*asked, "--samples", "64"])
    assert left.value.code == 0
    told = capsys.readouterr().out
    assert "64 Sobol, seed 1" in told
    assert "at 1.5" in told
    assert "at 6" in told
