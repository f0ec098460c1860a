"""Fluence optimisation: organ limits first, then the targets, then the boost as high as they permit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtplan.domain import Beam, Dose, Grid, Image, Mask, Plan, Prescription
from rtplan.errors import DoseError, StructureError
from rtplan.planning.aims import Aims, Organ, Target, aims_of
from rtplan.planning.around import holds
from rtplan.planning.device import one_thread
from rtplan.planning.engine import Engine
from rtplan.planning.field import Influence, beams_around, coarser, opened
from rtplan.planning.objective import Limit
from rtplan.planning.scene import Scene, mask_at
from rtplan.planning.solve import Pace, solve

#: A limit counts as kept when the dose is too high by no more than this.
KEPT_GY = 0.05


@dataclass(frozen=True)
class OptimiseSettings:
    """How a plan is optimised (the preset ``fast``).

    Parameters
    ----------
    beams : int
        Number of equally spaced coplanar beams.
    start_deg : float
        Gantry angle of the first.
    grid_mm : float
        Spacing of the dose grid.
    pixel_mm : float
        Fluence pixel in the isocentre plane.
    margin_mm : float
        How far pixels may lie outside the targets' projection.
    first, further : int
        Iterations of the first round and of each further one.
    rounds : int
        In each further round the terms of broken limits weigh more.
    smoothing : float
        Weight of the squared steps between neighbouring pixels.
    ray_mm : float
        Spacing of the rays while fluence is optimised; the plan's dose is calculated by the engine as it is.
    """

    beams: int = 7
    start_deg: float = 0.0
    grid_mm: float = 3.0
    pixel_mm: float = 5.0
    margin_mm: float = 7.5
    first: int = 70
    further: int = 25
    rounds: int = 7
    smoothing: float = 0.02
    ray_mm: float = 3.0

    @property
    def pace(self) -> Pace:
        """Iterations and rounds."""
        return Pace(self.first, self.further, self.rounds, self.smoothing)


@dataclass(frozen=True)
class Broken:
    """A limit that the plan does not keep.

    Parameters
    ----------
    organ : str
        Name of the structure.
    limit : Limit
        What was wanted.
    excess_gy : float
        By how much the dose is too high.
    """

    organ: str
    limit: Limit
    excess_gy: float


@dataclass(frozen=True, eq=False)
class Outcome:
    """A plan and how far it got.

    Parameters
    ----------
    plan : Plan
        Normalised once, on the image it was made on.
    dose : Dose
        On that image.
    broken : tuple of Broken
        Hard limits that could not be kept.
    coverage : mapping of str to float
        Part of each target that gets at least 95 % of its dose (boosts ``up_to`` included).
    """

    plan: Plan
    dose: Dose
    broken: tuple[Broken, ...] = ()
    coverage: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be planned.

    Parameters
    ----------
    targets : mapping of str to Target
        With masks on one dose grid. The first that is not ``up_to`` is normalised to.
    organs : mapping of str to Organ
        With masks on the same grid.
    fractions : int
        Number of fractions.
    isocentre_mm : tuple of float
        LPS.
    far_every : int
        Far from targets and organs one voxel in so many counts, along each axis.
    """

    targets: Mapping[str, Target]
    organs: Mapping[str, Organ]
    fractions: int
    isocentre_mm: tuple[float, float, float]
    far_every: int = 2


def optimise(
    task: Task, image: Image, body: Mask, engine: Engine, settings: OptimiseSettings | None = None
) -> Outcome:
    """Optimise the fluence of equally spaced beams on one density image.

    Parameters
    ----------
    task : Task
        Targets, organs, fractions, isocentre.
    image : Image
        HU of the arm that the plan is made on.
    body : Mask
        The external contour, on any grid.
    engine : Engine
        Machine and curve.
    settings : OptimiseSettings, optional
        The preset ``fast`` by default.

    Raises
    ------
    StructureError
        If there is no target, a target has no voxel, or lies outside the body.
    DoseError
        If the isocentre lies outside the body.

    Notes
    -----
    Projected quasi-Newton steps (L-BFGS-B, pixels >= 0). After each round the terms of broken limits are
    made heavier and a little tighter, so that limits win over targets, and targets over the boost.
    """
    settings = settings or OptimiseSettings()
    grid = demand(task, body)
    aims = aims_of(task.targets, task.organs, mask_at(body, grid), task.fractions, task.far_every)
    scene = engine.scene([image], body, grid, aims.index)
    with one_thread():
        influence = influence_of(engine, scene, task, settings)
        beams = influence.with_mu(solve(influence, aims, settings.pace))
        return finished(engine, image, body, beams, aims, settings)


def demand(task: Task, body: Mask) -> Grid:
    """Return the dose grid of a task, or raise what `optimise` raises."""
    targets = task.targets
    if not targets:
        raise StructureError("There is no target to plan for.", action="name a target, or another protocol.")
    grid = next(iter(targets.values())).mask.grid
    inside = mask_at(body, grid)
    for name, target in targets.items():
        if not target.mask.array.any():
            raise StructureError(f"The target {name} has no voxel on the dose grid.", where=name)
        demand_inside(name, target.mask.array, inside)
    if not holds(body, task.isocentre_mm):
        raise DoseError("The isocentre lies outside the body.", action="check the isocentre and the skin.")
    return grid


def demand_inside(name: str, target: NDArray[np.bool_], body: NDArray[np.bool_]) -> None:
    """Raise StructureError where more than a fifth of a target lies outside the body (masks of one grid)."""
    outside = 1.0 - float(body[target].mean())
    if outside > 0.2:
        raise StructureError(
            f"{100 * outside:.0f} % of the target {name} lies outside the body.",
            where=name,
            action="check that structures and images belong together.",
        )


def influence_of(engine: Engine, scene: Scene, task: Task, settings: OptimiseSettings) -> Influence:
    """Return what the settings' beams do on the points of a scene, opened over the task's targets."""
    masks = [target.mask for target in task.targets.values()]
    points = masks[0].grid.to_patient(np.argwhere(np.any([mask.array for mask in masks], axis=0)))
    beams, open_ = [], []
    for beam in beams_around(settings.beams, task.isocentre_mm, engine.model.name, settings.start_deg):
        opened_beam, mask = opened(
            beam, points, engine.model.sad_mm, pixel_mm=settings.pixel_mm, margin_mm=settings.margin_mm
        )
        beams.append(opened_beam)
        open_.append(mask)
    return Influence.of(coarser(engine, settings.ray_mm), scene, beams, open_, map_spacing_mm=2.0)


def finished(
    engine: Engine,
    image: Image,
    body: Mask,
    beams: tuple[Beam, ...],
    aims: Aims,
    settings: OptimiseSettings,
) -> Outcome:
    """Calculate the dose as any plan's, normalise once, and say which limits are broken."""
    grid = next(iter(aims.targets.values())).mask.grid
    dose = engine.calculate(beams, [image], body, grid)[0]
    values = torch.as_tensor(dose.array[tuple(aims.index.T)])
    factor = aims.factor(values)
    scaled = tuple(
        replace(beam, fluence=replace(beam.fluence, mu=beam.fluence.mu * np.float32(factor)))
        for beam in beams
    )
    values = values * factor
    broken = broken_by(aims, values)
    prescription = Prescription({n: t.dose_gy for n, t in aims.targets.items()}, aims.fractions)
    plan = Plan(prescription, scaled, settings=MappingProxyType(asdict(settings)))
    final = replace(dose, array=dose.array * np.float32(factor), fractions=aims.fractions)
    return Outcome(plan, final, broken, MappingProxyType(aims.coverage(values)))


def broken_by(aims: Aims, values: Tensor) -> tuple[Broken, ...]:
    """Return the hard limits that a dose vector, shape (n,), Gy, breaks by more than 0.05 Gy."""
    return tuple(Broken(o, limit, e) for o, limit, e in aims.excesses(values) if limit.hard and e > KEPT_GY)
