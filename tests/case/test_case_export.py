"""What a case without a CT becomes for one planning system: axial, complete, whole."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest
from scipy.spatial.transform import Rotation

from rtplan.case.export import Asked, write_dicom
from rtplan.domain import Dose, Finding, Grid, Identity, Image, Mask, Patient, Record, Source, Structure
from rtplan.domain.structure import Contours
from rtplan.imaging.contour import contours_of, mask_on
from rtplan.imaging.resample import resample
from rtplan.io import rtdose, rtstruct, seg
from rtplan.io.image import read_series

SHAPE = (14, 40, 44)
PDF = b"%PDF-1.4\n%%EOF"
AXIS = np.linspace(0.0, 60.0, 61)


@pytest.fixture
def patient():
    """Return an MR on a tilted grid, a synthetic CT on it, one organ drawn and one found, a dose."""
    affine = np.eye(4)
    turn = Rotation.from_euler("x", 11.0, degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.array([[0.0, 0, 2.0], [0, 2.0, 0], [3.0, 0, 0]])
    affine[:3, 3] = (-40.0, -40.0, -20.0)
    grid = Grid(SHAPE, affine, "2.25.9")
    places = grid.to_patient(np.moveaxis(np.indices(SHAPE), 0, -1))
    distance = np.linalg.norm(places - grid.to_patient((7, 20, 22)), axis=-1)
    uids = tuple(f"1.7.{k}" for k in range(SHAPE[0]))
    mr = Source("1.7", "1.6", uids, "1.2.840.10008.5.1.4.1.1.4", "HFS", "T2w")
    made = Source("1.7", "1.6", uids, "1.2.840.10008.5.1.4.1.1.4", "HFS", "synthetic CT by net from T2w")
    shell = Mask(grid, (distance < 17) & (distance > 8))
    drawn = contours_of(Mask(grid, distance < 7))
    finding = Finding("D98%[Gy]", 50.0, "Gy", "x", arm="SynCT", structure="Wall")
    return Patient(
        "k",
        {
            "T2w": Image(grid, np.round(distance), "MR", mr),
            "SynCT": Image(grid, np.where(distance < 19, 20.0, -1000.0), "CT", made),
        },
        {
            "Wall": Structure("Wall", "ORGAN", shell),
            "Drawn": Structure("Drawn", "ORGAN", Contours(drawn.rings, "2.25.9")),
        },
        None,
        {"SynCT": Dose(grid, np.maximum(60 - distance, 0), fractions=20)},
        (),
        (finding,),
        (),
        (Record("SynthesiseCT", {"model": "net"}, 1.0, weights_sha256="ab" * 32),),
        Identity("P", "A^B"),
    )


@pytest.mark.parametrize(
    ("tps", "bits", "dvh"), [("common", 32, True), ("eclipse", 32, False), ("pinnacle", 32, True)]
)
def test_a_tilted_case_for_a_system(patient, tmp_path, tps, bits, dvh):
    curves = {"SynCT": {"Wall": (AXIS, 100 - AXIS / 0.6)}}
    write_dicom(patient, tmp_path / "d", Asked(tps, 3.0, curves, PDF))
    folder = tmp_path / "d"
    names = {p.name for p in folder.iterdir()}
    assert names == {
        "CT_SynCT",
        "RS.dcm",
        "RD_SynCT.dcm",
        "RD_SynCT_EQD2.dcm",
        "SEG.dcm",
        "SR.dcm",
        "PDF.dcm",
    }
    made = read_series(folder / "CT_SynCT")
    assert made.grid.is_axial
    assert made.grid.frame_of_reference == "2.25.9"
    steps = np.diff(
        [float(pydicom.dcmread(p).ImagePositionPatient[2]) for p in sorted((folder / "CT_SynCT").iterdir())]
    )
    np.testing.assert_allclose(steps, steps[0], atol=1e-3)
    header = pydicom.dcmread(folder / "CT_SynCT" / "0005.dcm")
    assert "synthetic CT by net from T2w; resampled (trilinear" in header.DerivationDescription
    assert [c.CodeValue for c in header.DerivationCodeSequence] == ["113085", "SYNCT"]
    assert header.ContributingEquipmentSequence[0].SoftwareVersions[1] == "net sha256:abababababab"
    assert len(header.SourceImageSequence) == SHAPE[0]
    assert (made.array == -1024).any()  # outside the tilted box
    found = rtstruct.read(folder / "RS.dcm")
    assert set(found.image_uids) == set(made.source.sop_uids)
    for structure in found.structures:
        want = mask_on(patient.structures[structure.name], made.grid).array
        got = mask_on(structure, made.grid).array
        np.testing.assert_array_equal(got, want)
    rings = pydicom.dcmread(folder / "RS.dcm").ROIContourSequence
    assert all(len(c.ContourImageSequence) == 1 for item in rings for c in item.ContourSequence)
    dose, raw = rtdose.read(folder / "RD_SynCT.dcm"), pydicom.dcmread(folder / "RD_SynCT.dcm")
    assert dose.dose.grid.is_axial
    assert raw.BitsStored == bits
    assert ("DVHSequence" in raw) == dvh
    assert {s.name for s in seg.read(folder / "SEG.dcm")} == {"Wall", "Drawn"}


def test_an_arm_on_another_grid_than_its_source_does_not_claim_its_places(patient, tmp_path):
    coarse = patient.images["SynCT"].grid.with_spacing((3.0, 4.0, 4.0))
    made = resample(patient.images["SynCT"], coarse, outside=-1000.0)  # as many slices as the MR has
    write_dicom(patient.with_images(SynCT=made), tmp_path / "d", Asked("generic"))
    header = pydicom.dcmread(tmp_path / "d" / "CT_SynCT" / "0003.dcm")
    assert len(header.SourceImageSequence) == SHAPE[0]
    assert {item.SpatialLocationsPreserved for item in header.SourceImageSequence} == {"NO"}
    assert "on the grid of another image" in header.DerivationDescription


def test_the_oblique_original_for_no_system_in_particular(patient, tmp_path):
    write_dicom(patient, tmp_path / "d", Asked("generic"))
    made = read_series(tmp_path / "d" / "CT_SynCT")
    assert made.grid.same_as(patient.images["SynCT"].grid)
    np.testing.assert_array_equal(made.array, patient.images["SynCT"].array)
    found = {s.name: s for s in rtstruct.read(tmp_path / "d" / "RS.dcm").structures}
    got = mask_on(found["Wall"], made.grid).array
    np.testing.assert_array_equal(got, patient.structures["Wall"].region.array)


def test_without_a_dose_the_report_is_about_the_synthetic_ct_and_says_why_not(patient, tmp_path):
    why = "No dose was calculated."
    withheld = Finding("NTCP", None, "1", "x", structure="Wall", verdict="not_evaluable", reason=why)
    bare = replace(patient, structures={}, doses={}, findings=(withheld,))
    write_dicom(bare, tmp_path / "d")
    report = pydicom.dcmread(tmp_path / "d" / "SR.dcm")
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    slices = {pydicom.dcmread(p).SOPInstanceUID for p in (tmp_path / "d" / "CT_SynCT").iterdir()}
    assert {item.ReferencedSOPInstanceUID for item in evidence.ReferencedSOPSequence} == slices
    text = report.to_json()
    assert "Not evaluable" in text
    assert why in text
