"""rtplan gamma on files: printed and as JSON, with a map; a GPU that is not there is refused."""

import json

import numpy as np
import pytest
import torch

from rtplan.cli import main
from rtplan.domain import Dose, Grid, Mask, Structure
from rtplan.io.nifti import read_volume, write_labels, write_volume


@pytest.fixture
def doses(tmp_path):
    grid = Grid.axial((6, 7, 8), (3.0, 2.0, 2.5), (-4.0, 5.0, 6.0))
    paths = []
    for name, gy in (("reference.nii.gz", 50.0), ("evaluated.mha", 50.75)):
        paths.append(write_volume(Dose(grid, np.full(grid.shape, gy)), tmp_path / name))
    return [str(path) for path in paths]


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as leave:
        main(arguments)
    return leave.value.code


def test_gives_the_closed_form_as_json_and_a_map(doses, tmp_path, capsys):
    out = tmp_path / "gamma.nii.gz"
    given = ("--dose", "3", "--distance", "3", "--cutoff", "10", "--normalisation", "100")
    assert run("gamma", *doses, *given, "--json", "--out", str(out)) == 0
    printed = json.loads(capsys.readouterr().out)
    values = {finding["metric"]: finding["value"] for finding in printed["findings"]}
    assert values["Gamma 3%/3mm pass rate"] == 100.0
    assert values["Gamma 3%/3mm mean"] == pytest.approx(0.25, abs=1e-6)
    assert sum(printed["histogram"]["counts"]) == 6 * 7 * 8
    assert np.allclose(read_volume(out).array, 0.25, atol=1e-6)


def test_prints_criteria_and_cross_check(doses, capsys):
    assert run("gamma", *doses, "--local", "--cross-check") == 0
    said = capsys.readouterr()
    assert "Local gamma, 3 % of the local dose, 2 mm, points from 10 %: 336 points" in said.out
    assert "pymedphys" in said.out + said.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_refuses_a_device_that_is_not_there(doses, capsys):
    assert run("gamma", *doses, "--device", "cuda") == 1
    assert "cuda" in capsys.readouterr().err


@pytest.fixture
def ramps(tmp_path):
    """Write two ramps that differ by 1 Gy on one side only, and a label map of that side."""
    grid = Grid.axial((6, 10, 12), (3.0, 2.0, 2.5), (-4.0, 5.0, 6.0))
    ramp = np.broadcast_to(np.linspace(20.0, 60.0, 12), grid.shape)
    right = np.indices(grid.shape)[2] < 6
    write_volume(Dose(grid, ramp), tmp_path / "reference.mha")
    write_volume(Dose(grid, ramp + 1.0 * right), tmp_path / "evaluated.nii.gz")
    sides = [
        Structure("Side_R", "ORGAN", Mask(grid, right)),
        Structure("Side_L", "ORGAN", Mask(grid, ~right)),
    ]
    write_labels(sides, grid, tmp_path / "labels.nii.gz")
    return tmp_path


def test_masks_by_structure_and_writes_the_difference(ramps, capsys):
    given = ["gamma", str(ramps / "reference.mha"), str(ramps / "evaluated.nii.gz"), "--json"]
    inside = [*given, "--structures", str(ramps / "labels.nii.gz"), "--structure"]
    values = {}
    for name in ("Side_R", "Side_L"):
        assert run(*inside, name) == 0
        found = json.loads(capsys.readouterr().out)["findings"]
        values[name] = {finding["metric"]: finding["value"] for finding in found}
        assert found[0]["detail"]["n"] == 360
    assert values["Side_R"]["Dose difference mean"] == pytest.approx(1.0, abs=1e-5)
    assert values["Side_L"]["Dose difference largest"] == 0.0
    assert values["Side_L"]["Gamma 3%/2mm mean"] == 0.0
    assert values["Side_R"]["Gamma 3%/2mm mean"] > 0.1
    out, change = ramps / "g.mha", ramps / "d.mha"
    assert run(*given, "--out", str(out), "--difference", str(change)) == 0
    assert read_volume(change, kind="dose").array[0, 0] == pytest.approx([1.0] * 6 + [0.0] * 6, abs=1e-5)
    out.unlink()
    assert run(*given, "--out", str(out), "--difference", str(change)) == 1
    assert not out.exists()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--dose", "0"), 2, "--dose wants a number above 0"),
        (("--distance", "-1"), 2, "--distance wants"),
        (("--structure", "Side_R"), 2, "go together"),
        (("--cutoff", "100"), 1, "cut-off"),
        (("--out", "map.dcm"), 1, "map.dcm"),
    ],
)
def test_a_wrong_call_is_refused_by_name(ramps, capsys, more, code, words):
    assert run("gamma", str(ramps / "reference.mha"), str(ramps / "evaluated.nii.gz"), *more) == code
    assert words in capsys.readouterr().err


def test_doses_that_cannot_be_compared_are_refused(ramps, capsys):
    grid = Grid.axial((6, 10, 12), (3.0, 2.0, 2.5), (-4.0, 5.0, 6.0))
    values = np.full(grid.shape, 30.0)
    values[2, 2, 2] = np.nan
    write_volume(Dose(grid, values), ramps / "nan.nii.gz")
    away = Grid.axial((6, 10, 12), (3.0, 2.0, 2.5), (500.0, 5.0, 6.0))
    write_volume(Dose(away, np.full(grid.shape, 30.0)), ramps / "away.mha")
    for name, words in (
        ("nan.nii.gz", "not finite"),
        ("away.mha", "No point is left"),
        ("no.mha", "no such file"),
    ):
        assert run("gamma", str(ramps / "reference.mha"), str(ramps / name)) == 1
        assert words in capsys.readouterr().err


@pytest.mark.peer
def test_pymedphys_agrees_where_it_is_installed(ramps, capsys):
    pytest.importorskip("pymedphys")
    given = [
        "gamma",
        str(ramps / "reference.mha"),
        str(ramps / "evaluated.nii.gz"),
        "--cross-check",
        "--json",
    ]
    assert run(*given) == 0
    found = json.loads(capsys.readouterr().out)["findings"]
    rates = {finding["step"]: finding["value"] for finding in found if "pass rate" in finding["metric"]}
    assert rates["pymedphys"] == pytest.approx(rates["gamma"], abs=1.0)
