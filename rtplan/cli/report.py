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
    from rtplan.errors import FormatError
    from rtplan.study.report import is_study, study_report

    if not is_study(out):
        made = report_again(out, pseudonyms=pseudonym)
    elif pseudonym is None:
        made = study_report(out)
    else:
        raise FormatError(
            "A study's report names no patient but by his key.",
            action="leave --pseudonym out; rtplan study takes it, and its keys become the pseudonyms.",
        )
    for path in made:
        typer.echo(str(path))
