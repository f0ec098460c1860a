"""rtplan serve: the DICOM node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtplan.cli.options import Quiet
from rtplan.errors import UnknownName


def command(
    config: Annotated[Path, typer.Option("--config", help="The node's configuration (TOML).")],
    check: Annotated[
        bool, typer.Option("--check", help="Read the configuration, show it, and stop.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Run a DICOM node: receive studies, run pipelines by rules, send the results.

    Example: rtplan serve --config node.toml
    """
    import signal
    import threading

    _demand_extra()
    from rtplan.cli.serve_print import checked, print_node
    from rtplan.service.node.config import load_config
    from rtplan.service.node.node import Node

    settings = load_config(config)
    if check:
        checked(settings)
        print_node(settings, None)
        return
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    node = Node(settings, quiet=quiet)
    threading.excepthook = lambda failed: node.journal.log("thread failed", what=failed.exc_type.__name__)
    node.start()
    print_node(settings, node)
    stop.wait()
    node.stop()


def _demand_extra() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("pynetdicom", "dicomweb_client") if find_spec(name) is None]
    if missing:
        raise UnknownName(f"{missing[0]} is not installed.", action="pip install 'rtplan[serve]'.")
