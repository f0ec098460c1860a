"""The uncertainty budget of one probability: each source alone, all together, and the share of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtplan.dosimetry.budget import NO_INTERVAL, Lots, interval95
from rtplan.dosimetry.outcome import form_of
from rtplan.dosimetry.parameters import ParameterSet
from rtplan.dosimetry.shares import first_order

Float = NDArray[np.float64]
#: Doses as the formula sees them (Gy), and volumes.
Histogram = tuple[Float, Float]

SOURCES = ("parameters", "dose", "contours")
#: A lot of draws for each of ``SOURCES``; None: at its best value.
Choice = tuple[int | None, int | None, int | None]


@dataclass(frozen=True, eq=False)
class Exposure:
    """What one arm's probability depends on beside the parameters.

    Parameters
    ----------
    table : sequence of sequence of Histogram
        By sample of the dose, then by sample of the contours. The first of each is the arm itself.
    contours_said : str
        How the contours were varied.
    """

    table: Sequence[Sequence[Histogram]]
    contours_said: str = ""

    @property
    def doses(self) -> int:
        """Number of samples of the dose."""
        return len(self.table) - 1

    @property
    def contours(self) -> int:
        """Number of samples of the contours."""
        return len(self.table[0]) - 1


@dataclass(frozen=True, eq=False)
class Answers:
    """The probabilities of one arm, each design reckoned once and kept."""

    parameters: ParameterSet
    lots: Lots
    exposure: Exposure
    _known: dict[Choice, Float] = field(default_factory=dict, repr=False)

    def at(self, choice: Choice) -> Float:
        """Return the probabilities, shape (k,), with each source drawn from a lot, or at its best."""
        theta, dose, contour = choice
        sampled = dose if self.exposure.doses else None, contour if self.exposure.contours else None
        key = (theta, *sampled)
        if key not in self._known:
            draws = None if theta is None else (self.lots.first, self.lots.second)[theta]
            count = self.lots.places.shape[2]
            rows = [self.parameters.values] * count if draws is None else draws.rows()
            ks = self._sample(sampled[0], 0, self.exposure.doses)
            cs = self._sample(sampled[1], 1, self.exposure.contours)
            self._known[key] = self._reckoned(rows, ks, cs)
        return self._known[key]

    def each(self, source: str) -> Float:
        """Return the probability of every sample of the dose or the contours, the rest at its best."""
        if source == "dose":
            ks = np.arange(1, self.exposure.doses + 1) if self.exposure.doses else np.zeros(1, np.int64)
            cs = np.zeros(len(ks), np.int64)
        else:
            cs = np.arange(1, self.exposure.contours + 1) if self.exposure.contours else np.zeros(1, np.int64)
            ks = np.zeros(len(cs), np.int64)
        return self._reckoned([self.parameters.values] * len(ks), ks, cs)

    def _sample(self, lot: int | None, row: int, number: int) -> NDArray[np.int64]:
        places = self.lots.places[lot or 0, row]
        if lot is None:
            return np.zeros(len(places), np.int64)
        chosen: NDArray[np.int64] = 1 + np.floor(places * number).astype(np.int64)
        return chosen

    def _reckoned(
        self, rows: Sequence[Mapping[str, float]], ks: NDArray[np.int64], cs: NDArray[np.int64]
    ) -> Float:
        form, found = form_of(self.parameters), []
        for row, k, c in zip(rows, ks, cs, strict=True):
            doses, volumes = self.exposure.table[k][c]
            found.append(float(form(doses, volumes, row)))
        return np.array(found)


@dataclass(frozen=True)
class Told:
    """What is said of the sources: how they were drawn, or why they were not (by name of ``SOURCES``).

    What stands in brackets at the end is for the detail, and is left out of a finding's method.
    """

    methods: Mapping[str, str]
    reasons: Mapping[str, str]


@dataclass(frozen=True)
class Budget:
    """The interval of a finding, how it came about, and the ``detail["budget"]`` with its parts.

    Parameters
    ----------
    interval95 : tuple of float or None
        Of all sources together; None where the parameters have no published interval: the others alone
        would make the probability look surer than it is.
    method : str
        For the finding.
    detail : dict
        ``{"parameters": {"interval95", "sd", "share", "method"} or {"interval95": None, "reason"}, "dose": …,
        "contours": …, "together": …}``; ``interaction`` of the last: what the shares lack to 1.
    """

    interval95: tuple[float, float] | None
    method: str
    detail: dict[str, Any]


def budget_of(arm: Answers, told: Told, reference: Answers | None = None) -> Budget:
    """Return the budget of a probability, or of a paired difference with the same draws on both arms."""
    sampled = {
        "parameters": arm.lots.first is not None,
        "dose": bool(arm.exposure.doses or (reference is not None and reference.exposure.doses)),
        "contours": bool(arm.exposure.contours),
    }
    active = [name for name in SOURCES if sampled[name]]
    detail: dict[str, Any] = {
        name: _summary(_alone(arm, reference, name)) | {"share": None, "method": told.methods[name]}
        if sampled[name]
        else {"interval95": None, "reason": told.reasons[name]}
        for name in SOURCES
    }
    if not sampled["parameters"]:
        why = f"{NO_INTERVAL}: without the parameters' part the whole would look surer than it is"
        return Budget(None, NO_INTERVAL, detail | {"together": {"interval95": None, "reason": why}})
    shares = _shares(arm, reference, active)
    for name, share in shares.items():
        detail[name]["share"] = share
    known = [share for share in shares.values() if share is not None]
    interaction = max(0.0, 1.0 - sum(known)) if known else None
    together = _difference(arm, reference, _choice(dict.fromkeys(active, 0)))
    method = "; ".join(
        [_brief(told.methods[n]) for n in active]
        + [f"{n} {_brief(told.reasons[n])}" for n in SOURCES if n not in active]
    )
    detail["together"] = _summary(together) | {
        "sources": active,
        "interaction": interaction,
        "method": method,
    }
    method = method if reference is None else f"paired, {method}"
    return Budget(interval95(together), method, detail)


def _brief(text: str) -> str:
    return text.split(" (", 1)[0]


def _alone(arm: Answers, reference: Answers | None, source: str) -> Float:
    if source == "parameters":
        return _difference(arm, reference, (0, None, None))
    answers = arm.each(source)
    return answers if reference is None else answers - reference.each(source)


def _difference(arm: Answers, reference: Answers | None, choice: Choice) -> Float:
    answers = arm.at(choice)
    return answers if reference is None else answers - reference.at(choice)


def _choice(lots: Mapping[str, int]) -> Choice:
    theta, dose, contour = (lots.get(name) for name in SOURCES)
    return theta, dose, contour


def _shares(arm: Answers, reference: Answers | None, active: Sequence[str]) -> dict[str, float | None]:
    """Return the first-order index of each source; a single one has all."""
    if len(active) == 1:
        return {active[0]: 1.0}
    lots = [_difference(arm, reference, _choice(dict.fromkeys(active, lot))) for lot in (0, 1)]
    mixed = {
        name: _difference(arm, reference, _choice(dict.fromkeys(active, 0) | {name: 1})) for name in active
    }
    return first_order(lots[0], lots[1], mixed)


def _summary(values: Float) -> dict[str, Any]:
    return {"interval95": list(interval95(values)), "sd": float(np.std(values, ddof=1))}
