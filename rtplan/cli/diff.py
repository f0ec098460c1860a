"""rtplan diff: what changed between two finished runs, studies or batches."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtplan.cli.options import AsJson

if TYPE_CHECKING:
    from rtplan.evaluation.comparison import Comparison


def command(
    before: Annotated[Path, typer.Argument(metavar="RUN_A", help="Out folder of a run, study or batch.")],
    after: Annotated[Path, typer.Argument(metavar="RUN_B", help="Another one of the same kind.")],
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            "--tolerance",
            metavar="UNIT=SIZE",
            help="Such as Gy=0.1, or a TOML file of these; may be repeated.",
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 3 where results differ.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Print every change, not the gravest alone.")] = False,
    as_json: AsJson = False,
) -> int:
    """Say what changed in settings, versions, inputs and numbers from one run to another.

    Values are the same within a tolerance by unit; a risk is a fraction (unit 1). Times are not compared.

    Example: rtplan diff out/before out/after --tolerance Gy=0.05
    """
    from rtplan.case.results import read_results
    from rtplan.cli import DONE, PARTLY
    from rtplan.evaluation.comparison import compare

    found = compare(read_results(before), read_results(after), tolerances_of(tolerance or []))
    if as_json:
        _print_json(found)
    else:
        from rtplan.cli.diff_print import print_comparison

        print_comparison(found, before, after, every=every)
    return PARTLY if strict and not found.same_results else DONE


def tolerances_of(asked: list[str]) -> dict[str, float]:
    """Return tolerances by unit; the later ones count.

    Raises
    ------
    typer.BadParameter
        If one is neither UNIT=SIZE nor a TOML file of such.
    """
    found: dict[str, float] = {}
    for text in asked:
        unit, equals, size = text.rpartition("=")
        try:
            if equals:
                found[unit.strip()] = float(size)
            else:
                plain = tomllib.loads(Path(text).read_text(encoding="utf-8"))
                found |= {str(name): float(number) for name, number in plain.items()}
        except (ValueError, TypeError, OSError):
            raise typer.BadParameter(f"--tolerance wants UNIT=SIZE or a TOML file, got {text!r}.") from None
    return found


def _print_json(found: Comparison) -> None:
    from rtplan.cli.options import print_json

    facts = [
        {"section": c.section, "name": c.name, "before": c.before, "after": c.after} for c in found.facts
    ]
    kinds = [change.kind for change in found.notices]
    print_json(
        [change.as_finding() for change in found.findings],
        [change.notice for change in found.notices],
        notice_changes=kinds,
        facts=facts,
        counts={"same": found.compared - _of_both(found), **found.counts()},
        tolerances=dict(found.tolerances),
        same_results=found.same_results,
    )


def _of_both(found: Comparison) -> int:
    return sum(change.kind not in ("new", "lost") for change in found.findings)
