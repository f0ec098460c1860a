"""How two results are shown beside each other: causes, changed findings, notices, and one sentence."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from rtplan.domain import Finding
from rtplan.evaluation.comparison import Comparison, FactChange, FindingChange

#: Rows of each table that are printed without --all.
MOST_ROWS = 25
#: Metrics that are named of a structure which one result alone has.
MOST_NAMES = 4
#: Characters of a value that are printed.
LONGEST = 48


def print_comparison(
    found: Comparison, before: Path, after: Path, *, every: bool = False, console: Console | None = None
) -> None:
    """Print what changed from ``before`` (A) to ``after`` (B); the gravest first."""
    console = console or Console()
    console.print(f"A: {before}\nB: {after}", markup=False, highlight=False, soft_wrap=True)
    most = None if every else MOST_ROWS
    both = tuple(change for change in found.findings if change.kind not in ("new", "lost"))
    if found.facts:
        console.print(_facts(found.facts[:most]))
        _rest(console, len(found.facts), most)
    if both:
        rows = _of_cohort(both) if found.many else _of_run(both)
        console.print(_findings(rows[:most], found.many))
        _rest(console, len(rows), most)
    for kind, side in (("lost", "A"), ("new", "B")):
        for line in _alone([c.about for c in found.findings if c.kind == kind]):
            console.print(f"Only in {side}: {line}", markup=False, highlight=False)
    for (notice, kind), times in list(Counter((c.notice, c.kind) for c in found.notices).items())[:most]:
        named = f" {notice.structure}" if notice.structure else ""
        often = f"{times} × " if times > 1 else ""
        text = (
            f"Notice only in {'B' if kind == 'new' else 'A'}: {often}{notice.code}{named}: {notice.message}"
        )
        console.print(text, markup=False, highlight=False)
    console.print("\n" + sentence(found), markup=False, highlight=False)


def _alone(findings: list[Finding]) -> list[str]:
    """Return one line per structure of findings that one result alone has."""
    metrics: dict[str, dict[str, None]] = {}
    counts = Counter(finding.structure or "no structure" for finding in findings)
    for finding in findings:
        metrics.setdefault(finding.structure or "no structure", {})[_metric(finding)] = None
    return [
        f"{counts[name]} findings of {name} ({', '.join(list(held)[:MOST_NAMES])}"
        f"{f' and {len(held) - MOST_NAMES} more metrics' if len(held) > MOST_NAMES else ''})"
        for name, held in metrics.items()
    ]


def sentence(found: Comparison) -> str:
    """Return the result in one sentence.

    Examples
    --------
    >>> sentence(Comparison((), (), (), 12))
    'The results are the same: 12 findings within tolerance. What led to them is the same too.'
    """
    causes = len(found.facts)
    led = f"{causes} {'thing' if causes == 1 else 'things'} that led to them changed."
    if found.same_results:
        led = led if causes else "What led to them is the same too."
        return f"The results are the same: {found.compared} findings within tolerance. {led}"
    counts = found.counts()
    said = [_counted(kind, n) for kind, n in {**counts, "notices": len(found.notices)}.items() if n]
    changed = sum(counts[kind] for kind in ("verdict", "value", "other"))
    return (
        f"The results differ: {', '.join(said)}; {found.compared - changed} findings are the same within "
        f"tolerance. {led if causes else 'What led to them is the same.'}"
    )


_COUNTED = {
    "verdict": ("verdict changed", "verdicts changed"),
    "lost": ("finding only in A", "findings only in A"),
    "new": ("finding only in B", "findings only in B"),
    "value": ("value changed", "values changed"),
    "other": ("finding with another limit, unit or reason", "findings with another limit, unit or reason"),
    "notices": ("notice in one alone", "notices in one alone"),
}


def _counted(kind: str, n: int) -> str:
    return f"{n} {_COUNTED[kind][n != 1]}"


def _rest(console: Console, count: int, most: int | None) -> None:
    if most is not None and count > most:
        console.print(f"… and {count - most} more (--all)", style="dim")


def _facts(changes: tuple[FactChange, ...]) -> Table:
    table = Table(title="What led to the results", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "what", "A", "B"):
        table.add_column(heading, overflow="fold")
    last = ""
    for change in changes:
        section = change.section if change.section != last else ""
        last = change.section
        table.add_row(section, _plain(change.name), _value(change.before), _value(change.after))
    return table


def _findings(rows: list[list[str]], many: bool) -> Table:
    table = Table(title="Findings", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    numbers = ("patients", "mean change", "largest change") if many else ("A", "B", "change")
    for heading in ("arm", "structure", "metric", *numbers, "what"):
        table.add_column(heading, overflow="fold", justify="right" if heading in numbers else "left")
    for row in rows:
        table.add_row(*(_plain(cell) for cell in row))
    return table


def _of_run(changes: tuple[FindingChange, ...]) -> list[list[str]]:
    """Return a row for each change: what it is about, before, after, change, what it means."""
    return [
        [*_about(c.about), _number(c.before), _number(c.after), _amount(c.change, c.about.unit), _what(c)]
        for c in changes
    ]


def _of_cohort(changes: tuple[FindingChange, ...]) -> list[list[str]]:
    """Return a row for each metric of an arm: patients, mean and largest change, what it means."""
    groups: dict[tuple[str, str, str], list[FindingChange]] = {}
    for change in changes:
        groups.setdefault(_about(change.about), []).append(change)
    rows = []
    for about, group in groups.items():
        moved = [c.change for c in group if c.change is not None]
        unit = group[0].about.unit
        mean = sum(moved) / len(moved) if moved else None
        largest = max(moved, key=abs, default=None)
        rows.append([*about, str(len(group)), _amount(mean, unit), _amount(largest, unit), _what(group[0])])
    return rows


def _about(finding: Finding) -> tuple[str, str, str]:
    arm = finding.arm or ""
    if finding.quantity == "difference":
        arm = f"{arm} − {finding.reference_arm or 'reference'}"
    return arm, finding.structure or "", _metric(finding)


def _metric(finding: Finding) -> str:
    return f"{finding.metric} {finding.model}" if finding.model else finding.metric


def _number(finding: Finding | None) -> str:
    if finding is None or finding.value is None:
        return "n.e."
    return f"{finding.value:.5g}".replace("-", "−")


def _amount(change: float | None, unit: str) -> str:
    if change is None:
        return ""
    return f"{change:+.3g}{'' if unit == '1' else f' {unit}'}".replace("-", "−")


def _what(change: FindingChange) -> str:
    if change.kind == "verdict" and change.before and change.after:
        return f"{change.before.verdict} → {change.after.verdict}".replace("_", " ")
    if change.kind == "other":
        return "limit, unit or reason"
    times = f"{change.size:.0f}" if change.size >= 10.0 else f"{change.size:.1f}"
    return f"{times} × tolerance" if change.change else "interval alone"


def _value(value: Any) -> str:
    if value is None:
        return "–"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _plain(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")


def _plain(text: str) -> str:
    """Return a text that rich prints as it is."""
    return text.replace("[", r"\[")
