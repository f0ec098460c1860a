"""How a batch is printed: counts, how fast it goes, who runs where, who failed and why."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from rich.console import Console
from rich.table import Table

from rtplan.evaluation.batch_state import BatchPatient, BatchState

#: So many rows of one kind are shown.
SHOWN = 20


def print_batch(state: BatchState, console: Console | None = None) -> None:
    """Print a batch in a screenful."""
    console = console or Console()
    console.print(_counts(state))
    pace = _pace(state)
    if pace:
        console.print(pace)
    if state.running and state.dashboard:
        console.print(f"Dashboard: {state.dashboard}", markup=False, soft_wrap=True)
    if state.of("running"):
        console.print(_running(state.of("running")))
    if state.of("failed"):
        console.print(_failed(state.of("failed")))
    if not state.running and (state.of("waiting") or state.of("running")):
        console.print("No process runs this batch now; --resume goes on.")


def _counts(state: BatchState) -> Table:
    table = Table(title=f"Batch of {len(state.patients)} patients", title_justify="left")
    for name in state.counts:
        table.add_column(name, justify="right")
    table.add_row(*(str(count) for count in state.counts.values()))
    return table


def _pace(state: BatchState) -> str:
    """Return seconds per patient, and how long those who wait will take at the pace of this start."""
    taken = [p.seconds for p in state.of("done") if p.seconds is not None]
    if not taken:
        return ""
    said = f"Median {float(np.median(taken)):.1f} s a patient"
    ended = [p for p in state.patients if p.finished and p.finished >= state.began and p.state != "running"]
    left = state.counts["waiting"] + state.counts["running"]
    if state.running and ended and left:
        passed = (datetime.now(UTC) - datetime.fromisoformat(state.began)).total_seconds()
        hours = passed / len(ended) * left / 3600.0
        said += f"; {3600.0 * len(ended) / passed:.0f} patients an hour, about {_words(hours)} to go"
    return said + "."


def _words(hours: float) -> str:
    return f"{60.0 * hours:.0f} min" if hours < 2.0 else f"{hours:.1f} h"


def _running(patients: tuple[BatchPatient, ...]) -> Table:
    table = Table(title="Sent to workers", title_justify="left")
    for name in ("number", "key", "attempt", "since"):
        table.add_column(name)
    for patient in patients[:SHOWN]:
        since = "" if patient.started is None else patient.started[11:19]
        table.add_row(str(patient.number), patient.key, str(patient.attempts), since)
    return table


def _failed(patients: tuple[BatchPatient, ...]) -> Table:
    table = Table(title="Failed", title_justify="left")
    for name in ("number", "key", "attempts", "reason"):
        table.add_column(name)
    for patient in patients[:SHOWN]:
        table.add_row(str(patient.number), patient.key or "–", str(patient.attempts), patient.reason or "")
    if len(patients) > SHOWN:
        table.add_row("…", "", "", f"{len(patients) - SHOWN} more (--json)")
    return table
