"""DVH metrics of the parts of a histogram, written once on the array API: terms of outcome models."""

from __future__ import annotations

from typing import Any

import numpy as np

from rtplan.dosimetry.metric import Metric
from rtplan.dosimetry.radiobiology import namespace
from rtplan.errors import FormatError


def demand_of_parts(metric: Metric) -> None:
    """Raise FormatError for a metric that cannot be a term: of a prescription, or with its own EQD2."""
    if metric.needs_prescription or metric.alpha_beta_gy is not None:
        raise FormatError(
            f"{metric} cannot be a term: its dose is in Gy, and the set says whether that is EQD2."
        )


def needs_cc(metric: Metric) -> bool:
    """Whether a metric means an absolute volume.

    Examples
    --------
    >>> from rtplan.dosimetry.metric import parse
    >>> needs_cc(parse("D3cc[Gy]")), needs_cc(parse("V70Gy[%]"))
    (True, False)
    """
    return "cc" in (metric.unit, metric.amount_unit)


def value_of(metric: Metric, dose_gy: Any, volume: Any) -> Any:
    """Return a metric of parts with one dose each.

    Parameters
    ----------
    metric : Metric
        Doses in Gy (`demand_of_parts`).
    dose_gy : array, shape (n,)
        Dose of each part, Gy.
    volume : array, shape (n,)
        Its volume; cc where the metric has cc in it.

    Returns
    -------
    array
        Scalar, in the metric's unit. A part counts whole to the side of its dose: V has those with at
        least the dose, D is the dose of the part in which the hottest volume is full.

    Examples
    --------
    >>> from rtplan.dosimetry.metric import parse
    >>> doses, volumes = np.array([10.0, 30.0, 50.0]), np.array([2.0, 1.0, 1.0])
    >>> [float(value_of(parse(text), doses, volumes)) for text in ("Mean[Gy]", "V30Gy[%]", "D1cc[Gy]")]
    [25.0, 50.0, 50.0]
    """
    xp = namespace(dose_gy)
    held, part = dose_gy[volume > 0], volume[volume > 0]
    total = xp.sum(part)
    if metric.kind in ("V", "CV", "Volume"):
        inside = xp.sum(part * _counted(metric, held))
        return 100.0 * inside / total if metric.unit == "%" else inside
    if metric.kind == "Mean":
        return xp.sum(part * held) / total
    if metric.kind in ("Max", "Min"):
        return xp.max(held) if metric.kind == "Max" else xp.min(held)
    return _dose_at(metric, held, part, total)


def _counted(metric: Metric, dose_gy: Any) -> Any:
    if metric.kind == "Volume":
        return dose_gy >= 0.0
    return dose_gy >= metric.amount if metric.kind == "V" else dose_gy < metric.amount


def _dose_at(metric: Metric, dose_gy: Any, volume: Any, total: Any) -> Any:
    xp = namespace(dose_gy)
    order = xp.argsort(dose_gy)
    if metric.kind == "D":
        order = xp.flip(order, (0,)) if xp is not np else order[::-1]
    assert metric.amount is not None
    wanted = metric.amount / 100.0 * total if metric.amount_unit == "%" else metric.amount
    reached = xp.cumsum(volume[order], 0) >= wanted * (1.0 - 1e-12)
    last = len(dose_gy) - 1
    first = int(xp.argmax(reached * 1)) if bool(reached[last]) else last
    return dose_gy[order[first]]
