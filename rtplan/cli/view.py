"""rtplan view: look at a finished run in a browser on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that rtplan run or rtplan demo wrote.")],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> int:
    """Look at images, structures, doses, DVHs and findings of a finished run; nothing is changed.

    Example: rtplan view out/demo
    """
    import webbrowser

    from rtplan.cli import INTERRUPTED
    from rtplan.service.view import serve

    with serve(out, port=port) as server:
        try:
            typer.echo(f"View at {server.url}")
            typer.echo("This address is a key: it is for this machine and for you. Ctrl-C stops.", err=True)
            if not no_browser:
                webbrowser.open(server.url)
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            typer.echo("Stopped.", err=True)
    return INTERRUPTED
