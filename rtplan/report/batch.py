"""The content of a batch's page: who failed and why, how the findings are spread, what it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from rtplan.evaluation.batch_state import BatchPatient, BatchState
from rtplan.evaluation.spread import Spread
from rtplan.report.assemble import WARNING
from rtplan.report.batch_plots import parts_picture, spread_picture
from rtplan.report.content import Block, Cell, Content, Fact, Table, row
from rtplan.report.facts import settings_words
from rtplan.report.words import counted, listed, number

FOOTER = "Made by rtplan. Every patient's findings stand in cohort.parquet, his state in batch.sqlite."
#: So many failed patients are listed; the others are counted.
LISTED = 200


def batch_content(state: BatchState, found: Sequence[Spread]) -> Content:
    """Return the content of a batch's page.

    Parameters
    ----------
    state : BatchState
        As the manifest says.
    found : sequence of Spread
        How each finding is spread over the finished patients.

    Returns
    -------
    Content
        For `rtplan.report.page`.
    """
    blocks = (
        _failures(state.of("failed")),
        _goals(found),
        _spreads(found),
        _times(state.of("done")),
        Block("asked", "What was asked", (f"{settings_words(state.settings)}.",)),
    )
    return Content(
        title=f"A batch of {counted(len(state.patients), 'patient')}",
        subtitle=f"Protocol {state.settings.get('protocol', '')} · rtplan {state.rtplan_version}",
        warning=WARNING,
        lead=_lead(state),
        facts=_facts(state),
        glance=None,
        blocks=blocks,
        footer=FOOTER,
    )


def _lead(state: BatchState) -> str:
    counts, total = state.counts, len(state.patients)
    left = counts["waiting"] + counts["running"]
    said = f"{counts['done']} of {counted(total, 'patient')} are finished"
    said += f", {counts['failed']} failed" if counts["failed"] else " and none failed"
    return said + (f"; {left} are not run yet." if left else ".")


def _facts(state: BatchState) -> tuple[Fact, ...]:
    done = state.of("done")
    failed = state.of("failed")
    again = sum(patient.attempts > 1 for patient in state.patients)
    facts = [Fact("Failed", _reasons(failed) if failed else "None.", "bad" if failed else "")]
    if again:
        facts.append(Fact("Begun again", f"{counted(again, 'patient')}, because a machine failed."))
    seconds = [p.seconds for p in done if p.seconds is not None]
    peaks = [p.peak_mib for p in done if p.peak_mib is not None]
    if seconds:
        text = f"{number(float(np.median(seconds)))} s in the middle, {number(max(seconds))} s at most"
        facts.append(Fact("Time of a patient", f"{text}; {number(sum(seconds) / 3600.0, 2)} h together."))
    if peaks:
        facts.append(Fact("Memory of a patient", f"{max(peaks):.0f} MiB at most."))
    return tuple(facts)


def _reasons(failed: Sequence[BatchPatient]) -> str:
    found = Counter(patient.reason or "No reason given." for patient in failed).most_common(3)
    return listed(f"{count} × “{reason.rstrip('.')}”" for reason, count in found) + "."


def _failures(failed: Sequence[BatchPatient]) -> Block:
    title = "Who failed, and why"
    if not failed:
        return Block("failed", title, ("Nobody.",))
    rows = [
        row(
            Cell(str(patient.number), "strong"),
            patient.key or "–",
            Cell(patient.reason or "–", "bad"),
            "a machine" if patient.fault == "infrastructure" else "the patient's data",
            str(patient.attempts),
        )
        for patient in failed[:LISTED]
    ]
    rest = len(failed) - LISTED
    table = Table(
        caption="The number is the place in the list or folder. --resume tries them again.",
        head=("Number", "Key", "Reason", "Lies with", "Begun"),
        rows=tuple(rows),
        widths=(0.7, 1.3, 5.0, 1.5, 0.7),
        numeric=(4,),
        notes=(f"{rest} more are in batch.sqlite.",) if rest > 0 else (),
    )
    return Block("failed", title, tables=(table,))


def _goals(found: Sequence[Spread]) -> Block:
    title = "Goals over the cohort"
    goals = [s for s in found if s.limit and s.quantity == "value"]
    if not goals:
        return Block("goals", title, ("No goal of the protocol was evaluated.",))
    rows = [
        row(
            Cell(f"{s.structure} {s.metric}", "strong"),
            s.arm or "–",
            s.limit,
            str(s.values.size),
            Cell(str(s.missed), "bad" if s.missed else "") if s.judged else "–",
            str(s.absent),
            *_cells(s),
        )
        for s in goals
    ]
    table = Table(
        caption="How many patients miss each goal; where no verdict was given (a plan is judged on the "
        "image that it was made on, by verified goals), the values alone.",
        head=("Goal", "Arm", "Limit", "n", "missed", "not evaluable", "median", "quartiles"),
        rows=tuple(rows),
        widths=(2.4, 1.1, 1.0, 0.5, 0.7, 0.9, 1.0, 1.7),
        numeric=(3, 4, 5, 6),
    )
    return Block("goals", title, tables=(table,))


def _spreads(found: Sequence[Spread]) -> Block:
    title = "Differences between the arms"
    changes = [s for s in found if s.quantity == "difference" and s.values.size]
    if not changes:
        return Block("differences", title, ("No two arms could be compared.",))
    rows = [
        row(
            Cell(" ".join(part for part in (s.structure, s.metric) if part), "strong"),
            s.arm,
            str(s.values.size),
            *_cells(s),
            f"{_value(float(s.values[0]), s.unit)} to {_value(float(s.values[-1]), s.unit)}",
        )
        for s in changes
    ]
    table = Table(
        caption="Arm minus reference, over the finished patients; each in the unit of its metric.",
        head=("Finding", "Arm", "n", "median", "quartiles", "extremes"),
        rows=tuple(rows),
        widths=(2.6, 1.1, 0.5, 1.0, 1.7, 1.7),
        numeric=(2, 3),
    )
    pictures = tuple(p for p in (spread_picture(changes),) if p is not None)
    return Block("differences", title, pictures=pictures, tables=(table,))


def _cells(s: Spread) -> tuple[str, str]:
    if s.quartiles is None:
        return "–", "–"
    low, middle, high = (_value(part, s.unit) for part in s.quartiles)
    return middle, f"{low} to {high}"


def _value(value: float, unit: str) -> str:
    shown = 100.0 * value if unit == "1" else value
    decimals = 1 if unit == "HU" else 2
    return f"{number(shown, decimals)}{' pp' if unit == '1' else f' {unit}' if unit else ''}"


def _times(done: Sequence[BatchPatient]) -> Block:
    title = "What it took"
    parts = list(dict.fromkeys(name for patient in done for name in patient.parts))
    taken = {name: np.array([p.parts[name] for p in done if name in p.parts]) for name in parts}
    if not taken:
        return Block("times", title, ("No patient was timed.",))
    total = sum(float(seconds.sum()) for seconds in taken.values())
    rows = [
        row(
            Cell(name, "strong"),
            str(seconds.size),
            number(float(np.median(seconds)), 2),
            number(float(seconds.max()), 2),
            f"{100.0 * float(seconds.sum()) / total:.0f} %",
        )
        for name, seconds in taken.items()
    ]
    table = Table(
        caption="Seconds of each part over the finished patients, on one thread each.",
        head=("Part", "n", "median [s]", "largest [s]", "share"),
        rows=tuple(rows),
        widths=(2.5, 0.6, 1.0, 1.0, 0.8),
        numeric=(1, 2, 3, 4),
    )
    return Block("times", title, pictures=(parts_picture(taken),), tables=(table,))
