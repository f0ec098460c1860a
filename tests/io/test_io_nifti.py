"""Volumes keep their place through NIfTI and MHA; conversions by name of the out file."""

import json

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy.spatial.transform import Rotation

from rtplan.cli import main
from rtplan.domain import Dose, Grid, Image, Mask, Structure
from rtplan.errors import FormatError, GeometryMismatch, OutputError
from rtplan.io import nifti, rtdose, rtstruct
from rtplan.io.image import read_series

RNG = np.random.default_rng(10)


def tilted(shape=(5, 6, 7)):
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", (12, -7, 20), degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.array([[0.0, 0, 1.5], [0, 2, 0], [3, 0, 0]])
    affine[:3, 3] = (-20, 30, -100.5)
    return Grid(shape, affine, "1.2.3")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_images_doses_and_masks_come_back_in_place(tmp_path, ending):
    array = RNG.normal(0, 500, (5, 6, 7)).astype(np.float32)
    volumes = {
        "CT": Image(tilted(), array),
        "dose": Dose(tilted(), abs(array)),
        "mask": Mask(tilted(), array > 0),
    }
    for kind, volume in volumes.items():
        path = nifti.write_volume(volume, tmp_path / f"{kind}{ending}")
        back = nifti.read_volume(path, kind=kind, frame_of_reference="1.2.3")
        assert type(back) is type(volume)
        assert back.grid.same_as(volume.grid)
        np.testing.assert_array_equal(back.array, volume.array)


def test_nifti_on_disk_is_ras(tmp_path):
    grid = Grid.axial((3, 4, 5), (3.0, 2.0, 1.0), (10.0, 20.0, 30.0))
    nifti.write_volume(Image(grid, np.zeros((3, 4, 5))), tmp_path / "a.nii")
    header = (tmp_path / "a.nii").read_bytes()
    rows = np.frombuffer(header, "<f4", 12, 280).reshape(3, 4)  # srow_x, srow_y, srow_z
    np.testing.assert_allclose(rows, [[-1, 0, 0, -10], [0, -2, 0, -20], [0, 0, 3, 30]])


def test_labels_keep_names_and_overlaps_are_said(tmp_path):
    grid = tilted()
    z, _, _ = np.indices(grid.shape)
    given = [
        Structure("Prostate", "ORGAN", Mask(grid, z < 3)),
        Structure("GTVp", "GTV", Mask(grid, z == 2)),
    ]
    path, notices = nifti.write_labels(given, grid, tmp_path / "labels.nii.gz")
    assert [n.code for n in notices] == ["LABELS_OVERLAP"]
    found = {s.name: s for s in nifti.read_labels(path)}
    np.testing.assert_array_equal(found["GTVp"].region.array, z == 2)
    np.testing.assert_array_equal(found["Prostate"].region.array, z < 2)
    assert found["GTVp"].kind == "GTV"
    named = nifti.read_labels(path, names={1: "Rectum"})
    assert [s.name for s in named] == ["Rectum", "label_2"]


def test_bad_volume_files_are_refused(tmp_path):
    with pytest.raises(FormatError, match="no such file"):
        nifti.read_volume(tmp_path / "a.mha")
    (tmp_path / "a.mha").write_bytes(b"junk")
    with pytest.raises(FormatError, match=r"a\.mha"):
        nifti.read_volume(tmp_path / "a.mha")
    sitk.WriteImage(sitk.GetImageFromArray(np.full((2, 2, 2), 0.5)), str(tmp_path / "half.mha"))
    with pytest.raises(FormatError, match="whole numbers"):
        nifti.read_labels(tmp_path / "half.mha")
    sheared = np.array(tilted().affine)
    sheared[:3, 0] += sheared[:3, 1]
    with pytest.raises(GeometryMismatch):
        nifti.write_volume(Image(Grid((5, 6, 7), sheared), np.zeros((5, 6, 7))), tmp_path / "s.mha")
    with pytest.raises(OutputError, match="must end"):
        nifti.write_volume(Image(tilted(), np.zeros((5, 6, 7))), tmp_path / "s.jpg")


def convert(*arguments):
    with pytest.raises(SystemExit) as left:
        main(["convert", *map(str, arguments)])
    return left.value.code


def test_a_series_there_and_back(bare, tmp_path):
    stored = RNG.integers(-900, 1500, (5, 6, 7)).astype(np.int16)
    bare.series(tmp_path / "ct", stored)
    assert convert(tmp_path / "ct", "--out", tmp_path / "ct.nii.gz") == 0
    assert convert(tmp_path / "ct.nii.gz", "--out", tmp_path / "new", "--like", tmp_path / "ct") == 0
    before, after = read_series(tmp_path / "ct"), read_series(tmp_path / "new")
    assert after.grid.same_as(before.grid)
    np.testing.assert_array_equal(after.array, before.array)
    assert convert(tmp_path / "ct.nii.gz", "--out", tmp_path / "no") == 1  # CT or MR is not said
    assert not (tmp_path / "no").exists()


def test_structures_and_doses_there_and_back(bare, tmp_path, capsys):
    bare.series(tmp_path / "ct", np.zeros((5, 12, 14), np.int16))
    rings = [("CLOSED_PLANAR", bare.square(z, 0, 9, x0=-8.0, y0=24.0)) for z in (-27, -24)]
    bare.rtstruct(tmp_path / "rs.dcm", [("Bladder", "ORGAN", rings)])
    like = ("--like", tmp_path / "ct")
    assert convert(tmp_path / "rs.dcm", "--out", tmp_path / "l.mha") == 1
    assert "--like" in capsys.readouterr().err
    assert convert(tmp_path / "rs.dcm", "--out", tmp_path / "l.mha", *like) == 0
    assert convert(tmp_path / "l.mha", "--out", tmp_path / "new.dcm", *like, "--json") == 0
    assert json.loads(capsys.readouterr().out.split("\n", 1)[1])["labels"] == {"1": "Bladder"}
    assert [s.name for s in rtstruct.read(tmp_path / "new.dcm").structures] == ["Bladder"]
    bare.rtdose(tmp_path / "rd.dcm", RNG.integers(0, 60000, (4, 5, 6)).astype(np.uint32))
    assert convert(tmp_path / "rd.dcm", "--out", tmp_path / "d.mha") == 0
    assert convert(tmp_path / "d.mha", "--out", tmp_path / "d.dcm", "--kind", "dose", *like) == 0
    before, after = rtdose.read(tmp_path / "rd.dcm").dose, rtdose.read(tmp_path / "d.dcm").dose
    assert after.grid.same_as(before.grid)
    np.testing.assert_allclose(after.array, before.array, atol=1e-5)


@pytest.mark.parametrize("name", ["dose.nii.gz", "dose.nii", "dose.mha", "dose.nrrd"])
def test_an_unknown_dose_stays_unknown(tmp_path, name):
    """The NIfTI library reads NaN as 0 Gy: a value that nobody said."""
    grid = Grid.axial((3, 4, 5), (2.0, 1.5, 1.0), (1.0, 2.0, 3.0))
    values = np.arange(60.0).reshape(grid.shape)
    values[1, 2, 3] = np.nan
    path = nifti.write_volume(Dose(grid, values), tmp_path / name)
    assert np.array_equal(
        nifti.read_volume(path, kind="dose").array, values.astype(np.float32), equal_nan=True
    )
