"""rtplan names: a draft map of a clinic's structure names to TG-263."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtplan.cli.options import AsJson, print_json


def command(
    folder: Annotated[Path, typer.Argument(help="Folder of DICOM files, at any depth, or one RTSTRUCT.")],
    names: Annotated[Path | None, typer.Option(help="A map that is there already (TOML).")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="New TOML file; else it is printed.")] = None,
    as_json: AsJson = False,
) -> None:
    """Draft a map of names to TG-263. Targets are never guessed; what is not sure stands behind a #.

    Correct the draft and give it to other commands by --names.

    Example: rtplan names patient/ --out names.toml
    """
    from rtplan.errors import OutputError
    from rtplan.io.names import load
    from rtplan.io.names_draft import draft, toml_of

    if out is not None and out.exists():
        raise OutputError("The file is there already.", where=str(out), action="choose another --out.")
    lines, notices = draft(folder, load(names))
    if out is not None:
        out.write_text(toml_of(lines), encoding="utf-8")
    if as_json:
        print_json([], notices, names=[line.as_dict() for line in lines])
        return
    if out is None:
        typer.echo(toml_of(lines), nl=False)
    else:
        counts = {status: sum(line.status == status for line in lines) for status in _SAID}
        said = ", ".join(f"{counts[status]} {words}" for status, words in _SAID.items() if counts[status])
        typer.echo(f"{out}: {said}")
    for notice in notices:
        typer.echo(f"{notice.severity}: {notice.message} Where: {notice.file}.", err=True)


#: Words for what a draft says of a name.
_SAID = {
    "mapped": "mapped",
    "double": "of which several mean the same",
    "target": "targets to name",
    "unknown": "not known",
}
