"""Figures of synthetic CTs over patients, as findings with intervals by bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rtplan.domain import Finding
from rtplan.evaluation.synct import STYLES, CaseScore

#: Draws and seed of the intervals.
BOOTSTRAP, SEED = 2000, 1
#: A mean or a median along an axis.
Mean = Callable[..., Any]


def summary(scores: Sequence[CaseScore], model: str, style: str) -> tuple[Finding, ...]:
    """Return median and mean of every figure over patients, and how many are better than the lookup.

    The cases that lie ``apart`` have lines of their own (``detail["cases"]``: ``all``, ``matched``,
    ``apart``); with fewer than two cases there is no interval.
    """
    groups = {
        "all": list(scores),
        "matched": [one for one in scores if not one.apart],
        "apart": [one for one in scores if one.apart],
    }
    if not groups["apart"]:
        groups = {"all": groups["all"]}
    return tuple(
        finding for name, group in groups.items() if group for finding in _group(group, name, model, style)
    )


def _group(scores: Sequence[CaseScore], cases: str, model: str, style: str) -> list[Finding]:
    found = []
    for name in dict.fromkeys(name for one in scores for name in one.figures):
        values = [one.figures[name] for one in scores if name in one.figures]
        found += _lines(name, values, cases, model, style)
    lookups = [one.lookup["MAE"] for one in scores if one.lookup]
    found += _lines("MAE", lookups, cases, "lookup", style)
    better = [float(one.figures["MAE"] < one.lookup["MAE"]) for one in scores if one.lookup]
    if better:
        found.append(_finding("better than lookup, fraction", better, np.mean, cases, model, style, "1"))
    return found


def _lines(name: str, values: Sequence[float], cases: str, model: str, style: str) -> list[Finding]:
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return []
    unit = "HU" if name.startswith(("MAE", "ME")) else "dB" if name == "PSNR" else "1"
    return [
        _finding(f"{name}, {word}", known, how, cases, model, style, unit)
        for word, how in (("median", np.median), ("mean", np.mean))
    ]


def _finding(
    metric: str, values: Sequence[float], how: Mean, cases: str, model: str, style: str, unit: str
) -> Finding:
    array, n = np.asarray(values, np.float64), len(values)
    interval = None
    if n > 1:
        draws = np.random.default_rng(SEED).choice(array, (BOOTSTRAP, n))
        low, high = np.percentile(how(draws, axis=1), [2.5, 97.5])
        interval = (float(low), float(high))
    return Finding(
        metric=metric,
        value=float(how(array)),
        unit=unit,
        step="evaluate",
        interval95=interval,
        interval_method=f"bootstrap over {n} patients, {BOOTSTRAP} draws, seed {SEED}" if interval else None,
        model=model,
        source=STYLES[style].source,
        detail={"style": style, "cases": cases, "n": n},
    )
