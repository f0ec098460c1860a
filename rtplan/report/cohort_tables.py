"""Tables of a cohort: agreement of risks, dose differences, image errors, patients."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from rtplan.domain import Finding
from rtplan.evaluation.agreement import Agreement, ArmRisk
from rtplan.evaluation.study_file import StudyPatient
from rtplan.report.content import Cell, Table, row
from rtplan.report.words import (
    ARM_WORDS,
    DECIMALS,
    NOT_EVALUABLE,
    VERDICTS,
    about,
    counted,
    listed,
    number,
)

#: A number that stands alone in a text, not within a name.
NUMBER = re.compile(r"(?<![\w.\-])\d+(?:\.\d+)?(?!\w)")
#: A pair of ends, in the unit of its row.
Ends = tuple[float, float] | None


def pp(value: float | None, *, sign: bool = True) -> str:
    """Return a difference of fractions in percentage points, without the unit."""
    return NOT_EVALUABLE if value is None else number(100.0 * value, 3, sign=sign)


def ends_pp(ends: Ends) -> str:
    """Return a pair of fractions in percentage points, without the unit."""
    return "–" if ends is None else f"{pp(ends[0])} to {pp(ends[1])}"


def founding_table(what: str, agreements: Sequence[Agreement], risks: Mapping[str, ArmRisk]) -> Table:
    """Return max |difference|, mean and limits of agreement by arm, as in the founding study.

    Parameters
    ----------
    what : str
        Model and organ.
    agreements : sequence of Agreement
        By arm.
    risks : mapping of str to ArmRisk
        Range of the risk, by arm.
    """
    reference = agreements[0].reference_arm
    base = risks.get(reference)
    rows = [row(Cell(reference, "strong"), *_risk_cells(base), "reference", "–", "–", "–")]
    for item in agreements:
        limits = "–" if item.lower is None else ends_pp((item.lower, item.upper or 0.0))
        rows.append(
            row(
                Cell(item.arm, "strong"),
                *_risk_cells(risks.get(item.arm)),
                Cell(pp(item.max_abs, sign=False), "strong"),
                pp(item.mean),
                limits,
                _verdict(item),
            )
        )
    return Table(
        caption=f"{what}: risk and its difference to {reference}, by arm.",
        head=(
            "Arm", "Mean risk [%]", "Range [%]", "Largest |difference| [pp]", "Mean difference [pp]",
            "Limits of agreement [pp]", "Verdict",
        ),
        rows=tuple(rows),
        widths=(1.2, 1.0, 1.5, 1.3, 1.2, 1.9, 1.3),
        numeric=(1, 2, 3, 4, 5),
    )  # fmt: skip


def _risk_cells(found: ArmRisk | None) -> tuple[str, str]:
    if found is None:
        return NOT_EVALUABLE, NOT_EVALUABLE
    low, high = (number(100.0 * end, 2) for end in (found.minimum, found.maximum))
    return number(100.0 * found.mean, 2), f"{low} to {high}"


def _verdict(item: Agreement) -> str:
    sign, word = VERDICTS[item.verdict]
    return f"{sign} {word}".strip() if item.verdict != "none" else "–"


def limits_table(what: str, agreements: Sequence[Agreement]) -> Table:
    """Return mean and limits with their intervals, tests and sample size by arm."""
    head = (
        "Arm", "n", "Mean [95 %]", "Lower limit [95 %]", "Upper limit [95 %]", "95th pct. of |difference|",
        "p, t", "p, Wilcoxon", "p, TOST", "Patients needed",
    )  # fmt: skip
    rows = tuple(
        row(
            Cell(a.arm, "strong"),
            str(a.n) + (f" (−{a.left_out})" if a.left_out else ""),
            f"{pp(a.mean)}\n[{ends_pp(a.mean_ci95)}]",
            f"{pp(a.lower)}\n[{ends_pp(a.lower_ci95)}]",
            f"{pp(a.upper)}\n[{ends_pp(a.upper_ci95)}]",
            pp(a.p95_abs, sign=False),
            probability(a.p_t_holm),
            probability(a.p_wilcoxon_holm),
            probability(a.p_tost_holm),
            "–" if a.sample_size is None else str(a.sample_size),
        )
        for a in agreements
    )
    methods = dict.fromkeys(a.interval_method for a in agreements if a.interval_method)
    reasons = dict.fromkeys(f"{a.arm}: {a.reason}" for a in agreements if a.reason)
    notes = (
        "In percentage points. n: evaluable patients (finished ones that are not). p: against no difference; "
        "TOST: that the mean lies inside the margin; all after Holm over the arms.",
        *(f"Intervals: {text}." for text in methods),
        *reasons,
    )
    return Table(
        caption=f"{what}: agreement of each arm with {agreements[0].reference_arm}.",
        head=head,
        rows=rows,
        widths=(1.2, 0.7, 2.2, 2.2, 2.2, 1.1, 0.8, 0.9, 0.8, 0.9),
        numeric=tuple(range(1, len(head))),
        notes=notes,
    )


def logit_table(what: str, agreements: Sequence[Agreement]) -> Table:
    """Return mean and limits of the log odds ratios by arm."""
    return Table(
        caption=f"{what}: the same on the logit scale (log odds ratios).",
        head=("Arm", "n", "Mean", "Lower limit", "Upper limit", "p, t (Holm)", "Verdict"),
        rows=tuple(
            row(
                Cell(a.arm, "strong"),
                str(a.n),
                *(
                    NOT_EVALUABLE if v is None else number(v, 3, sign=True)
                    for v in (a.mean, a.lower, a.upper)
                ),
                probability(a.p_t_holm),
                _verdict(a),
            )
            for a in agreements
        ),
        widths=(1.2, 0.7, 1.2, 1.2, 1.2, 1.0, 1.3),
        numeric=(1, 2, 3, 4, 5),
    )


def probability(p: float | None) -> str:
    """Return a p-value.

    Examples
    --------
    >>> probability(0.00001), probability(0.0312), probability(None)
    ('< 0.001', '0.031', '–')
    """
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else number(p, 3)


def by_arm_table(
    caption: str, rows: Mapping[tuple[str, str], Sequence[Agreement]], arms: Sequence[str]
) -> Table:
    """Return mean and limits (or range, of figures) of several metrics by arm.

    Parameters
    ----------
    caption : str
        Of the table.
    rows : mapping
        (structure, metric) to agreement by arm.
    arms : sequence of str
        Columns.
    """
    body = []
    for (structure, metric), agreements in rows.items():
        found = {a.arm: a for a in agreements}
        cells = (_range_cell(found.get(arm)) for arm in arms)
        body.append(row(Cell(structure or "whole dose", "strong"), metric, *cells))
    return Table(
        caption=caption,
        head=("Structure", "Metric", *arms),
        rows=tuple(body),
        widths=(1.5, 1.5, *([1.6] * len(arms))),
        numeric=tuple(range(2, 2 + len(arms))),
        notes=(
            "Mean; in brackets the limits of agreement, or for pass rates, mean absolute errors and Dice the "
            "smallest and largest. Volumes differ in percentage points.",
        ),
    )


def _range_cell(found: Agreement | None) -> Cell:
    if found is None or found.mean is None:
        return Cell(NOT_EVALUABLE, "quiet")
    ends = (found.minimum, found.maximum) if found.figure else (found.lower, found.upper)
    decimals = DECIMALS.get(found.unit, 2)
    mean = number(found.mean, decimals, sign=not found.figure)
    if ends[0] is None or ends[1] is None:
        return Cell(mean)
    low, high = (number(end, decimals, sign=not found.figure) for end in ends if end is not None)
    return Cell(f"{mean}\n({low} to {high})")


def failed_table(patients: Iterable[StudyPatient]) -> Table | None:
    """Return the patients who could not be run or were not; None where all were."""
    rows = tuple(
        row(Cell(str(p.number), "strong"), p.key or "–", p.state, p.reason or "–")
        for p in patients
        if p.state != "done"
    )
    if not rows:
        return None
    head = ("Number", "Key", "State", "Why")
    return Table(f"{counted(len(rows), 'patient')} without a result.", head, rows, (0.7, 1.4, 0.9, 5.0))


def in_one(texts: Sequence[str]) -> str:
    """Return texts that differ in their numbers alone as one, with the range of each number.

    Examples
    --------
    >>> in_one(["12 % lies outside 3 planes.", "7 % lies outside 3 planes."])
    '7 to 12 % lies outside 3 planes.'
    """
    columns = zip(*(NUMBER.findall(text) for text in texts), strict=True)
    ranges = iter([sorted(set(column), key=float) for column in columns])

    def ends(_: re.Match[str]) -> str:
        values = next(ranges)
        return values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"

    return NUMBER.sub(ends, texts[0])


def missing_table(patients: Mapping[str, Sequence[Finding]]) -> Table | None:
    """Return what was not evaluable on some patients, by reason; None where all was."""
    reasons: dict[str, tuple[list[str], set[str], dict[str, None]]] = {}
    for key, findings in patients.items():
        for finding in findings:
            if finding.value is None:
                reason = finding.reason or ""
                texts, keys, things = reasons.setdefault(NUMBER.sub("#", reason), ([], set(), {}))
                texts.append(reason)
                keys.add(key)
                things[about(finding)] = None
    if not reasons:
        return None
    rows = tuple(
        row(Cell(in_one(texts), "strong"), listed(things, most=6), f"{len(keys)} of {len(patients)}")
        for texts, keys, things in sorted(reasons.values(), key=lambda item: -len(item[1]))
    )
    head = ("Why", "What", "Patients")
    return Table("Not evaluable on finished patients.", head, rows, (3.0, 3.6, 0.9), (2,))


def arms_table(arms: Iterable[str], reference: str) -> Table:
    """Return what each arm is."""
    rows = tuple(
        row(Cell(arm, "strong"), ARM_WORDS.get(arm, "") + (" (reference)" if arm == reference else ""))
        for arm in arms
    )
    return Table("The arms (density images).", ("Arm", "Density image"), rows, (1.2, 5.0))
