"""rtplan protocols: the protocols on the shelf, and one of them with its sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from rtplan.cli.options import AsJson

if TYPE_CHECKING:
    from rtplan.dosimetry.protocol import Protocol


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
        for protocol in found:
            doses = ", ".join(f"{name} {dose:g} Gy" for name, dose in protocol.doses_gy.items())
            typer.echo(f"{protocol.name:26} {protocol.fractions:3} fx  {doses}  ({len(protocol.goal)} goals)")


def _show(protocol: Protocol) -> None:
    doi = f", doi:{protocol.source.doi}" if protocol.source.doi else ""
    typer.echo(f"{protocol.name}: {protocol.site}, {protocol.fractions} fractions")
    typer.echo(f"{protocol.source.citation}{doi}")
    for dose in protocol.prescription:
        typer.echo(
            f"  {dose.target:18} {dose.dose_gy:g} Gy to {dose.to}  {_source(dose.source, dose.verified)}"
        )
    for rule in protocol.derive:
        margin = " ".join(f"{way}{mm:g}" for way, mm in rule.margin_mm.items())
        source = _source(rule.source, rule.verified)
        typer.echo(f"  {rule.make:18} from {' + '.join(rule.sources)}, margin mm {margin}  {source}")
    for goal in protocol.goal:
        wish = f" (wish {goal.wish})" if goal.wish else ""
        source = _source(goal.source, goal.verified)
        typer.echo(f"  {goal.structure:18} {goal.metric:20} {goal.limit}{wish}  {source}")
    for outcome in protocol.outcome:
        typer.echo(f"  outcome            {outcome.model}")


def _source(source: str, verified: bool) -> str:
    return f"[{source}]" if verified else f"[NOT VERIFIED: {source or 'no source'}]"
