"""A prepared task solved: by its protocol's aims or a given dose, as planned or for several scenarios."""

from __future__ import annotations

from rtplan.domain import Dose, Patient
from rtplan.planning.aims import Aims, aims_of
from rtplan.planning.device import one_thread
from rtplan.planning.mimic import mimicking
from rtplan.planning.optimise import OptimiseSettings, Outcome, demand, finished, influence_of
from rtplan.planning.prepare import Prepared
from rtplan.planning.robust import Robust, scenarios_of
from rtplan.planning.scene import mask_at
from rtplan.planning.solve import solve


def aims_for(prepared: Prepared, dose: Dose | None = None) -> Aims:
    """Return the aims of a task; with a dose (`rtplan.planning.mimic.wished`) those of mimicking it."""
    task = prepared.task
    inside = mask_at(prepared.body, demand(task, prepared.body))
    aims = aims_of(task.targets, task.organs, inside, task.fractions, task.far_every)
    return aims if dose is None else mimicking(aims, dose)


def solved(
    prepared: Prepared,
    settings: OptimiseSettings,
    *,
    dose: Dose | None = None,
    patient: Patient | None = None,
    robust: Robust | None = None,
) -> Outcome:
    """Optimise as `rtplan.planning.optimise.optimise` does, towards a given dose or for several scenarios.

    Parameters
    ----------
    prepared : Prepared
        Task, image, body, engine.
    settings : OptimiseSettings
        Beams and iterations.
    dose : Dose, optional
        To be mimicked, on the planned grid.
    patient, robust : Patient, Robust, optional
        The scenarios that the plan shall serve, and whose contours are varied.

    Returns
    -------
    Outcome
        Normalised as planned; ``broken`` and ``coverage`` are of the planned case.
    """
    engine, grid = prepared.engine, prepared.leading.mask.grid
    aims = aims_for(prepared, dose)
    with one_thread():
        scene = engine.scene([prepared.image], prepared.body, grid, aims.index)
        influence = influence_of(engine, scene, prepared.task, settings)
        scenarios = None
        if robust is not None and patient is not None:
            scenarios = scenarios_of(prepared, influence, aims.index, patient, robust)
        beams = influence.with_mu(solve(influence, aims, settings.pace, scenarios=scenarios))
        return finished(engine, prepared.image, prepared.body, beams, aims, settings)
