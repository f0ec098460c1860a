"""How `rtplan outcome` prints a probability: the number, how sure it is, and which dose went in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rtplan.domain import Finding, Notice
    from rtplan.dosimetry.parameters import ParameterSet


def show(findings: Sequence[Finding], notices: Sequence[Notice], parameters: ParameterSet) -> None:
    """Print the findings of one set, then what all of them rest on, then the warnings."""
    for finding in findings:
        for line in _lines(finding):
            typer.echo(line)
    evaluated = [f for f in findings if f.value is not None]
    for label, text in _facts(evaluated[0] if evaluated else None, findings[0], parameters):
        typer.echo(f"  {label:<14} {text}")
    said = [w for f in evaluated for w in f.detail["warnings"]]
    for warning in dict.fromkeys(said):
        typer.echo(f"warning: {warning}", err=True)
    for notice in notices:
        typer.echo(f"{notice.severity}: {notice.message}", err=True)


def _lines(finding: Finding) -> list[str]:
    endpoint = finding.detail["endpoint"]
    if finding.value is None:
        return [f"{finding.metric} not evaluable: {finding.reason} ({endpoint})"]
    unit, sign = ("%", "") if finding.quantity == "value" else ("pp", "+")
    what = "" if finding.quantity == "value" else " difference, dose - reference,"
    lines = [f"{finding.metric}{what} {_plain(finding.value, sign)} {unit} ({endpoint})"]
    if finding.interval95 is None:
        return [*lines, f"  {'interval':<14} {finding.interval_method}"]
    low, high = (_plain(x, sign) for x in finding.interval95)
    text = f"{low} to {high} {unit} ({finding.interval_method})"
    return [*lines, f"  {'95 % interval':<14} {text}"]


def _plain(probability: float, sign: str) -> str:
    """Write a probability in %; small ones with more decimals, then by their power of ten."""
    percent = 100 * probability
    if percent == 0 or abs(percent) >= 0.01:
        return f"{percent:{sign}.3f}"
    return f"{percent:{sign}.5f}" if abs(percent) >= 1e-4 else f"{percent:{sign}.0e}"


def _facts(finding: Finding | None, first: Finding, parameters: ParameterSet) -> list[tuple[str, str]]:
    marked = "verified" if parameters.verified else "NOT VERIFIED"
    facts = [
        ("model", f"{parameters.name} ({parameters.form}), {marked}; {first.source}"),
        ("organ", f"{first.structure}: {parameters.organ_definition}"),
        ("fitted on", _population(parameters)),
    ]
    if finding is not None:
        facts += _doses(finding.detail, parameters)
        row = finding.detail["budget"]["alpha_beta"]
        unit = "%" if finding.quantity == "value" else "pp"
        if row:
            values = (f"{100 * item['value']:.2f} {unit} at {item['alpha_beta_gy']:g}" for item in row)
            facts.append(("other α/β", f"{', '.join(values)} Gy"))
    return facts


def _population(parameters: ParameterSet) -> str:
    population = parameters.population
    words = [population.site, population.technique]
    if population.dose_per_fraction_gy is not None:
        words.append("{:g}-{:g} Gy per fraction".format(*population.dose_per_fraction_gy))
    return ", ".join(word for word in words if word)


def _doses(detail: Any, parameters: ParameterSet) -> list[tuple[str, str]]:
    """Return which dose went into the formula: the line that must never be missed."""
    count = "" if detail["fractions"] is None else f", {detail['fractions']} fractions"
    most = detail["max_per_fraction_gy"]
    per = "" if most is None else f" (at most {most:.2f} Gy per fraction)"
    if detail["eqd2_used"] and detail["fractions"] is None:
        kind = f"EQD2, α/β = {detail['alpha_beta_gy']:g} Gy, as it came or as the sum of its courses"
    elif detail["eqd2_used"]:
        kind = f"EQD2 of each voxel, α/β = {detail['alpha_beta_gy']:g} Gy{count}{per}"
    elif parameters.dose.kind == "EQD2":
        kind = f"physical, NOT converted to EQD2 (--no-eqd2){count}{per}"
    else:
        kind = f"physical, as the set wants it{count}{per}"
    facts = [("dose", kind)]
    uniform = "" if detail["geud_gy"] is None else f"gEUD {detail['geud_gy']:.3f}, "
    name = detail["dose_kind"]
    facts.append(
        ("in that dose", f"{uniform}mean {detail['mean_gy']:.2f}, maximum {detail['max_gy']:.2f} Gy {name}")
    )
    if detail.get("factors"):
        facts.append(("factors", ", ".join(f"{k} = {v:g}" for k, v in detail["factors"].items())))
    for name, ratio in detail.get("odds_ratios", {}).items():
        interval = "" if ratio["ci95"] is None else " (95 % {:g} to {:g})".format(*ratio["ci95"])
        marked = "verified" if ratio["verified"] else "NOT VERIFIED"
        facts.append(("odds ratio", f"{name} {ratio['value']:g}{interval}, {marked}; {ratio['source']}"))
    return facts
