"""Options that several sub-commands share, and how results are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rtplan.domain import Finding, Notice

Out = Annotated[Path, typer.Option("--out", help="Folder or file of the results.")]
Protocol = Annotated[str, typer.Option("--protocol", help="Name (see rtplan protocols) or TOML file.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:0, mps or auto.")]
Algorithm = Annotated[
    str, typer.Option("--algorithm", help="Of the arms' doses: pencil, or cone (bone, gas; slower).")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every draw.")]
Threads = Annotated[int, typer.Option("--threads", help="CPU threads; 0: all cores.", min=0)]
Series = Annotated[
    list[str] | None,
    typer.Option("--series", help="SeriesInstanceUID to use where the rule takes another; may be repeated."),
]
Pseudonyms = Annotated[
    Path | None,
    typer.Option("--pseudonym", help="CSV with patient_id,pseudonym: names the patient; read only."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def progress(quiet: bool) -> Any:
    """Return a function that says what is being done, on stderr."""
    return (lambda _: None) if quiet else (lambda text: print(f"  {text}", file=sys.stderr, flush=True))


def print_json(findings: Sequence[Finding], notices: Sequence[Notice], **more: Any) -> None:
    """Print findings and notices as the one JSON object of the command line."""
    content = {
        "findings": [finding.as_dict() for finding in findings],
        "notices": [notice.as_dict() for notice in notices],
    }
    typer.echo(json.dumps(content | more, ensure_ascii=False, allow_nan=False))


def set_threads(count: int) -> None:
    """Use this many CPU threads for tensors (0: all cores)."""
    from rtplan.planning import device

    device.set_threads(count)
