"""Write a ClinicalPlan as an RTPLAN: control points with jaws and leaves, step and shoot or an arc."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydicom.dataset import Dataset, FileDataset

from rtplan.domain import ClinicalPlan, ControlPoint, DeliveredBeam, Identity, Image
from rtplan.errors import DoseError
from rtplan.io import modules as md
from rtplan.io.header import CLASS_UIDS
from rtplan.io.rtplan_write import WrittenPlan
from rtplan.io.rtstruct_write import WrittenSet

#: Begins RTPlanDescription; JSON facts follow. Not that of plans of fluence maps (`rtplan_write.INTENT`).
INTENT = "rtplan deliverable research plan "


def write(
    plan: ClinicalPlan,
    path: Path,
    *,
    identity: Identity,
    image: Image | None = None,
    structure_set: WrittenSet | None = None,
    stamp: md.Stamp | None = None,
    facts: Mapping[str, object] | None = None,
) -> WrittenPlan:
    """Write a plan of jaws and leaves for research (UNAPPROVED, intent RESEARCH).

    The first control point of a beam says everything; later ones repeat what moves (the gantry, leaves).
    BeamMeterset is that of one fraction, of the plan's one fraction group.

    Parameters
    ----------
    plan : ClinicalPlan
        With one fraction group; angles IEC 61217, isocentres LPS mm.
    path : Path
        New file.
    identity : Identity
        Patient and study.
    image : Image, optional
        The image in whose frame of reference the isocentres lie.
    structure_set : WrittenSet, optional
        As in `rtplan_write.write`.
    stamp : Stamp, optional
        Date, time and UIDs.
    facts : mapping, optional
        Stands as JSON in RTPlanDescription where it has room.

    Raises
    ------
    DoseError
        If there is no beam, not one fraction group, or a beam without monitor units.
    """
    stamp = stamp or md.Stamp()
    _demand(plan)
    uid = stamp.uid("RTPLAN", plan.name)
    series_uid = stamp.uid("series", "RTPLAN", plan.name)
    header = md.start("RTPLAN", identity, stamp, series_uid=series_uid, sop_uid=uid)
    _general(header, plan, stamp, structure_set, facts or {})
    frame = image.grid.frame_of_reference if image else plan.frame_of_reference
    header.FrameOfReferenceUID = md.frame_uid(frame)
    _prescription(header, plan, structure_set.roi_numbers if structure_set else {})
    group = plan.groups[0]
    item = Dataset()
    item.FractionGroupNumber, item.NumberOfFractionsPlanned = group.number, group.fractions
    item.NumberOfBeams, item.NumberOfBrachyApplicationSetups = len(plan.beams), 0
    item.ReferencedBeamSequence = md.sequence(*(_meterset(beam, group.fractions) for beam in plan.beams))
    header.FractionGroupSequence = md.sequence(item)
    header.BeamSequence = md.sequence(*(_beam(beam) for beam in plan.beams))
    setup = Dataset()
    setup.PatientSetupNumber = 1
    setup.PatientPosition = plan.patient_position or "HFS"
    header.PatientSetupSequence = md.sequence(setup)
    header.ApprovalStatus = "UNAPPROVED"
    md.save(header, path)
    return WrittenPlan(path, uid)


def _demand(plan: ClinicalPlan) -> None:
    if not plan.beams or len(plan.groups) != 1:
        raise DoseError("A plan to write needs beams and one fraction group.")
    without = [beam.name for beam in plan.beams if beam.mu is None or not beam.mu > 0.0]
    if without:
        raise DoseError(f"Beams without monitor units cannot be written: {', '.join(without)}.")


def _general(
    header: FileDataset,
    plan: ClinicalPlan,
    stamp: md.Stamp,
    structure_set: WrittenSet | None,
    facts: Mapping[str, object],
) -> None:
    header.SeriesDescription = "rtplan plan"
    header.InstanceNumber = 1
    header.PositionReferenceIndicator = ""
    header.RTPlanLabel = md.clipped(plan.name, 16) or "rtplan"
    header.RTPlanName = md.clipped(plan.name, 64)
    header.RTPlanDate, header.RTPlanTime = stamp.date, stamp.time
    header.RTPlanGeometry = "PATIENT" if structure_set else "TREATMENT_DEVICE"
    header.PlanIntent = "RESEARCH"
    text = INTENT + json.dumps(dict(facts), default=str)
    header.RTPlanDescription = text if len(text) <= 1024 else INTENT + "{}"  # VR ST
    if structure_set:
        item = md.reference(CLASS_UIDS["RTSTRUCT"], structure_set.sop_uid)
        header.ReferencedStructureSetSequence = md.sequence(item)


def _prescription(header: FileDataset, plan: ClinicalPlan, roi_numbers: Mapping[str, int]) -> None:
    header.DoseReferenceSequence = md.sequence()
    for number, (target, dose_gy) in enumerate(plan.targets.items(), start=1):
        item = Dataset()
        item.DoseReferenceNumber, item.DoseReferenceType = number, "TARGET"
        item.DoseReferenceDescription = md.clipped(target, 64)
        item.DoseReferenceStructureType = "VOLUME" if target in roi_numbers else "SITE"
        if target in roi_numbers:
            item.ReferencedROINumber = roi_numbers[target]
        item.TargetPrescriptionDose = md.decimal(dose_gy)
        header.DoseReferenceSequence.append(item)


def _meterset(beam: DeliveredBeam, fractions: int) -> Dataset:
    item = Dataset()
    item.ReferencedBeamNumber = beam.number
    item.BeamMeterset = md.decimal((beam.mu or 0.0) / fractions)
    return item


def _beam(beam: DeliveredBeam) -> Dataset:
    item = Dataset()
    item.BeamNumber, item.BeamName = beam.number, md.clipped(beam.name, 64)
    item.BeamDescription = md.RESEARCH_ONLY
    item.BeamType = "DYNAMIC"
    item.RadiationType = beam.radiation
    item.TreatmentMachineName = md.clipped(beam.machine, 16)
    item.Manufacturer = ""
    item.PrimaryDosimeterUnit = "MU"
    item.SourceAxisDistance = md.decimal(beam.sad_mm or 1000.0)
    item.TreatmentDeliveryType = "TREATMENT"
    item.ReferencedPatientSetupNumber = 1
    item.NumberOfWedges = item.NumberOfCompensators = item.NumberOfBoli = item.NumberOfBlocks = 0
    item.FinalCumulativeMetersetWeight = "1.0"
    item.NumberOfControlPoints = len(beam.points)
    devices = []
    for device in beam.devices:
        said = Dataset()
        said.RTBeamLimitingDeviceType, said.NumberOfLeafJawPairs = device.kind, device.pairs
        if device.boundaries_mm:
            said.LeafPositionBoundaries = md.decimals(device.boundaries_mm)
        devices.append(said)
    item.BeamLimitingDeviceSequence = md.sequence(*devices)
    item.ControlPointSequence = md.sequence(
        *(_point(n, beam.points[n], beam.points[n - 1] if n else None) for n in range(len(beam.points)))
    )
    return item


def _point(index: int, point: ControlPoint, before: ControlPoint | None) -> Dataset:
    item = Dataset()
    item.ControlPointIndex = index
    item.CumulativeMetersetWeight = md.decimal(point.share)
    turns = before is None or point.gantry_deg != before.gantry_deg or point.gantry_turn != before.gantry_turn
    if turns:
        item.GantryAngle = md.decimal(point.gantry_deg % 360.0)
        item.GantryRotationDirection = point.gantry_turn
    if before is None:
        _fixed(item, point)
    moved = {
        kind: ends
        for kind, ends in point.openings.items()
        if before is None or (kind.startswith("MLC") and (ends != before.openings[kind]).any())
    }
    if moved:
        item.BeamLimitingDevicePositionSequence = md.sequence(
            *(_opening(kind, [*ends[:, 0], *ends[:, 1]]) for kind, ends in moved.items())
        )
    return item


def _fixed(item: Dataset, point: ControlPoint) -> None:
    """Say what does not move while the beam is on."""
    item.NominalBeamEnergy = None if point.energy_mv is None else md.decimal(point.energy_mv)
    item.BeamLimitingDeviceAngle = md.decimal(point.collimator_deg % 360.0)
    item.BeamLimitingDeviceRotationDirection = "NONE"
    item.PatientSupportAngle = md.decimal(point.couch_deg % 360.0)
    item.PatientSupportRotationDirection = "NONE"
    item.TableTopEccentricAngle, item.TableTopEccentricRotationDirection = "0.0", "NONE"
    item.TableTopVerticalPosition = item.TableTopLongitudinalPosition = item.TableTopLateralPosition = None
    item.IsocenterPosition = md.decimals(point.isocentre_mm)


def _opening(kind: str, positions: list[float]) -> Dataset:
    item = Dataset()
    item.RTBeamLimitingDeviceType = kind
    item.LeafJawPositions = md.decimals(positions)
    return item
