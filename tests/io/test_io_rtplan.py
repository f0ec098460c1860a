"""RTPLAN: our plans come back exactly; a clinical plan says what it can and is not guessed."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from rtplan.domain import Beam, Fluence, Grid, Identity, Image, Plan, Prescription, Source
from rtplan.errors import DicomError, DoseError
from rtplan.io import registration, rtplan
from rtplan.io.rtstruct_write import WrittenSet

RNG = np.random.default_rng(7)


def plan(mu=None):
    mu = RNG.uniform(0, 300, (40, 90)).astype(np.float32) if mu is None else mu
    beams = tuple(
        Beam(
            f"G{a:g}",
            a,
            (1.25, -10 / 3, 7 / 3),
            Fluence(mu * w, 2.5, (-48.75 - 1 / 3, -30.0)),
            "generic_6mv",
            c,
            350.0,
        )
        for a, c, w in ((0.0, 5.0, 1.0), (51.4, 0.0, 0.3), (359.9, 90.0, 1e-4))
    )
    prescription = Prescription({"PTVp_7700": 77.0, "GTVp": 95.0}, 35)
    return Plan(prescription, beams, "boost", "SynCT", settings={"beams": 7, "grid_mm": 3.0})


def test_a_plan_comes_back_exactly(tmp_path):
    before = plan()
    after = rtplan.read(rtplan.write(before, tmp_path / "rp.dcm", identity=Identity("P")).path)
    assert dict(after.prescription.targets) == {"PTVp_7700": 77.0, "GTVp": 95.0}
    assert (after.prescription.fractions, after.name, after.made_on) == (35, "boost", "SynCT")
    assert dict(after.settings) == {"beams": 7, "grid_mm": 3.0}
    for one, other in zip(before.beams, after.beams, strict=True):
        np.testing.assert_array_equal(other.fluence.mu, one.fluence.mu)
        np.testing.assert_allclose(other.fluence.corner_mm, one.fluence.corner_mm, atol=1e-9)
        np.testing.assert_allclose(other.isocentre_mm, one.isocentre_mm, atol=1e-9)
        assert other.fluence.spacing_mm == one.fluence.spacing_mm
        assert (other.name, other.gantry_deg, other.collimator_deg, other.couch_deg, other.machine) == (
            one.name,
            one.gantry_deg,
            one.collimator_deg,
            one.couch_deg,
            one.machine,
        )


def test_tiny_and_zero_fluence_come_back(tmp_path):
    mu = np.zeros((3, 4), np.float32)
    mu[1, 2], mu[2, 3], mu[0, 0] = 1e-6, 250.0, 1 / 3
    before = plan(mu)
    after = rtplan.read(rtplan.write(before, tmp_path / "rp.dcm", identity=Identity("P")).path)
    np.testing.assert_allclose(after.beams[0].fluence.mu, mu, rtol=1e-6)
    dark = rtplan.read(rtplan.write(plan(mu * 0), tmp_path / "r0.dcm", identity=Identity("P")).path)
    assert dark.beams[0].fluence.mu.max() == 0


def test_tags_of_a_written_plan(tmp_path):
    mu = np.zeros((3, 4), np.float32)
    mu[2, 0] = 70.0  # highest v, lowest u: upper left, so the first pixel transmitted
    image = Image(
        Grid.axial((2, 2, 2), (3, 2, 1), (0, 0, 0), "1.2.3.4"),
        np.zeros((2, 2, 2)),
        "CT",
        Source(patient_position="FFS"),
    )
    drawn = WrittenSet(tmp_path / "rs.dcm", "1.6", {"GTVp": 3})
    done = rtplan.write(
        plan(mu), tmp_path / "rp.dcm", identity=Identity("P"), image=image, structure_set=drawn
    )
    ds = pydicom.dcmread(done.path)
    assert (ds.ApprovalStatus, ds.PlanIntent, ds.RTPlanGeometry) == ("UNAPPROVED", "RESEARCH", "PATIENT")
    assert ds.FrameOfReferenceUID == "1.2.3.4"
    assert ds.PatientSetupSequence[0].PatientPosition == "FFS"
    beam = ds.BeamSequence[0]
    assert (beam.BeamType, beam.RadiationType, beam.NumberOfControlPoints) == ("STATIC", "PHOTON", 2)
    compensator = beam.CompensatorSequence[0]
    assert compensator.CompensatorDivergence == "ABSENT"
    assert float(compensator.CompensatorTransmissionData[0]) == 1.0
    np.testing.assert_allclose(compensator.CompensatorPosition, [-48.75 - 1 / 3, -30 + 2 * 2.5])
    assert float(ds.FractionGroupSequence[0].ReferencedBeamSequence[0].BeamMeterset) == pytest.approx(70 / 35)
    jaws = {
        item.RTBeamLimitingDeviceType: [float(v) for v in item.LeafJawPositions]
        for item in beam.ControlPointSequence[0].BeamLimitingDevicePositionSequence
    }
    left = -48.75 - 1 / 3 - 1.25
    np.testing.assert_allclose(jaws["ASYMX"], [left, left + 4 * 2.5])
    np.testing.assert_allclose(jaws["ASYMY"], [-31.25, -31.25 + 3 * 2.5])
    kinds = {i.DoseReferenceDescription: i.DoseReferenceStructureType for i in ds.DoseReferenceSequence}
    assert kinds == {"PTVp_7700": "SITE", "GTVp": "VOLUME"}


def test_a_plan_of_apertures_is_summed_up_and_not_guessed(bare, tmp_path):
    ds = bare.start("RTPLAN", "1.2.7", "1.2.8")
    ds.RTPlanLabel = "clinical"
    target, group, referenced, beam, point = (Dataset() for _ in range(5))
    target.DoseReferenceNumber, target.DoseReferenceType = 1, "TARGET"
    target.DoseReferenceDescription, target.TargetPrescriptionDose = "PTV 60", 60
    referenced.ReferencedBeamNumber, referenced.BeamMeterset = 1, 97.5
    group.FractionGroupNumber, group.NumberOfFractionsPlanned = 1, 20
    group.ReferencedBeamSequence = Items([referenced])
    point.ControlPointIndex, point.GantryAngle, point.BeamLimitingDeviceAngle = 0, 181, 10
    point.PatientSupportAngle, point.IsocenterPosition = 0, [1.5, -2.5, 30]
    beam.BeamNumber, beam.BeamName, beam.BeamType = 1, "arc", "DYNAMIC"
    beam.ControlPointSequence = Items([point])
    ds.DoseReferenceSequence, ds.FractionGroupSequence = Items([target]), Items([group])
    ds.BeamSequence = Items([beam])
    ds.save_as(tmp_path / "rp.dcm", enforce_file_format=True)
    summary = rtplan.read_summary(tmp_path / "rp.dcm")
    assert (summary.label, summary.fractions, dict(summary.targets)) == ("clinical", 20, {"PTV 60": 60.0})
    found = summary.beams[0]
    assert (found.gantry_deg, found.mu_per_fraction, found.isocentre_mm) == (181, 97.5, (1.5, -2.5, 30.0))
    assert found.moving
    assert not summary.ours
    with pytest.raises(DicomError, match="shaped by apertures"):
        rtplan.read(tmp_path / "rp.dcm")


def test_two_beams_of_one_name_are_not_written(tmp_path):
    one = plan().beams[0]
    with pytest.raises(DoseError, match="names that differ"):
        rtplan.write(
            Plan(Prescription({"PTV": 60.0}, 20), (one, one)), tmp_path / "x.dcm", identity=Identity()
        )


def test_a_registration_comes_back_and_a_bent_one_is_refused(tmp_path):
    from scipy.spatial.transform import Rotation

    from rtplan.domain import Registration

    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", (3, -8, 20), degrees=True).as_matrix()
    matrix[:3, 3] = (1.23, -44.5, 100 / 7)
    path = registration.write(
        Registration("1.2.3", "1.2.4", matrix), tmp_path / "reg.dcm", identity=Identity("P")
    )
    (found,) = registration.read(path)
    assert (found.from_frame, found.to_frame) == ("1.2.3", "1.2.4")
    np.testing.assert_allclose(found.matrix, matrix, atol=1e-9)
    bent = matrix.copy()
    bent[0, 0] *= 1.1
    path = registration.write(
        Registration("1.2.3", "1.2.4", bent), tmp_path / "bent.dcm", identity=Identity("P")
    )
    with pytest.raises(DicomError, match="not rigid"):
        registration.read(path)
