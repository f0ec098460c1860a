"""rtplan gamma on files: printed and as JSON, with a map; a GPU that is not there is refused."""

import json

import numpy as np
import pytest
import torch

from rtplan.cli import main
from rtplan.domain import Dose, Grid
from rtplan.io.nifti import read_volume, write_volume


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
