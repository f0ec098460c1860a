"""rtplan deidentify: a folder of DICOM without what names a person."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from rtplan.cli.options import AsJson, Quiet, print_json


def command(
    given: Path = typer.Argument(..., metavar="IN", help="Folder of DICOM, of one or many patients."),
    out: Path = typer.Option(..., "--out", help="New folder; appears whole or not at all."),
    key: Path | None = typer.Option(
        None, "--key", help="File with a secret (16 bytes or more): the same pseudonyms, UIDs and days again."
    ),
    names: Path | None = typer.Option(
        None, "--names", help="TOML map of structure names; its names are kept."
    ),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Take out what names a person: DICOM PS3.15 Basic Profile, Clean Descriptors, Modified Dates.

    UIDs change alike in all objects, so they still link; dates move by one number of days for each patient.
    Without --key the secret is random and forgotten. Objects with text in their pixels are left out and said.

    Example: rtplan deidentify patient --out shared_patient
    """
    from rtplan.io.deidentify import deidentify, read_key

    secret = read_key(key) if key else None
    with _bar(quiet or as_json) as tell:
        done = deidentify(given, out, key=secret, names=names, progress=tell)
    if as_json:
        print_json([], done.notices, outputs=[str(path) for path in done.paths], patients=done.people)
        return
    for notice in done.notices:
        where = f" Where: {notice.file}." if notice.file else ""
        typer.echo(f"{notice.severity} {notice.code}: {notice.message}{where}", err=True)
    typer.echo(f"Objects: {len(done.paths)}; patients: {done.people}; folder: {out}")


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Show how many objects are done, on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    if quiet or not sys.stderr.isatty():
        yield None
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("objects")
        yield lambda count, all_: bar.update(task, completed=count, total=all_)
