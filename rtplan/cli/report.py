"""rtplan report: page and PDF of a finished case or study again, from its out folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtplan.cli.options import Pseudonyms


def command(
    out: Annotated[Path, typer.Argument(help="Folder that rtplan run, demo or study wrote.")],
    pseudonym: Pseudonyms = None,
) -> None:
    """Make report.html and report.pdf of a finished run or study again; nothing else is changed.

    Example: rtplan report out/demo
    """
    from rtplan.case.rendering import report_again

    for path in report_again(out, pseudonyms=pseudonym):
        typer.echo(str(path))
