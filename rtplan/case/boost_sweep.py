"""How dose, goals and risk change with the boost: one prediction for each of a few doses of the boost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rtplan.case.boost import RATIO, boost_levels, boosted_to
from rtplan.case.boost_error import own_error
from rtplan.domain import Dose, Finding, Grid, Patient, Source
from rtplan.dosimetry.histogram import Dvh
from rtplan.dosimetry.ledger import Ledger
from rtplan.dosimetry.protocol import Goal, Protocol
from rtplan.dosimetry.reading import value
from rtplan.dosimetry.risk import Ask, estimate
from rtplan.errors import RtplanError
from rtplan.learning.boost import BoostCase
from rtplan.learning.card import Card
from rtplan.learning.predict_boost import swept_gy
from rtplan.learning.zoo import Model
from rtplan.planning.prepare import Prepared
from rtplan.report.boost_sweep import Scene, Shown, sweep_page

STEP = "PredictDose"
#: Number of doses of the boost, the protocol's own among them.
STOPS = 7
#: Draws of the outcome's parameters at each.
SAMPLES = 400


class Stop(Shown):
    """One dose of the boost and what is predicted for it, as the page shows it."""

    def as_dict(self) -> dict[str, Any]:
        """Return all but the dose as plain data."""
        return {
            "boost_gy": self.boost_gy,
            "own": self.own,
            "gtv_gy": dict(zip(("D98%", "D50%", "D2%"), self.gtv_gy, strict=True)),
            "ntcp": [
                {"model": f.model, "structure": f.structure, "value": f.value}
                for f in self.findings
                if f.metric == "NTCP" and f.quantity == "value"
            ],
        }


def levels_gy(gland_gy: float, boost_gy: float, count: int) -> tuple[float, ...]:
    """Return doses of the boost from the gland's dose to the highest that the network has seen.

    The protocol's own is one of them: it takes the place of the nearest.

    Examples
    --------
    >>> levels_gy(77.0, 95.0, 4)
    (77.0, 83.9, 90.8, 95.0)
    """
    even = np.linspace(gland_gy, RATIO[1] * gland_gy, count)
    even[int(np.abs(even - boost_gy).argmin())] = boost_gy
    return tuple(float(np.floor(10.0 * gy + 1e-6) / 10.0) for gy in even)


def sweep(
    patient: Patient,
    protocol: Protocol,
    prepared: Prepared,
    model: Model,
    case: tuple[BoostCase, Grid],
) -> tuple[Stop, ...]:
    """Return what is predicted for other doses of the boost, from low to high."""
    gland, boost = boost_levels(protocol)
    levels = levels_gy(gland.dose_gy, boost.dose_gy, STOPS)
    source = Source(description=f"predicted by {model.card.name}")
    doses = {
        level: Dose(case[1], array, fractions=case[0].fractions, source=source)
        for level, array in zip(levels, swept_gy(model, case[0], levels), strict=True)
    }
    histograms = _histograms(patient, protocol, boost.target, doses)
    stops = []
    for level, dose in doses.items():
        own = abs(level - boost.dose_gy) < 0.05
        asked = protocol if own else boosted_to(protocol, level)
        made = {
            name: found if isinstance(found, RtplanError) else found[str(level)] for name, found in histograms
        }
        focus = made[boost.target]
        if isinstance(focus, RtplanError):
            raise focus
        d98, d50, d2 = (value(focus, metric).value for metric in ("D98%[Gy]", "D50%[Gy]", "D2%[Gy]"))
        risks = estimate(patient.with_doses(**{prepared.arm: dose}), asked, Ask(SAMPLES))
        goals = [_goal(asked, goal, made.get(goal.structure)) for goal in asked.goal]
        stops.append(Stop(level, own, dose, (d98, d50, d2), (*goals, *risks)))
    return tuple(stops)


def _histograms(
    patient: Patient, protocol: Protocol, boost: str, doses: Mapping[float, Dose]
) -> list[tuple[str, dict[str, Dvh] | RtplanError]]:
    """Return the DVHs of the boost and of all structures with goals, on all doses at once."""
    names = [boost, *(g.structure for g in protocol.goal)]
    there = [name for name in dict.fromkeys(names) if name in patient.structures]
    named = {str(level): dose for level, dose in doses.items()}
    found = Ledger().histograms([patient.structure(name) for name in there], named)
    return list(zip(there, found, strict=True))


def _goal(protocol: Protocol, goal: Goal, made: Dvh | RtplanError | None) -> Finding:
    """Return what a goal would be judged as; a prediction decides nothing."""
    reason = f"There is no structure {goal.structure}."
    found = None
    if isinstance(made, RtplanError):
        reason = str(made)
    elif made is not None:
        try:
            found = value(made, goal.parsed, protocol.reference_of(goal)).value
        except RtplanError as wrong:
            reason = str(wrong)
    return Finding(
        goal.metric,
        found,
        goal.parsed.unit,
        STEP,
        structure=goal.structure,
        limit=goal.limit,
        verdict="not_evaluable" if found is None else "none",
        reason=reason if found is None else None,
        verified=goal.verified,
        detail={} if found is None else {"would_be": goal.verdict(found)},
    )


def page(
    patient: Patient, protocol: Protocol, prepared: Prepared, stops: tuple[Stop, ...], card: Card
) -> str:
    """Return the page on which the reader moves the boost."""
    gland, boost = boost_levels(protocol)
    drawn = [name for name in ("Rectum", "Bladder", gland.target) if name in patient.structures]
    structures = tuple(patient.structure(name) for name in (*drawn, boost.target))
    scene = Scene(
        patient.key,
        prepared.image,
        structures,
        gland.dose_gy,
        protocol.name,
        card.name,
        own_error(card),
    )
    return sweep_page(scene, stops)
