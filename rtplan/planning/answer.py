"""What a rule says of a spacer's benefit: its guard, its threshold, and intervals that straddle them."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

from rtplan.planning.spacer import Rule

Answer = Literal["benefits", "does_not", "cannot_tell", "not_evaluable"]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Judged:
    """What one rule says.

    Parameters
    ----------
    rule : Rule
    answer : str
        ``benefits``, ``does_not``, ``cannot_tell`` or ``not_evaluable``.
    baseline, value : float or None
        The rule's metric without a spacer, %, and the benefit in the rule's unit.
    interval95 : tuple or None
        Of the benefit.
    decides : bool
        Whether this answer is the patient's.
    reason : str
        In words.
    """

    rule: Rule
    answer: Answer
    baseline: float | None
    value: float | None
    interval95: Interval | None
    decides: bool
    reason: str


def meets(rule: Rule, baseline: float, benefit: float) -> bool:
    """Return whether exact numbers meet a rule: enough to begin with, where it asks so, and enough gain.

    Parameters
    ----------
    rule : Rule
    baseline : float
        The metric without a spacer, %.
    benefit : float
        In the rule's unit (`benefit_of`).

    Examples
    --------
    >>> from rtplan.planning.spacer import load_rule
    >>> rule = load_rule("relative_v70_25")
    >>> meets(rule, 5.0, 60.0), meets(rule, 0.9, 60.0), meets(rule, 5.0, 20.0)
    (True, False, False)
    """
    return not _little(rule, baseline) and benefit >= rule.at_least


def judge(
    rule: Rule,
    baseline: float | None,
    benefit: float | None,
    interval95: Interval | None,
    *,
    decides: bool,
    baseline95: Interval | None = None,
) -> Judged:
    """Return what a rule says of a benefit.

    Parameters
    ----------
    rule : Rule
    baseline : float or None
        The metric without a spacer, %; None: not evaluable.
    benefit : float or None
        In the rule's unit (`benefit_of`); None: not evaluable.
    interval95 : tuple or None
        Of the benefit; without one there is no telling.
    decides : bool
        Whether its answer is the patient's; an unverified rule's is not, unless that was allowed.
    baseline95 : tuple or None
        Of the baseline where that is foretold; None: it is what the plan without a spacer gives.

    Notes
    -----
    *Benefits* where the lower ends of both intervals meet the rule (`meets`), *does not* where the upper ends
    do not. A rule on the baseline compares nothing: of a plan it has no interval.
    """
    nothing = Judged(rule, "not_evaluable", baseline, None, None, decides, "there is nothing to compare")
    if baseline is None:
        return nothing
    first = baseline95 or (baseline, baseline)
    if _little(rule, first[1]):
        most = rule.baseline_at_least
        said = f"{_span(baseline, baseline95)} % without a spacer is below {most:g} %: nothing to gain"
        return Judged(rule, "does_not", baseline, benefit or 0.0, interval95, decides, said)
    if benefit is None:
        return nothing
    unsure = rule.form != "baseline" and interval95 is None
    low, high = (-inf, inf) if unsure else interval95 or (benefit, benefit)
    answer: Answer = "cannot_tell"
    if meets(rule, first[0], low):
        answer = "benefits"
    elif not meets(rule, first[1], high):
        answer = "does_not"
    said = f"{_span(benefit, interval95)} {rule.unit}, wanted at least {rule.at_least:g}"
    if unsure:
        said = "the benefit has no interval"
    elif _little(rule, first[0]):
        least = f"wanted at least {rule.baseline_at_least:g}"
        said += f"; {_span(baseline, baseline95)} % without a spacer, {least}"
    return Judged(rule, answer, baseline, benefit, interval95, decides, said)


def _little(rule: Rule, baseline: float) -> bool:
    """Return whether there is too little to begin with."""
    return rule.baseline_at_least is not None and baseline < rule.baseline_at_least


def _span(value: float, interval95: Interval | None) -> str:
    return f"{value:.2f}" + (f" ({interval95[0]:.2f} to {interval95[1]:.2f})" if interval95 else "")


def benefit_of(rule: Rule, without: float, with_gel: float) -> float | None:
    """Return a rule's benefit from its metric without and with a spacer, % (NTCP too)."""
    if rule.form == "baseline":
        return without
    if rule.form == "absolute":
        return without - with_gel
    return 100.0 * (without - with_gel) / without if without > 0.0 else None
