"""Enhanced multi-frame MR and CT are read frame by frame, as their classic twins are."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import RLELossless

from rtplan.domain import Mask, Structure
from rtplan.errors import DicomError
from rtplan.io.image import read_series
from rtplan.io.patient import read_patient, write_patient
from rtplan.io.patient_write import Export
from rtplan.io.preflight import preflight

CLASSES = {"MR": "1.2.840.10008.5.1.4.1.1.4.1", "CT": "1.2.840.10008.5.1.4.1.1.2.1"}
RNG = np.random.default_rng(3)
ROW, COLUMN = (0.96, 0.28, 0.0), (-0.28 * 0.8, 0.96 * 0.8, 0.6)
SPACING, ORIGIN = (3.5, 0.9, 1.25), (-10.0, 20.0, -30.0)


def item(**values):
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return Items([ds])


def frame(
    k, *, echo=None, slope=None, stack="1", time=1, kind="MR", words=("ORIGINAL", "PRIMARY", "T2", "NONE")
):
    """Return the functional groups of the frame of slice k."""
    group = Dataset()
    at = np.asarray(ORIGIN) + k * SPACING[0] * np.cross(ROW, COLUMN)
    group.PlanePositionSequence = item(ImagePositionPatient=[f"{v:.10g}" for v in at])
    group.FrameContentSequence = item(StackID=stack, InStackPositionNumber=k + 1, TemporalPositionIndex=time)
    if kind == "MR":
        group.MRImageFrameTypeSequence = item(
            FrameType=list(words), ComplexImageComponent="MAGNITUDE", AcquisitionContrast="T2"
        )
    if echo is not None:
        group.MREchoSequence = item(EffectiveEchoTime=echo)
    if slope is not None:
        group.PixelValueTransformationSequence = item(
            RescaleIntercept=-3.0 * k, RescaleSlope=slope, RescaleType="US"
        )
    return group


def enhanced(bare, path, stored, groups, *, kind="MR", sop="1.2.826.0.1.99.8.1", change=None):
    """Write one enhanced object of frames [n, row, column]."""
    ds = bare.start(kind, sop, "1.2.826.0.1.99.8")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CLASSES[kind]
    ds.SeriesDescription, ds.PatientPosition = "enhanced", "HFS"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "MIXED", "NONE"]
    ds.NumberOfFrames, ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelRepresentation = 1 if stored.dtype == np.int16 else 0
    shared = Dataset()
    shared.PlaneOrientationSequence = item(
        ImageOrientationPatient=[f"{v:.12g}"[:16] for v in (*ROW, *COLUMN)]
    )
    shared.PixelMeasuresSequence = item(PixelSpacing=[SPACING[1], SPACING[2]], SliceThickness=3.0)
    if kind == "MR":
        ds.MagneticFieldStrength, ds.EchoPulseSequence = 3.0, "SPIN"
        shared.MRImagingModifierSequence = item(PixelBandwidth=200.0)
        shared.MRTimingAndRelatedParametersSequence = item(RepetitionTime=4000.0, FlipAngle=150.0)
        shared.MRFOVGeometrySequence = item(InPlanePhaseEncodingDirection="ROW")
    else:
        shared.PixelValueTransformationSequence = item(
            RescaleIntercept=-1024.0, RescaleSlope=1.0, RescaleType="HU"
        )
        shared.CTXRayDetailsSequence = item(KVP=120.0)
    ds.SharedFunctionalGroupsSequence = Items([shared])
    ds.PerFrameFunctionalGroupsSequence = Items(groups)
    ds.PixelData = stored.tobytes()
    if change is not None:
        change(ds)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def pixels(count=4, kind=np.uint16):
    return RNG.integers(0, 1500, (count, 6, 9)).astype(kind)


@pytest.mark.parametrize("compressed", [False, True])
def test_shuffled_frames_lie_where_their_classic_twins_lie(bare, tmp_path, compressed):
    stored, slopes = pixels(), [1.0, 0.5, 2.25, 1.0]

    def rescale(ds, k):
        ds.RescaleSlope, ds.RescaleIntercept = slopes[k], -3.0 * k

    place = {"row": ROW, "column": COLUMN, "spacing": SPACING, "origin": ORIGIN}
    bare.series(tmp_path / "classic", stored, kind="MR", change=rescale, **place)
    order = [2, 0, 3, 1]
    enhanced(
        bare,
        tmp_path / "enhanced" / "one.dcm",
        stored[order],
        [frame(k, echo=90.0, slope=slopes[k]) for k in order],
        change=(lambda ds: ds.compress(RLELossless, generate_instance_uid=False)) if compressed else None,
    )
    theirs, ours = read_series(tmp_path / "classic"), read_series(tmp_path / "enhanced")
    np.testing.assert_array_equal(ours.array, theirs.array)
    np.testing.assert_allclose(ours.grid.affine, theirs.grid.affine, atol=1e-12)
    assert ours.grid.frame_of_reference == bare.frame
    assert ours.modality == "MR"
    assert ours.source.frame_numbers == (2, 4, 1, 3)
    assert ours.source.sop_uids == ("1.2.826.0.1.99.8.1",) * 4
    assert ours.source.sop_class_uid == CLASSES["MR"]
    facts = ours.source.acquisition
    assert (facts["echo_time_ms"], facts["repetition_time_ms"], facts["field_strength_t"]) == (90, 4000, 3)
    assert facts["fat_shift_mm"] == pytest.approx(3.4 * 42.577 * 3 / 200 * SPACING[1])


@pytest.mark.parametrize("kind", ["MR", "CT"])
def test_gdcm_puts_every_frame_at_the_same_place(bare, tmp_path, kind):
    stored = pixels(5, np.int16 if kind == "CT" else np.uint16)
    path = enhanced(bare, tmp_path / "one.dcm", stored, [frame(k, kind=kind) for k in range(5)], kind=kind)
    ours, theirs = read_series([path]), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(ours.array, sitk.GetArrayFromImage(theirs))
    for k, j, i in [(0, 0, 0), (4, 5, 8), (2, 3, 1)]:
        place = theirs.TransformIndexToPhysicalPoint((i, j, k))
        np.testing.assert_allclose(ours.grid.to_patient([k, j, i]), place, atol=1e-6)


def test_an_enhanced_ct_bears_its_shared_rescale(bare, tmp_path):
    stored = pixels(5, np.int16)
    enhanced(bare, tmp_path / "ct.dcm", stored, [frame(k, kind="CT") for k in range(5)], kind="CT")
    patient = read_patient(tmp_path)
    np.testing.assert_array_equal(patient.images["CT"].array, stored - np.float32(1024))
    assert patient.images["CT"].source.acquisition["kvp"] == 120


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ([{"echo": 10.0}, {"echo": 90.0}], "EchoTime"),
        ([{"stack": "1"}, {"stack": "2"}], "StackID"),
        ([{"time": 1}, {"time": 2}], "TemporalPositionIdentifier"),
        ([{"words": ("DERIVED", "PRIMARY", "DIXON", w)} for w in ("WATER", "FAT")], "ImageType"),
    ],
)
def test_what_one_object_mixes_is_parted_and_said(bare, tmp_path, facts, word):
    stored = pixels(8)
    groups = [frame(k, **facts[n]) for k in range(4) for n in range(2)]
    enhanced(bare, tmp_path / "mr.dcm", stored, groups)
    with pytest.raises(DicomError, match=f"2 stacks that differ in {word}"):
        read_series(tmp_path)
    patient = read_patient(tmp_path)
    said = {n.code: n.message for n in patient.notices}
    assert said["SERIES_SPLIT"].endswith(f"(4, 4 slices) that differ in {word}.")
    if word == "ImageType":
        np.testing.assert_array_equal(patient.images["Dixon_W"].array, stored[0::2])
        np.testing.assert_array_equal(patient.images["Dixon_F"].array, stored[1::2])
    else:
        assert list(patient.images) == ["T2w"]
        assert any(np.array_equal(patient.images["T2w"].array, stored[n::2]) for n in range(2))
        assert "SERIES_CHOSEN" in said


def test_a_concatenation_of_objects_is_one_volume_and_two_objects_are_two(bare, tmp_path):
    stored = pixels(6)

    def joined(ds):
        ds.ConcatenationUID = "1.2.826.0.1.99.9"

    for together in (True, False):
        folder = tmp_path / str(together)
        for part in range(2):
            enhanced(
                bare,
                folder / f"{part}.dcm",
                stored[3 * part : 3 * part + 3],
                [frame(3 * part + k) for k in range(3)],
                sop=f"1.2.826.0.1.99.8.{part + 1}",
                change=joined if together else None,
            )
    np.testing.assert_array_equal(read_series(tmp_path / "True").array, stored)
    with pytest.raises(DicomError, match="differ in their objects"):
        read_series(tmp_path / "False")


def test_diffusion_and_phase_frames_are_passed_over(bare, tmp_path):
    groups = [frame(k) for k in range(4) for _ in range(3)]
    for n, group in enumerate(groups):
        if n % 3 == 1:
            group.MRDiffusionSequence = item(DiffusionBValue=800.0)
        if n % 3 == 2:
            group.MRImageFrameTypeSequence[0].ComplexImageComponent = "PHASE"
    stored = pixels(12)
    enhanced(bare, tmp_path / "mr.dcm", stored, groups)
    patient = read_patient(tmp_path)
    np.testing.assert_array_equal(patient.images["T2w"].array, stored[0::3])
    assert [n.code for n in patient.notices] == ["SERIES_SPLIT", "SERIES_PASSED_OVER", "SERIES_PASSED_OVER"]


def test_legacy_converted_objects_keep_what_fits_no_group(bare, tmp_path):
    groups = [frame(k) for k in range(3)]
    for group in groups:
        group.UnassignedPerFrameConvertedAttributesSequence = item(EchoTime=101.0)

    def legacy(ds):
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.4"

    enhanced(bare, tmp_path / "mr.dcm", pixels(3), groups, change=legacy)
    assert read_series(tmp_path).source.acquisition["echo_time_ms"] == 101.0


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ([], "4 frames, but 0"),
        ([0, 1, 2], "4 frames, but 3"),
        ([0, 1, 2, 2], "same position"),
        ([0, 1, 2, 4], "missing"),
    ],
)
def test_an_object_that_contradicts_itself_is_refused(bare, tmp_path, groups, words):
    enhanced(bare, tmp_path / "mr.dcm", pixels(4), [frame(k) for k in groups])
    with pytest.raises(DicomError, match=words):
        read_series(tmp_path)
    assert not preflight(tmp_path).usable


def test_pixels_that_end_early_are_refused(bare, tmp_path):
    def cut(ds):
        ds.PixelData = ds.PixelData[:-20]

    enhanced(bare, tmp_path / "mr.dcm", pixels(4), [frame(k) for k in range(4)], change=cut)
    with pytest.raises(DicomError, match="wanted"):
        read_series(tmp_path)


def test_what_is_written_refers_to_the_frames(bare, tmp_path):
    stored = np.full((4, 40, 50), 100, np.uint16)
    order = [2, 0, 3, 1]
    enhanced(bare, tmp_path / "mr.dcm", stored, [frame(k) for k in order])
    patient = read_patient(tmp_path / "mr.dcm")
    image = patient.images["T2w"]
    inside = np.zeros(image.grid.shape, bool)
    inside[1:3, 10:20, 10:30] = True
    patient = patient.with_structures(Structure("Bladder", "ORGAN", Mask(image.grid, inside)))
    export = Export(segmentation=True)
    paths = write_patient(patient, tmp_path / "out", images=(), export=export)
    assert [path.name for path in paths] == ["RS.dcm"]
    written = bare.pydicom.dcmread(paths[0])
    (study,) = written.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence
    (only,) = study.RTReferencedSeriesSequence[0].ContourImageSequence
    assert only.ReferencedSOPInstanceUID == "1.2.826.0.1.99.8.1"
    for contour in written.ROIContourSequence[0].ContourSequence:
        (refers,) = contour.ContourImageSequence
        depth = image.grid.to_index(np.array(contour.ContourData[:3], float))[0]
        assert order[refers.ReferencedFrameNumber - 1] == round(depth)
        assert refers.ReferencedSOPInstanceUID == "1.2.826.0.1.99.8.1"
