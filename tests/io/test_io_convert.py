"""Conversions between DICOM objects and for one planning system: each profile changes what it says."""

import json

import numpy as np
import pydicom
import pytest

from rtplan.cli import main
from rtplan.domain import Grid, Identity, Image, Mask, Structure, Volume
from rtplan.imaging.contour import mask_on
from rtplan.io import nifti, rtdose, rtstruct, seg
from rtplan.io.image import read_series
from rtplan.io.image_write import write_series

RNG = np.random.default_rng(8)
SHAPE = (8, 22, 30)


def convert(*arguments):
    with pytest.raises(SystemExit) as left:
        main(["convert", *map(str, arguments)])
    return left.value.code


def turned(degrees=12.0):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.array(
        [[0, 0, 1.5], [0, 2.0, 0], [3, 0, 0]]
    )
    affine[:3, 3] = (-20, 30, -40)
    return Grid(SHAPE, affine, "1.2.3.4.5")


@pytest.fixture
def scene(tmp_path):
    """Return a tilted MR series and a label map with a hole on it."""
    grid = turned()
    z, y, x = np.indices(SHAPE)
    radius = np.hypot((y - 11) * 2.0, (x - 15) * 1.5)
    ring = (radius < 15) & (radius > 6) & (z > 1) & (z < 6)
    write_series(
        Image(grid, RNG.integers(0, 900, SHAPE), "MR"), tmp_path / "mr", Identity("P"), description="T2w"
    )
    image = read_series(tmp_path / "mr")
    names = ["Übergang_Rektum_lang", "Prostate"]
    structures = [
        Structure(names[0], "ORGAN", Mask(image.grid, ring)),
        Structure(names[1], "ORGAN", Mask(image.grid, (radius < 5) & (z > 1) & (z < 6))),
    ]
    nifti.write_labels(structures, image.grid, tmp_path / "l.nii.gz")
    return tmp_path, image, structures


def test_labels_become_a_segmentation_and_come_back(scene):
    folder, image, structures = scene
    like = ("--like", folder / "mr")
    assert convert(folder / "l.nii.gz", "--out", folder / "SEG.dcm", "--kind", "seg", *like) == 0
    for before, after in zip(structures, seg.read(folder / "SEG.dcm"), strict=True):
        assert after.name == before.name
        np.testing.assert_array_equal(mask_on(after, image.grid).array, before.region.array)
    assert convert(folder / "SEG.dcm", "--out", folder / "RS.dcm", *like) == 0
    for before, after in zip(structures, rtstruct.read(folder / "RS.dcm").structures, strict=True):
        np.testing.assert_array_equal(mask_on(after, image.grid).array, before.region.array)
    assert convert(folder / "SEG.dcm", "--out", folder / "again.nii.gz", *like) == 0
    np.testing.assert_array_equal(
        nifti.read_volume(folder / "again.nii.gz", kind="MR").array,
        nifti.read_volume(folder / "l.nii.gz", kind="MR").array,
    )
    assert convert(folder / "RS.dcm", "--out", folder / "SEG2.dcm", "--kind", "seg", *like) == 0
    assert len(seg.read(folder / "SEG2.dcm")) == 2


@pytest.mark.parametrize("tps", ["generic", "common", "eclipse", "raystation", "monaco", "pinnacle"])
def test_each_profile_bears_on_the_structures(scene, tps, capsys):
    folder, image, structures = scene
    out = folder / "RS.dcm"
    assert convert(folder / "l.nii.gz", "--out", out, "--like", folder / "mr", "--tps", tps, "--json") == 0
    codes = [n["code"] for n in json.loads(capsys.readouterr().out)["notices"]]
    assert ("TPS_PROFILE" in codes) == (tps != "generic")
    ds = pydicom.dcmread(out)
    roi = ds.StructureSetROISequence[0]
    assert len(roi.ROIName) <= 16
    assert roi.ROIName.isascii() == (tps != "generic")
    assert roi.ROIDescription == "full name: Übergang_Rektum_lang"
    drawn = ds.ROIContourSequence[0].ContourSequence
    assert len(drawn) == 4  # one ring a slice: holes are keyholes
    assert all(len(c.ContourImageSequence) == 1 for c in drawn)
    for before, after in zip(structures, rtstruct.read(out).structures, strict=True):
        np.testing.assert_array_equal(mask_on(after, image.grid).array, before.region.array)


def test_a_tilted_series_becomes_axial_for_a_system_and_stays_for_none(scene):
    folder, image, _ = scene
    assert convert(folder / "mr", "--out", folder / "same") == 0
    same = read_series(folder / "same")
    assert same.grid.same_as(image.grid)
    np.testing.assert_array_equal(same.array, image.array)
    assert convert(folder / "mr", "--out", folder / "flat", "--tps", "monaco") == 0
    flat = read_series(folder / "flat")
    assert flat.grid.is_axial
    assert flat.grid.frame_of_reference == image.grid.frame_of_reference
    first = pydicom.dcmread(folder / "flat" / "0001.dcm")
    assert [float(v) for v in first.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]
    assert "tilted by 12.0 degrees to axial slices" in first.DerivationDescription
    assert first.DerivationCodeSequence[0].CodeMeaning == "Spatial resampling"
    assert first.file_meta.TransferSyntaxUID.is_implicit_VR
    assert len(first.SourceImageSequence) == SHAPE[0]
    inside = flat.grid.to_index(image.grid.to_patient([4, 11, 15])).round().astype(int)
    assert flat.array[tuple(inside)] > 0


def test_a_dose_takes_the_bits_of_the_system_and_keeps_its_plan(bare, tmp_path):
    bare.rtdose(tmp_path / "rd.dcm", RNG.integers(0, 60000, (4, 5, 6)).astype(np.uint32))
    before = rtdose.read(tmp_path / "rd.dcm").dose
    own = tmp_path / "own.toml"
    rule = 'sets = ["dose_bits"]\nsays = "-"\nsource = "-"\nverified = true'
    own.write_text(
        f'schema = 1\nname = "own"\nsystem = "-"\ndose_bits = 16\n[[rule]]\n{rule}\n', encoding="utf-8"
    )
    for tps, bits in (("generic", 32), (own, 16)):
        out = tmp_path / f"{bits}.dcm"
        assert convert(tmp_path / "rd.dcm", "--out", out, "--tps", tps) == 0
        ds = pydicom.dcmread(out)
        assert ds.BitsAllocated == bits
        after = rtdose.read(out).dose
        np.testing.assert_allclose(after.array, before.array, atol=before.array.max() / 2**bits)


def test_an_uncertainty_becomes_a_parametric_map_of_the_same_values(scene):
    folder, image, _ = scene
    values = RNG.uniform(0, 80, SHAPE).astype(np.float32)
    nifti.write_volume(Volume(image.grid, values), folder / "u.mha")
    like = ("--like", folder / "mr")
    assert convert(folder / "u.mha", "--out", folder / "PM.dcm", "--kind", "uncertainty", *like) == 0
    import highdicom as hd

    made = hd.imread(folder / "PM.dcm")
    found = made.get_volume(apply_real_world_transform=True)
    index = np.moveaxis(np.indices(SHAPE), 0, -1).reshape(-1, 3)
    ours = image.grid.to_index(index @ found.affine[:3, :3].T + found.affine[:3, 3])
    np.testing.assert_allclose(ours, np.rint(ours), atol=1e-3)
    k, j, i = np.rint(ours).astype(int).T
    np.testing.assert_array_equal(values[k, j, i], found.array.ravel())
    item = made.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert item.MeasurementUnitsCodeSequence[0].CodeValue == "[hnsf'U]"


def test_what_does_not_fit_is_refused(scene, capsys):
    folder, _, _ = scene
    like = ("--like", folder / "mr")
    assert convert(folder / "l.nii.gz", "--out", folder / "a.dcm", *like, "--tps", "nobody") == 1
    assert "eclipse" in capsys.readouterr().err
    assert convert(folder / "l.nii.gz", "--out", folder / "a.dcm", *like, "--kind", "CT") == 1
    assert convert(folder / "l.nii.gz", "--out", folder / "b", *like, "--kind", "seg") == 1
    assert not (folder / "a.dcm").exists()
    assert not (folder / "b").exists()
