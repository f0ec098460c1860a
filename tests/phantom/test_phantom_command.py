"""rtplan phantom: digital patients go through real DICOM and come back; wrong calls are refused."""

import json

import numpy as np
import pytest

from rtplan.cli import main
from rtplan.io.datasets.picai import read_prostate
from rtplan.io.patient import read_patient
from rtplan.phantom.cohort import make_patient
from rtplan.phantom.shapes import Shape

SMALL = (8.0, 6.0, 6.0)


def run(*arguments):
    with pytest.raises(SystemExit) as left:
        main(["phantom", *arguments])
    return left.value.code


def test_a_patient_with_a_given_prostate_comes_back_from_dicom(tmp_path, capsys):
    z, y, x = np.ogrid[-8:9, -20:21, -24:25]
    gland = ((z * 3 / 20) ** 2 + (y / 17) ** 2 + (x / 22) ** 2 < 1).astype(np.uint8)
    lesion = gland * 3 * ((z + 2) ** 2 * 9 + (y - 8) ** 2 + (x - 9) ** 2 < 49)
    masks = tmp_path / "masks.npz"
    np.savez(masks, gland=gland, zones=gland, lesion_isup=lesion, spacing_zyx=np.array([3.0, 1.0, 1.0]))
    out = tmp_path / "new"
    code = run(
        "--patients", "1", "--seed", "3", "--cohort", "valid", "--spacing", "8,6,6",
        "--contrasts", "T2w", "--shape", str(masks), "--out", str(out), "--json", "--quiet",
    )  # fmt: skip
    assert code == 0
    folder = json.loads(capsys.readouterr().out)["outputs"][0]
    back = read_patient(out / folder.split("/")[-1])
    shape = Shape.of(read_prostate(masks))
    made = make_patient("valid", 3, spacing_zyx_mm=SMALL, contrasts=("T2w",), shape=shape)
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
    assert run("--out", str(tmp_path / "a"), "--shape", str(tmp_path / "none.npz")) == 1
    assert "no such file" in capsys.readouterr().err
    assert run() == 1
    assert not (tmp_path / "a").exists()
