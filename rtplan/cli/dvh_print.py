"""How `rtplan dvh` prints findings: one block per structure, in 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rtplan.domain import Finding, Notice

WIDTH = 80
#: Steps whose findings have a table of their own.
SURFACE, CHECKED = "dvh surface", "dvh cross-check"


def show(findings: Sequence[Finding], notices: Sequence[Notice], stated: Mapping[str, object]) -> None:
    """Print the settings, then every structure's findings; notices go to stderr."""
    for notice in notices:
        subject = f"{notice.structure}: " if notice.structure else ""
        _wrapped(f"{notice.severity}: {subject}{notice.message}", err=True)
    _wrapped(
        f"Dose interpolation {stated['interpolation']}, end caps {stated['caps']}. ± is the error bound "
        "(sampling), caps the change under another end-cap policy."
    )
    by_structure: dict[str, list[Finding]] = {}
    for finding in findings:
        by_structure.setdefault(finding.structure or "", []).append(finding)
    for name, own in by_structure.items():
        typer.echo("")
        _structure(name, own)


def _structure(name: str, own: Sequence[Finding]) -> None:
    covered = {f.covered_fraction for f in own if f.covered_fraction is not None} - {1.0}
    outside = f"  ({100 * (1 - min(covered)):.2f} % outside the dose grid)" if covered else ""
    typer.echo(f"{name}{outside}" if min(covered, default=1.0) < 1.0 - 1e-6 else name)
    reasons: dict[str, list[str]] = {}
    for finding in own:
        if finding.step in (SURFACE, CHECKED):
            continue
        if finding.value is not None:
            _metric(finding, finding.value)
        else:
            goal = f" ({finding.limit})" if finding.limit else ""
            reasons.setdefault(finding.reason or "", []).append(finding.metric + goal)
    for reason, metrics in reasons.items():
        _wrapped(f"not evaluable: {', '.join(metrics)}: {reason}", indent=2)
    _surface([f for f in own if f.step == SURFACE])
    _beside([f for f in own if f.step == CHECKED])


def _metric(finding: Finding, value: float) -> None:
    unit = "" if finding.unit == "1" else finding.unit
    line = f"  {finding.metric:22}{value:10.3f} {unit:3}"
    if "prescription_gy" in finding.detail:
        line += f"for {finding.detail['prescription_gy']:g} Gy"
    if finding.error_bound is not None:
        line += f"± {finding.error_bound:.3f}".ljust(9)
        line += f"caps {finding.cap_bound or 0.0:.3f}".ljust(13)
    typer.echo((line + _goal(finding)).rstrip())


def _goal(finding: Finding) -> str:
    if not finding.limit:
        return ""
    if finding.verified is False:
        return f"{finding.limit} ({finding.detail.get('would_be', 'none')}?) *".replace("_", " ")
    wish = f", wish {finding.wish}" if finding.wish and finding.verdict == "met" else ""
    return f"{finding.limit} {finding.verdict}{wish}".replace("_", " ")


def _surface(rows: Sequence[Finding]) -> None:
    if not rows:
        return
    first = rows[0]
    if first.value is None:
        _wrapped(f"surface not evaluable: {first.reason}", indent=2)
        return
    levels = rows[1:]
    size = ""
    if levels:
        size = f": {levels[0].detail['wall_cm2']:.1f} cm², {levels[0].detail['length_mm']:.1f} mm long"
    typer.echo(f"  surface{size}, mean {first.value:.2f} Gy. Largest cluster by level:")
    typer.echo("      level    area    lateral          along           centre s    theta")
    typer.echo("         Gy       %    deg      mm       mm      %       mm      %      deg")
    for row in levels:
        assert row.value is not None
        d = row.detail
        centre = f"{'–':>9}{'–':>7}{'–':>9}"
        if d["centroid_s_mm"] is not None:
            share = 100 * d["centroid_s_share"]
            centre = f"{d['centroid_s_mm']:9.1f}{share:7.1f}{d['centroid_theta_deg']:9.1f}"
        typer.echo(
            f"  {d['level_gy']:9.2f}{row.value:8.2f}{d['lateral_deg']:7.0f}{d['lateral_mm']:8.1f}"
            f"{d['longitudinal_mm']:9.1f}{d['longitudinal_percent']:7.1f}{centre}"
        )


def _beside(rows: Sequence[Finding]) -> None:
    """Print ours, the other program's, and their difference."""
    if not rows:
        return
    ours = {f.metric: f for f in rows if f.source is None}
    theirs = {f.metric: f for f in rows if f.source is not None}
    source = next(iter(theirs.values())).source
    typer.echo(f"  {'cross-check':22}{'rtplan':>10}    {source:>15} {'difference':>12}")
    for metric, own in ours.items():
        other = theirs[metric]
        cells = [f"{'–':>10}" if f.value is None else f"{f.value:10.3f}" for f in (own, other)]
        change = (
            f"{other.value - own.value:12.3f}" if own.value is not None and other.value is not None else ""
        )
        typer.echo(f"  {metric:22}{cells[0]} {own.unit:3}{cells[1]:>15} {change}".rstrip())
    failed = next((f.reason for f in theirs.values() if f.reason), None)
    if failed:
        _wrapped(failed, indent=2)


def _wrapped(text: str, indent: int = 0, *, err: bool = False) -> None:
    pad = " " * indent
    typer.echo(
        textwrap.fill(text, WIDTH, initial_indent=pad, subsequent_indent=pad + "  ", break_on_hyphens=False),
        err=err,
    )
