"""What a user must know of a clinical plan before it is used: what it cannot be recalculated for, and why."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.config import IGNORE
from pydicom.uid import UID

from rtplan.domain import ClinicalPlan, Notice
from rtplan.io import header as hd
from rtplan.io.index import Entry, Folder

#: Modalities whose objects matter to a plan even where they are not read.
RT_MODALITIES = ("RTPLAN", "RTSTRUCT", "RTDOSE", "REG", "RTRECORD", "RTIMAGE")
UNREAD_ACTION = "export it in the form that rtplan reads, or go on without it."


def unread(folder: Folder) -> Iterator[tuple[Entry, str]]:
    """Yield the RT objects that are not read (ion plans, deformable registrations …), with their kind."""
    for entry in folder.entries:
        if entry.kind.startswith("other") and hd.code(entry.header, "Modality") in RT_MODALITIES:
            kind = UID(hd.uid(entry.header, "SOPClassUID"), validation_mode=IGNORE).name.removesuffix(
                " Storage"
            )
            yield entry, f"An object of the kind {kind}"


def plan_notices(plan: ClinicalPlan) -> list[Notice]:
    """Return the notices on a clinical plan: obstacles to a recalculation, fraction groups, position."""
    said = [_recalculable(plan)]
    if len(plan.groups) != 1:
        counts = " and ".join(str(group.fractions) for group in plan.groups) or "no"
        message = (
            f"The plan {plan.name!r} has {len(plan.groups)} fraction groups ({counts} fractions): what "
            "depends on the dose per fraction is not evaluable for the whole course."
        )
        said.append(
            Notice("PLAN_FRACTION_GROUPS", "warn", message, "export one phase of the treatment as one plan.")
        )
    if not plan.targets:
        message = f"The plan {plan.name!r} prescribes no dose to a target."
        said.append(Notice("PLAN_NO_PRESCRIPTION", "info", message, "the protocol's prescription is used."))
    if plan.patient_position not in ("", "HFS"):
        message = f"The plan {plan.name!r} is for a patient in position {plan.patient_position}, not HFS."
        action = (
            "check the direction of its beams on the page: angles are given for the couch, not the patient."
        )
        said.append(Notice("PLAN_POSITION", "warn", message, action))
    return said


def _recalculable(plan: ClinicalPlan) -> Notice:
    arcs = sum(beam.is_arc for beam in plan.beams)
    points = sum(len(beam.points) for beam in plan.beams)
    energies = sorted({b.points[0].energy_mv for b in plan.beams if b.points[0].energy_mv is not None})
    what = (
        f"The plan {plan.name!r} ({len(plan.beams)} beams, {arcs} of them arcs, {points} control points, "
        f"{', '.join(f'{energy:g}' for energy in energies) or 'unknown'} MV)"
    )
    if plan.obstacles:
        message = f"{what} cannot be recalculated from its apertures: {'; '.join(plan.obstacles)}."
        return Notice("PLAN_NOT_RECALCULABLE", "warn", message, "rtplan makes its own plan.")
    message = f"{what} is read whole; a beam file of each energy recalculates it on another density image."
    return Notice(
        "PLAN_READ", "info", message, "rtplan dose IMAGE --plan RP.dcm; rtplan run makes its own plan."
    )
