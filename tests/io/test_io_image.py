"""A series comes in on its true affine with its true values, or is refused; what we write comes back."""

import numpy as np
import pydicom
import pytest
from scipy.spatial.transform import Rotation

from rtplan.domain import Grid, Identity, Image, Source
from rtplan.errors import DicomError, GeometryMismatch, OutputError
from rtplan.io.image import read_series, write_series
from rtplan.io.image_write import Derived
from rtplan.io.modules import Stamp

RNG = np.random.default_rng(5)


def values(shape=(5, 6, 7), kind=np.int16):
    return RNG.integers(-900 if kind == np.int16 else 0, 1500, shape).astype(kind)


def tilted(degrees=(12, -7, 20)):
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return turn[:, 0], turn[:, 1], turn[:, 2]


def test_a_tilted_shifted_anisotropic_series_lies_where_its_header_says(bare, tmp_path):
    row, column, normal = tilted()
    stored = values()
    bare.series(tmp_path / "ct", stored, row=row, column=column)
    image = read_series(tmp_path / "ct")
    np.testing.assert_array_equal(image.array, stored)
    for k, j, i in [(0, 0, 0), (4, 5, 6), (2, 1, 3)]:
        wanted = np.array([-10, 20, -30]) + 3 * k * normal + 2 * j * column + 1.5 * i * row
        np.testing.assert_allclose(image.grid.to_patient([k, j, i]), wanted, atol=1e-6)
    np.testing.assert_allclose(image.grid.spacing_zyx_mm, (3, 2, 1.5), rtol=1e-9)
    assert image.array.dtype == np.float32
    assert image.source.sop_uids == tuple(f"1.2.826.0.1.99.3.{k + 1}" for k in range(5))
    assert image.grid.frame_of_reference == bare.frame


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ((0, 1, 0), (0, 0, -1)),
        ((1, 0, 0), (0, 0, -1)),
        ((-1, 0, 0), (0, -1, 0)),
        ((-1, 0, 0), (0, 1, 0)),
        ((1, 0, 0), (0, -1, 0)),
        ((0, 1, 0), (-1, 0, 0)),
        ((0, -1, 0), (1, 0, 0)),
    ],
    ids=["sagittal", "coronal", "prone", "feet first", "prone, feet first", "on the right", "on the left"],
)
def test_every_orientation_keeps_each_value_at_its_point(bare, tmp_path, row, column):
    stored = values()
    bare.series(tmp_path / "mr", stored, kind="MR", row=row, column=column)
    image = read_series(tmp_path / "mr")
    point = (
        np.array([-10, 20, -30])
        + 3 * 3 * np.cross(row, column)
        + 2 * 4 * np.array(column)
        + 1.5 * np.array(row)
    )
    k, j, i = np.rint(image.grid.to_index(point)).astype(int)
    assert image.array[k, j, i] == stored[3, 4, 1]
    assert np.linalg.det(image.grid.direction) < 0  # (z, y, x) columns of a right-handed frame: no mirror


def test_each_slice_has_its_own_rescale(bare, tmp_path):
    stored = values()

    def change(ds, k):
        ds.RescaleSlope, ds.RescaleIntercept = 0.5 + k, -1000 + 3 * k

    bare.series(tmp_path / "ct", stored, change=change)
    k = np.arange(5)[:, None, None]
    np.testing.assert_allclose(
        read_series(tmp_path / "ct").array, stored * (0.5 + k) - 1000 + 3 * k, rtol=1e-6
    )


def test_twelve_signed_bits_are_extended_and_overlay_bits_are_cleared(bare, tmp_path):
    signed = RNG.integers(-2048, 2048, (3, 4, 5)).astype(np.int16)

    def change(ds, k):
        ds.BitsStored, ds.HighBit = 12, 11
        ds.PixelData = ((signed[k].astype(np.uint16) & 0x0FFF) | 0x4000).tobytes()  # an overlay above

    bare.series(tmp_path / "ct", signed, change=change)
    np.testing.assert_array_equal(read_series(tmp_path / "ct").array, signed)


def test_sixteen_unsigned_bits_do_not_wrap(bare, tmp_path):
    stored = RNG.integers(0, 65536, (3, 4, 5)).astype(np.uint16)
    bare.series(tmp_path / "mr", stored, kind="MR")
    np.testing.assert_array_equal(read_series(tmp_path / "mr").array, stored)


def test_run_length_encoding_is_read(bare, tmp_path):
    stored = values((3, 16, 18))
    for path in bare.series(tmp_path / "ct", stored):
        ds = pydicom.dcmread(path)
        ds.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
        ds.save_as(path)
    np.testing.assert_array_equal(read_series(tmp_path / "ct").array, stored)


def test_header_facts_are_kept(bare, tmp_path):
    def change(ds, k):
        ds.MagneticFieldStrength, ds.PixelBandwidth, ds.EchoTime, ds.RepetitionTime = 3, 200, 104, 5660
        ds.FlipAngle, ds.InPlanePhaseEncodingDirection = 160, "ROW"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"]

    bare.series(tmp_path / "mr", values(kind=np.uint16), kind="MR", change=change)
    facts = read_series(tmp_path / "mr").source.acquisition
    assert (facts["field_strength_t"], facts["bandwidth_hz_per_px"], facts["flip_angle_deg"]) == (3, 200, 160)
    assert facts["distortion_correction"] == "2D"
    assert facts["fat_shift_mm"] == pytest.approx(3.4 * 42.577 * 3 / 200 * 2.0)  # along the rows' spacing
    assert facts["field_of_view_mm"] == [12.0, 10.5]
    assert facts["stack_length_mm"] == pytest.approx(15.0)


def move(axis, k_wanted, by):
    def change(ds, k):
        if k == k_wanted:
            position = [float(v) for v in ds.ImagePositionPatient]
            position[axis] += by
            ds.ImagePositionPatient = position

    return change


def shear(ds, k):
    position = [float(v) for v in ds.ImagePositionPatient]
    ds.ImagePositionPatient = [position[0], position[1] + 0.2 * k, position[2]]


def turn_last(ds, k):
    if k == 4:
        ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def widen_last(ds, k):
    if k == 4:
        ds.PixelSpacing = [2.0, 1.7]


def other_frame(ds, k):
    if k == 4:
        ds.FrameOfReferenceUID = "1.2.3.4.5"


def skew(ds, k):
    ds.ImageOrientationPatient = [1, 0, 0, 0.1, 1, 0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (move(2, 2, -3.0), "same position"),
        (move(2, 2, 0.7), "not evenly spaced"),
        (shear, "gantry tilt"),
        (turn_last, "different orientation"),
        (widen_last, "different matrix or pixel size"),
        (other_frame, "different FrameOfReferenceUID"),
        (skew, "right angles"),
    ],
)
def test_an_irregular_series_is_refused_by_name(bare, tmp_path, change, words):
    bare.series(tmp_path / "ct", values(), change=change)
    with pytest.raises(DicomError, match=words) as refused:
        read_series(tmp_path / "ct")
    assert ".dcm" in str(refused.value)
    assert "SECRET" not in str(refused.value)


def test_a_missing_slice_is_counted_and_placed(bare, tmp_path):
    bare.series(tmp_path / "ct", values((8, 4, 4)))[3].unlink()
    with pytest.raises(DicomError, match=r"1 slices are missing, the first between -24\.00 and -18\.00 mm"):
        read_series(tmp_path / "ct")


def test_two_series_must_be_told_apart(bare, tmp_path):
    bare.series(tmp_path / "a", values())
    stored = values()
    bare.series(tmp_path / "b", stored, uid="1.2.826.0.1.99.33")
    with pytest.raises(DicomError, match="2 series"):
        read_series(tmp_path)
    chosen = read_series(tmp_path, series_uid="1.2.826.0.1.99.33")
    np.testing.assert_array_equal(chosen.array, stored)


def test_echoes_in_one_series_are_not_mixed(bare, tmp_path):
    def echo(ds, k):
        ds.EchoTime = 10.0 + 80.0 * (k % 2)

    bare.series(tmp_path / "mr", values((6, 4, 4), np.uint16), kind="MR", change=echo)
    with pytest.raises(DicomError, match="differ in EchoTime"):
        read_series(tmp_path / "mr")


def test_an_image_without_a_frame_matches_nothing_but_itself(bare, tmp_path):
    def drop(ds, k):
        del ds.FrameOfReferenceUID

    bare.series(tmp_path / "ct", values(), change=drop)
    assert read_series(tmp_path / "ct").grid.frame_of_reference == "1.2.826.0.1.99.3"


def grid(shape=(5, 6, 7), degrees=(10, -5, 3)):
    row, column, normal = tilted(degrees)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([normal * 3, column * 2, row * 1.5])
    affine[:3, 3] = (-20.123456789, 30, -100.5)
    return Grid(shape, affine, "1.2.3.4")


MR = Source(
    sop_uids=tuple(f"1.9.{k}" for k in range(5)), sop_class_uid="1.2.840.10008.5.1.4.1.1.4", series_uid="1.9"
)


def test_a_synthetic_ct_comes_back_with_clipping_counted(tmp_path):
    array = RNG.normal(0, 600, (5, 6, 7)).astype(np.float32)
    array[0, 0, :3] = (-3000, 5000, np.nan)
    image = Image(grid(), array, "CT", Source(description="network x, version 3", patient_position="FFS"))
    done = write_series(
        image, tmp_path / "s", Identity("P1", "A^B"), description="SynCT", derived=Derived(MR)
    )
    assert done.clipped_voxels == np.count_nonzero((array < -1024) | (array > 3071)) + 1
    assert 0 < done.quantisation_error <= 0.5
    back = read_series(tmp_path / "s")
    assert back.grid.same_as(image.grid)
    np.testing.assert_allclose(back.array, np.clip(np.nan_to_num(array, nan=-1024), -1024, 3071), atol=0.5)
    assert back.source.sop_uids == done.source.sop_uids
    assert back.source.patient_position == "FFS"


def test_tags_of_a_synthetic_ct(tmp_path):
    image = Image(grid(), np.zeros((5, 6, 7)), "CT", Source(description="network x, version 3"))
    done = write_series(
        image,
        tmp_path / "s",
        Identity("P1", "A^B", study_uid="1.7"),
        description="SynCT",
        derived=Derived(MR),
    )
    ds = pydicom.dcmread(done.paths[2])
    assert list(ds.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    assert "NOT FOR CLINICAL USE" in ds.SeriesDescription
    assert "network x, version 3" in ds.DerivationDescription
    assert "research use only" in ds.DerivationDescription
    assert ds.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.9.2"
    assert (ds.PixelPaddingValue, ds.RescaleType, ds.PixelRepresentation) == (-1024, "HU", 1)
    assert (ds.FrameOfReferenceUID, ds.StudyInstanceUID, ds.PatientID) == ("1.2.3.4", "1.7", "P1")
    assert all(len(str(v)) <= 16 for v in (*ds.ImagePositionPatient, *ds.ImageOrientationPatient))
    assert len({pydicom.dcmread(p).SOPInstanceUID for p in done.paths}) == 5


def test_whole_mr_values_are_stored_exactly_and_others_to_16_bits(tmp_path):
    whole = RNG.integers(0, 4096, (5, 6, 7)).astype(np.float32)
    write_series(Image(grid(), whole, "MR"), tmp_path / "a", Identity(), description="T2w")
    np.testing.assert_array_equal(read_series(tmp_path / "a").array, whole)
    broken = RNG.normal(0, 1, (5, 6, 7)).astype(np.float32)
    done = write_series(Image(grid(), broken, "MR"), tmp_path / "b", Identity(), description="T2w")
    error = np.abs(read_series(tmp_path / "b").array - broken).max()
    assert error <= np.ptp(broken) / 65535 * 0.51 + 1e-6
    assert done.quantisation_error == pytest.approx(error, abs=1e-6)


def test_a_sheared_grid_is_not_written(tmp_path):
    affine = np.array(grid().affine)
    affine[:3, 0] += affine[:3, 1]
    image = Image(Grid((5, 6, 7), affine, "1.2"), np.zeros((5, 6, 7)), "CT")
    with pytest.raises(GeometryMismatch, match="right angles"):
        write_series(image, tmp_path / "s", Identity(), description="x")


def test_nothing_is_overwritten_and_a_seed_gives_the_same_files(tmp_path):
    image = Image(grid(), np.zeros((5, 6, 7)), "CT")
    stamp = Stamp(seed="s")
    first = write_series(image, tmp_path / "a", Identity("P"), description="x", stamp=stamp)
    again = write_series(image, tmp_path / "b", Identity("P"), description="x", stamp=stamp)
    assert [p.read_bytes() for p in first.paths] == [p.read_bytes() for p in again.paths]
    with pytest.raises(OutputError, match="already"):
        write_series(image, tmp_path / "a", Identity("P"), description="x")
