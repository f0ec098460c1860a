"""What the terminal shows when one patient is done: where the report is, risks, differences, problems."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from rtplan.domain import Finding, Patient

_MARKS = {"info": "·", "warn": "!", "refuse": "✗"}


def print_summary(patient: Patient, out: Path, console: Console | None = None) -> None:
    """Print the answer in a screenful; everything else stands in the report."""
    console = console or Console()
    risks: dict[tuple[str, str], list[Finding]] = {}
    for finding in patient.findings:
        if finding.metric in ("NTCP", "TCP"):
            risks.setdefault((finding.model or "", finding.structure or ""), []).append(finding)
    for (model, structure), findings in risks.items():
        console.print(_risks(" of ".join(part for part in (model, structure) if part), findings))
    goals = [
        f for f in patient.findings if f.limit and f.arm == _planned_on(patient) and f.quantity == "value"
    ]
    if goals:
        console.print(_goals(goals))
    for notice in patient.notices:
        if notice.severity != "info":
            named = f" {notice.structure}" if notice.structure else ""
            console.print(f"{_MARKS[notice.severity]} {notice.code}{named}: {notice.message}", markup=False)
            if notice.action:
                console.print(f"    {notice.action}", markup=False, style="dim")
    console.print(f"\nReport: {out / 'report.html'}", markup=False, soft_wrap=True)


def _planned_on(patient: Patient) -> str:
    return patient.plan.made_on if patient.plan else "CT"


def _risks(what: str, findings: list[Finding]) -> Table:
    table = Table(title=f"Predicted risk: {what}" if what else "Predicted risk", title_justify="left")
    references = [finding.reference_arm for finding in findings if finding.reference_arm]
    against = references[0] if references else "the reference"
    for heading in ("arm", "risk (95 % interval)", f"difference to {against}"):
        table.add_column(heading)
    rows: dict[str, dict[str, Finding]] = {}
    for finding in findings:
        rows.setdefault(finding.arm or "", {})[finding.quantity] = finding
    for arm, pair in rows.items():
        table.add_row(arm, _percent(pair.get("value")), _points(pair.get("difference")))
    return table


def _percent(finding: Finding | None) -> str:
    if finding is None:
        return ""
    if finding.value is None:
        return f"not evaluable: {finding.reason}"
    return f"{100 * finding.value:.2f} %" + _interval(finding, " %")


def _points(finding: Finding | None) -> str:
    if finding is None:
        return ""
    if finding.value is None:
        return f"not evaluable: {finding.reason}"
    return f"{100 * finding.value:+.2f} pp" + _interval(finding, " pp")


def _interval(finding: Finding, unit: str) -> str:
    if finding.interval95 is None:
        return ""
    low, high = (100 * bound for bound in finding.interval95)
    return f" ({low:.2f} to {high:.2f}{unit})"


def _goals(findings: list[Finding]) -> Table:
    table = Table(title=f"Goals on {findings[0].arm}", title_justify="left")
    for heading in ("structure", "metric", "limit", "value", "verdict"):
        table.add_column(heading)
    for finding in findings:
        value = "–" if finding.value is None else f"{finding.value:.2f} {finding.unit}"
        verdict = finding.verdict.replace("_", " ") + ("" if finding.verified else " (unverified)")
        table.add_row(finding.structure or "", finding.metric, finding.limit or "", value, verdict)
    return table
