"""rtplan evaluate contours: RTSTRUCT, SEG and label maps through one door; refusals; AUC."""

import json

import numpy as np
import pytest

from rtplan.cli import main
from rtplan.domain import Grid, Image
from rtplan.io.nifti import write_volume

GRID = Grid.axial((8, 24, 26), (3.0, 2.0, 2.0), (-20.0, 15.0, 40.0))


def call(*arguments):
    with pytest.raises(SystemExit) as leave:
        main([str(argument) for argument in arguments])
    return leave.value.code


def label(path, shift=0, names=("Prostate", "Bladder")):
    array = np.zeros(GRID.shape)
    array[2:6, 5:13, 5 + shift : 15 + shift] = 1
    if len(names) > 1:
        array[2:6, 16:22, 5:15] = 2
    write_volume(Image(GRID, array, modality="MR"), path)
    beside = {"labels": {str(n + 1): name for n, name in enumerate(names)}}
    path.with_name(path.name.split(".")[0] + ".json").write_text(json.dumps(beside))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Reference labels, shifted ones, and both as RTSTRUCT and SEG on a series made for them."""
    home = tmp_path_factory.mktemp("contours")
    label(home / "ref.nii.gz")
    label(home / "new.nii.gz", shift=2)
    write_volume(Image(GRID, np.full(GRID.shape, 40.0)), home / "ct.nii.gz")
    assert call("convert", home / "ct.nii.gz", "--kind", "CT", "--out", home / "series") == 0
    for name in ("ref", "new"):
        for kind in ("labels", "seg"):
            code = call(
                "convert", home / f"{name}.nii.gz", "--kind", kind, "--like", home / "series",
                "--out", home / f"{name}_{kind}.dcm",
            )  # fmt: skip
            assert code == 0
    return home


def figures(said):
    return {(f["structure"], f["metric"]): f["value"] for f in said["findings"]}


@pytest.mark.parametrize(
    ("ref", "new", "apart"),
    [
        ("ref.nii.gz", "new.nii.gz", 1e-9),
        ("ref_labels.dcm", "new_labels.dcm", 0.03),  # written with cut corners, compared on pixels of 1 mm
        ("ref_seg.dcm", "new_labels.dcm", 1e-9),
        ("ref.nii.gz", "new_seg.dcm", 1e-9),
    ],
)
def test_every_door_gives_the_same_figures(place, ref, new, apart, capsys):
    assert call("evaluate", "contours", place / ref, place / new, "--json") == 0
    found = figures(json.loads(capsys.readouterr().out))
    assert found["Prostate", "Dice"] == pytest.approx(0.8, rel=apart)
    assert found["Prostate", "FP fraction"] == pytest.approx(0.2, rel=2 * apart)
    assert found["Prostate", "HD95"] == pytest.approx(4.0)
    assert found["Bladder", "Dice"] == 1.0
    assert found["Bladder", "volume"] == pytest.approx(4 * 6 * 10 * 0.012, rel=apart)


def test_names_are_matched_chosen_or_missed(place, tmp_path, capsys):
    one = label(tmp_path / "one.nii.gz", names=("CTV",))
    assert call("evaluate", "contours", place / "ref.nii.gz", one, "--structure", "Prostate=CTV") == 0
    assert "Dice                        1.000" in capsys.readouterr().out
    assert call("evaluate", "contours", place / "ref.nii.gz", one) == 1
    assert "REF=NEW" in capsys.readouterr().err
    assert call("evaluate", "contours", place / "ref.nii.gz", one, "--structure", "Rectum") == 1
    assert "Prostate, Bladder" in capsys.readouterr().err
    half = label(tmp_path / "half.nii.gz", names=("Prostate",))
    assert call("evaluate", "contours", place / "ref.nii.gz", half, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert figures(said)["Bladder", "Dice"] is None
    assert [f["reason"] for f in said["findings"] if f["structure"] == "Bladder"] == [
        "NEW has no structure of this name."
    ]
    other = label(tmp_path / "other.nii.gz", names=("GTV",))
    assert call("evaluate", "contours", half, other) == 0  # one each: no name is needed
    assert "Prostate" in capsys.readouterr().out


def test_a_probability_map_has_an_auc(place, tmp_path, capsys):
    one = label(tmp_path / "one.nii.gz", names=("Prostate",))
    rng = np.random.default_rng(1)
    inside = np.zeros(GRID.shape, bool)
    inside[2:6, 5:13, 5:15] = True
    sure = np.where(inside, 0.9, 0.1) + rng.uniform(-0.05, 0.05, GRID.shape)
    for name, values in (("sure", sure), ("blind", rng.uniform(0, 1, GRID.shape))):
        write_volume(Image(GRID, values, modality="MR"), tmp_path / f"{name}.nii.gz")
        arguments = (one, one, "--probability", tmp_path / f"{name}.nii.gz", "--json")
        assert call("evaluate", "contours", *arguments) == 0
        found = figures(json.loads(capsys.readouterr().out))
        assert found["Prostate", "AUC"] == pytest.approx(1.0 if name == "sure" else 0.5, abs=0.05)
    two = (place / "ref.nii.gz", place / "ref.nii.gz", "--probability", tmp_path / "sure.nii.gz")
    assert call("evaluate", "contours", *two) == 1
    assert "one structure" in capsys.readouterr().err
