"""A clinical plan comes in whole, whatever its file leaves unsaid, or is named as unfit."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from rtplan.domain import ClinicalPlan, ControlPoint, DeliveredBeam, Device, FractionGroup
from rtplan.errors import DicomError
from rtplan.io import rtplan_delivery
from rtplan.io.patient import read_patient
from rtplan.io.plan_facts import plan_notices

RNG = np.random.default_rng(21)
ISOCENTRE = (12.25, -301.5, -88.125)
LEAVES = (-30.0, -20.0, -15.0, -10.0, 0.0, 10.0, 30.0)
TURNS = {
    "gantry": ("GantryAngle", "GantryRotationDirection"),
    "collimator": ("BeamLimitingDeviceAngle", "BeamLimitingDeviceRotationDirection"),
    "couch": ("PatientSupportAngle", "PatientSupportRotationDirection"),
}


def item(**values):
    found = Dataset()
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def openings(kind="MLCX"):
    low = np.round(RNG.uniform(-40, 5, 6), 2)
    jaws = {"ASYMX": [(-50.5, 48.25)], "ASYMY": [(-30, 30)]}
    return jaws | {kind: np.column_stack([low, low + np.round(RNG.uniform(0, 30, 6), 2)])}


def arc(turn="CW", start=178.0, step=2.0, count=8):
    sign = 1.0 if turn == "CW" else -1.0
    return tuple(
        ControlPoint(
            n / (count - 1),
            (start + sign * n * step) % 360,
            15.0,
            350.0,
            ISOCENTRE,
            openings(),
            turn if n < count - 1 else "NONE",
            energy_mv=6.0,
        )
        for n in range(count)
    )


def static(kind="MLCX", count=6):
    shares = np.linspace(0, 1, count) ** 2
    points = [ControlPoint(s, 51.4, 90.0, 0.0, ISOCENTRE, openings(kind), energy_mv=10.0) for s in shares]
    return tuple(points)


def devices(kind="MLCX"):
    return Device("ASYMX", (), 367.0), Device("ASYMY", (), 279.0), Device(kind, LEAVES, 508.6)


def clinical():
    beams = (
        DeliveredBeam(2, "arc 1", "LINAC", devices(), arc(), 20 * 311.5, "PHOTON", 1000.0),
        DeliveredBeam(5, "arc 2", "LINAC", devices(), arc("CC", 3.0), 20 * 250.25, "PHOTON", 1000.0),
        DeliveredBeam(7, "window", "LINAC", devices("MLCY"), static("MLCY"), 20 * 97.0, "PHOTON", 1000.0),
    )
    group = FractionGroup(1, 20, {2: 311.5, 5: 250.25, 7: 97.0})
    return ClinicalPlan(
        "P1", {"PTV 60": 60.0}, (group,), beams, "1.2.826.0.1.99.2", "HFS", "1.2.7", ("1.2.9",)
    )


def dataset(bare, plan, *, final=0.8):
    """Write a plan with bare pydicom; a control point says only what has changed since the one before."""
    ds = bare.start("RTPLAN", plan.source_uid, "1.2.8")
    ds.FrameOfReferenceUID, ds.RTPlanLabel = plan.frame_of_reference, plan.name
    ds.DoseReferenceSequence = Items(
        item(DoseReferenceType="TARGET", DoseReferenceDescription=n, TargetPrescriptionDose=d)
        for n, d in plan.targets.items()
    )
    ds.FractionGroupSequence = Items(
        item(
            FractionGroupNumber=g.number,
            NumberOfFractionsPlanned=g.fractions,
            ReferencedBeamSequence=Items(
                item(ReferencedBeamNumber=n, BeamMeterset=m) for n, m in g.mu.items()
            ),
        )
        for g in plan.groups
    )
    ds.PatientSetupSequence = Items([item(PatientSetupNumber=1, PatientPosition=plan.patient_position)])
    ds.ReferencedStructureSetSequence = Items(
        item(ReferencedSOPInstanceUID=u) for u in plan.structure_set_uids
    )
    ds.BeamSequence = Items(beam_of(beam, final) for beam in plan.beams)
    return ds


def beam_of(beam, final):
    made = item(BeamNumber=beam.number, BeamName=beam.name, TreatmentMachineName=beam.machine)
    made.RadiationType, made.PrimaryDosimeterUnit, made.BeamType = beam.radiation, "MU", "DYNAMIC"
    made.TreatmentDeliveryType, made.SourceAxisDistance = "TREATMENT", beam.sad_mm
    made.FinalCumulativeMetersetWeight = final
    made.BeamLimitingDeviceSequence = Items()
    for device in beam.devices:
        one = item(RTBeamLimitingDeviceType=device.kind, NumberOfLeafJawPairs=device.pairs)
        one.SourceToBeamLimitingDeviceDistance = device.distance_mm
        if device.boundaries_mm:
            one.LeafPositionBoundaries = list(device.boundaries_mm)
        made.BeamLimitingDeviceSequence.append(one)
    made.ControlPointSequence, before = Items(), {}
    for index, point in enumerate(beam.points):
        said = {"NominalBeamEnergy": point.energy_mv, "IsocenterPosition": list(point.isocentre_mm)}
        for axis, (angle, turn) in TURNS.items():
            said |= {angle: getattr(point, f"{axis}_deg"), turn: getattr(point, f"{axis}_turn")}
        one = item(ControlPointIndex=index, CumulativeMetersetWeight=f"{point.share * final:.14g}")
        for keyword, value in said.items():
            if before.get(keyword) != value:
                setattr(one, keyword, value)
        moved = {k: v for k, v in point.openings.items() if not np.array_equal(before.get(k), v)}
        one.BeamLimitingDevicePositionSequence = Items(
            item(RTBeamLimitingDeviceType=k, LeafJawPositions=[float(x) for x in v.T.ravel()])
            for k, v in moved.items()
        )
        made.ControlPointSequence.append(one)
        before = said | dict(point.openings)
    return made


def save(ds, path):
    ds.save_as(path, enforce_file_format=True)
    return path


def test_every_value_of_a_plan_comes_back(bare, tmp_path):
    before = clinical()
    after = rtplan_delivery.read(save(dataset(bare, before), tmp_path / "rp.dcm"))
    for name in ("name", "frame_of_reference", "patient_position", "source_uid", "structure_set_uids"):
        assert getattr(after, name) == getattr(before, name)
    assert (dict(after.targets), after.fractions, after.obstacles) == ({"PTV 60": 60.0}, 20, ())
    assert [dict(g.mu) for g in after.groups] == [dict(before.groups[0].mu)]
    assert [beam.is_arc for beam in after.beams] == [True, True, False]
    for one, other in zip(before.beams, after.beams, strict=True):
        assert (other.number, other.name, other.machine, other.devices) == (
            one.number,
            one.name,
            one.machine,
            one.devices,
        )
        assert (other.mu, other.radiation, other.sad_mm) == (one.mu, "PHOTON", 1000.0)
        assert len(other.points) == len(one.points)
        for a, b in zip(one.points, other.points, strict=True):
            assert b.share == pytest.approx(a.share, abs=1e-12)
            assert (b.gantry_deg, b.collimator_deg, b.couch_deg) == (
                a.gantry_deg,
                a.collimator_deg,
                a.couch_deg,
            )
            assert (b.gantry_turn, b.collimator_turn, b.couch_turn) == (a.gantry_turn, "NONE", "NONE")
            assert (b.isocentre_mm, b.energy_mv) == (a.isocentre_mm, a.energy_mv)
            assert set(b.openings) == set(a.openings)
            for kind, pairs in a.openings.items():
                np.testing.assert_array_equal(b.openings[kind], pairs)


def test_monitor_units_are_those_of_the_course_over_all_groups(bare, tmp_path):
    plan = clinical()
    groups = (FractionGroup(1, 20, {2: 100.0, 7: 40.0}), FractionGroup(2, 5, {2: 30.0, 5: 50.0}))
    split = ClinicalPlan("P", {}, groups, plan.beams, plan.frame_of_reference, "HFS", "1.2.7")
    found = rtplan_delivery.read(save(dataset(bare, split), tmp_path / "rp.dcm"))
    assert {beam.number: beam.mu for beam in found.beams} == {2: 2150.0, 5: 250.0, 7: 800.0}
    assert found.fractions is None
    said = {n.code: n for n in plan_notices(found)}
    assert set(said) == {"PLAN_READ", "PLAN_FRACTION_GROUPS", "PLAN_NO_PRESCRIPTION"}
    assert "20 and 5 fractions" in said["PLAN_FRACTION_GROUPS"].message


def test_beams_for_setup_and_beams_that_no_group_gives_are_left_out(bare, tmp_path):
    ds = dataset(bare, clinical())
    ds.BeamSequence[0].TreatmentDeliveryType = "SETUP"
    del ds.FractionGroupSequence[0].ReferencedBeamSequence[1]
    assert [b.number for b in rtplan_delivery.read(save(ds, tmp_path / "rp.dcm")).beams] == [7]


def no_meterset(ds):
    for referenced in ds.FractionGroupSequence[0].ReferencedBeamSequence:
        if referenced.ReferencedBeamNumber == 7:
            referenced.BeamMeterset = None


def negative_meterset(ds):
    for referenced in ds.FractionGroupSequence[0].ReferencedBeamSequence:
        if referenced.ReferencedBeamNumber == 7:
            referenced.BeamMeterset = -120


def set_beam(**values):
    def change(ds):
        for keyword, value in values.items():
            setattr(ds.BeamSequence[2], keyword, value)

    return change


def set_point(**values):
    def change(ds):
        for keyword, value in values.items():
            setattr(ds.BeamSequence[2].ControlPointSequence[3], keyword, value)

    return change


def rename_leaves(ds):
    ds.BeamSequence[2].BeamLimitingDeviceSequence[2].RTBeamLimitingDeviceType = "MLCX1"


def both_leaves(ds):
    ds.BeamSequence[2].BeamLimitingDeviceSequence.append(ds.BeamSequence[0].BeamLimitingDeviceSequence[2])


def no_weights(ds):
    for point in ds.BeamSequence[2].ControlPointSequence:
        del point.CumulativeMetersetWeight


def no_isocentre(ds):
    del ds.BeamSequence[2].ControlPointSequence[0].IsocenterPosition


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_beam(WedgeSequence=Items([item(WedgeNumber=1)])), "a wedge"),
        (set_beam(BlockSequence=Items([item(BlockNumber=1)])), "a block"),
        (set_beam(CompensatorSequence=Items([item(CompensatorNumber=1)])), "a compensator"),
        (set_beam(ReferencedBolusSequence=Items([item(ReferencedROINumber=1)])), "a bolus"),
        (set_beam(ApplicatorSequence=Items([item(ApplicatorID="A")])), "an applicator"),
        (set_beam(RadiationType="ELECTRON"), "radiation is ELECTRON"),
        (set_beam(RadiationType="PROTON"), "radiation is PROTON"),
        (set_beam(PrimaryDosimeterUnit="MINUTE"), "in MINUTE"),
        (
            set_beam(
                PrimaryFluenceModeSequence=Items([item(FluenceMode="NON_STANDARD", FluenceModeID="FFF")])
            ),
            "fluence is FFF",
        ),
        (set_point(IsocenterPosition=[0, 0, 0]), "the isocentre changes"),
        (set_point(PatientSupportAngle=5), "the couch changes"),
        (set_point(NominalBeamEnergy=18), "the energy changes"),
        (set_point(TableTopPitchAngle=1.5), "the table top is pitched"),
        (set_point(TableTopEccentricAngle=10), "turned about another axis"),
        (no_meterset, "monitor units"),
        (rename_leaves, "MLCX1 is not known"),
        (both_leaves, "leaves along x and along y"),
        (negative_meterset, "monitor units are negative"),
        (no_weights, "no meterset weights"),
        (no_isocentre, "no isocentre"),
    ],
)
def test_what_no_aperture_tells_is_named(bare, tmp_path, change, words):
    ds = dataset(bare, clinical())
    change(ds)
    plan = rtplan_delivery.read(save(ds, tmp_path / "rp.dcm"))
    if words == "monitor units":  # without MU the beam is not delivered
        assert [beam.number for beam in plan.beams] == [2, 5]
        return
    (found,) = [why for why in plan.obstacles if words in why]
    assert "'window'" in found
    (notice,) = [n for n in plan_notices(plan) if n.code == "PLAN_NOT_RECALCULABLE"]
    assert (notice.severity, words in notice.message) == ("warn", True)


def drop_leaf(ds):
    moved = ds.BeamSequence[2].ControlPointSequence[0].BeamLimitingDevicePositionSequence[2]
    moved.LeafJawPositions = list(moved.LeafJawPositions)[:-1]


def swap_boundaries(ds):
    ds.BeamSequence[2].BeamLimitingDeviceSequence[2].LeafPositionBoundaries = list(LEAVES[::-1])


def one_point(ds):
    ds.BeamSequence[2].ControlPointSequence = ds.BeamSequence[2].ControlPointSequence[:1]


def pass_each_other(ds):
    moved = ds.BeamSequence[2].ControlPointSequence[0].BeamLimitingDevicePositionSequence[2]
    moved.LeafJawPositions = [20.0] * 6 + [-20.0] * 6


def short_end(ds):
    ds.BeamSequence[2].ControlPointSequence[-1].CumulativeMetersetWeight = 0.5


def fall(ds):
    ds.BeamSequence[2].ControlPointSequence[3].CumulativeMetersetWeight = 0.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop_leaf, "6 pairs and 11 positions"),
        (swap_boundaries, "7 rising boundaries"),
        (one_point, "1 control points"),
        (pass_each_other, "pass each other"),
        (short_end, "not at its final"),
        (fall, "do not rise"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused_with_its_file(bare, tmp_path, change, words):
    ds = dataset(bare, clinical())
    change(ds)
    with pytest.raises(DicomError, match=words) as refused:
        rtplan_delivery.read(save(ds, tmp_path / "rp.dcm"))
    assert "rp.dcm" in str(refused.value)


def test_a_patient_has_the_latest_plan_of_the_images_frame(bare, tmp_path):
    bare.series(tmp_path / "ct", np.zeros((5, 6, 7), np.int16))
    old, new, other = (dataset(bare, clinical()) for _ in range(3))
    old.RTPlanDate, new.RTPlanDate, other.RTPlanDate = "20250101", "20260101", "20270101"
    old.SOPInstanceUID, other.SOPInstanceUID = "1.2.71", "1.2.72"
    new.RTPlanLabel, other.FrameOfReferenceUID = "P2", "1.2.3"
    for name, ds in (("a", old), ("b", new), ("c", other)):
        save(ds, tmp_path / f"{name}.dcm")
    patient = read_patient(tmp_path)
    assert patient.plan is None
    assert patient.clinical_plan.name == "P2"
    codes = [(n.code, n.file[-5:]) for n in patient.notices if n.code.startswith("PLAN")]
    assert sorted(codes) == [("PLAN_CHOSEN", "a.dcm"), ("PLAN_OTHER_FRAME", "c.dcm"), ("PLAN_READ", "b.dcm")]


def test_a_plan_that_belongs_to_other_structures_or_another_dose_says_so(bare, tmp_path):
    bare.series(tmp_path / "ct", np.zeros((5, 6, 7), np.int16))
    rois = [("Bladder", "ORGAN", [("CLOSED_PLANAR", bare.square(-27, 0, 5))])]
    bare.rtstruct(tmp_path / "rs.dcm", rois, uid="1.2.9")
    save(dataset(bare, clinical()), tmp_path / "rp.dcm")

    def of(plan):
        def change(ds):
            ds.ReferencedRTPlanSequence = Items([item(ReferencedSOPInstanceUID=plan)])

        bare.rtdose(tmp_path / "rd.dcm", np.ones((4, 5, 6), np.uint16), change=change)
        return [n.code for n in read_patient(tmp_path).notices if n.code.startswith("PLAN")]

    assert of("1.2.7") == ["PLAN_READ"]
    assert of("1.2.77") == ["PLAN_READ", "PLAN_OTHER_DOSE"]
    bare.rtstruct(tmp_path / "rs.dcm", rois, uid="1.2.99")
    assert of("1.2.7") == ["PLAN_OTHER_STRUCTURES", "PLAN_READ"]


def test_a_real_sliding_window_plan_against_a_reading_by_hand(data):
    path = data / "dicompyler/example_data/rtplan.dcm"
    plan, ds = rtplan_delivery.read(path), pydicom.dcmread(path)
    assert (plan.fractions, plan.obstacles, plan.patient_position) == (7, (), "HFS")
    assert [beam.mu for beam in plan.beams] == [7 * 97, 7 * 87, 7 * 89, 7 * 94]
    for beam, theirs in zip(plan.beams, ds.BeamSequence, strict=True):
        assert len(beam.points) == theirs.NumberOfControlPoints
        assert beam.devices[2].boundaries_mm == tuple(
            theirs.BeamLimitingDeviceSequence[2].LeafPositionBoundaries
        )
        for point, control in zip(beam.points, theirs.ControlPointSequence, strict=True):
            assert point.share == float(control.CumulativeMetersetWeight)
            for moved in control.BeamLimitingDevicePositionSequence:
                wanted = np.array(moved.LeafJawPositions, float)
                got = point.openings[moved.RTBeamLimitingDeviceType]
                np.testing.assert_array_equal(np.concatenate([got[:, 0], got[:, 1]]), wanted)
