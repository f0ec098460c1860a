"""rtplan check: what a folder holds, how it links, and what is wrong with it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rtplan.cli import DONE, REFUSED

if TYPE_CHECKING:
    from rtplan.io.preflight import Preflight

_COLOURS = {"refuse": "bold red", "warn": "yellow", "info": "dim"}


def command(
    folder: Path = typer.Argument(..., help="Folder of DICOM files, at any depth."),
    names: Path | None = typer.Option(None, "--names", help="Map of clinic names to TG-263 (TOML)."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    quiet: bool = typer.Option(False, "--quiet", help="No progress."),
) -> int:
    """Look at a folder before it is used: patients (by pseudonym), series, RT objects, links, problems.

    Exit code 0: usable. 1: refused.

    Example: rtplan check ../shared/data/sts/dicom/STS_040
    """
    look = _look(folder, names, quiet=quiet or as_json)
    if as_json:
        typer.echo(json.dumps(look.as_dict(), indent=2))
    else:
        _show(look)
    return DONE if look.usable else REFUSED


def _look(folder: Path, names: Path | None, *, quiet: bool) -> Preflight:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    from rtplan.io.preflight import preflight

    if quiet or not sys.stderr.isatty():
        return preflight(folder, names=names)
    columns = (SpinnerColumn(), TextColumn("{task.completed} files"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("headers")
        return preflight(folder, names=names, progress=lambda count: bar.update(task, completed=count))


def _show(look: Preflight) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(title=escape(str(look.folder)), title_justify="left")
    for heading in ("patient", "kind", "used as", "what", "files", "geometry"):
        table.add_column(heading, overflow="fold")
    for row in look.rows:
        cells = (row.patient, row.kind, row.role, row.description, str(row.count), row.geometry)
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)
    for notice in look.notices:
        colour = _COLOURS[notice.severity]
        subject = f" [{notice.structure}]" if notice.structure else ""
        console.print(
            f"[{colour}]{notice.severity:6} {notice.code}[/]{escape(subject)} {escape(notice.message)}"
        )
        where = f"Where: {notice.file}. " if notice.file and notice.severity != "info" else ""
        advice = f"What to do: {notice.action}" if notice.action else ""
        if where or advice:
            console.print(f"       {escape(where + advice)}", style="dim", soft_wrap=True)
    console.print("[green]usable[/]" if look.usable else "[bold red]refused[/]")
