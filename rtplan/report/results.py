"""Tables of results: goals, dose metrics, agreement of doses, images compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rtplan.domain import Finding, Patient
from rtplan.report.book import Book, Row
from rtplan.report.content import Block, Cell, Table, row
from rtplan.report.words import (
    DECIMALS,
    NOT_EVALUABLE,
    VERDICTS,
    amount,
    bare,
    is_signed,
    judgement,
    limit_words,
    listed,
    number,
)

UNVERIFIED = (
    "‡ and signs in brackets: not verified against a publication or protocol document; decides nothing."
)
_TONES: Mapping[str, str] = {"met": "good", "wish_met": "good", "missed": "bad"}


#: Metrics of dose-surface maps.
WALL = "Surface "


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
        return Block("goals", title, absent=why_absent(patient, "no goal in the protocol"))
    sources = Sources()
    shown = tuple(arm for arm in book.arms if any(arm in (*r.values, *r.missing) for r in book.goals))
    rows = tuple(_goal_row(r, shown, sources) for r in book.goals)
    signs = "; ".join(f"{sign} {word}" for sign, word in VERDICTS.values() if sign in "✓★✗" and sign)
    unverified = (UNVERIFIED,) if any(r.first.verified is False for r in book.goals) else ()
    table = Table(
        caption="Goals of the protocol, by arm. The verdict stands beside each number.",
        head=("Structure", "Metric", "Limit", "Wish", *shown[:1], "Margin", *shown[1:], "Source"),
        rows=rows,
        widths=(2.0, 1.7, 0.9, 0.9, *([1.25] * (len(shown) + 1)), 0.8),
        numeric=tuple(range(4, 5 + len(shown))),
        notes=(
            f"{signs}; {NOT_EVALUABLE} not evaluable. {_decides(book)}",
            f"Margin: room between the value on {shown[0]} and the limit, in the metric's unit; "
            "negative where the limit is missed.",
            *unverified,
            *sources.notes(),
        ),
    )
    return Block("goals", title, tables=(table,))


def _decides(book: Book) -> str:
    others = "; on other arms the sign says how it would turn out" if book.others else ""
    return f"The verdict is that of {book.reference}{others}."


def why_absent(patient: Patient, otherwise: str) -> str:
    """Return why a block has nothing to say."""
    if patient.absolute_withheld is not None:
        return "no absolute dose (it is withheld)"
    return otherwise if patient.doses else "no dose"


def _goal_row(item: Row, arms: Sequence[str], sources: Sources) -> tuple[Cell, ...]:
    first = item.first
    cells = [_goal_cell(item.values.get(arm)) for arm in arms]
    cells.insert(1, _margin_cell(item.values.get(arms[0])))
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
    if not kind or kind == "physical" or kind in item.metric:
        return item.metric
    return f"{item.metric} ({kind})"


def _goal_cell(finding: Finding | None) -> Cell:
    if finding is None or finding.value is None:
        return Cell(NOT_EVALUABLE, "quiet")
    judged = judgement(finding)
    sign = VERDICTS[judged][0]
    if finding.verified is False and sign:
        return Cell(f"{judged_amount(finding)} ({sign})")
    return Cell(f"{judged_amount(finding)} {sign}".strip(), _TONES.get(judged, ""))


def _margin_cell(finding: Finding | None) -> Cell:
    """Return the room that a value leaves to its limit; negative where it is missed."""
    if finding is None or finding.value is None or not finding.limit:
        return Cell("–", "quiet")
    room = margin_of(finding.value, finding.limit)
    shown = judged_amount(finding)
    decimals = max(len(shown.partition(".")[2]), DECIMALS.get(finding.unit, 2))
    return Cell(number(room, decimals, sign=True), "bad" if room < 0 and finding.verified else "")


def margin_of(value: float, limit: str) -> float:
    """Return the room between a value and its limit; negative beyond it.

    Examples
    --------
    >>> margin_of(12.5, "<= 15"), margin_of(97.0, ">= 98"), margin_of(4.0, "< 5")
    (2.5, -1.0, 1.0)
    """
    sign, bound = limit.split()
    return float(bound) - value if sign.startswith("<") else value - float(bound)


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


def dose_tables(book: Book) -> tuple[Table, ...]:
    """Return differences of the dose metrics that matter, agreement of the doses, and spread without a CT."""
    mattering = [r for r in _moved(book) if _matters(book, r)]
    wall = [r for r in mattering if r.metric.startswith(WALL)]
    moved = [r for r in mattering if r not in wall]
    agreed = [r for r in book.doses if r.changes and r not in _moved(book)]
    spread = [r for r in book.doses if "" in r.values]
    alone = [r for r in book.doses if not r.changes and book.reference in r.values]
    tables = [
        _dose_table(book, moved, "Dose metrics"),
        _plan_table(book, alone),
        _agreement_table(book, agreed),
    ]
    tables += [_dose_table(book, wall, "Dose on the wall, from surface maps"), _spread_table(spread)]
    return tuple(table for table in tables if table is not None)


def metrics_block(book: Book) -> Block | None:
    """Return differences of the dose metrics of all other structures; None where there is none."""
    others = [r for r in _moved(book) if not _matters(book, r)]
    table = _dose_table(book, others, "Dose metrics of the other structures")
    return (
        None if table is None else Block("metrics", "Dose metrics of the other structures", tables=(table,))
    )


def _moved(book: Book) -> list[Row]:
    return [r for r in book.doses if any(is_signed(f) for f in r.changes.values())]


def _matters(book: Book, item: Row) -> bool:
    """Whether a row is about a target, an organ with a goal or a risk, or the whole dose."""
    asked = {r.structure for r in (*book.goals, *book.outcomes)}
    targets = ("PTV", "CTV", "GTV")
    return not item.structure or item.structure in asked or item.structure.startswith(targets)


def _dose_table(book: Book, rows: list[Row], title: str) -> Table | None:
    if not rows:
        return None
    with_base = any(book.reference in r.values for r in rows)
    base = (str(book.reference),) if with_base else ()
    return Table(
        caption=f"{title}: {f'value on {book.reference}, and ' if base else ''}"
        f"difference to {book.reference} on each arm, in the metric's unit (volumes: percentage points).",
        head=("Structure", "Metric", *base, *(f"{arm} − {book.reference}" for arm in book.others)),
        rows=tuple(_dose_row(r, book, with_base) for r in rows),
        widths=(2.2, 1.9, *([1.2] * (len(base) + len(book.others)))),
        numeric=tuple(range(2, 2 + len(base) + len(book.others))),
        notes=_meanings(rows),
    )


def _plan_table(book: Book, rows: list[Row]) -> Table | None:
    """Return what is known of the reference's dose alone: plan indices, and all metrics of a single arm."""
    if not rows:
        return None
    return Table(
        caption=f"The plan on {book.reference} (no other arm to compare with).",
        head=("Structure", "Metric", str(book.reference)),
        rows=tuple(
            row(
                Cell(r.structure or "–", "strong"),
                _with_kind(r),
                _amount_cell(r.values[str(book.reference)], "–"),
            )
            for r in rows
        ),
        widths=(2.2, 1.9, 1.2),
        numeric=(2,),
        notes=_meanings(rows),
    )


def _agreement_table(book: Book, rows: list[Row]) -> Table | None:
    if not rows:
        return None
    sources = Sources()
    return Table(
        caption=f"Agreement of each arm's dose with that on {book.reference}.",
        head=("Region", "Metric", *book.others, "Source"),
        rows=tuple(
            row(
                Cell(r.structure or "whole dose", "strong"),
                r.metric,
                *(_amount_cell(r.changes.get(arm), NOT_EVALUABLE) for arm in book.others),
                sources.mark(r.first) or "–",
            )
            for r in rows
        ),
        widths=(2.0, 2.2, *([1.2] * len(book.others)), 0.8),
        numeric=tuple(range(2, 2 + len(book.others))),
        notes=sources.notes(),
    )


def _spread_table(rows: list[Row]) -> Table | None:
    if not rows:
        return None
    return Table(
        caption="Spread between the arms: there is no reference.",
        head=("Structure", "Metric", "Spread"),
        rows=tuple(row(Cell(r.structure, "strong"), r.metric, _amount_cell(r.values[""], "–")) for r in rows),
        widths=(2.0, 2.5, 1.5),
        numeric=(2,),
        notes=_meanings(rows),
    )


def _meanings(rows: list[Row]) -> tuple[str, ...]:
    """Return what the compared metrics mean, as their findings say."""
    said = {
        bare(f.metric): f.source
        for r in rows
        for f in (*r.changes.values(), *r.values.values())
        if f.source and f.limit is None and f.wish is None and not f.metric.startswith(("D", "V"))
    }
    metrics: dict[str, list[str]] = {}
    for metric, source in said.items():
        metrics.setdefault(source, []).append(metric)
    return tuple(f"{listed(names, most=3)}: {source}." for source, names in metrics.items())


def _dose_row(item: Row, book: Book, with_base: bool) -> tuple[Cell, ...]:
    cells: list[str | Cell] = [Cell(item.structure or "–", "strong"), _with_kind(item)]
    if with_base:
        cells.append(_amount_cell(item.values.get(book.reference or ""), "–"))
    cells += [_amount_cell(item.changes.get(arm), NOT_EVALUABLE) for arm in book.others]
    return row(*cells)


def _amount_cell(finding: Finding | None, absent: str) -> Cell:
    if finding is None or finding.value is None:
        return Cell(absent, "quiet")
    return Cell(amount(finding.value, finding.unit, sign=is_signed(finding)))


def comparison_block(book: Book) -> Block:
    """Return how the MR lie on the reference, and the comparison of each arm's image with it."""
    title = "Images compared"
    tables = tuple(t for t in (_registration_table(book.registrations), _image_table(book)) if t is not None)
    if not tables:
        why = "no CT to compare with" if book.spread else "no comparison of images among the findings"
        return Block("comparison", title, absent=why)
    return Block("comparison", title, tables=tables)


def _registration_table(rows: tuple[Row, ...]) -> Table | None:
    shown = [r for r in rows if r.values]
    if not shown:
        return None
    return Table(
        caption="How the MR lies on the reference.",
        head=("Metric", "Value"),
        rows=tuple(row(r.metric, _amount_cell(next(iter(r.values.values())), "–")) for r in shown),
        widths=(3.0, 1.5),
        numeric=(1,),
        notes=tuple(dict.fromkeys(f"{r.first.source}." for r in shown if r.first.source)),
    )


def _image_table(book: Book) -> Table | None:
    shown = [r for r in book.images if r.values or r.changes]
    if not shown:
        return None
    arms = tuple(a for a in book.arms if any(a in r.values or a in r.changes for r in shown))
    return Table(
        caption=f"Density images against {book.reference}.",
        head=("Region", "Metric", *arms),
        rows=tuple(
            row(
                Cell(r.structure or "whole image", "strong"),
                r.metric,
                *(_image_cell(r, arm) for arm in arms),
            )
            for r in shown
        ),
        widths=(2.0, 2.0, *([1.2] * len(arms))),
        numeric=tuple(range(2, 2 + len(arms))),
    )


def _image_cell(item: Row, arm: str) -> Cell:
    finding = item.values.get(arm) or item.changes.get(arm)
    if finding is None or finding.value is None:
        return Cell("–", "quiet")
    return Cell(amount(finding.value, finding.unit, sign=is_signed(finding)))
