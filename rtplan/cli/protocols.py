"""rtplan protocols: the protocols on the shelf, and one of them with its sources."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from rtplan.cli.options import AsJson

if TYPE_CHECKING:
    from rtplan.dosimetry.protocol import Derive, Goal, Protocol, TargetDose

WIDTH = 80


def command(
    words: list[str] = typer.Argument(None, metavar="[show NAME]", help="Nothing, or show and a name."),
    as_json: AsJson = False,
) -> None:
    """List the protocols, or show one with the source of every number.

    Example: rtplan protocols show prostate_chhip_60gy
    """
    import json

    from rtplan import resources
    from rtplan.dosimetry.protocol import load_protocol

    words = list(words or [])
    if words and (words[0] != "show" or len(words) != 2):
        raise typer.BadParameter(f"Wanted: show NAME; got {' '.join(words)!r}.")
    names = (words[1],) if words else resources.names("protocols")
    found = [load_protocol(name) for name in names]
    if as_json:
        plain = [protocol.model_dump(mode="json", by_alias=True) for protocol in found]
        typer.echo(json.dumps({"protocols": plain, "findings": [], "notices": []}, ensure_ascii=False))
    elif words:
        _show(found[0])
    else:
        _list(found)


def _list(found: Sequence[Protocol]) -> None:
    typer.echo(f"{'name':26}{'fractions':>9}  {'goals':>5}  {'verified':>8}  doses, Gy")
    for protocol in found:
        doses = ", ".join(f"{name} {dose:g}" for name, dose in protocol.doses_gy.items())
        sure = sum(goal.verified for goal in protocol.goal)
        line = f"{protocol.name:26}{protocol.fractions:9}  {len(protocol.goal):5}  {sure:8}  "
        _wrapped(line + doses, hang=len(line))


def _show(protocol: Protocol) -> None:
    """Print a protocol in 80 columns; sources are numbered and stand at the end."""
    sources: dict[str, int] = {}

    def mark(source: str, *, verified: bool) -> str:
        number = sources.setdefault(source or "no source", len(sources) + 1)
        return f"[{number}]{'' if verified else ' *'}"

    typer.echo(f"{protocol.name}: {protocol.site.replace('_', ' ')}, {protocol.fractions} fractions")
    _wrapped(protocol.source.citation + (f", doi:{protocol.source.doi}" if protocol.source.doi else ""))
    sections = (
        ("Prescription", [(_dose(e), mark(e.source, verified=e.verified)) for e in protocol.prescription]),
        (
            "Derived, in this order",
            [(_rule(e), mark(e.source, verified=e.verified)) for e in protocol.derive],
        ),
        (
            "Goals, by priority",
            [(_goal(e, protocol), mark(e.source, verified=e.verified)) for e in protocol.goal],
        ),
        ("Outcome models", [(e.model, "") for e in protocol.outcome]),
    )
    for title, rows in sections:
        if rows:
            typer.echo(f"\n{title}")
        for row, source in rows:
            _wrapped(f"  {row:71} {source}".rstrip(), hang=4)
    typer.echo("\nSources")
    for source, number in sources.items():
        _wrapped(f"  [{number}] {source}", hang=6)
    if any(entry.to == "median" for entry in protocol.prescription):
        _wrapped("  'to median' is rtplan's convention where a source names no point of the DVH.", hang=4)
    if not all(e.verified for e in (*protocol.prescription, *protocol.derive, *protocol.goal)):
        _wrapped("  * NOT VERIFIED: evaluated and printed, decides no verdict.", hang=4)


def _dose(entry: TargetDose) -> str:
    to = "up to this dose" if entry.to == "up_to" else f"to {entry.to}"
    return f"{entry.target:18} {entry.dose_gy:g} Gy {to}"


def _rule(rule: Derive) -> str:
    from rtplan.dosimetry.recipe import recipe_of

    margins = set(rule.margin_mm.values())
    text = recipe_of(rule).text
    if len(margins) == 1:  # the same all round: one number says it
        head, _, rest = text.partition(" + (")
        text = f"{head} + {margins.pop():g}{rest.partition(')')[2]}"
    return f"{text} mm" if rule.margin_mm else text


def _goal(goal: Goal, protocol: Protocol) -> str:
    wish = f"wish {goal.wish}" if goal.wish else ""
    percent = protocol.reference_of(goal) if goal.parsed.needs_prescription else None
    of = f"of {percent:g} Gy" if percent is not None else ""
    return f"{goal.priority} {goal.structure:16} {goal.metric:19} {goal.limit:8} {wish:11} {of}".rstrip()


def _wrapped(text: str, hang: int = 0) -> None:
    typer.echo(textwrap.fill(text, WIDTH, subsequent_indent=" " * hang, break_on_hyphens=False))
