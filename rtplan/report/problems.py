"""What was not evaluable and why; the notices, the gravest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rtplan.domain import Finding, Notice, Patient
from rtplan.report.book import Book
from rtplan.report.content import Block, Cell, Message, Table, row
from rtplan.report.words import about, counted, listed


def not_evaluable_block(book: Book) -> Block:
    """Return what was not evaluable, grouped by its reason."""
    groups: dict[str, list[Finding]] = {}
    for finding in book.not_evaluable:
        groups.setdefault(finding.reason or "", []).append(finding)
    title = "What was not evaluable, and why"
    if not groups:
        return Block("not_evaluable", title, ("Every result that was asked for has a value.",))
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
    """Return a patient's notices, as `notices_of`."""
    return notices_of(patient.notices)


def notices_of(notices: Iterable[Notice]) -> Block:
    """Return notices, the gravest first; equal ones once, with how often and where."""
    groups: dict[tuple[str, str, str, str], list[Notice]] = {}
    for notice in notices:
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
