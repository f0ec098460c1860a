"""From a patient and a protocol to what a plan is made of: task, image, body, engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from rtplan.domain import Grid, Image, Mask, Patient
from rtplan.domain.nomenclature import EXTERNAL
from rtplan.dosimetry.parameters import ParameterSet, load_set
from rtplan.dosimetry.protocol import Protocol, TargetDose
from rtplan.errors import StructureError, UnknownName
from rtplan.imaging.contour import fraction_on, mask_on
from rtplan.planning.aims import FAR_EVERY, Organ, Target
from rtplan.planning.around import centre_of, dose_grid
from rtplan.planning.beam import load_beam
from rtplan.planning.density import Curve, load_curve
from rtplan.planning.engine import Engine
from rtplan.planning.limits import guard, limits_of
from rtplan.planning.optimise import Task, demand_inside

#: Organs that are spared though no goal names them.
ALWAYS = ("Rectum", "Bladder", "Urethra")

#: A voxel of the dose grid belongs to a target when so large a part of it does.
TOUCHED = MappingProxyType({"target": 0.2, "boost": 0.02})

#: What to do where a target is missing.
SUPPLY_TARGET = (
    "supply the target by --structures FILE.dcm, map its name by --names, or let --margin grow it from the "
    "CTV of the same name (to which --names maps the prostate)."
)


@dataclass(frozen=True)
class Means:
    """What a plan is made with.

    Parameters
    ----------
    grid_mm : float
        Spacing of the dose grid.
    plan_on : str or None
        Arm to plan on; None: the reference, else the synthetic CT.
    allow_unverified : bool
        Whether goals whose source was not seen may drive the plan.
    risk : bool
        Whether the protocol's outcome models are terms of the objective.
    machine, curve : str
        Names of a beam and a density curve.
    device : str
        Computing device.
    far_every : int
        As in `rtplan.planning.optimise.Task`.
    """

    grid_mm: float = 3.0
    plan_on: str | None = None
    allow_unverified: bool = False
    risk: bool = False
    machine: str = "generic_6mv"
    curve: str = "matrad_default"
    device: str = "cpu"
    far_every: int = FAR_EVERY


@dataclass(frozen=True, eq=False)
class Prepared:
    """A task and all that `rtplan.planning.optimise.optimise` wants beside it.

    Parameters
    ----------
    task : Task
        Targets and organs on the dose grid.
    image, body : Image, Mask
        The arm's HU and the external contour, on its grid.
    engine : Engine
        Machine and curve.
    arm : str
        Name of the arm.
    wanted : tuple of TargetDose
        The prescriptions that can be planned, in the protocol's order.
    """

    task: Task
    image: Image
    body: Mask
    engine: Engine
    arm: str
    wanted: tuple[TargetDose, ...]

    @property
    def leading(self) -> Target:
        """The target that is normalised to."""
        return self.task.targets[next(e.target for e in self.wanted if e.to != "up_to")]

    def overlap_cc(self, organ: str) -> float:
        """Return how much of an organ of the task lies in the targets, cc."""
        mask = self.task.organs[organ].mask
        together = np.any([target.mask.array for target in self.task.targets.values()], axis=0)
        return float((mask.array & together).sum()) * mask.grid.voxel_cc

    def beyond_curve(self) -> float:
        """Return the part of the body whose HU lie outside the nodes of the density curve."""
        return beyond_curve(self.image, self.body, self.engine.curve)


def beyond_curve(image: Image, body: Mask, curve: Curve) -> float:
    """Return the part of a body, a mask on the image's grid, whose HU lie outside the nodes of a curve."""
    hu = image.array[body.array]
    return float(((hu < curve.hu[0]) | (hu > curve.hu[-1])).mean())


def prescribed(patient: Patient, protocol: Protocol) -> tuple[tuple[TargetDose, ...], tuple[str, ...]]:
    """Return the prescriptions whose targets the patient has, and the names of the other targets."""
    there = tuple(e for e in protocol.prescription if e.target in patient.structures)
    return there, tuple(e.target for e in protocol.prescription if e.target not in patient.structures)


def arm_of(patient: Patient, plan_on: str | None) -> str:
    """Return the arm to plan on; raise UnknownName where a wished one, or any, is missing."""
    known = ", ".join(patient.arms) or "none"
    arm = plan_on or patient.reference_arm or ("SynCT" if "SynCT" in patient.arms else None)
    arm = arm or next(iter(patient.arms), None)
    if arm is None or arm not in patient.arms:
        raise UnknownName(f"There is no arm {arm!r} to plan on.", action=f"choose one of {known}.")
    return arm


def prepare(patient: Patient, protocol: Protocol, means: Means) -> Prepared:
    """Return the task of a patient by a protocol.

    Raises
    ------
    StructureError
        If the patient has none of the protocol's targets but boosts, no external contour, or a target lies
        outside it.
    UnknownName
        If there is no such arm, machine or curve.
    """
    wanted, absent = prescribed(patient, protocol)
    if not any(entry.to != "up_to" for entry in wanted):
        raise StructureError(
            f"There is no target to plan for: none of {', '.join(absent)} is among the structures.",
            action=SUPPLY_TARGET,
        )
    arm = arm_of(patient, means.plan_on)
    image = patient.images[arm]
    body = mask_on(patient.structure(EXTERNAL), image.grid)
    on_image = {entry.target: mask_on(patient.structure(entry.target), image.grid) for entry in wanted}
    for name, mask in on_image.items():
        if not mask.array.any():
            raise StructureError(f"The target {name} does not lie on the image {arm}.", where=name)
        demand_inside(name, mask.array, body.array)
    grid = dose_grid(body, list(on_image.values()), means.grid_mm)
    targets = {e.target: Target(_touched(patient, e, grid), e.dose_gy, e.to) for e in wanted}
    leading = next(entry.target for entry in wanted if entry.to != "up_to")
    organs = organs_of(patient, protocol, targets, means)
    task = Task(targets, organs, protocol.fractions, centre_of(on_image[leading]), means.far_every)
    engine = Engine(load_beam(means.machine), load_curve(means.curve), means.device)
    return Prepared(task, image, body, engine, arm, wanted)


def organs_of(
    patient: Patient, protocol: Protocol, targets: Mapping[str, Target], means: Means
) -> dict[str, Organ]:
    """Return the limited organs; where a boost is guarded, also their parts outside the PTV."""
    grid = next(iter(targets.values())).mask.grid
    models = _models(protocol) if means.risk else {}
    names = {goal.structure for goal in protocol.goal} | set(ALWAYS) | set(models)
    ptv = np.any([t.mask.array for t in targets.values() if t.to != "up_to"], axis=0)
    organs: dict[str, Organ] = {}
    for name in sorted(names & set(patient.structures) - set(targets)):
        mask = _mask(patient, name, grid)
        here = float(mask.array.sum()) * grid.voxel_cc
        if here <= 0.0:
            continue
        whole = max(_volume_cc(patient, name), here)
        found = limits_of(protocol, name, whole, allow_unverified=means.allow_unverified)
        share = whole / here  # an allowed part of the whole organ, seen on the part in the dose grid
        limits = tuple(replace(x, fraction=min(x.fraction * share, 1.0)) for x in found)
        organs[name] = Organ(mask, limits, models.get(name, ()))
        outside = Mask(grid, mask.array & ~ptv)
        guarded = guard(protocol, name, float(outside.array.sum()) * grid.voxel_cc)
        if guarded and outside.array.any():
            organs[f"{name} outside the PTV"] = Organ(outside, guarded)
    return organs


def _models(protocol: Protocol) -> dict[str, tuple[ParameterSet, ...]]:
    found: dict[str, tuple[ParameterSet, ...]] = {}
    for entry in protocol.outcome:
        model = load_set(entry.model)
        if model.kind == "ntcp":
            found[model.structure] = (*found.get(model.structure, ()), model)
    return found


def _volume_cc(patient: Patient, name: str) -> float:
    grid = patient.images[patient.arms[0]].grid
    return float(mask_on(patient.structure(name), grid).array.sum()) * grid.voxel_cc


def _touched(patient: Patient, entry: TargetDose, grid: Grid) -> Mask:
    """Return the voxels that a target fills in part: a DVH sees the rim that voxel centres miss."""
    least = TOUCHED["boost" if entry.to == "up_to" else "target"]
    return Mask(grid, fraction_on(patient.structure(entry.target), grid) >= least)


def _mask(patient: Patient, name: str, grid: Grid) -> Mask:
    return mask_on(patient.structure(name), grid)
