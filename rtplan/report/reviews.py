"""What readers said of a finished run: Likert scores by structure, and decisions on the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rtplan.report.content import Block, Cell, Table, row
from rtplan.report.words import counted

#: What a score means (clinical.md, and `rtplan review`).
SCORES = {1: "unacceptable", 2: "major changes", 3: "minor changes", 4: "acceptable"}


def reviews_block(rows: Sequence[Mapping[str, Any]]) -> Block | None:
    """Return the readers' scores and decisions; None where nobody reviewed.

    Parameters
    ----------
    rows : sequence of mapping
        ``reader, time, structure, score, kind, remark, decision``; ``structure`` None: of the plan.
    """
    if not rows:
        return None
    readers = list(dict.fromkeys(str(r["reader"]) for r in rows))
    tables = [_scores(rows, readers), _decisions(rows)]
    scale = ", ".join(f"{score} {word}" for score, word in SCORES.items())
    words = f"By {counted(len(readers), 'reader')}; {scale}."
    return Block("reviews", "Readers' review", (words,), tables=tuple(t for t in tables if t is not None))


def _scores(rows: Sequence[Mapping[str, Any]], readers: Sequence[str]) -> Table | None:
    scored = [r for r in rows if r["structure"] and r["score"]]
    if not scored:
        return None
    names = sorted(dict.fromkeys(str(r["structure"]) for r in scored))
    found = {(str(r["structure"]), str(r["reader"])): r for r in scored}
    return Table(
        caption="Scores of the structures.",
        head=("Structure", *readers),
        rows=tuple(
            row(Cell(name, "strong"), *(_score(found.get((name, reader))) for reader in readers))
            for name in names
        ),
        widths=(2.0, *([2.0] * len(readers))),
    )


def _score(said: Mapping[str, Any] | None) -> Cell:
    if said is None:
        return Cell("–", "quiet")
    parts = [f"{said['score']} {SCORES.get(said['score'], '')}", said.get("kind"), said.get("remark")]
    return Cell("; ".join(str(part) for part in parts if part), "bad" if said["score"] == 1 else "")


def _decisions(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    decided = [r for r in rows if r.get("decision")]
    if not decided:
        return None
    return Table(
        caption="Decisions on the plan.",
        head=("Reader", "Decision", "Remark", "When"),
        rows=tuple(
            row(
                Cell(str(r["reader"]), "strong"),
                Cell(str(r["decision"]), "bad" if r["decision"] == "not acceptable" else ""),
                str(r.get("remark") or "–"),
                str(r["time"]),
            )
            for r in decided
        ),
        widths=(1.2, 1.6, 3.0, 1.6),
    )
