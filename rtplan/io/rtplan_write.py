"""Write a Plan of fluence maps as an RTPLAN: each map is a compensator of relative MU."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset

from rtplan.domain import Beam, Identity, Image, Plan
from rtplan.errors import DoseError
from rtplan.io import modules as md
from rtplan.io.header import CLASS_UIDS
from rtplan.io.rtstruct_write import WrittenSet

#: Begins RTPlanDescription of our plans; JSON facts follow.
INTENT = "rtplan research plan "
#: Distance from the source to the isocentre of every beam file of rtplan, mm.
SOURCE_AXIS_MM = 1000.0


@dataclass(frozen=True)
class WrittenPlan:
    """What was written: file and UID."""

    path: Path
    sop_uid: str


def write(
    plan: Plan,
    path: Path,
    *,
    identity: Identity,
    image: Image | None = None,
    structure_set: WrittenSet | None = None,
    stamp: md.Stamp | None = None,
) -> WrittenPlan:
    """Write a plan for research (UNAPPROVED, intent RESEARCH).

    Each beam is static; its jaws enclose the map. The fluence map is a compensator at the isocentre plane:
    CompensatorTransmissionData = MU of the pixel / largest MU of the map, BeamMeterset = largest MU /
    fractions. CompensatorPosition is the centre of the first pixel, as ImagePositionPatient is.

    Parameters
    ----------
    plan : Plan
        MU of the whole course.
    path : Path
        New file.
    identity : Identity
        Patient and study.
    image : Image, optional
        The image in whose frame of reference the isocentres lie.
    structure_set : WrittenSet, optional
        What `rtstruct.write` returned; without it the geometry is that of the treatment device, and the dose
        references are sites in place of volumes.

    Raises
    ------
    DoseError
        If there is no beam, or two beams bear one name.
    """
    stamp = stamp or md.Stamp()
    names = [beam.name for beam in plan.beams]
    if not names or len(set(names)) != len(names):
        raise DoseError("A plan needs at least one beam, and names that differ.")
    uid = stamp.uid("RTPLAN", plan.name)
    series_uid = stamp.uid("series", "RTPLAN", plan.name)
    header = md.start("RTPLAN", identity, stamp, series_uid=series_uid, sop_uid=uid)
    _general(header, plan, stamp, structure_set)
    header.FrameOfReferenceUID = md.frame_uid(image.grid.frame_of_reference if image else "")
    _prescription(header, plan, structure_set.roi_numbers if structure_set else {})
    group = Dataset()
    group.FractionGroupNumber = 1
    group.NumberOfFractionsPlanned = plan.prescription.fractions
    group.NumberOfBeams, group.NumberOfBrachyApplicationSetups = len(plan.beams), 0
    group.ReferencedBeamSequence = md.sequence()
    header.FractionGroupSequence = md.sequence(group)
    header.BeamSequence = md.sequence()
    for number, beam in enumerate(plan.beams, start=1):
        meterset = md.decimal(float(beam.fluence.mu.max()) / plan.prescription.fractions)
        referenced = Dataset()
        referenced.ReferencedBeamNumber, referenced.BeamMeterset = number, meterset
        group.ReferencedBeamSequence.append(referenced)
        header.BeamSequence.append(_beam(number, beam, float(meterset) * plan.prescription.fractions))
    setup = Dataset()
    setup.PatientSetupNumber = 1
    setup.PatientPosition = (image.source.patient_position if image else "") or "HFS"
    header.PatientSetupSequence = md.sequence(setup)
    header.ApprovalStatus = "UNAPPROVED"
    md.save(header, path)
    return WrittenPlan(path, uid)


def _general(header: FileDataset, plan: Plan, stamp: md.Stamp, structure_set: WrittenSet | None) -> None:
    header.SeriesDescription = "rtplan plan"
    header.InstanceNumber = 1
    header.PositionReferenceIndicator = ""
    header.RTPlanLabel = md.clipped(plan.name, 16) or "rtplan"
    header.RTPlanName = md.clipped(plan.name, 64)
    header.RTPlanDate, header.RTPlanTime = stamp.date, stamp.time
    header.RTPlanGeometry = "PATIENT" if structure_set else "TREATMENT_DEVICE"
    header.PlanIntent = "RESEARCH"
    facts = {"made_on": plan.made_on, "settings": dict(plan.settings)}
    text = INTENT + json.dumps(facts, default=str)
    if len(text) > 1024:  # VR ST
        text = INTENT + json.dumps({"made_on": plan.made_on})
    header.RTPlanDescription = text
    if structure_set:
        item = md.reference(CLASS_UIDS["RTSTRUCT"], structure_set.sop_uid)
        header.ReferencedStructureSetSequence = md.sequence(item)


def _prescription(header: FileDataset, plan: Plan, roi_numbers: Mapping[str, int]) -> None:
    header.DoseReferenceSequence = md.sequence()
    for number, (target, dose_gy) in enumerate(plan.prescription.targets.items(), start=1):
        item = Dataset()
        item.DoseReferenceNumber, item.DoseReferenceType = number, "TARGET"
        item.DoseReferenceDescription = md.clipped(target, 64)
        if target in roi_numbers:
            item.DoseReferenceStructureType = "VOLUME"
            item.ReferencedROINumber = roi_numbers[target]
        else:
            item.DoseReferenceStructureType = "SITE"
        item.TargetPrescriptionDose = md.decimal(dose_gy)
        header.DoseReferenceSequence.append(item)


def _beam(number: int, beam: Beam, full_mu: float) -> Dataset:
    item = Dataset()
    item.BeamNumber, item.BeamName = number, md.clipped(beam.name, 64)
    item.BeamDescription = md.RESEARCH_ONLY
    item.BeamType, item.RadiationType = "STATIC", "PHOTON"
    item.TreatmentMachineName = md.clipped(beam.machine, 16)
    item.Manufacturer = ""
    item.PrimaryDosimeterUnit = "MU"
    item.SourceAxisDistance = md.decimal(SOURCE_AXIS_MM)
    item.TreatmentDeliveryType = "TREATMENT"
    item.ReferencedPatientSetupNumber = 1
    item.NumberOfWedges = item.NumberOfBoli = item.NumberOfBlocks = 0
    item.NumberOfCompensators = 1
    item.CompensatorSequence = md.sequence(_compensator(beam, full_mu))
    item.FinalCumulativeMetersetWeight = "1.0"
    item.NumberOfControlPoints = 2
    item.BeamLimitingDeviceSequence = md.sequence(_device("ASYMX"), _device("ASYMY"))
    item.ControlPointSequence = md.sequence(_first_point(beam), _last_point())
    return item


def _device(kind: str) -> Dataset:
    item = Dataset()
    item.RTBeamLimitingDeviceType, item.NumberOfLeafJawPairs = kind, 1
    return item


def _compensator(beam: Beam, full_mu: float) -> Dataset:
    fluence = beam.fluence
    rows, columns = fluence.mu.shape
    item = Dataset()
    item.CompensatorNumber, item.MaterialID = 1, ""
    item.CompensatorID = "fluence"
    item.CompensatorType = "STANDARD"
    item.SourceToCompensatorTrayDistance = None
    item.CompensatorDivergence = "ABSENT"
    item.CompensatorMountingPosition = "SOURCE_SIDE"
    item.CompensatorRows, item.CompensatorColumns = rows, columns
    item.CompensatorPixelSpacing = md.decimals([fluence.spacing_mm, fluence.spacing_mm])
    u, v = fluence.corner_mm
    item.CompensatorPosition = md.decimals([u, v + (rows - 1) * fluence.spacing_mm])
    relative = fluence.mu[::-1].astype(np.float64).ravel() / (full_mu or 1.0)
    md.put_numbers(item, "CompensatorTransmissionData", [f"{value:.9g}" for value in relative])
    put = ["0"] * relative.size  # no matter: the map is of MU, not of metal
    md.put_numbers(item, "CompensatorThicknessData", put)
    return item


def _first_point(beam: Beam) -> Dataset:
    item = Dataset()
    item.ControlPointIndex, item.CumulativeMetersetWeight = 0, "0.0"
    item.GantryAngle, item.GantryRotationDirection = md.decimal(beam.gantry_deg % 360.0), "NONE"
    item.BeamLimitingDeviceAngle = md.decimal(beam.collimator_deg % 360.0)
    item.BeamLimitingDeviceRotationDirection = "NONE"
    item.PatientSupportAngle = md.decimal(beam.couch_deg % 360.0)
    item.PatientSupportRotationDirection = "NONE"
    item.TableTopEccentricAngle, item.TableTopEccentricRotationDirection = "0.0", "NONE"
    item.TableTopVerticalPosition = item.TableTopLongitudinalPosition = item.TableTopLateralPosition = None
    item.IsocenterPosition = md.decimals(beam.isocentre_mm)
    item.NominalBeamEnergy = None
    item.BeamLimitingDevicePositionSequence = md.sequence(*_jaws(beam))
    return item


def _jaws(beam: Beam) -> tuple[Dataset, Dataset]:
    """Return the jaws that enclose the whole map (outer edges of its pixels at the isocentre plane)."""
    half = beam.fluence.spacing_mm / 2
    rows, columns = beam.fluence.mu.shape
    found = []
    for kind, start, count in (("ASYMX", 0, columns), ("ASYMY", 1, rows)):
        low = beam.fluence.corner_mm[start] - half
        item = Dataset()
        item.RTBeamLimitingDeviceType = kind
        item.LeafJawPositions = md.decimals([low, low + count * beam.fluence.spacing_mm])
        found.append(item)
    return found[0], found[1]


def _last_point() -> Dataset:
    item = Dataset()
    item.ControlPointIndex, item.CumulativeMetersetWeight = 1, "1.0"
    return item
