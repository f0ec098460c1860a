"""Making a plan deliverable: fluences to openings, and openings refined by gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from rtplan.domain import Beam, ClinicalPlan
from rtplan.errors import DoseError
from rtplan.planning.aims import Aims, aims_of
from rtplan.planning.apertures import beams_of, head_of
from rtplan.planning.arc import Arc, arc_from
from rtplan.planning.delivery import Labels, delivered, faults
from rtplan.planning.device import one_thread
from rtplan.planning.engine import Reach, apply
from rtplan.planning.field import Influence, coarser
from rtplan.planning.machine import Machine
from rtplan.planning.optimise import Outcome
from rtplan.planning.prepare import Prepared
from rtplan.planning.refine import RefineSettings, Static, refine
from rtplan.planning.scene import Scene, mask_at
from rtplan.planning.sequence import sequenced

#: Pixel of the convolved maps while leaves are optimised, mm; an arc has many more directions.
ARC_MAP_MM, FIELD_MAP_MM = 2.5, 2.0
#: Spacing of the rays while an arc is optimised, mm; what is written is calculated by the engine as it is.
ARC_RAY_MM = 5.0
#: Where the plan, calculated from its leaves, comes so near to a hard limit, leaves are optimised anew.
NEAR_GY, TRIES = 0.4, 3
#: Gantry, collimator, couch: apertures change from try to try, the rays of an angle do not.
Angles = tuple[float, float, float]


@dataclass(frozen=True)
class DeliverSettings:
    """How fluences become leaf positions.

    Parameters
    ----------
    arc : bool
        Whether the gantry turns while the beam is on; else step and shoot.
    refine : RefineSettings
        Iterations of the direct aperture optimisation.
    name : str
        RTPlanLabel.
    """

    arc: bool = False
    refine: RefineSettings = field(default_factory=RefineSettings)
    name: str = "rtplan"


def deliverable(
    prepared: Prepared,
    outcome: Outcome,
    machine: Machine,
    settings: DeliverSettings | None = None,
    *,
    aims: Aims | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> ClinicalPlan:
    """Return a plan of leaf positions that serves the aims of an ideal one.

    Parameters
    ----------
    prepared : Prepared
        What the ideal plan was optimised with.
    outcome : Outcome
        The ideal plan: its fluence maps are sequenced, then leaves and MU are optimised.
    machine : Machine
        Limits of leaves, gantry and dose rate.
    settings : DeliverSettings, optional
        Step and shoot by default.
    aims : Aims, optional
        Other than those of the task (`rtplan.planning.mimic`).
    say : callable
        Gets a line of text before each part.

    Raises
    ------
    DoseError
        If the plan breaks a limit of the machine (an error of the program or of the machine's file).
    """
    settings = settings or DeliverSettings()
    task, engine = prepared.task, prepared.engine
    layout: Static | Arc
    if settings.arc:
        layout = arc_from(outcome.plan.beams, machine)
    else:
        segments = tuple(sequenced(beam, machine) for beam in outcome.plan.beams)
        layout = Static(segments, machine, task.fractions)
    grid = prepared.leading.mask.grid
    if aims is None:
        inside = mask_at(prepared.body, grid)
        aims = aims_of(task.targets, task.organs, inside, task.fractions, task.far_every)
    with one_thread():
        say(f"  {len(layout.beams)} directions, leaves and monitor units by gradients")
        scene = engine.scene([prepared.image], prepared.body, grid, aims.index)
        whole = [np.ones(beam.fluence.mu.shape, bool) for beam in layout.beams]
        if settings.arc:
            influence = Influence.of(coarser(engine, ARC_RAY_MM), scene, layout.beams, whole, ARC_MAP_MM)
        else:
            influence = Influence.of(engine, scene, layout.beams, whole, FIELD_MAP_MM)
        known: dict[Angles, Reach] = {}
        for _ in range(TRIES):
            layout = layout.moved(refine(layout, influence, aims, settings.refine))
            layout = layout.scaled(_factor(layout, influence, aims))
            plan = delivered(layout, _labels(prepared, outcome, settings.name))
            plan, dose = _normalised(plan, prepared, (scene, known), aims)
            tight = aims.tightened(dose, NEAR_GY)
            if tight is None:
                break
            say("  a limit is broken or nearly so by the leaves: once more, tighter")
            aims = tight
    wrong = faults(plan, machine)
    if wrong:
        raise DoseError(f"The plan cannot be delivered: {'; '.join(wrong)}.", where=machine.name)
    return plan


def _normalised(
    plan: ClinicalPlan, prepared: Prepared, seen: tuple[Scene, dict[Angles, Reach]], aims: Aims
) -> tuple[ClinicalPlan, Tensor]:
    """Return a plan with its leading target at its dose, as its apertures are calculated, and its dose."""
    engine, (scene, known) = prepared.engine, seen
    doses = []
    with torch.no_grad():
        for beam in _beams(plan, prepared):
            angles = (beam.gantry_deg, beam.collimator_deg, beam.couch_deg)
            if angles not in known:
                known[angles] = engine.reach(scene, beam)
            reach = known[angles]
            maps = engine.maps(reach.at_v, reach.at_u, beam.fluence)
            doses.append(apply(reach, maps, torch.get_num_threads())[0])
        dose = torch.stack(doses).sum(dim=0)
    factor = aims.factor(dose)
    return renormalised(plan, factor), dose * factor


def _factor(layout: Static | Arc, influence: Influence, aims: Aims) -> float:
    like = influence.parts[0][2]
    with torch.no_grad():
        x = torch.as_tensor(layout.start(), dtype=like.dtype, device=like.device)
        return aims.factor(influence.dose(layout.rasters(x)))


def _beams(plan: ClinicalPlan, prepared: Prepared) -> tuple[Beam, ...]:
    model = prepared.engine.model
    return beams_of(plan, model.name, model.energy_mv, head=head_of(model))


def _labels(prepared: Prepared, outcome: Outcome, name: str) -> Labels:
    model, prescription = prepared.engine.model, outcome.plan.prescription
    return Labels(
        name,
        dict(prescription.targets),
        prescription.fractions,
        model.energy_mv,
        model.sad_mm,
        prepared.image.grid.frame_of_reference,
    )


def renormalised(plan: ClinicalPlan, factor: float) -> ClinicalPlan:
    """Return a plan with all monitor units multiplied."""
    beams = tuple(replace(beam, mu=(beam.mu or 0.0) * factor) for beam in plan.beams)
    groups = tuple(replace(g, mu={n: mu * factor for n, mu in g.mu.items()}) for g in plan.groups)
    return replace(plan, beams=beams, groups=groups)
