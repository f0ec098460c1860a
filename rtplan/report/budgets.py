"""How sure each risk is: what parameters, dose and contours contribute, and what other α/β would say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rtplan.domain import Finding
from rtplan.report.answer import endpoint, main_arm
from rtplan.report.book import Book, Row
from rtplan.report.content import Block, Cell, Picture, Table, row
from rtplan.report.risk_plots import budget_picture
from rtplan.report.words import NOT_EVALUABLE, number, points, risk

#: Parts of ``detail["budget"]`` and what they are called.
PARTS: Mapping[str, str] = {
    "parameters": "model parameters",
    "dose": "dose (synthetic CT)",
    "contours": "contours",
    "together": "all together",
}


def budget_block(book: Book) -> Block | None:
    """Return a bar picture and a table for each risk with a budget; None where no finding holds one."""
    pictures: list[Picture] = []
    tables: list[Table] = []
    for outcome in book.outcomes:
        told = dict(_told(book, outcome))
        if not told:
            continue
        pictures.append(_picture(outcome, told))
        tables.append(_table(outcome, told))
        tables += _alpha_beta(outcome, told)
    if not tables:
        return None
    words = (
        "Each source alone with all others at their best value, and all drawn together; the share is a "
        "first-order Sobol index. A source that was not varied adds nothing here, which does not make it "
        "small."
    )
    return Block("budget", "How sure each risk is", (words,), tuple(pictures), tuple(tables))


def _told(book: Book, outcome: Row) -> Iterator[tuple[str, Finding]]:
    """Yield the findings that are shown: the risk on the reference, and the main arm's difference."""
    base = outcome.values.get(book.reference or "")
    if base is not None and _budget(base):
        yield f"risk on {book.reference}", base
    arm = main_arm(book, outcome)
    if arm is not None and _budget(outcome.changes[arm]):
        yield f"difference on {arm}", outcome.changes[arm]


def _budget(finding: Finding) -> Mapping[str, Any]:
    found = finding.detail.get("budget")
    return found if isinstance(found, Mapping) else {}


def _part(finding: Finding, part: str) -> Mapping[str, Any]:
    found = _budget(finding).get(part)
    return found if isinstance(found, Mapping) else {}


def _interval(finding: Finding, part: str) -> tuple[float, float] | None:
    ends = _part(finding, part).get("interval95")
    return None if not ends else (float(ends[0]), float(ends[1]))


def _picture(outcome: Row, told: Mapping[str, Finding]) -> Picture:
    bars = {
        title: (finding, {PARTS[part]: _interval(finding, part) for part in PARTS})
        for title, finding in told.items()
    }
    return budget_picture(f"{outcome.metric}: {endpoint(outcome)}", tuple(PARTS.values()), bars)


def _table(outcome: Row, told: Mapping[str, Finding]) -> Table:
    head = ["Source"]
    for title in told:
        head += [f"95 % interval, {title}", "Share"]
    rows = [
        row(
            Cell(words, "strong"),
            *(cell for finding in told.values() for cell in _cells(finding, part)),
            _how(told, part),
        )
        for part, words in PARTS.items()
    ]
    return Table(
        caption=f"{outcome.metric}: {endpoint(outcome)}, uncertainty by source.",
        head=(*head, "How"),
        rows=tuple(rows),
        widths=(1.5, *([1.7, 0.7] * len(told)), 4.0),
        numeric=tuple(range(1, 1 + 2 * len(told))),
    )


def _cells(finding: Finding, part: str) -> tuple[Cell, Cell]:
    ends = _interval(finding, part)
    if ends is None:
        return Cell("not varied", "quiet"), Cell("–")
    signed = finding.quantity == "difference"
    low, high = (number(100.0 * end, 2, sign=signed) for end in ends)
    share = _part(finding, part).get("share")
    shown = "–" if not isinstance(share, int | float) else f"{number(100.0 * share, 0)} %"
    return Cell(f"{low} to {high} {'pp' if signed else '%'}"), Cell(shown)


def _how(told: Mapping[str, Finding], part: str) -> str:
    said = [
        str(found.get("method") or found.get("reason") or "")
        for finding in told.values()
        if (found := _part(finding, part))
    ]
    return "; ".join(dict.fromkeys(text for text in said if text)) or "–"


def _alpha_beta(outcome: Row, told: Mapping[str, Finding]) -> list[Table]:
    """Return the row of other α/β; none where the model uses none."""
    rows: dict[float, dict[str, Finding | float]] = {}
    for title, finding in told.items():
        for entry in _budget(finding).get("alpha_beta") or ():
            value = entry.get("value")
            if isinstance(value, int | float):
                rows.setdefault(float(entry["alpha_beta_gy"]), {})[title] = float(value)
    if not rows:
        return []
    used = outcome.first.detail.get("alpha_beta_gy")

    def shown(title: str, cells: Mapping[str, Any]) -> str:
        if title not in cells:
            return NOT_EVALUABLE
        return points(cells[title]) if told[title].quantity == "difference" else risk(cells[title])

    body = tuple(
        row(
            Cell(f"{gy:g}{' (used)' if used == gy else ''}", "strong"),
            *(shown(title, cells) for title in told),
        )
        for gy, cells in sorted(rows.items())
    )
    head = ("α/β [Gy]", *(title[:1].upper() + title[1:] for title in told))
    return [
        Table(
            caption=f"{outcome.metric}: what another α/β would say. A separate sensitivity, in no interval.",
            head=head,
            rows=body,
            widths=(1.2, *([2.0] * len(told))),
            numeric=tuple(range(1, 1 + len(told))),
        )
    ]
