"""Real sets come in right, against independent readings: GDCM by SimpleITK, and pydicom by hand."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from rtplan.errors import DicomError
from rtplan.io import rtdose, rtplan, rtstruct
from rtplan.io.image import read_series
from rtplan.io.patient import read_patient
from rtplan.io.preflight import preflight

SERIES = (
    "sts/dicom/STS_010/CT/image",
    "sts/dicom/STS_010/MR_T1/image",
    "sts/dicom/STS_040/CT/image",
    "sts/dicom/STS_040/MR_T1/image",
    "prostatex/ProstateX-0000/dicom_t2tra",
)


@pytest.mark.parametrize("name", SERIES)
def test_series_agree_with_gdcm(data, name):
    image = read_series(data / name)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(data / name)))
    item = reader.Execute()
    np.testing.assert_array_equal(image.array, sitk.GetArrayFromImage(item))
    z, y, x = image.grid.shape
    for k, j, i in [(0, 0, 0), (z - 1, y - 1, x - 1), (z // 2, 3, x - 5)]:
        theirs = item.TransformIndexToPhysicalPoint((i, j, k))
        np.testing.assert_allclose(image.grid.to_patient([k, j, i]), theirs, atol=2e-3)


@pytest.mark.parametrize("name", SERIES)
def test_the_grid_is_gdcms(data, name):
    grid = read_series(data / name).grid
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(data / name)))
    item = reader.Execute()
    assert grid.shape == item.GetSize()[::-1]
    np.testing.assert_allclose(grid.spacing_zyx_mm[::-1], item.GetSpacing(), atol=1e-4)
    np.testing.assert_allclose(grid.origin_mm, item.GetOrigin(), atol=1e-9)
    np.testing.assert_allclose(grid.direction[:, ::-1].ravel(), item.GetDirection(), atol=1e-4)


#: Real folders: usable, image roles, codes that are no mere information.
FOLDERS = {
    "sts/dicom/STS_010": (True, ["CT", "T1w"], {"SKIN_CUT"}),
    "sts/dicom/STS_040": (True, ["CT", "T1w"], {"FOR_POSITION_CONFLICT", "SKIN_CUT"}),
    "prostatex/ProstateX-0000/dicom_t2tra": (True, ["T2w"], {"SKIN_CUT"}),
    "dicompyler/example_data": (False, [], {"SLICE_SINGLE", "NO_IMAGE"}),
    "pymedphys": (False, [], {"NO_IMAGE", "UIDS_MISSING", "PATIENT_UNNAMED"}),
    "nelms2015": (False, [], {"NO_IMAGE"}),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_the_look_at_a_real_folder(data, name):
    usable, roles, wanted = FOLDERS[name]
    looked = preflight(data / name)
    assert looked.usable is usable
    assert [row.role for row in looked.rows if row.kind in ("CT", "MR") and row.role] == roles
    assert wanted <= {n.code for n in looked.notices if n.severity != "info"}
    files = list((data / name).rglob("*.dcm"))
    assert len(files) == sum(row.count if row.kind in ("CT", "MR") else 1 for row in looked.rows)


@pytest.mark.parametrize("name", SERIES)
def test_series_agree_with_a_reading_by_hand(data, name):
    image = read_series(data / name)
    by_uid = {uid: k for k, uid in enumerate(image.source.sop_uids)}
    for path in sorted((data / name).iterdir())[::7]:
        ds = pydicom.dcmread(path)
        k = by_uid[ds.SOPInstanceUID]
        wanted = ds.pixel_array * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
        np.testing.assert_array_equal(image.array[k], wanted)
        np.testing.assert_allclose(image.grid.to_patient([k, 0, 0]), ds.ImagePositionPatient, atol=2e-3)
        far = np.array(ds.ImagePositionPatient, float)
        far += 10 * np.array(ds.ImageOrientationPatient[:3], float) * float(ds.PixelSpacing[1])
        far += 20 * np.array(ds.ImageOrientationPatient[3:], float) * float(ds.PixelSpacing[0])
        np.testing.assert_allclose(image.grid.to_patient([k, 20, 10]), far, atol=2e-3)


@pytest.mark.parametrize(("name", "rings", "warned"), [("STS_040", 48, True), ("STS_010", 27, False)])
def test_sarcoma_patients(data, name, rings, warned):
    patient = read_patient(data / "sts/dicom" / name)
    assert set(patient.images) == {"CT", "T1w"}
    assert {s.name: s.kind for s in patient.structures.values()} == {"GTV": "GTV", "GTV_MR": "GTV"}
    assert len(patient.structures["GTV"].region.rings) == rings  # of STS_040's 47 one is a keyhole
    warnings = [n for n in patient.notices if n.severity == "warn"]
    assert [n.code for n in warnings] == (["FOR_POSITION_CONFLICT"] if warned else [])
    ds = pydicom.dcmread(data / "sts/dicom" / name / "CT/mask/RS.dcm")
    first = np.array(ds.ROIContourSequence[0].ContourSequence[0].ContourData, float).reshape(-1, 3)
    np.testing.assert_array_equal(patient.structures["GTV"].region.rings[0], first)
    assert np.all(
        np.abs(patient.images["CT"].grid.to_index(first)[:, 0] % 1 - 0.5) > 0.4
    )  # they lie on slices


def test_prostatex_is_tilted_and_its_facts_are_read(data):
    patient = read_patient(data / "prostatex/ProstateX-0000/dicom_t2tra")
    image = patient.images["T2w"]
    tilt = np.degrees(np.arccos(abs(image.grid.direction[2, 0])))
    assert tilt == pytest.approx(18.49, abs=0.01)
    facts = image.source.acquisition
    assert (facts["field_strength_t"], facts["distortion_correction"]) == (3.0, "2D")
    theirs = sitk.ReadImage(str(next((data / "prostatex/ProstateX-0000").glob("*_t2w.mha"))))
    np.testing.assert_array_equal(image.array, sitk.GetArrayFromImage(theirs))


def test_two_real_patients_are_refused(data):
    with pytest.raises(DicomError, match="2 patients"):
        read_patient(data / "sts/dicom")


def test_nelms_structures_and_doses(data):
    paths = sorted((data / "nelms2015/structures").glob("*.dcm"))
    assert len(paths) == 30
    for path in paths:
        found = rtstruct.read(path)
        ds = pydicom.dcmread(path)
        assert len(found.structures) == 1
        assert len(found.structures[0].region.rings) == len(ds.ROIContourSequence[-1].ContourSequence)
    for path in sorted((data / "nelms2015/dose").glob("*.dcm")):
        dose = rtdose.read(path).dose
        ds = pydicom.dcmread(path)
        np.testing.assert_allclose(dose.array, ds.pixel_array * float(ds.DoseGridScaling), rtol=1e-6)
        np.testing.assert_allclose(dose.grid.origin_mm, ds.ImagePositionPatient)
        axis = 0 if "SupInf" in path.name else 1
        steps = np.diff(dose.array.astype(np.float64).mean(axis=tuple({0, 1, 2} - {axis})))
        inside = steps[np.abs(steps) > 0]  # linear along one axis, 1 Gy per mm, zero beyond
        assert np.median(np.abs(inside)) / dose.grid.spacing_zyx_mm[axis] == pytest.approx(1.0, rel=1e-5)
        assert np.ptp(dose.array, axis=1 - axis).max() < 1e-4  # and constant along the other


def test_dicompyler_breast(data):
    folder = data / "dicompyler/example_data"
    found = rtstruct.read(folder / "rtss.dcm")
    names = {s.name: (s.kind, len(s.region.rings)) for s in found.structures}
    assert names["BODY"] == ("EXTERNAL", 141)
    assert names["Lt Lung"] == ("AVOIDANCE", 165)
    assert [n.structure for n in found.notices if n.code == "STRUCTURE_EMPTY"] == ["Areola"]
    summary = rtplan.read_summary(folder / "rtplan.dcm")
    assert (summary.fractions, summary.targets["Breast"]) == (7, 14.0)
    assert [b.gantry_deg for b in summary.beams] == [327, 0, 56, 150]
    assert [b.mu_per_fraction for b in summary.beams] == [97, 87, 89, 94]
    with pytest.raises(DicomError, match="One slice alone"):
        read_patient(folder)


def test_pymedphys_dose_without_a_file_header(data):
    path = data / "pymedphys/rtdose_non_square_pixels.dcm"
    dose = rtdose.read(path).dose
    ds = pydicom.dcmread(path, force=True)
    stored = np.frombuffer(ds.PixelData, "<u2").reshape(77, 65, 77) * float(ds.DoseGridScaling)
    offsets = np.array(ds.GridFrameOffsetVector, float)
    np.testing.assert_allclose(dose.grid.spacing_zyx_mm[1:], ds.PixelSpacing)
    for frame in (0, 40, 76):
        z = float(ds.ImagePositionPatient[2]) + offsets[frame] - offsets[0]
        point = [float(ds.ImagePositionPatient[0]), float(ds.ImagePositionPatient[1]), z]
        k = dose.grid.to_index(point)[0]
        assert abs(k - round(k)) < 0.05
        np.testing.assert_allclose(dose.array[round(k)], stored[frame], rtol=1e-6)
