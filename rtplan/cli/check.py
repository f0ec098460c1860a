"""rtplan check: what a folder holds, how it links, and what is wrong with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtplan.cli import DONE, REFUSED
from rtplan.cli.options import AsJson, Quiet, Series

if TYPE_CHECKING:
    from rich.console import Console

    from rtplan.domain import Notice
    from rtplan.io.look import Row
    from rtplan.io.preflight import Preflight

_COLOURS = {"refuse": "bold red", "warn": "yellow", "info": "cyan"}
#: What the objects of a kind hold; others hold files.
_HOLDS = {"RTSTRUCT": "structure", "RTPLAN": "beam", "REG": "transform"}
#: So many notices of one code are told one by one; more are told together, with so many of their subjects.
_ONE_BY_ONE, _SUBJECTS = 2, 8


def command(
    folder: Annotated[Path, typer.Argument(help="Folder of DICOM files, at any depth.")],
    names: Annotated[Path | None, typer.Option(help="Map of clinic names to TG-263 (TOML).")] = None,
    series: Series = None,
    headers_only: Annotated[bool, typer.Option("--headers-only", help="Read no pixels.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Look at a folder before it is used: patients (by pseudonym), series, RT objects, links, problems.

    Exit code 0: usable. 1: refused.

    Example: rtplan check PATIENT_FOLDER
    """
    look = _look(folder, names, tuple(series or ()), pixels=not headers_only, quiet=quiet or as_json)
    if as_json:
        typer.echo(json.dumps(look.as_dict(), indent=2))
    else:
        _show(look)
    return DONE if look.usable else REFUSED


def _look(
    folder: Path, names: Path | None, series: tuple[str, ...], *, pixels: bool, quiet: bool
) -> Preflight:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from rtplan.io.preflight import preflight

    if quiet or not sys.stderr.isatty():
        return preflight(folder, names=names, series=series, pixels=pixels)
    columns = (TextColumn("headers"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("headers", total=None)
        return preflight(
            folder,
            names=names,
            series=series,
            pixels=pixels,
            progress=lambda count, total: bar.update(task, completed=count, total=total),
        )


def _show(look: Preflight) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    console.print(escape(str(look.folder)), style="bold", soft_wrap=True)
    numbers = {id(row): number for number, row in enumerate(look.rows, start=1)}
    for person in dict.fromkeys(row.patient for row in look.rows):
        rows = [row for row in look.rows if row.patient == person]
        _patient(console, person, rows, numbers)
    for group in _grouped(look.notices):
        _notice(console, group)
    counts = {word: sum(n.severity == word for n in look.notices) for word in _COLOURS}
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "nothing to say"
    verdict = "[green]usable[/]" if look.usable else "[bold red]refused[/]"
    console.print(f"{verdict} ({said})")


def _patient(console: Console, person: str, rows: Sequence[Row], numbers: dict[int, int]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    studies = list(dict.fromkeys(row.study for row in rows))
    console.print(f"patient {person}, {_count(len(studies), 'study', 'studies')}")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    headings = (
        "#",
        *(("study",) if len(studies) > 1 else ()),
        "kind",
        "used as",
        "holds",
        "what",
        "refers to",
    )
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading in ("#", "kind", "used as", "holds"))
    for row in rows:
        what = "\n".join(part for part in (row.description, row.geometry) if part)
        study = (str(studies.index(row.study) + 1),) if len(studies) > 1 else ()
        holds = _count(row.count, _HOLDS.get(row.kind, "file"))
        links = ", ".join(_links(row, rows, numbers))
        cells = (str(numbers[id(row)]), *study, row.kind, row.role, holds, what, links)
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)


def _links(row: Row, rows: Sequence[Row], numbers: dict[int, int]) -> list[str]:
    """Return what a row refers to by the numbers of the table."""
    series = {other.uid: numbers[id(other)] for other in rows}
    objects = {other.sop_uid: numbers[id(other)] for other in rows}
    frames = list(dict.fromkeys(link for other in rows for link in other.links if link.startswith("frame ")))
    found = []
    for link in row.links:
        word, _, uid = link.rpartition(" ")
        if word == "frame":
            found += [f"frame {frames.index(link) + 1}"] if len(frames) > 1 else []
        elif word in ("series", "structure set", "plan"):
            number = series.get(uid) if word == "series" else objects.get(uid)
            found.append(f"#{number}" if number else f"{word} not here")
        else:  # a registration: from one frame to another
            ends = [f"frame {uid}" for uid in link.split(" to ")]
            found.append(" to ".join(f"{frames.index(e) + 1}" if e in frames else "elsewhere" for e in ends))
    return list(dict.fromkeys(found))


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one}" if number == 1 else f"{number} {many or one + 's'}"


def _grouped(notices: Iterable[Notice]) -> list[list[Notice]]:
    """Return notices, those of one code and severity together where there are many."""
    groups: dict[tuple[str, str], list[Notice]] = {}
    for notice in notices:
        groups.setdefault((notice.severity, notice.code), []).append(notice)
    told: list[list[Notice]] = []
    for group in groups.values():
        told += [group] if len(group) > _ONE_BY_ONE else [[notice] for notice in group]
    return told


def _notice(console: Console, group: Sequence[Notice]) -> None:
    from rich.markup import escape
    from rich.padding import Padding

    first = group[0]
    times = f" ({len(group)} times)" if len(group) > 1 else ""
    subject = f" {first.structure}" if first.structure and len(group) == 1 else ""
    console.print(f"[{_COLOURS[first.severity]}]{first.severity} {first.code}[/]{escape(subject)}{times}")
    message, action = (first.message, first.action) if len(group) == 1 else _together(group)
    console.print(Padding(escape(message), (0, 0, 0, 2)))
    if first.file and first.severity != "info":
        console.print(f"  in {escape(first.file)}", style="dim", soft_wrap=True)
    if action:
        console.print(Padding(f"→ {escape(action)}", (0, 0, 0, 2)))


def _together(group: Sequence[Notice]) -> tuple[str, str]:
    """Return one message and one action for notices of one code; where messages differ, each in a line."""
    from rtplan.io.codes import codes

    code = codes().get(group[0].code)
    meaning = code.meaning if code is not None else group[0].message
    differ = len({notice.message for notice in group}) > 1 and all(notice.structure for notice in group)
    lines = [notice.message for notice in group] if differ else [_subject(notice) for notice in group]
    lines = [line for line in dict.fromkeys(lines) if line]
    more = [f"and {len(lines) - _SUBJECTS} more (--json lists all)"] if len(lines) > _SUBJECTS else []
    if differ:
        return "\n".join((meaning, *(f"- {line}" for line in lines[:_SUBJECTS]), *more)), group[0].action
    return " ".join((meaning, ", ".join(lines[:_SUBJECTS]), *more)).strip(), group[0].action


def _subject(notice: Notice) -> str:
    return notice.structure or (Path(notice.file).name if notice.file else "")
