"""A volume file says where it lies, or is refused: NIfTI written by hand, and files of other programs."""

import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy.spatial.transform import Rotation

from rtplan.domain import Grid, Image
from rtplan.errors import FormatError
from rtplan.io import nifti
from rtplan.io.volume_read import load

STORED = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
SFORM = np.array([[2.0, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30]])
#: Where SFORM puts index (k, j, i), LPS mm.
PLACE = np.array([[0.0, 0, -2, -10], [0, -3, 0, -20], [4, 0, 0, 30], [0, 0, 0, 1]])
#: Quaternion b, c, d; offset; spacing; qfac of the same place.
QFORM = ((0, 0, 0), (10, 20, 30), (2, 3, 4), 1)


def write(path, *, sform=None, qform=None, slope=0.0, intercept=0.0, size=(3, 5, 4, 3), units=2, voxel=4):
    """Write STORED as NIfTI-1 by hand, by the offsets of nifti1.h."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, *(*size, 1, 1, 1, 1, 1, 1, 1)[:8])
    struct.pack_into("<hh", header, 70, voxel, 16)
    quaternion, offset, spacing, qfac = qform or ((0, 0, 0), (0, 0, 0), (9, 9, 9), 1)
    struct.pack_into("<8f", header, 76, qfac, *spacing, 1, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352, slope, intercept)
    header[123] = units
    struct.pack_into("<hh", header, 252, qform is not None, sform is not None)
    struct.pack_into("<6f", header, 256, *quaternion, *offset)
    if sform is not None:
        struct.pack_into("<12f", header, 280, *np.asarray(sform).ravel())
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + STORED.tobytes())
    return path


@pytest.mark.parametrize(
    "said",
    [
        {"sform": SFORM},
        {"qform": QFORM},
        {"sform": SFORM, "qform": QFORM},
        {"sform": SFORM + np.eye(3, 4, 1) * 1e-4},  # single precision of somebody's arithmetic
        {"sform": SFORM / 1000, "units": 1},
        {"sform": SFORM * 1000, "units": 3},
        {"sform": SFORM, "size": (4, 5, 4, 3, 1)},
    ],
)
def test_where_a_nifti_lies(tmp_path, said):
    array, grid = load(write(tmp_path / "a.nii", **said))
    np.testing.assert_array_equal(array, STORED)
    np.testing.assert_allclose(grid.affine, PLACE, atol=1e-3)


def test_a_mirrored_nifti_stays_mirrored(tmp_path):
    _, grid = load(write(tmp_path / "a.nii", sform=SFORM * [[-1], [1], [1]]))
    np.testing.assert_allclose(grid.affine[0], [0, 0, 2, 10])


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"sform": SFORM, "qform": ((0, 0, 0), (99, 20, 30), (2, 3, 4), 1)}, "differ by up to 89 mm"),
        ({"sform": SFORM, "qform": ((0, 0, 0), (10, 20, 30), (2, 3, 4), -1)}, "differ by up to 16 mm"),
        (
            {"sform": SFORM, "qform": ((0, 0, 0.3826834), (10, 20, 30), (2, 3, 4), 1)},
            "differ by up to 9.22 mm",
        ),
        ({}, "neither by sform nor by qform"),
        ({"sform": SFORM + np.eye(3, 4, 1)}, "sheared"),
        ({"sform": SFORM * np.nan}, "not finite"),
        ({"sform": SFORM * [[0], [1], [1]]}, "spacing of 0"),
        ({"sform": SFORM, "size": (4, 5, 4, 1, 3)}, "three dimensions"),
        ({"sform": SFORM, "size": (2, 5, 4, 1)}, "three dimensions"),
        ({"sform": SFORM, "size": (3, 5, 4, 99)}, "damaged"),
        ({"sform": SFORM, "voxel": 32}, "three dimensions and single values"),
    ],
)
def test_a_nifti_that_contradicts_itself_is_refused(tmp_path, said, words):
    path = write(tmp_path / "a.nii", **said)
    with pytest.raises(FormatError, match=words) as refused:
        load(path)
    assert "a.nii" in str(refused.value)


@pytest.mark.parametrize(
    ("slope", "intercept"), [(2.0, -5.0), (0.5, 0.0), (0.0, -5.0), (np.nan, 3.0), (1.0, 7.0)]
)
def test_the_scaling_of_a_nifti(tmp_path, slope, intercept):
    array, _ = load(write(tmp_path / "a.nii", sform=SFORM, slope=slope, intercept=intercept))
    used = slope if np.isfinite(slope) and slope else 0.0  # nifti1.h: a slope of 0 means no scaling at all
    np.testing.assert_allclose(array, STORED * used + intercept if used else STORED)


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_a_sheared_or_layered_file_of_itk_is_refused(tmp_path, ending):
    item = sitk.GetImageFromArray(STORED)
    path = str(tmp_path / f"a{ending}")
    item.SetDirection((1, 0.2, 0, 0, 1, 0, 0, 0, 1))
    sitk.WriteImage(item, path)
    with pytest.raises(FormatError, match="sheared"):
        load(Path(path))
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4, 5), np.float32)), path)
    with pytest.raises(FormatError, match="three dimensions"):
        load(Path(path))
    sitk.WriteImage(sitk.GetImageFromArray(np.array([[[np.nan, 1.0]]])), path)
    with pytest.raises(FormatError, match="not finite"):
        load(Path(path))


@pytest.mark.parametrize("seed", range(8))
def test_any_turn_comes_back(tmp_path, seed):
    affine = np.eye(4)
    affine[:3, :3] = (Rotation.random(random_state=seed).as_matrix() * (0.98, 0.7, 3.3))[:, ::-1]
    affine[:3, 3] = (-250.3, -190.1, -900.7)
    image = Image(Grid(STORED.shape, affine), STORED.astype(np.float32))
    back = nifti.read_volume(nifti.write_volume(image, tmp_path / "a.nii.gz"))
    assert back.grid.same_as(image.grid)
    np.testing.assert_array_equal(back.array, image.array)


def test_real_volumes_lie_where_itk_puts_them(data):
    paths = [
        *sorted((data / "prostate158").glob("*/t2*.nii.gz")),
        *sorted((data / "slicerrt").glob("Tiny*.nrrd")),
    ]
    paths += sorted((data / "prostatex/ProstateX-0000").glob("*.mha"))[:2]
    assert len(paths) >= 6
    for path in paths:
        array, grid = load(path)
        item = sitk.ReadImage(str(path))
        np.testing.assert_array_equal(array, sitk.GetArrayFromImage(item))
        last = [n - 1 for n in grid.shape]
        for index in ([0, 0, 0], last):
            theirs = item.TransformContinuousIndexToPhysicalPoint([float(n) for n in index[::-1]])
            np.testing.assert_allclose(grid.to_patient(index), theirs, atol=1e-3)
