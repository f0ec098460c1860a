"""Findings of a plan beyond its protocol: what holds the boost, limits, cover outside organs, the loss."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch

from rtplan.domain import ClinicalPlan, Dose, Finding
from rtplan.domain.finding import Verdict
from rtplan.dosimetry.gamma import GammaSettings, gamma
from rtplan.errors import DoseError
from rtplan.planning.boost import PART, Boost
from rtplan.planning.delivery import seconds_of
from rtplan.planning.machine import Machine
from rtplan.planning.objective import excess_gy
from rtplan.planning.optimise import KEPT_GY, Broken
from rtplan.planning.prepare import Prepared

STEP = "OptimisePlan"
#: Ends the names of organs' parts outside the PTV.
OUTSIDE = "outside the PTV"
#: Gamma of the deliverable dose against the ideal one, and of two algorithms: global, % and mm, cut-off %.
GAMMA = GammaSettings(2.0, 2.0, 10.0)


def boost_finding(boost: Boost, source: str) -> Finding:
    """Return how high a boost is, and in ``detail`` what holds it there.

    ``bound_by`` is ``prescription``, ``limits`` (named, with the excess where the next rung is enforced),
    ``coverage`` of the other targets, or ``reach``: the lesion itself could not be heated so far.
    """
    held = "prescription" if boost.bound_by_prescription else _held(boost)
    own = f"{boost.target}: up to {boost.prescribed_gy:g} Gy ({source})"
    detail = {
        "bound_by": held,
        "raising_by_2_gy_breaks": [own] if held == "prescription" else _named(boost),
        "next_gy": boost.next_gy,
        "permitted_gy": round(boost.permitted_gy, 2),
        "broken": [_plain(b) for b in boost.broken],
        "cold": list(boost.cold),
        "beyond_prescription": _held(boost) if boost.next_gy is not None else "nothing broke",
        "definition": "98 % of the boost gets 95 % of the aim",
    }
    return Finding(
        "Boost[Gy]",
        round(boost.aim_gy, 3),
        "Gy",
        STEP,
        structure=boost.target,
        limit=f"<= {boost.prescribed_gy:g}",
        verdict="met",
        dose_kind="physical",
        source=source,
        verified=True,
        detail=detail,
    )


def as_given(finding: Finding, told: Iterable[Finding], arm: str) -> Finding:
    """Return the finding of a boost with the aim that the written plan's DVH reaches; others as they are.

    Parameters
    ----------
    finding : Finding
        Of `boost_finding`, or another.
    told : iterable of Finding
        With the boost's D98% on the arm.
    """
    d98 = next((f.value for f in told if _is_d98(f, finding.structure, arm)), None)
    if finding.metric != "Boost[Gy]" or d98 is None:
        return finding
    reached = min(d98 / PART, float((finding.limit or "").split()[-1]))
    detail = {**finding.detail, "optimised_gy": finding.value, "d98_gy": round(d98, 3)}
    return replace(finding, value=round(reached, 3), detail=detail)


def _is_d98(finding: Finding, structure: str | None, arm: str) -> bool:
    about = (finding.metric, finding.structure, finding.arm, finding.quantity)
    return about == ("D98%[Gy]", structure, arm, "value")


def limit_findings(prepared: Prepared, dose: Dose) -> list[Finding]:
    """Return by how much each hard limit is kept or broken on a dose, Gy (above 0: broken), by voxels.

    Parameters
    ----------
    prepared : Prepared
        With the organs' masks on the grid that was planned on.
    dose : Dose
        On that grid, physical.
    """
    found = []
    for name, organ in prepared.task.organs.items():
        organ.mask.demand_same_grid(dose)
        values = torch.as_tensor(dose.array[organ.mask.array])
        for limit in (x for x in organ.limits if x.hard):
            excess = excess_gy(values, limit, prepared.task.fractions)
            found.append(
                Finding(
                    f"Excess of {limit.name}",
                    round(excess, 3),
                    "Gy",
                    STEP,
                    structure=name,
                    limit="<= 0" if name.endswith(OUTSIDE) else None,
                    verdict=_verdict(name, excess),
                    dose_kind="physical",
                    source=limit.source,
                    verified=True,
                    detail={"overlap_cc": round(prepared.overlap_cc(name), 3)},
                )
            )
    return found


def _verdict(name: str, excess_gy: float) -> Verdict:
    """Goals are judged on their DVH (`EvaluateProtocol`); the rule outside the PTV only here."""
    if not name.endswith(OUTSIDE):
        return "none"
    return "met" if excess_gy <= KEPT_GY else "missed"


def cover_findings(prepared: Prepared, dose: Dose) -> list[Finding]:
    """Return which part of each plain target gets 95 % of its dose where no limited organ lies in it, %."""
    organs = [o.mask.array for o in prepared.task.organs.values() if any(x.hard for x in o.limits)]
    found = []
    for name, target in prepared.task.targets.items():
        if target.to == "up_to":
            continue
        free = target.mask.array & ~np.any([np.zeros_like(target.mask.array), *organs], axis=0)
        if not free.any():
            raise DoseError(f"The target {name} lies in limited organs wholly.", where=name)
        share = float((dose.array[free] >= 0.95 * target.dose_gy).mean())
        found.append(
            Finding(
                "V95%[%] outside limited organs",
                round(100.0 * share, 3),
                "%",
                STEP,
                structure=name,
                dose_kind="physical",
                detail={
                    "left_out_cc": round(float((target.mask.array & ~free).sum()) * dose.grid.voxel_cc, 3)
                },
            )
        )
    return found


def _named(boost: Boost) -> list[str]:
    """Return what the next rung breaks, in words."""
    found = [f"{b.organ}: {b.limit.name} by {b.excess_gy:.2f} Gy ({b.limit.source})" for b in boost.broken]
    found += [f"{name}: 95 % of its dose to 95 % of it" for name in boost.cold]
    return found or [
        f"{boost.target}: 98 % of it cannot get 95 % of {boost.next_gy or 0.0:g} Gy beside its PTV"
    ]


def _held(boost: Boost) -> str:
    if boost.broken:
        return "limits"
    return "coverage" if boost.cold else "reach"


def _plain(broken: Broken) -> dict[str, object]:
    return {
        "organ": broken.organ,
        "limit": broken.limit.name,
        "excess_gy": round(broken.excess_gy, 3),
        "source": broken.limit.source,
    }


def delivery_findings(plan: ClinicalPlan, machine: Machine) -> list[Finding]:
    """Return monitor units, beam-on time and number of segments or control points of one fraction."""
    mu = sum(plan.groups[0].mu.values())
    points = sum(len(beam.points) for beam in plan.beams)
    told = {"machine": machine.name, "machine_verified": machine.verified, "arc": plan.beams[0].is_arc}
    return [
        Finding("MU per fraction", round(mu, 2), "MU", STEP, detail=told),
        Finding("Beam-on time", round(seconds_of(plan, machine), 1), "s", STEP, detail=told),
        Finding("Control points", float(points), "1", STEP, detail=told),
    ]


def loss_findings(prepared: Prepared, ideal: Dose, delivered: Dose) -> list[Finding]:
    """Return what leaf positions cost against the ideal fluences: means, D98 and gamma.

    Parameters
    ----------
    prepared : Prepared
        With the targets' masks.
    ideal, delivered : Dose
        Of the fluence maps, and of the written plan, on the grid that was planned on.
    """
    found = []
    for name, target in prepared.task.targets.items():
        pair = [dose.array[target.mask.array].astype(np.float64) for dose in (ideal, delivered)]
        values = {"Mean[Gy]": [v.mean() for v in pair], "D98%[Gy]": [np.percentile(v, 2) for v in pair]}
        for metric, (before, after) in values.items():
            found.append(
                Finding(
                    f"{metric} delivered - ideal",
                    round(float(after - before), 3),
                    "Gy",
                    STEP,
                    structure=name,
                    dose_kind="physical",
                    detail={"ideal": round(float(before), 3), "delivered": round(float(after), 3)},
                )
            )
    return [*found, gamma_finding("Gamma 2%/2mm delivered against ideal", ideal, delivered)]


def gamma_finding(metric: str, reference: Dose, evaluated: Dose) -> Finding:
    """Return the pass rate of two doses on one grid, %."""
    result = gamma(reference, evaluated, GAMMA)
    told = {"points": result.n, "mean_gamma": round(float(result.mean), 4), "cutoff_percent": 10.0}
    return Finding(metric, round(100.0 * float(result.pass_rate), 3), "%", STEP, detail=told)
