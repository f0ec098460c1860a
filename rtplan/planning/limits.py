"""From a protocol's goals to the limits and targets that drive an optimisation."""

from __future__ import annotations

import math

from rtplan.dosimetry.protocol import Goal, Protocol
from rtplan.dosimetry.protocol import Limit as Bound
from rtplan.planning.objective import Limit

#: Organs that a focal boost may not heat above the gland's prescription outside the PTV.
GUARDED = ("Rectum", "Bladder", "Urethra")
GUARD_CC = 0.03
GUARD_SOURCE = "rtplan design choice"


def limits_of(
    protocol: Protocol, structure: str, volume_cc: float, *, allow_unverified: bool = False
) -> tuple[Limit, ...]:
    """Return the limits that a protocol sets for an organ.

    Only upper bounds count. Goals of priority 1 are hard. Unverified goals are left out unless allowed.

    Parameters
    ----------
    protocol : Protocol
        With goals on physical dose or on EQD2 per voxel.
    structure : str
        TG-263 name.
    volume_cc : float
        The organ's volume, for limits in cc.
    allow_unverified : bool
        Whether goals whose source was not seen may drive the plan.
    """
    goals = [g for g in protocol.goal if g.structure == structure and (g.verified or allow_unverified)]
    found = (_limit(protocol, goal, volume_cc) for goal in goals)
    return tuple(limit for limit in found if limit is not None)


def guard(protocol: Protocol, structure: str, volume_cc: float) -> tuple[Limit, ...]:
    """Return the limit of an organ's part outside the PTV under a focal boost, or nothing.

    Where a protocol prescribes ``up_to`` (a boost as high as the organs permit), the hottest 0.03 cc of
    rectum, bladder and urethra outside the PTV stay at or below the highest other prescription.
    """
    boosted = any(entry.to == "up_to" for entry in protocol.prescription)
    plain = [entry.dose_gy for entry in protocol.prescription if entry.to != "up_to"]
    if structure not in GUARDED or not boosted or not plain:
        return ()
    part = min(GUARD_CC / volume_cc, 1.0) if volume_cc > 0 else 0.0
    name = f"D{GUARD_CC:g}cc outside the PTV <= {max(plain):g} Gy"
    return (Limit("volume", max(plain), part, name=name, source=GUARD_SOURCE),)


def physical_dose(eqd2_gy: float, alpha_beta_gy: float, fractions: int) -> float:
    """Return the physical dose of the course whose EQD2 is given, Gy (the inverse of Withers' formula).

    References
    ----------
    Withers HR, Thames HD, Peters LJ. A new isoeffect curve for change in dose per fraction. Radiother
    Oncol 1:187 (1983).

    Examples
    --------
    >>> round(physical_dose(70.0, 3.0, 5), 6)
    35.0
    """
    root = math.sqrt(alpha_beta_gy**2 + 4.0 * eqd2_gy * (2.0 + alpha_beta_gy) / fractions)
    return 0.5 * fractions * (root - alpha_beta_gy)


def _limit(protocol: Protocol, goal: Goal, volume_cc: float) -> Limit | None:
    bound, metric = Bound.parse(goal.limit), goal.parsed
    if bound.sense not in ("<=", "<"):
        return None
    reference = protocol.reference_of(goal)
    name, hard = f"{goal.metric} {goal.limit}", goal.priority == 1

    def gy(value: float, unit: str | None) -> float:
        dose = value * reference / 100.0 if unit == "%" and reference else value
        if metric.alpha_beta_gy is None or metric.kind == "Mean":
            return dose
        return physical_dose(dose, metric.alpha_beta_gy, protocol.fractions)

    def part(value: float, unit: str | None) -> float:
        return value / 100.0 if unit == "%" else min(value / max(volume_cc, 1e-9), 1.0)

    if metric.kind == "Mean":
        level = gy(bound.value, metric.unit)
        return Limit(
            "mean", level, alpha_beta_gy=metric.alpha_beta_gy, hard=hard, name=name, source=goal.source
        )
    if metric.kind == "V" and metric.amount is not None:
        dose, fraction = gy(metric.amount, metric.amount_unit), part(bound.value, metric.unit)
    elif metric.kind == "D" and metric.amount is not None:
        dose, fraction = gy(bound.value, metric.unit), part(metric.amount, metric.amount_unit)
    elif metric.kind == "Max":
        dose, fraction = gy(bound.value, metric.unit), 0.0
    else:
        return None
    return Limit("volume", dose, fraction, hard=hard, name=name, source=goal.source)
