"""rtplan models: what is on the shelf, with sources."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import typer

from rtplan import resources
from rtplan.errors import UnknownName

#: Kinds of models and their shelves.
SHELVES = {
    "networks": "models",
    "ntcp": "models/ntcp",
    "tcp": "models/tcp",
    "beams": "models/beams",
    "curves": "models/curves",
    "machines": "models/machines",
    "spacer": "models/spacer",
    "kernels": "models/kernels",
}


def command(
    words: list[str] = typer.Argument(
        None,
        metavar="[networks|ntcp|tcp|beams|curves|machines|…] [show NAME]",
        help="A kind, and what to show of it.",
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """List the models on the shelf, or show one of them.

    Example: rtplan models ntcp show rectum_bleeding_g2_quantec2010
    """
    kinds, name = _parse(list(words or []))
    if name is None:
        listed = {kind: _listed(SHELVES[kind]) for kind in kinds}
        typer.echo(json.dumps({"models": listed}, indent=2) if as_json else _lines(listed))
        return
    path = _find(kinds, name)
    text = path.read_text(encoding="utf-8")
    if as_json:
        typer.echo(json.dumps({"model": tomllib.loads(text)}, indent=2, default=str))
        return
    card = path.parent / "card.md"
    typer.echo(card.read_text(encoding="utf-8") if path.name == "model.toml" and card.is_file() else text)


def _parse(words: list[str]) -> tuple[list[str], str | None]:
    """Return the kinds asked for, and the name after ``show`` where there is one."""
    kinds = list(SHELVES)
    if words and words[0] != "show":
        kind = words.pop(0)
        if kind not in SHELVES:
            raise typer.BadParameter(f"There is no kind {kind!r}. Known: {', '.join(SHELVES)}.")
        kinds = [kind]
    if not words:
        return kinds, None
    if words[0] != "show" or len(words) != 2:
        raise typer.BadParameter(f"Wanted: show NAME; got {' '.join(words)!r}.")
    return kinds, words[1]


def _names(shelf: str) -> tuple[str, ...]:
    try:
        names = resources.names(shelf)
    except UnknownName:
        return ()
    if shelf != "models":
        return names
    folder = resources.shelf(shelf)
    return tuple(name for name in names if _weights(_toml(folder / name / "model.toml")))


def _find(kinds: list[str], name: str) -> Path:
    for kind in kinds:
        if name in _names(SHELVES[kind]):
            return resources.find(SHELVES[kind], name)
    known = sorted(other for kind in kinds for other in _names(SHELVES[kind]))
    raise UnknownName(f"There is no model {name!r}. Known: {', '.join(known) or 'none'}.")


def _listed(shelf: str) -> dict[str, str]:
    return {name: _line(_toml(resources.find(shelf, name))) for name in _names(shelf)}


def _line(plain: dict[str, Any]) -> str:
    """Return a model in one line: what it is, and where it comes from."""
    if _weights(plain):
        figures = [
            f"{f['metric']} {f['value']:g} ({f['data']}, n = {f['n']})" for f in plain.get("figure", [])
        ]
        return "; ".join([f"{plain.get('task')}, {plain.get('site')}", *figures[:2]])
    source = plain.get("source", {})
    cited = source.get("citation", "") if isinstance(source, dict) else str(source)
    what = plain.get("endpoint") or plain.get("description") or ""
    marked = "NOT VERIFIED" if plain.get("verified") is False else ""
    return "; ".join(part for part in (marked, str(what), cited) if part)


def _weights(plain: dict[str, Any]) -> bool:
    return "weights" in plain and "network" in plain


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _lines(listed: dict[str, dict[str, str]]) -> str:
    rows = []
    for kind, models in listed.items():
        rows.append(kind)
        rows += [f"  {name:36} {line}" for name, line in models.items()] or ["  none"]
    return "\n".join(rows)
