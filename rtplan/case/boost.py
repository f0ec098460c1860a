"""From a patient and a protocol with a focal boost to the case that the boost network reads."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Dose, Grid, Patient
from rtplan.dosimetry.protocol import Protocol, TargetDose
from rtplan.errors import ModelError, StructureError
from rtplan.imaging.contour import fraction_on, mask_on
from rtplan.imaging.resample import resample
from rtplan.learning.boost import BODY, DENSITY_MAX, Anatomy, BoostCase, Levels, boost_case_of
from rtplan.planning.around import dose_grid
from rtplan.planning.optimise import OptimiseSettings
from rtplan.planning.plates import open_doses
from rtplan.planning.prepare import SUPPLY_TARGET, Means, Prepared, prepare
from rtplan.planning.scene import mask_at

SITE = "prostate"
#: Fractions that the network has seen.
FRACTIONS = (5, 35)
#: Boost over gland that the network has seen.
RATIO = (1.0, 1.27)
#: Spacing of the network's grid, mm.
GRID_MM = 4.0
#: Numbers of equally spaced fields, the first from anterior, that the network has seen.
BEAMS = (7, 9)
#: Channel by structure; both heads of the femurs share one.
ORGANS: Mapping[str, str] = {
    "Rectum": "Rectum",
    "Bladder": "Bladder",
    "Urethra": "Urethra",
    "Femur_Head_L": "Femur_Heads",
    "Femur_Head_R": "Femur_Heads",
}
#: Organs without which nothing is predicted: the limits that shape a plan are theirs.
NEEDED = ("Rectum", "Bladder")


def plan_settings(beams: int) -> OptimiseSettings:
    """Return how plans of so many fields are made on the network's grid; refuse a number it has not seen."""
    if beams not in BEAMS:
        raise ModelError(
            f"The network has seen {' and '.join(map(str, BEAMS))} fields, not {beams}.",
            action="choose one of these.",
        )
    return OptimiseSettings(beams=beams, grid_mm=GRID_MM)


def means(plan_on: str | None = None) -> Means:
    """Return what plans on the network's grid are made with."""
    return Means(grid_mm=GRID_MM, plan_on=plan_on)


def boost_levels(protocol: Protocol) -> tuple[TargetDose, TargetDose]:
    """Return the prescriptions of the gland and of the boost.

    Raises
    ------
    ModelError
        If the protocol is for another site or number of fractions, or does not prescribe one dose to the
        gland and one ``up_to`` to the boost within the range that the network has seen.
    """
    if protocol.site != SITE:
        raise ModelError(f"The network is for a boost of the {SITE}; {protocol.name} is for {protocol.site}.")
    if protocol.fractions not in FRACTIONS:
        raise ModelError(
            f"The network has seen {' and '.join(map(str, FRACTIONS))} fractions; {protocol.name} has "
            f"{protocol.fractions}.",
        )
    plain = [entry for entry in protocol.prescription if entry.to != "up_to"]
    boosts = [entry for entry in protocol.prescription if entry.to == "up_to"]
    if len(plain) != 1 or len(boosts) != 1:
        raise ModelError(
            f"The network has seen one dose for the gland and one boost; {protocol.name} prescribes "
            f"{', '.join(f'{e.dose_gy:g} Gy to {e.target}' for e in protocol.prescription)}.",
            action="choose a protocol with one target and one boost.",
        )
    demand_level(plain[0].dose_gy, boosts[0].dose_gy)
    return plain[0], boosts[0]


def demand_level(gland_gy: float, boost_gy: float) -> None:
    """Raise ModelError where a boost is lower or higher than those that the network has seen."""
    low, high = (ratio * gland_gy for ratio in RATIO)
    if not low - 1e-6 <= boost_gy <= high + 1e-6:
        raise ModelError(
            f"The network has seen boosts from {low:.1f} to {high:.1f} Gy for {gland_gy:g} Gy, not "
            f"{boost_gy:g} Gy."
        )


def prepare_boost(patient: Patient, protocol: Protocol, plan_on: str | None = None) -> Prepared:
    """Return the task on the network's grid.

    Raises
    ------
    ModelError
        As `boost_levels`; or two targets are the same volume: it would bear two prescriptions.
    StructureError
        If a target or an organ that shapes the plan is missing, or a target lies outside the body.
    """
    gland, boost = boost_levels(protocol)
    for name in (gland.target, boost.target, *NEEDED):
        if name not in patient.structures:
            raise StructureError(
                f"There is no structure {name}; nothing is predicted without it.",
                where=name,
                action=SUPPLY_TARGET
                if name not in NEEDED
                else "supply it by --structures FILE.dcm, or map its name by --names.",
            )
    prepared = prepare(patient, protocol, means(plan_on))
    whole, focus = (prepared.task.targets[entry.target].mask.array for entry in (gland, boost))
    if np.array_equal(whole, focus):
        raise ModelError(
            f"{gland.target} and {boost.target} are one volume with two prescriptions.",
            where=boost.target,
            action="give the boost its own contour.",
        )
    if not whole[focus].mean() >= 0.5:
        raise ModelError(
            f"Less than half of {boost.target} lies in {gland.target}: the network has not seen that.",
            where=boost.target,
        )
    return prepared


def grid_of(patient: Patient, prepared: Prepared) -> Grid:
    """Return the grid of a prediction: the targets' and 45 mm beyond, and the organs near them whole."""
    grid = prepared.image.grid
    targets = [mask_on(patient.structure(name), grid) for name in prepared.task.targets]
    organs = [mask_on(s, grid) for n, s in patient.structures.items() if n in prepared.task.organs]
    return dose_grid(prepared.body, targets, GRID_MM, organs)


def case_of(
    patient: Patient,
    protocol: Protocol,
    prepared: Prepared,
    beams: int,
    *,
    grid: Grid | None = None,
    dose: Dose | None = None,
) -> BoostCase:
    """Return the case of a patient; with a dose, on the same grid, one that can be learned from."""
    gland, boost = boost_levels(protocol)
    grid = grid or grid_of(patient, prepared)
    plates = open_doses(prepared, plan_settings(beams), grid, (gland.target, boost.target))
    body = mask_at(prepared.body, grid)
    anatomy = Anatomy(
        fraction_on(patient.structure(gland.target), grid),
        fraction_on(patient.structure(boost.target), grid),
        {**_organs(patient, grid), BODY: body},
        _density(prepared, grid, body),
        plates,
    )
    return boost_case_of(
        patient.key,
        anatomy,
        Levels(gland.dose_gy, boost.dose_gy, protocol.fractions),
        grid.spacing_zyx_mm,
        None if dose is None else dose.array,
    )


def boosted_to(protocol: Protocol, boost_gy: float) -> Protocol:
    """Return the protocol with another dose of its boost."""
    entries = tuple(
        replace_dose(entry, boost_gy) if entry.to == "up_to" else entry for entry in protocol.prescription
    )
    return protocol.model_copy(update={"prescription": entries})


def replace_dose(entry: TargetDose, dose_gy: float) -> TargetDose:
    """Return a prescription with another dose; whose number it is, is not the source's."""
    return entry.model_copy(update={"dose_gy": dose_gy, "source": "asked for", "verified": False})


def _organs(patient: Patient, grid: Grid) -> dict[str, NDArray[np.bool_]]:
    found: dict[str, NDArray[np.bool_]] = {}
    for name, channel in ORGANS.items():
        if name in patient.structures:
            mask = mask_on(patient.structure(name), grid).array
            found[channel] = mask | found.get(channel, np.zeros_like(mask))
    return found


def _density(prepared: Prepared, grid: Grid, body: NDArray[np.bool_]) -> NDArray[np.float32]:
    hu = resample(prepared.image, grid, order="linear").array
    density: NDArray[np.float32] = np.clip(hu / 1000.0 + 1.0, 0.0, DENSITY_MAX).astype(np.float32)
    return np.where(body, density, np.float32(0.0))
