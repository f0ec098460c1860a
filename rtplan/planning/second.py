"""A plan calculated again by the other algorithm: target means, gamma, and a notice where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rtplan.domain import Beam, Dose, Finding, Grid, Notice
from rtplan.dosimetry.gamma import GammaSettings, gamma
from rtplan.errors import DoseError
from rtplan.planning.algorithm import ALGORITHMS, algorithm, demand_known
from rtplan.planning.prepare import Prepared

STEP = "OptimisePlan"
#: Difference of a target's mean dose, %, above which two algorithms are said to disagree.
APART_PERCENT = 3.0
GAMMA = GammaSettings(2.0, 2.0, 10.0)


def other_than(name: str) -> str:
    """Return the algorithm that checks another one; raise UnknownName where it is not known."""
    demand_known(name)
    return next(known for known in ALGORITHMS if known != name)


def calculated_by(name: str, prepared: Prepared, beams: Sequence[Beam], grid: Grid | None = None) -> Dose:
    """Return the dose of beams by an algorithm, on a grid, by default the planned one."""
    engine = prepared.engine
    made = algorithm(name, engine.model, engine.curve, str(engine.device))
    on = grid or prepared.leading.mask.grid
    dose = made.calculate(beams, [prepared.image], prepared.body, on)[0]
    return replace(dose, fractions=prepared.task.fractions)


def second_opinion(
    prepared: Prepared, beams: Sequence[Beam], dose: Dose, name: str
) -> tuple[list[Finding], tuple[Notice, ...]]:
    """Return how far another algorithm's dose lies from a plan's, and a notice where it is more than 3 %.

    Parameters
    ----------
    prepared : Prepared
        Targets, image, body, machine.
    beams : sequence of Beam
        Of the plan, with MU.
    dose : Dose
        The plan's, on the planned grid.
    name : str
        The other algorithm.
    """
    try:
        other = calculated_by(name, prepared, beams)
    except DoseError as wrong:
        return [_missing(name, wrong.message)], ()
    found: list[Finding] = []
    notices: list[Notice] = []
    for target, wanted in prepared.task.targets.items():
        pair = [float(d.array[wanted.mask.array].mean(dtype=float)) for d in (dose, other)]
        percent = 100.0 * (pair[1] / pair[0] - 1.0)
        detail = {"algorithm": name, "plan_gy": round(pair[0], 3), "other_gy": round(pair[1], 3)}
        found.append(
            Finding(f"Mean dose by {name}", round(percent, 3), "%", STEP, structure=target, detail=detail)
        )
        if abs(percent) > APART_PERCENT:
            notices.append(_apart(target, name, percent))
    result = gamma(dose, other, GAMMA)
    told = {"points": result.n, "mean_gamma": round(float(result.mean), 4), "algorithm": name}
    rate = round(100.0 * float(result.pass_rate), 3)
    return [*found, Finding(f"Gamma 2%/2mm by {name}", rate, "%", STEP, detail=told)], tuple(notices)


def _apart(target: str, name: str, percent: float) -> Notice:
    return Notice(
        "ALGORITHMS_DIFFER",
        "warn",
        f"{target}: the algorithm {name} gives {percent:+.1f} % of mean dose against the plan's.",
        "look for bone, gas or metal in the beams, and let a planning system calculate the plan.",
        structure=target,
    )


def _missing(name: str, reason: str) -> Finding:
    return Finding(f"Gamma 2%/2mm by {name}", None, "%", STEP, verdict="not_evaluable", reason=reason)
