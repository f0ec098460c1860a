"""rtplan spacer and rtplan models spacer: refusals in words, what is on the shelf."""

from pathlib import Path

import pytest

from rtplan.cli import main


def called(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert isinstance(left.value.code, int)
    return left.value.code


def test_a_gel_out_of_range_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code = called(
        "spacer", str(tmp_path), "--protocol", "prostate_boost_flame", "--out", str(out), "--volume-cc", "90"
    )  # fmt: skip
    said = capsys.readouterr().err
    assert code == 1
    assert "between 2 and 25 cc" in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [(["--rule", "nonsense"], "relative_v70_25"), (["--protocol", "nonsense"], "prostate_boost_flame")],
)
def test_unknown_names_list_the_known_ones(
    more: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["spacer", str(tmp_path), "--out", str(tmp_path / "out"), "--protocol", "prostate_boost_flame"]
    assert called(*given, *more) == 1
    assert words in capsys.readouterr().err


def test_the_shelf_lists_rules_gel_and_predictor_and_marks_what_is_not_verified(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert called("models", "spacer") == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert set(lines) >= {"gel", "relative_v70_25", "delta_ntcp", "predictor_prostate_boost_flame"}
    assert "NOT VERIFIED" in lines["delta_ntcp"]
    assert "NOT VERIFIED" in lines["predictor_prostate_boost_flame"]
    assert "NOT VERIFIED" not in lines["relative_v70_25"]
