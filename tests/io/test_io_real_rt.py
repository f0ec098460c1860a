"""Real RT objects against independent readings: dicompyler-core, SimpleITK, and pydicom by hand."""

import warnings

import numpy as np
import pydicom
import pydicom.dicomio
import pytest
import SimpleITK as sitk  # noqa: N813
from matplotlib.path import Path as Outline

from rtplan.domain import Grid
from rtplan.imaging.contour import fraction_on
from rtplan.io import names, rtdose, rtplan_delivery, rtstruct
from rtplan.io.names_draft import draft
from rtplan.io.patient import read_patient
from rtplan.io.preflight import preflight

BREAST = "dicompyler/example_data"


@pytest.fixture
def dicompyler():
    """Return dicompyler-core's parser; pydicom 3 lacks the name by which 0.5.6 calls dcmread."""
    pydicom.dicomio.read_file = getattr(pydicom.dicomio, "read_file", pydicom.dcmread)
    return pytest.importorskip("dicompylercore.dicomparser").DicomParser


def test_structures_agree_with_dicompyler(data, dicompyler):
    path = data / BREAST / "rtss.dcm"
    found = {s.name: s for s in rtstruct.read(path).structures}
    parser = dicompyler(str(path))
    theirs = {item["name"]: (number, item) for number, item in parser.GetStructures().items()}
    assert set(found) == {name for name, (_, item) in theirs.items() if not item["empty"]}
    for name, structure in found.items():
        number, item = theirs[name]
        assert structure.kind == item["type"]
        rings = [c for plane in parser.GetStructureCoordinates(number).values() for c in plane]
        ours = sorted(ring.tolist() for ring in structure.region.rings)
        listed = sorted([[float(v) for v in p] for p in c["data"]] for c in rings)
        assert ours == listed


def test_the_plan_agrees_with_dicompyler(data, dicompyler):
    path = data / BREAST / "rtplan.dcm"
    plan, parser = rtplan_delivery.read(path), dicompyler(str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, beams = parser.GetPlan(), parser.GetReferencedBeamsInFraction(0)
    assert (plan.name, plan.targets["Breast"] * 100) == (theirs["label"], theirs["rxdose"])
    assert {b.number: b.name for b in plan.beams} == {n: b["name"] for n, b in beams.items()}


@pytest.mark.parametrize(
    ("path", "names_of"),
    [
        (f"{BREAST}/rtss.dcm", ("Heart", "Tumor Bed", "Breast")),
        ("sts/dicom/STS_010/CT/mask/RS.dcm", ("GTV_Mass_CT",)),
        ("sts/dicom/STS_040/MR_T1/mask/RS.dcm", ("GTV_Mass_MR_T1",)),
    ],
)
def test_volumes_agree_with_a_count_of_points_by_hand(data, path, names_of):
    """Points of a 1 mm lattice inside an odd number of rings, read with bare pydicom, times the spacing."""
    ds = pydicom.dcmread(data / path)
    numbers = {str(r.ROIName): r.ROINumber for r in ds.StructureSetROISequence}
    contours = {
        c.ReferencedROINumber: c.ContourSequence for c in ds.ROIContourSequence if "ContourSequence" in c
    }
    found = {s.name: s for s in rtstruct.read(data / path).structures}
    for name in names_of:
        rings = [np.array(c.ContourData, float).reshape(-1, 3) for c in contours[numbers[name]]]
        heights = sorted({round(float(ring[0, 2]), 3) for ring in rings})
        low, high = (f([f(ring, axis=0) for ring in rings], axis=0) for f in (np.min, np.max))
        x, y = np.arange(low[0], high[0], 1.0), np.arange(low[1], high[1], 1.0)
        points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        step = float(np.median(np.diff(heights)))
        count = 0
        for z in heights:
            odd = np.zeros(len(points), bool)
            for ring in rings:
                if round(float(ring[0, 2]), 3) == z:
                    odd ^= Outline(ring[:, :2]).contains_points(points)
            count += int(odd.sum())
        shape = (len(heights) + 4, len(y) // 2 + 6, len(x) // 2 + 6)
        grid = Grid.axial(
            shape, (step, 2.0, 2.0), (low[0] - 4, low[1] - 4, low[2] - 2 * step), ds_frame(found[name])
        )
        ours = float(fraction_on(found[name], grid).sum(dtype=np.float64)) * grid.voxel_cc
        assert ours == pytest.approx(count * step / 1000.0, rel=0.02)


def ds_frame(structure):
    return structure.region.frame_of_reference


def test_doses_agree_with_gdcm(data):
    for path in sorted((data / "nelms2015/dose").glob("*.dcm")):
        dose = rtdose.read(path).dose
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        item = reader.Execute()
        scaling = float(pydicom.dcmread(path, stop_before_pixels=True).DoseGridScaling)
        theirs = sitk.GetArrayFromImage(item).astype(np.float64)
        factor = 1.0 if theirs.max() < 100 else scaling  # GDCM versions differ in who applies it
        np.testing.assert_allclose(dose.array, theirs * factor, rtol=1e-5)
        k, j, i = (n - 1 for n in dose.grid.shape)
        for index in ((0, 0, 0), (0, j, i), (k // 2, j // 2, 0)):
            point = item.TransformIndexToPhysicalPoint(tuple(int(n) for n in index[::-1]))
            np.testing.assert_allclose(dose.grid.to_patient(index)[:2], point[:2], atol=1e-4)


def test_nelms_volumes_are_analytic(data):
    """The finest sets: 0.2 mm between planes, so volumes by slabs are within a few thousandths."""
    import csv

    with (data / "nelms2015/analytic_metrics.csv").open() as stream:
        wanted = {row["Structure name"]: float(row["Total Volume (cc)"]) for row in csv.DictReader(stream)}
    for shape in ("Sphere", "Cylinder", "Cone"):
        (structure,) = rtstruct.read(data / f"nelms2015/structures/{shape}_02_0.dcm").structures
        points = np.concatenate(structure.region.rings)
        low, high = points.min(axis=0), points.max(axis=0)
        count = tuple(int(n) + 6 for n in np.ceil((high - low) / (0.5, 0.5, 0.2))[::-1])
        grid = Grid.axial(
            count, (0.2, 0.5, 0.5), tuple(low - (1, 1, 0.4)), structure.region.frame_of_reference
        )
        ours = float(fraction_on(structure, grid).sum(dtype=np.float64)) * grid.voxel_cc
        assert ours == pytest.approx(wanted[f"{shape}_02_0"], rel=1e-2)


def test_the_draft_of_the_names_of_a_clinic(data):
    lines = {line.name: line for line in draft(data / BREAST, names.load())[0]}
    mapped = {name: line.tg263 for name, line in lines.items() if line.status == "mapped"}
    assert mapped == {"BODY": "External", "Heart": "Heart", "Lt Lung": "Lung_L"}
    assert {n for n, line in lines.items() if line.status == "target"} == {
        "Breast",
        "Borders",
        "Tumor Bed",
        "Tumor Bed Block",
    }


def test_what_the_preflight_says_of_real_sets(data):
    def codes(folder):
        return {(n.code, n.severity) for n in preflight(data / folder).notices if n.code.startswith(OURS)}

    assert codes(BREAST) >= {("STRUCTURE_EMPTY", "info"), ("PLAN_READ", "info")}
    assert not {c for c in codes(BREAST) if c[1] == "refuse"}
    assert codes("nelms2015/dose") == {("LINK_BROKEN", "info"), ("DOSE_NOT_WHOLE", "warn")}
    for name in ("STS_010", "STS_040"):
        assert {c for c, _ in codes(f"sts/dicom/{name}")} <= {
            "RANGE_SHORT",
            "ORGAN_CUT",
            "CONTOURS_CLOCKWISE",
            "CONTOUR_IMAGES_ABSENT",
        }


OURS = ("STRUCTURE", "CONTOUR", "PLAN", "DOSE", "LINK", "RANGE", "ORGAN", "OBJECT", "REG", "RT")


def test_sarcoma_patients_say_how_far_their_images_reach(data):
    """By hand: the box of the image beyond the contours of the tumour, along z."""
    for name in ("STS_010", "STS_040"):
        patient = read_patient(data / "sts/dicom" / name)
        said = " ".join(n.message for n in patient.notices if n.code == "RANGE_SHORT")
        points = np.concatenate([r for s in patient.structures.values() for r in s.region.rings])
        for role, image in patient.images.items():
            corners = image.grid.corners()[:, 2]
            above, below = corners.max() - points[:, 2].max(), points[:, 2].min() - corners.min()
            assert (f"The image {role} ends" in said) == (min(above, below) < 30.0)
            if above < 30.0:
                assert f"{max(above, 0.0):.1f} mm above" in said
