"""rtplan review: readers score the structures and the plan of a finished run in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that rtplan run or rtplan demo wrote.")],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    reader: Annotated[str, typer.Option("--reader", help="Your label as reader, such as A.")] = "",
) -> int:
    """Score the structures of a finished run (Likert 1–4) and judge its plan, in a browser on this machine.

    Example: rtplan review out/demo --reader A
    """
    import webbrowser

    from rtplan.case.review import read
    from rtplan.cli import DONE, INTERRUPTED
    from rtplan.service.review import serve

    code = DONE
    with serve(out, port=port, reader=reader) as server:
        try:
            typer.echo(f"Review at {server.url}")
            typer.echo("This address is a key: it is for this machine and for you. Ctrl-C stops.", err=True)
            if not no_browser:
                webbrowser.open(server.url)
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            code = INTERRUPTED
    kept = read(out)
    count = len(kept.reviews) if kept else 0
    typer.echo(
        f"Stopped. {count} {'reader has' if count == 1 else 'readers have'} a review in {out}.", err=True
    )
    return code
