"""Predicted risk: one plot and one table per model, with intervals and what made them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rtplan.domain import Patient
from rtplan.report.answer import endpoint
from rtplan.report.book import Book, Row
from rtplan.report.content import Block, Cell, Table, row
from rtplan.report.results import why_absent
from rtplan.report.risk_plots import risk_picture
from rtplan.report.words import NOT_EVALUABLE, VERDICTS, number, points, risk, risk_interval


def outcome_block(patient: Patient, book: Book) -> Block:
    """Return the risks: one plot and one table per model."""
    title = "Predicted risk"
    shown = [r for r in book.outcomes if r.values or r.changes]
    if not shown:
        return Block("outcome", title, absent=why_absent(patient, "no risk that could be evaluated"))
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
    "mean_gy": "mean [Gy]",
    "max_gy": "maximum [Gy]",
    "max_per_fraction_gy": "at most per fraction [Gy]",
}
_SAID_ELSEWHERE = ("endpoint", "dose_kind", "warnings", "spread", "budget", "eqd2_used", "relative_only")


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
    facts += [f"{_DETAILS.get(key, key)}: {_short(value)}" for key, value in common.items()]
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
