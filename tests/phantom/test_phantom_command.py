"""rtplan phantom: digital patients go through real DICOM and come back; wrong calls are refused."""

import json

import numpy as np
import pytest

from rtplan.cli import main
from rtplan.io.patient import read_patient
from rtplan.phantom.cohort import make_patient

SMALL = (8.0, 6.0, 6.0)


def run(*arguments):
    with pytest.raises(SystemExit) as left:
        main(["phantom", *arguments])
    return left.value.code


def test_a_patient_comes_back_from_dicom(tmp_path, capsys):
    out = tmp_path / "new"
    code = run(
        "--patients", "1", "--seed", "3", "--cohort", "valid", "--spacing", "8,6,6",
        "--contrasts", "T2w", "--out", str(out), "--json", "--quiet",
    )  # fmt: skip
    assert code == 0
    folder = json.loads(capsys.readouterr().out)["outputs"][0]
    back = read_patient(out / folder.split("/")[-1])
    made = make_patient("valid", 3, spacing_zyx_mm=SMALL, contrasts=("T2w",))
    assert {"CT", "T2w"} <= set(back.images)
    assert set(made.structures) == set(back.structures)
    assert back.images["CT"].grid.same_as(made.images["CT"].grid, 1e-2)
    assert np.array_equal(back.images["CT"].array, made.images["CT"].array)


def test_table_shows_the_shift(capsys):
    assert run("--table") == 0
    assert "| subcutaneous_mm |" in capsys.readouterr().out


def test_wrong_calls_are_refused_and_write_nothing(tmp_path, capsys):
    (tmp_path / "kept.txt").write_text("x")
    assert run("--out", str(tmp_path)) == 1
    assert "not empty" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]
    assert run("--out", str(tmp_path / "a"), "--cohort", "none") == 1
    assert run("--out", str(tmp_path / "a"), "--spacing", "1,1") == 1
    assert run("--out", str(tmp_path / "a"), "--contrasts", "FLAIR") == 1
    assert run() == 1
    assert not (tmp_path / "a").exists()
