"""RTPLAN in: our own plans of fluence maps exactly; of any plan a summary (whole: `rtplan_delivery`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from rtplan.domain import Beam, Fluence, FractionGroup, Plan, Prescription
from rtplan.errors import DicomError, DoseError
from rtplan.io import header as hd
from rtplan.io.rtplan_delivery import fraction_groups, targets_of, treats
from rtplan.io.rtplan_write import INTENT, write

__all__ = ["BeamSummary", "PlanSummary", "read", "read_summary", "write"]


@dataclass(frozen=True)
class BeamSummary:
    """What any RTPLAN says of one beam: angles (IEC 61217), isocentre (LPS mm), MU of one fraction."""

    number: int
    name: str
    gantry_deg: float
    collimator_deg: float
    couch_deg: float
    isocentre_mm: tuple[float, float, float] | None
    mu_per_fraction: float | None
    machine: str
    moving: bool


@dataclass(frozen=True)
class PlanSummary:
    """What any RTPLAN says of the whole: prescription by target (Gy of the course), fractions, beams.

    ``fractions`` is None where the plan does not say, or has several fraction groups (``groups``: the numbers
    of those that plan fractions). ``beams`` are those for treatment.
    """

    label: str
    sop_uid: str
    frame: str
    structure_set_uids: tuple[str, ...]
    targets: MappingProxyType[str, float]
    fractions: int | None
    beams: tuple[BeamSummary, ...]
    ours: bool
    groups: tuple[int, ...] = ()

    @property
    def delivered(self) -> frozenset[int]:
        """Numbers of the beams that get monitor units."""
        return frozenset(beam.number for beam in self.beams if beam.mu_per_fraction is not None)


def read_summary(path: Path) -> PlanSummary:
    """Read prescription, fractions, isocentre and angles of any photon RTPLAN.

    Raises
    ------
    DicomError
        If the file is not a readable RTPLAN.
    """
    path = Path(path)
    header = _header(path)
    with hd.guarded(path):
        groups = fraction_groups(header)
        metersets, fractions = _course(groups)
        items = [item for item in hd.items(header, "BeamSequence") if treats(item)]
        beams = tuple(_beam_summary(item, metersets) for item in items)
        sets = hd.items(header, "ReferencedStructureSetSequence")
        return PlanSummary(
            label=hd.shown(header, "RTPlanLabel"),
            sop_uid=hd.uid(header, "SOPInstanceUID"),
            frame=hd.uid(header, "FrameOfReferenceUID"),
            structure_set_uids=tuple(hd.uid(item, "ReferencedSOPInstanceUID") for item in sets),
            targets=MappingProxyType(targets_of(header)),
            fractions=fractions,
            beams=beams,
            ours=bool(_intent(header)),
            groups=tuple(group.number for group in groups),
        )


def read(path: Path) -> Plan:
    """Read a plan whose beams are fluence maps, as `write` makes them.

    Returns
    -------
    Plan
        MU of the whole course, equal to those written to 1e-9 relative before rounding to float32.

    Raises
    ------
    DicomError
        If a beam's fluence is not given as a compensator (a clinical plan with an MLC: apertures are not
        read yet), or the plan is incomplete.
    """
    path = Path(path)
    header = _header(path)
    with hd.guarded(path):
        metersets, fractions = _course(fraction_groups(header))
        targets = targets_of(header)
        if fractions is None or not targets:
            missing = "number of fractions" if fractions is None else "target dose"
            raise DicomError(f"The plan states no {missing}.", where=str(path), action="export it with one.")
        beams = []
        for item in hd.items(header, "BeamSequence"):
            summary = _beam_summary(item, metersets)
            beams.append(_beam(item, summary, fractions, path))
        if not beams:
            raise DicomError("The plan has no beam.", where=str(path))
        facts = _intent(header)
        try:
            return Plan(
                prescription=Prescription(targets, fractions),
                beams=tuple(beams),
                name=hd.line(header, "RTPlanLabel"),
                made_on=str(facts.get("made_on", "CT")),
                source_uid=hd.uid(header, "SOPInstanceUID"),
                settings=MappingProxyType(dict(facts.get("settings", {}))),
            )
        except DoseError as wrong:
            raise DicomError(wrong.message, where=str(path)) from None


def _header(path: Path) -> Dataset:
    header = hd.read(path)
    hd.demand_kind(header, "RTPLAN", path)
    return header


def _intent(header: Dataset) -> dict[str, Any]:
    described = hd.text(header, "RTPlanDescription")
    if not described.startswith(INTENT):
        return {}
    try:
        facts = json.loads(described.removeprefix(INTENT))
    except ValueError:
        return {"made_on": "CT"}
    return facts if isinstance(facts, dict) else {}


def _course(groups: tuple[FractionGroup, ...]) -> tuple[dict[int, float], int | None]:
    """Return MU of one fraction by beam, and the fractions of the one group (None: there are several)."""
    metersets = {number: mu for group in groups for number, mu in group.mu.items()}
    return metersets, groups[0].fractions if len(groups) == 1 else None


def _beam_summary(item: Dataset, metersets: dict[int, float]) -> BeamSummary:
    points = hd.items(item, "ControlPointSequence")
    if not points:
        raise DicomError(
            "A beam has no control point.", where=hd.place(item), action="export the plan again."
        )
    first = points[0]
    isocentre = hd.numbers(first, "IsocenterPosition")
    turning = {hd.number(p, "GantryAngle") for p in points if hd.number(p, "GantryAngle") is not None}
    return BeamSummary(
        number=hd.whole(item, "BeamNumber"),
        name=hd.line(item, "BeamName") or f"beam {hd.whole(item, 'BeamNumber')}",
        gantry_deg=hd.number(first, "GantryAngle", 0.0) or 0.0,
        collimator_deg=hd.number(first, "BeamLimitingDeviceAngle", 0.0) or 0.0,
        couch_deg=hd.number(first, "PatientSupportAngle", 0.0) or 0.0,
        isocentre_mm=(isocentre[0], isocentre[1], isocentre[2]) if len(isocentre) == 3 else None,
        mu_per_fraction=metersets.get(hd.whole(item, "BeamNumber")),
        machine=hd.line(item, "TreatmentMachineName"),
        moving=hd.code(item, "BeamType") == "DYNAMIC" or len(turning) > 1,
    )


def _beam(item: Dataset, summary: BeamSummary, fractions: int, path: Path) -> Beam:
    maps = hd.items(item, "CompensatorSequence")
    if (
        len(maps) != 1
        or hd.text(maps[0], "MaterialID")
        or not hd.text(maps[0], "CompensatorTransmissionData")
    ):
        raise DicomError(
            f"Beam {summary.name!r} is shaped by apertures (MLC, blocks); only plans with a fluence map "
            "per beam can be recalculated so far.",
            where=str(path),
            action="let rtplan make its own plan from the structures.",
        )
    if summary.mu_per_fraction is None or summary.isocentre_mm is None:
        raise DicomError(f"Beam {summary.name!r} has no MU or no isocentre.", where=str(path))
    return Beam(
        name=summary.name,
        gantry_deg=summary.gantry_deg,
        isocentre_mm=summary.isocentre_mm,
        fluence=_fluence(maps[0], summary.mu_per_fraction * fractions),
        machine=summary.machine or "generic_6mv",
        collimator_deg=summary.collimator_deg,
        couch_deg=summary.couch_deg,
    )


def _fluence(item: Dataset, mu: float) -> Fluence:
    rows, columns = hd.whole(item, "CompensatorRows"), hd.whole(item, "CompensatorColumns")
    spacing = hd.numbers(item, "CompensatorPixelSpacing", 2)
    corner = hd.numbers(item, "CompensatorPosition", 2)
    transmission: NDArray[np.float64] = hd.array(item, "CompensatorTransmissionData")
    if min(rows, columns) < 1 or transmission.size != rows * columns or abs(spacing[0] - spacing[1]) > 1e-6:
        raise DicomError("A fluence map contradicts its own size.", where=hd.place(item))
    values = transmission.reshape(rows, columns)[::-1] * mu  # rows are written from +y down
    if values.min() < 0 or spacing[0] <= 0:
        raise DicomError("A fluence map holds negative values.", where=hd.place(item))
    return Fluence(
        mu=values.astype(np.float32),
        spacing_mm=spacing[0],
        corner_mm=(corner[0], corner[1] - (rows - 1) * spacing[0]),
    )
