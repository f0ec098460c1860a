"""Agreement of arms with the reference over a cohort, made of the findings of its patients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rtplan.domain import Finding
from rtplan.domain.patient import ARMS
from rtplan.evaluation.agreement import FIGURES, RISKS, Agreement, ArmRisk, Judging, verdict_of
from rtplan.evaluation.limits import Limits, limits_of_agreement, patients_for, patients_to_show
from rtplan.evaluation.paired import holm, t_test, tost, wilcoxon

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Column:
    """The values of one row, by patient (NaN: not evaluable), and the reference's mean risk."""

    row: Agreement
    values: Float
    base_risk: float | None = None

    @property
    def evaluable(self) -> Float:
        """The values that are there."""
        there: Float = self.values[np.isfinite(self.values)]
        return there


def agree(patients: Mapping[str, Sequence[Finding]], judging: Judging | None = None) -> tuple[Agreement, ...]:
    """Return how well each arm agrees with the reference, one row per arm, structure, metric and scale.

    Parameters
    ----------
    patients : mapping of str to sequence of Finding
        Findings of each finished patient; those of ``quantity`` difference with a reference arm count.
    judging : Judging, optional
        Margin, precision, bootstrap.

    Returns
    -------
    tuple of Agreement
        Ordered by structure and metric as first met, then by arm. A patient whose difference is not
        evaluable, or who has none, is left out and counted.
    """
    judging = judging or Judging()
    columns = _columns(patients, judging)
    limits = limits_of_agreement([c.evaluable for c in columns if not c.row.figure], judging.bootstrap)
    found = iter(limits)
    rows = [_row(c, Limits() if c.row.figure else next(found), judging) for c in columns]
    return tuple(_corrected(rows))


def _columns(patients: Mapping[str, Sequence[Finding]], judging: Judging) -> list[Column]:
    """Gather the differences by row; risks again on the logit scale."""
    names = list(patients)
    cells: dict[tuple[Any, ...], dict[str, float]] = {}
    first: dict[tuple[Any, ...], Finding] = {}
    risks: dict[tuple[Any, ...], float] = {}
    for name, findings in patients.items():
        for f in findings:
            if f.metric in RISKS and f.quantity == "value" and f.value is not None:
                risks[name, f.arm, f.structure, f.metric, f.model] = f.value
            if f.quantity != "difference" or f.arm is None or f.reference_arm is None:
                continue
            key = (f.structure, f.metric, f.model, f.arm)
            first.setdefault(key, f)
            cells.setdefault(key, {})[name] = math.nan if f.value is None else f.value
    order = {question: k for k, question in enumerate(dict.fromkeys(key[:3] for key in first))}
    keys = sorted(first, key=lambda key: (order[key[:3]], _place(key[3])))
    columns = []
    for key in keys:
        f = first[key]
        values = np.array([cells[key].get(name, math.nan) for name in names])
        row = _blank(f)
        if f.metric not in RISKS:
            columns.append(Column(row, values))
            continue
        base = [risks.get((n, f.reference_arm, f.structure, f.metric, f.model), math.nan) for n in names]
        mean = float(np.nanmean(base)) if np.isfinite(base).any() else None
        margin = judging.margin
        columns.append(Column(replace(row, margin=margin), values, mean))
        arm = [risks.get((n, f.arm, f.structure, f.metric, f.model), math.nan) for n in names]
        odds = _logit(np.array(arm)) - _logit(np.array(base))
        if np.isfinite(odds).any():  # a TCP is known by its differences alone
            logit = replace(row, scale="logit", unit="1", margin=_logit_margin(margin, mean))
            columns.append(Column(logit, odds, mean))
    return columns


def _place(arm: str) -> int:
    return ARMS.index(arm) if arm in ARMS else len(ARMS)


def _blank(f: Finding) -> Agreement:
    assert f.arm is not None
    assert f.reference_arm is not None
    return Agreement(
        f.arm,
        f.reference_arm,
        f.structure,
        f.metric,
        f.unit,
        f.model,
        f.verified if f.metric in RISKS else None,
        figure=f.metric.startswith(FIGURES),
    )


def _logit(p: Float) -> Float:
    """Return log(p / (1 - p)); NaN where p is NaN, 0 or 1."""
    inside = np.where((p > 0.0) & (p < 1.0), p, math.nan)
    odds: Float = np.log(inside) - np.log1p(-inside)
    return odds


def _logit_margin(margin: float | None, base: float | None) -> float | None:
    """Return the margin on the logit scale at the reference's mean risk: the smaller of both sides."""
    if margin is None or base is None or not 0.0 < base < 1.0:
        return None
    ends = [p for p in (base - margin, base + margin) if 0.0 < p < 1.0]
    at = _logit(np.array([base, *ends]))
    return float(np.abs(at[1:] - at[0]).min()) if ends else None


def _row(column: Column, limits: Limits, judging: Judging) -> Agreement:
    values, n = column.evaluable, len(column.evaluable)
    row = replace(column.row, n=n, left_out=len(column.values) - n)
    if n == 0:
        return replace(row, reason="no patient is evaluable")
    row = replace(
        row,
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)) if n > 1 else None,
        minimum=float(values.min()),
        maximum=float(values.max()),
        max_abs=float(np.abs(values).max()),
        p95_abs=float(np.percentile(np.abs(values), 95.0)),
    )
    if row.figure:
        return row
    row = replace(
        row,
        sd=row.sd if limits.sd is None else limits.sd,
        lower=limits.lower,
        upper=limits.upper,
        lower_ci95=limits.lower_ci95,
        upper_ci95=limits.upper_ci95,
        interval_method=judging.bootstrap.method if limits.lower_ci95 else None,
        reason=limits.reason,
    )
    if limits.lower is None:
        return row
    return _judged(_tested(row, values), judging)


def _tested(row: Agreement, values: Float) -> Agreement:
    half = _half_of_mean(values)
    mean = float(values.mean())
    return replace(
        row,
        mean_ci95=None if half is None else (mean - half, mean + half),
        p_t=t_test(values),
        p_wilcoxon=wilcoxon(values),
        p_tost=None if row.margin is None else tost(values, row.margin),
    )


def _half_of_mean(values: Float) -> float | None:
    if float(np.ptp(values)) == 0.0:
        return None
    n = len(values)
    return float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n))


def _judged(row: Agreement, judging: Judging) -> Agreement:
    """Add sample sizes and, on the plain scale of risks, the verdict."""
    if row.metric not in RISKS or row.scale != "as_is" or row.sd is None or row.mean is None:
        return row
    margin, mean, sd = row.margin, row.mean, row.sd
    if judging.precision is not None and sd > 0.0:
        row = replace(row, sample_size=patients_for(judging.precision, sd))
    if margin is None:
        return replace(row, reason=row.reason or "no margin is set: no verdict")
    row = replace(row, sample_size_equivalent=patients_to_show(margin, mean, sd))
    if not row.verified and not judging.allow_unverified:
        return replace(row, reason=row.reason or "the model's numbers are not verified: no verdict")
    return replace(row, verdict=verdict_of(row.lower_ci95, row.upper_ci95, margin))


def _corrected(rows: Sequence[Agreement]) -> list[Agreement]:
    """Correct the p-values over the arms of each question by Holm."""
    made = list(rows)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(row.question, []).append(number)
    for numbers in groups.values():
        columns = [
            holm([getattr(rows[n], name) for n in numbers]) for name in ("p_t", "p_wilcoxon", "p_tost")
        ]
        for n, t, w, e in zip(numbers, *columns, strict=True):
            made[n] = replace(made[n], p_t_holm=t, p_wilcoxon_holm=w, p_tost_holm=e)
    return made


def risks_of_arms(patients: Mapping[str, Sequence[Finding]]) -> tuple[ArmRisk, ...]:
    """Return the range of each model's risk on each arm over the patients in whom it is evaluable."""
    found: dict[tuple[Any, ...], list[Finding]] = {}
    for findings in patients.values():
        for f in findings:
            if f.metric in RISKS and f.quantity == "value" and f.value is not None and f.arm is not None:
                found.setdefault((f.structure, f.metric, f.model, f.arm), []).append(f)
    order = {question: k for k, question in enumerate(dict.fromkeys(key[:3] for key in found))}
    made = []
    for key in sorted(found, key=lambda key: (order[key[:3]], _place(key[3]))):
        values = np.array([f.value for f in found[key]], np.float64)
        made.append(
            ArmRisk(
                arm=key[3],
                structure=key[0],
                metric=key[1],
                model=key[2],
                verified=found[key][0].verified,
                n=len(values),
                mean=float(values.mean()),
                median=float(np.median(values)),
                minimum=float(values.min()),
                maximum=float(values.max()),
            )
        )
    return tuple(made)
