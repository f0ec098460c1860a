"""rtplan licences: the licences of what rtplan is made of, and its bill of materials (SBOM)."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rtplan.cli.licences_read import Inventory, inventory, wheels_in
from rtplan.cli.options import AsJson


def command(
    sbom: Annotated[Path | None, typer.Option("--sbom", help="New file: CycloneDX 1.6 JSON.")] = None,
    wheels: Annotated[
        Path | None, typer.Option("--wheels", help="Folder of wheels to read, in place of what is installed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the licences of rtplan's dependencies, of its networks and of the data they were learned from.

    Example: rtplan licences --sbom rtplan.cdx.json
    """
    from rtplan.cli.licences_sbom import sbom as bill

    found = inventory(wheels_in(wheels) if wheels is not None else None)
    for name in found.missing:
        typer.echo(f"rtplan: {name} is needed and not here; it is left out.", err=True)
    if sbom is not None:
        _write(sbom, bill(found))
        typer.echo(f"Bill of materials: {sbom}", err=True)
    typer.echo(json.dumps(asdict(found), indent=2) if as_json else "\n".join(lines(found)))


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all; one that is there stays."""
    from rtplan.errors import OutputError

    if path.exists():
        raise OutputError("The file is there already.", where=str(path), action="choose another --sbom.")
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def lines(found: Inventory) -> list[str]:
    """Return what is printed: a line for each package, two for each network."""
    packages = (found.itself, *found.packages)
    text = ["packages"]
    text += [
        f"  {p.name:28} {p.version:20} {p.licence:44} {', '.join(p.wanted_by)}".rstrip() for p in packages
    ]
    text += ["networks"]
    for network in found.networks:
        text += [f"  {network.name:28} weights: {network.licence}", f"  {'':28} data: {network.data}"]
    own = "Other files of models/ and protocols/ are rtplan's own; the source of each number stands in it."
    return [*text, own]
