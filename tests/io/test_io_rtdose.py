"""RTDOSE: both meanings of the offsets, scaling, orientation; what is written comes back as stated."""

import numpy as np
import pydicom
import pytest

from rtplan.domain import Dose, Grid, Identity
from rtplan.errors import DicomError, DoseError
from rtplan.io import rtdose

RNG = np.random.default_rng(6)


def stored(shape=(4, 5, 6), kind=np.uint32):
    return RNG.integers(0, 60000, shape).astype(kind)


def test_relative_and_absolute_offsets_mean_the_same(bare, tmp_path):
    values = stored()
    relative = rtdose.read(bare.rtdose(tmp_path / "a.dcm", values)).dose
    absolute = rtdose.read(bare.rtdose(tmp_path / "b.dcm", values, offsets=[-30, -27, -24, -21])).dose
    assert relative.grid.same_as(absolute.grid)
    np.testing.assert_allclose(relative.array, values * 1e-3, rtol=1e-6)
    np.testing.assert_allclose(relative.grid.to_patient([2, 3, 4]), [-10 + 4 * 1.5, 20 + 3 * 2.0, -24])


def test_descending_frames_keep_each_value_at_its_point(bare, tmp_path):
    values = stored()
    dose = rtdose.read(bare.rtdose(tmp_path / "a.dcm", values, offsets=[0, -3, -6, -9])).dose
    k, j, i = np.rint(dose.grid.to_index([-10 + 1.5, 20 + 2.0, -36])).astype(int)
    assert (k, j, i) == (1, 1, 1)
    assert dose.array[k, j, i] == np.float32(values[2, 1, 1] * 1e-3)


def test_a_prone_dose_with_non_square_pixels_and_16_bits(bare, tmp_path):
    values = stored(kind=np.uint16)
    path = bare.rtdose(tmp_path / "a.dcm", values, orientation=(-1, 0, 0, 0, -1, 0))
    dose = rtdose.read(path).dose
    np.testing.assert_allclose(dose.grid.to_patient([1, 2, 3]), [-10 - 3 * 1.5, 20 - 2 * 2.0, -27])
    np.testing.assert_allclose(dose.array, values * 1e-3, rtol=1e-6)


ORIENTATIONS = {
    "supine": (1, 0, 0, 0, 1, 0),
    "prone": (-1, 0, 0, 0, -1, 0),
    "flipped rows": (1, 0, 0, 0, -1, 0),
    "left decubitus": (0, 1, 0, -1, 0, 0),
    "right decubitus": (0, -1, 0, 1, 0, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "tilted": (0.8, 0.6, 0.0, -0.36, 0.48, 0.8),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
@pytest.mark.parametrize("step", [2.5, -2.5])
def test_every_value_lies_where_the_header_says(bare, tmp_path, orientation, step):
    """By hand (PS3.3 C.8.8.3.2): plane n is moved by its offset along row × column from the first."""
    values = stored(kind=np.uint16)
    path = bare.rtdose(
        tmp_path / "a.dcm", values, orientation=orientation, offsets=[step * n for n in range(4)]
    )
    dose = rtdose.read(path).dose
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    normal = np.cross(row, column)
    for n, r, c in np.ndindex(values.shape):
        point = np.array([-10.0, 20.0, -30.0]) + row * c * 1.5 + column * r * 2.0 + normal * n * step
        index = dose.grid.to_index(point)
        np.testing.assert_allclose(index, np.rint(index), atol=1e-6)
        assert dose.array[tuple(np.rint(index).astype(int))] == np.float32(values[n, r, c] * 1e-3)


@pytest.mark.parametrize("name", ["supine", "prone", "flipped rows", "left decubitus"])
@pytest.mark.parametrize("step", [3.0, -3.0])
def test_absolute_offsets_are_heights_whatever_the_rows_do(bare, tmp_path, name, step):
    """In the second meaning each offset is the patient z of its plane; the normal may point to the feet."""
    values = stored(kind=np.uint16)
    heights = [-30.0 + step * n for n in range(4)]
    path = bare.rtdose(tmp_path / "a.dcm", values, orientation=ORIENTATIONS[name], offsets=heights)
    dose = rtdose.read(path).dose
    row, column = np.array(ORIENTATIONS[name][:3], float), np.array(ORIENTATIONS[name][3:], float)
    for n in range(4):
        point = np.array([-10.0, 20.0, 0.0]) + row * 3 * 1.5 + column * 2 * 2.0
        point[2] = heights[n]
        index = np.rint(dose.grid.to_index(point)).astype(int)
        assert dose.array[tuple(index)] == np.float32(values[n, 2, 3] * 1e-3)


def test_a_dose_that_begins_at_the_height_0_means_the_same_both_ways(bare, tmp_path):
    path = bare.rtdose(tmp_path / "a.dcm", stored(), origin=(-10, 20, 0), offsets=[0, 3, 6, 9])
    np.testing.assert_allclose(rtdose.read(path).dose.grid.to_patient([3, 0, 0]), [-10, 20, 9])


def single(thickness, *, pointer=False):
    def change(ds):
        del ds.GridFrameOffsetVector
        if not pointer:
            del ds.FrameIncrementPointer
            del ds.NumberOfFrames
        if thickness is not None:
            ds.SliceThickness = thickness

    return change


@pytest.mark.parametrize("pointer", [True, False])
def test_a_dose_of_one_plane_is_as_thick_as_it_says_or_refused(bare, tmp_path, pointer):
    values = stored((1, 5, 6))
    dose = rtdose.read(bare.rtdose(tmp_path / "a.dcm", values, change=single(4.0, pointer=pointer))).dose
    assert (dose.grid.shape, dose.grid.spacing_zyx_mm) == ((1, 5, 6), (4.0, 2.0, 1.5))
    np.testing.assert_allclose(dose.array, values * 1e-3, rtol=1e-6)
    for wrong in (None, 0.0):
        path = bare.rtdose(tmp_path / "b.dcm", values, change=single(wrong, pointer=pointer))
        with pytest.raises(DicomError, match="no depth"):
            rtdose.read(path)


def test_beams_and_groups_are_read(bare, tmp_path):
    def change(ds):
        beam, group, plan = (pydicom.Dataset() for _ in range(3))
        beam.ReferencedBeamNumber, group.ReferencedFractionGroupNumber = 7, 2
        group.ReferencedBeamSequence = pydicom.Sequence([beam])
        plan.ReferencedSOPInstanceUID = "1.2.9"
        plan.ReferencedFractionGroupSequence = pydicom.Sequence([group])
        ds.ReferencedRTPlanSequence = pydicom.Sequence([plan])

    found = rtdose.read(bare.rtdose(tmp_path / "a.dcm", stored(), summation="BEAM", change=change))
    assert (found.plan_uids, found.groups, found.beams, found.summation) == (("1.2.9",), (2,), (7,), "BEAM")


def relative_dose(ds):
    ds.DoseUnits = "RELATIVE"


def centigray(ds):
    ds.DoseUnits = "CGY"


def no_offsets(ds):
    del ds.GridFrameOffsetVector


def no_scaling(ds):
    del ds.DoseGridScaling


def cut_pixels(ds):
    ds.PixelData = ds.PixelData[:-8]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"offsets": [5, 8, 11, 14]}, "neither 0 nor the z"),
        ({"offsets": [0, 3, 7, 9]}, "not evenly spaced"),
        ({"offsets": [0, 3, 6]}, "3 values for 4 frames"),
        ({"change": relative_dose}, "RELATIVE"),
        ({"change": centigray}, "CGY, GY is wanted"),
        ({"change": no_offsets}, "0 values for 4 frames"),
        ({"offsets": [0, 0, 0, 0]}, "not evenly spaced"),
        ({"orientation": (0, 1, 0, 0, 0, -1), "offsets": [-30, -27, -24, -21]}, "neither 0 nor the z"),
        ({"change": no_scaling}, "DoseGridScaling"),
        ({"change": cut_pixels}, "the file is cut"),
    ],
)
def test_a_dose_that_could_be_wrong_is_refused(bare, tmp_path, options, words):
    path = bare.rtdose(tmp_path / "dose.dcm", stored(), **options)
    with pytest.raises(DicomError, match=words) as refused:
        rtdose.read(path)
    assert "dose.dcm" in str(refused.value)


def grid():
    affine = np.eye(4)
    c, s = np.cos(0.3), np.sin(0.3)
    affine[:3, :3] = np.array([[0, 0, 1.5], [-s * 3, c * 2, 0], [c * 3, s * 2, 0]])
    affine[:3, 3] = (-20, 30, -100.5)
    return Grid((9, 8, 7), affine, "1.2.3.4")


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("kind", ["physical", "EQD2(1.5)", "EQD2(3)"])
def test_what_is_written_comes_back(tmp_path, bits, kind):
    dose = Dose(grid(), RNG.uniform(0, 80, (9, 8, 7)), kind=kind, fractions=20)
    done = rtdose.write(
        dose, tmp_path / "d.dcm", identity=Identity("P"), plan_uid="1.5", arm="CTpop", form=rtdose.Form(bits)
    )
    back = rtdose.read(done.path)
    assert back.dose.grid.same_as(dose.grid)
    assert (back.arm, back.dose.kind, back.dose.fractions, back.plan_uids) == ("CTpop", kind, 20, ("1.5",))
    error = np.abs(back.dose.array - dose.array).max()
    assert error == pytest.approx(done.quantisation_error_gy, abs=1e-9)
    assert error <= 80 / (2**bits - 2) / 2 + 80 * 2**-24


def test_tags_of_a_written_dose(tmp_path):
    dose = Dose(grid(), np.ones((9, 8, 7)), kind="EQD2(3)", fractions=20)
    done = rtdose.write(dose, tmp_path / "d.dcm", identity=Identity("P"), plan_uid="1.5", arm="CT0")
    ds = pydicom.dcmread(done.path)
    assert (ds.DoseType, ds.DoseUnits, ds.DoseSummationType, ds.BitsStored) == ("EFFECTIVE", "GY", "PLAN", 32)
    assert "ROI_OVERRIDE" in ds.TissueHeterogeneityCorrection
    assert ds.DoseComment.startswith("dose to water in water-equivalent medium")
    assert ds.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == "1.5"
    assert ds.GridFrameOffsetVector[0] == 0
    assert len(ds.GridFrameOffsetVector) == 9
    np.testing.assert_allclose(ds.ImagePositionPatient, grid().origin_mm)


def test_a_negative_dose_is_not_written(tmp_path):
    dose = Dose(grid(), np.full((9, 8, 7), -1.0))
    with pytest.raises(DoseError, match="negative"):
        rtdose.write(dose, tmp_path / "d.dcm", identity=Identity(), plan_uid="1.5")
    assert not list(tmp_path.iterdir())


def test_a_dose_of_zero_is_written(tmp_path):
    dose = Dose(grid(), np.zeros((9, 8, 7)))
    done = rtdose.write(dose, tmp_path / "d.dcm", identity=Identity(), plan_uid="1.5")
    assert rtdose.read(done.path).dose.array.max() == 0


@pytest.mark.parametrize("bits", [16, 32])
def test_the_rounding_of_the_scaling_never_wraps(tmp_path, bits):
    """DoseGridScaling has ten digits: whatever they round to, the largest dose fits and comes back."""
    grid = Grid.axial((1, 1, 2), (3, 3, 3), (0, 0, 0), "1.2.3")
    for most in np.random.default_rng(3).uniform(0.1, 120.0, 60):
        dose = Dose(grid, np.array([[[0.0, most]]]))
        path = tmp_path / f"{most:.6f}.dcm"
        rtdose.write(dose, path, identity=Identity(patient_id="p"), plan_uid="1.2.4", form=rtdose.Form(bits))
        assert rtdose.read(path).dose.array.max() == pytest.approx(most, rel=2e-5)


@pytest.mark.parametrize("said", [["1", "2", "3"], ["0.001", "0.001"]])
def test_several_scalings_are_refused(bare, tmp_path, said):
    stored = np.ones((3, 4, 5), np.uint16)
    path = bare.rtdose(tmp_path / "rd.dcm", stored, change=lambda ds: setattr(ds, "DoseGridScaling", said))
    with pytest.raises(DicomError, match="DoseGridScaling has"):
        rtdose.read(path)


def test_a_predicted_dose_names_its_network_and_no_plan(tmp_path):
    grid = Grid.axial((2, 3, 4), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), "1.2.3")
    dose = Dose(grid, np.ones(grid.shape), fractions=35)
    said = rtdose.Form(predicted_by="net")
    rtdose.write(dose, tmp_path / "a.dcm", identity=Identity(), plan_uid="", form=said)
    header = pydicom.dcmread(tmp_path / "a.dcm")
    assert header.DoseSummationType == "PREDICTED"
    assert "ReferencedRTPlanSequence" not in header
    assert header.ImageComments.startswith("PREDICTED by the network net, NOT PLANNED")
    back = rtdose.read(tmp_path / "a.dcm")
    assert (back.dose.kind, back.dose.fractions, back.summation) == ("physical", 35, "PREDICTED")
    for plan, form in (("", None), ("1.2.9", said)):
        with pytest.raises(DoseError, match="either of a plan or predicted"):
            rtdose.write(dose, tmp_path / "b.dcm", identity=Identity(), plan_uid=plan, form=form)
    assert not (tmp_path / "b.dcm").exists()
