"""Tables of results: goals, dose metrics, risks, image comparison, what was not evaluable, notices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from rtplan.domain import Finding, Notice, Patient
from rtplan.report.answer import endpoint
from rtplan.report.book import Book, Row
from rtplan.report.content import Block, Cell, Message, Table, row
from rtplan.report.plots import risk_picture
from rtplan.report.words import (
    DECIMALS,
    NOT_EVALUABLE,
    VERDICTS,
    about,
    amount,
    counted,
    judgement,
    limit_words,
    listed,
    number,
    points,
    risk,
    risk_interval,
)

UNVERIFIED = (
    "‡ and signs in brackets: not verified against a publication or protocol document; decides nothing."
)
_TONES: Mapping[str, str] = {"met": "good", "wish_met": "good", "missed": "bad"}


class Sources:
    """Numbered sources of a table, in the order in which they are met."""

    def __init__(self) -> None:
        self._seen: list[str] = []

    def mark(self, finding: Finding) -> str:
        """Return the mark of a finding: its source's number, and ‡ when it is not verified."""
        mark = "" if finding.verified is not False else "‡"
        if finding.source:
            if finding.source not in self._seen:
                self._seen.append(finding.source)
            mark += f"[{self._seen.index(finding.source) + 1}]"
        return mark

    def notes(self) -> tuple[str, ...]:
        """Return the sources as notes below the table."""
        return tuple(f"[{n}] {source}" for n, source in enumerate(self._seen, 1))


def goals_block(patient: Patient, book: Book) -> Block:
    """Return the goals: limit, wish, value per arm with its verdict, source."""
    title = "Goals"
    if not any(r.values for r in book.goals):
        return Block("goals", title, absent=_absent(patient, "no goal in the protocol"))
    sources = Sources()
    shown = tuple(arm for arm in book.arms if any(arm in (*r.values, *r.missing) for r in book.goals))
    rows = tuple(_goal_row(r, shown, sources) for r in book.goals)
    signs = "; ".join(f"{sign} {word}" for sign, word in VERDICTS.values() if sign in "✓★✗" and sign)
    unverified = (UNVERIFIED,) if any(r.first.verified is False for r in book.goals) else ()
    table = Table(
        caption="Goals of the protocol, by arm. The verdict stands beside each number.",
        head=("Structure", "Metric", "Limit", "Wish", *shown, "Source"),
        rows=rows,
        widths=(2.0, 1.7, 0.9, 0.9, *([1.25] * len(shown)), 0.8),
        numeric=tuple(range(4, 4 + len(shown))),
        notes=(f"{signs}; {NOT_EVALUABLE} not evaluable. {_decides(book)}", *unverified, *sources.notes()),
    )
    return Block("goals", title, tables=(table,))


def _decides(book: Book) -> str:
    return f"The verdict is that of {book.reference}; on other arms the sign says how it would turn out."


def _absent(patient: Patient, otherwise: str) -> str:
    """Return why a block has nothing to say."""
    if patient.absolute_withheld is not None:
        return "no absolute dose (it is withheld)"
    return otherwise if patient.doses else "no dose"


def _goal_row(item: Row, arms: Iterable[str], sources: Sources) -> tuple[Cell, ...]:
    first = item.first
    cells = [_goal_cell(item.values.get(arm)) for arm in arms]
    return row(
        Cell(item.structure, "strong"),
        _with_kind(item),
        limit_words(first.limit),
        limit_words(first.wish),
        *cells,
        sources.mark(first) or "–",
    )


def _with_kind(item: Row) -> str:
    kind = item.first.dose_kind
    return f"{item.metric} ({kind})" if kind and kind != "physical" else item.metric


def _goal_cell(finding: Finding | None) -> Cell:
    if finding is None or finding.value is None:
        return Cell(NOT_EVALUABLE, "quiet")
    judged = judgement(finding)
    sign = VERDICTS[judged][0]
    if finding.verified is False and sign:
        return Cell(f"{judged_amount(finding)} ({sign})")
    return Cell(f"{judged_amount(finding)} {sign}".strip(), _TONES.get(judged, ""))


def judged_amount(finding: Finding) -> str:
    """Return a value with as many decimals as show on which side of its limit it lies (at most five).

    Examples
    --------
    >>> judged_amount(Finding("V70Gy[%]", 15.02, "%", "EvaluateProtocol", limit="<= 15", verdict="missed"))
    '15.02'
    """
    value = finding.value or 0.0
    bounds = [float(text.split()[-1]) for text in (finding.limit, finding.wish) if text]
    for decimals in range(DECIMALS.get(finding.unit, 2), 5):
        shown = round(value, decimals)
        if all(np.sign(shown - bound) == np.sign(value - bound) for bound in bounds):
            return number(value, decimals)
    return number(value, 5)


def dose_table(book: Book) -> Table | None:
    """Return the dose metrics: value on the reference, difference on each other arm."""
    rows = [r for r in book.doses if r.changes]
    if not rows:
        return None
    with_base = any(book.reference in r.values for r in rows)
    base = (f"{book.reference}",) if with_base else ()
    return Table(
        caption=f"Dose metrics: {'value on ' + str(book.reference) + ', and ' if base else ''}"
        f"difference to {book.reference} on each arm (percentages: percentage points).",
        head=("Structure", "Metric", *base, *(f"{arm} − {book.reference}" for arm in book.others)),
        rows=tuple(_dose_row(r, book, with_base) for r in rows),
        widths=(2.2, 1.9, *([1.2] * (len(base) + len(book.others)))),
        numeric=tuple(range(2, 2 + len(base) + len(book.others))),
    )


def _dose_row(item: Row, book: Book, with_base: bool) -> tuple[Cell, ...]:
    cells: list[str | Cell] = [Cell(item.structure or "–", "strong"), _with_kind(item)]
    if with_base:
        cells.append(_amount_cell(item.values.get(book.reference or ""), "–"))
    cells += [_amount_cell(item.changes.get(arm), NOT_EVALUABLE) for arm in book.others]
    return row(*cells)


def _amount_cell(finding: Finding | None, absent: str) -> Cell:
    if finding is None or finding.value is None:
        return Cell(absent, "quiet")
    return Cell(amount(finding.value, finding.unit, sign=finding.quantity == "difference"))


def outcome_block(patient: Patient, book: Book) -> Block:
    """Return the risks: one plot and one table per model."""
    title = "Predicted risk"
    shown = [r for r in book.outcomes if r.values or r.changes]
    if not shown:
        return Block("outcome", title, absent=_absent(patient, "no risk that could be evaluated"))
    tables = tuple(_outcome_table(r, book) for r in shown)
    pictures = tuple(
        risk_picture(f"{r.metric}: {endpoint(r)}", [a for a in book.arms if a in (*r.values, *r.changes)],
                     r.values, r.changes)
        for r in shown
    )  # fmt: skip
    sentences = (
        "Risks are probabilities in per cent; differences are percentage points (pp), taken with the same "
        "random parameters on both arms where an interval is given.",
    )
    return Block("outcome", title, sentences, pictures, tables)


#: What a finding's detail is called in the table; anything else keeps its own name.
_DETAILS: Mapping[str, str] = {
    "geud_gy": "gEUD [Gy]",
    "alpha_beta_gy": "α/β [Gy]",
    "organ_definition": "organ",
}
_SAID_ELSEWHERE = ("endpoint", "dose_kind", "warnings", "spread")


def _outcome_table(item: Row, book: Book) -> Table:
    arms = [arm for arm in book.arms if arm in (*item.values, *item.changes, *item.missing)]
    own, common = _details(item)
    return Table(
        caption=f"{item.metric}: {endpoint(item)}.",
        head=("Arm", *(_DETAILS.get(key, key) for key in own), "Risk", "95 % interval", "Difference",
              "95 % interval of the difference", "Verdict"),
        rows=tuple(_outcome_row(item, arm, book, own) for arm in arms),
        widths=(1.2, *([1.0] * len(own)), 1.0, 1.7, 1.2, 2.0, 1.4),
        notes=_outcome_notes(item, common),
    )  # fmt: skip


def _details(item: Row) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return which details differ between the arms, and those that all arms share."""
    details = [dict(f.detail) for f in item.values.values()] or [{}]
    keys = [key for key in details[0] if key not in _SAID_ELSEWHERE]
    shared = {key: details[0][key] for key in keys if all(d.get(key) == details[0][key] for d in details)}
    own = [key for key in keys if key not in shared and isinstance(details[0][key], int | float)]
    return tuple(own[:2]), shared


def _outcome_notes(item: Row, common: Mapping[str, Any]) -> tuple[str, ...]:
    first = item.first
    facts = [f"Model {first.model or 'not named'}", f"dose {first.dose_kind or 'not named'}"]
    facts += [f"{_DETAILS.get(key, key)} {_short(value)}" for key, value in common.items()]
    notes = [f"{'; '.join(facts)}. Source: {first.source or 'not named'}."]
    methods = [f.interval_method for f in (*item.values.values(), *item.changes.values()) if f.interval95]
    if methods:
        notes.append(f"Intervals: {'; '.join(m for m in dict.fromkeys(methods) if m)}.")
    warned = [str(w) for f in item.values.values() for w in f.detail.get("warnings", ())]
    notes += [f"Warning: {text}" for text in dict.fromkeys(warned)]
    if first.verified is False:
        notes.append("‡ This parameter set is not verified against its publication.")
    return tuple(notes)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _outcome_row(item: Row, arm: str, book: Book, own: tuple[str, ...]) -> tuple[Cell, ...]:
    value, change = item.values.get(arm), item.changes.get(arm)
    base = arm == book.reference
    sign, word = VERDICTS[change.verdict if change else "none"]
    details = dict(value.detail) if value else {}
    return row(
        Cell(arm, "strong"),
        *(number(details[key], 2) if key in details else "–" for key in own),
        risk(value.value) if value and value.value is not None else Cell(NOT_EVALUABLE, "quiet"),
        risk_interval(value) if value else "–",
        "reference" if base else points(change.value) if change and change.value is not None else "–",
        "–" if base or change is None else risk_interval(change),
        f"{sign} {word}" if sign else "–",
    )


def comparison_block(book: Book) -> Block:
    """Return the comparison of each arm's image with the reference's."""
    title = "Images compared"
    shown = [r for r in book.images if r.values or r.changes]
    if not shown:
        why = "no CT to compare with" if book.spread else "no comparison of images among the findings"
        return Block("comparison", title, absent=why)
    arms = tuple(a for a in book.arms if any(a in r.values or a in r.changes for r in shown))
    rows = tuple(
        row(
            Cell(r.structure or "whole image", "strong"),
            r.metric if "[" in r.metric or r.first.unit == "1" else f"{r.metric} [{r.first.unit}]",
            *(_image_cell(r, arm) for arm in arms),
        )
        for r in shown
    )
    table = Table(
        caption=f"Density images against {book.reference}.",
        head=("Region", "Metric", *arms),
        rows=rows,
        widths=(2.0, 2.0, *([1.2] * len(arms))),
        numeric=tuple(range(2, 2 + len(arms))),
    )
    return Block("comparison", title, tables=(table,))


def _image_cell(item: Row, arm: str) -> Cell:
    finding = item.values.get(arm) or item.changes.get(arm)
    if finding is None or finding.value is None:
        return Cell("–", "quiet")
    return Cell(amount(finding.value, finding.unit, sign=finding.metric.startswith("ME")))


def not_evaluable_block(book: Book) -> Block:
    """Return what was not evaluable, grouped by its reason."""
    groups: dict[str, list[Finding]] = {}
    for finding in book.not_evaluable:
        groups.setdefault(finding.reason or "", []).append(finding)
    title = "What was not evaluable, and why"
    if not groups:
        return Block("not_evaluable", title, ("Every finding that was asked for has a value.",))
    rows = []
    for reason, findings in groups.items():
        arms = sorted({f.arm for f in findings if f.arm}, key=_rank(book))
        things = list(dict.fromkeys(about(f) for f in findings))
        rows.append(row(Cell(reason, "strong"), listed(things), listed(arms) or "–"))
    table = Table(
        caption=f"{counted(len(book.not_evaluable), 'finding')} without a value.",
        head=("Why", "What", "Arms"),
        rows=tuple(rows),
        widths=(3.0, 3.6, 1.6),
    )
    return Block("not_evaluable", title, tables=(table,))


def _rank(book: Book) -> Any:
    return lambda arm: book.arms.index(arm) if arm in book.arms else len(book.arms)


SEVERITIES: Mapping[str, str] = {"refuse": "Refused", "warn": "Warning", "info": "For information"}


def notices_block(patient: Patient) -> Block:
    """Return the notices, the gravest first; equal ones once, with how often and where."""
    groups: dict[tuple[str, str, str, str], list[Notice]] = {}
    for notice in patient.notices:
        groups.setdefault((notice.severity, notice.code, notice.message, notice.action), []).append(notice)
    order = list(SEVERITIES)
    messages = [
        Message(code, severity, text, action, _where(group), len(group))
        for (severity, code, text, action), group in groups.items()
    ]
    messages.sort(key=lambda m: order.index(m.severity))
    sentences = () if messages else ("There is none.",)
    return Block("notices", "Notices", sentences, messages=tuple(messages))


def _where(group: Iterable[Notice]) -> tuple[str, ...]:
    places = [
        " ".join(
            part
            for part in (
                f"structure {n.structure}" if n.structure else "",
                f"file {n.file}" if n.file else "",
                f"UID {n.uid}" if n.uid else "",
            )
            if part
        )
        for n in group
    ]
    return tuple(dict.fromkeys(place for place in places if place))
