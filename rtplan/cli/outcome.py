"""rtplan outcome: NTCP or TCP of a structure, with its interval, from a dose or a DVH table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rtplan.cli.options import AsJson, print_json

if TYPE_CHECKING:
    from rtplan.domain import Finding
    from rtplan.dosimetry.parameters import ParameterSet


def command(
    model: str = typer.Option(..., "--model", help="Parameter set (rtplan models ntcp), or a TOML file."),
    dose: Path | None = typer.Option(None, "--dose", help="RTDOSE, NIfTI or MHA in Gy."),
    structures: Path | None = typer.Option(None, "--structures", help="RTSTRUCT, or a label map."),
    structure: str | None = typer.Option(None, "--structure", help="Name of the organ, as the set names it."),
    names: Path | None = typer.Option(None, "--names", help="Map of clinic names to TG-263 (TOML)."),
    dvh: Path | None = typer.Option(
        None, "--dvh", help="DVH table instead: dose_gy,volume_cc or volume_percent."
    ),
    fractions: int | None = typer.Option(
        None, "--fractions", help="Number of fractions; never guessed.", min=1
    ),
    no_eqd2: bool = typer.Option(False, "--no-eqd2", help="Take the dose as it is."),
    samples: int = typer.Option(2000, "--samples", help="Sobol draws of the parameters.", min=8),
    seed: int = typer.Option(1, "--seed", help="Of the draws."),
    as_json: AsJson = False,
) -> None:
    """Estimate a probability with its parameter interval.

    Example: rtplan outcome --dvh rectum.csv --model rectum_bleeding_g2_quantec2010 --fractions 20
    """
    if (dvh is None) == (dose is None) or (dose is not None and (structures is None or structure is None)):
        raise typer.BadParameter("give --dvh FILE.csv, or all of --dose, --structures and --structure.")
    from rtplan.dosimetry.parameters import load_set

    parameters = load_set(model)
    if dvh is not None:
        from rtplan.dosimetry.table import read_table

        histogram, notices = read_table(dvh), ()
    else:
        assert dose is not None
        assert structures is not None
        assert structure is not None
        _demand_organ(parameters, structure)
        histogram, fractions, notices = _from_dose(dose, structures, structure, names, fractions)
    finding = _estimate(parameters, histogram, fractions, not no_eqd2, (samples, seed))
    if as_json:
        print_json([finding], notices)
    else:
        _print(finding)


def _demand_organ(parameters: ParameterSet, name: str) -> None:
    from rtplan.errors import ModelError

    if name != parameters.structure:
        raise ModelError(
            f"The set is for {parameters.structure} ({parameters.organ_definition}), not for {name}.",
            where=parameters.name,
            action="choose a set of that organ (rtplan models ntcp), or map the structure's name by --names.",
        )


def _from_dose(
    dose: Path, structures: Path, name: str, names: Path | None, fractions: int | None
) -> tuple[Any, int | None, Any]:
    from rtplan.cli.readings import read_dose, read_structures
    from rtplan.dosimetry.dvh import dvh

    read = read_dose(dose, fractions)
    frame = read.grid.frame_of_reference
    found, notices = read_structures(structures, [name], frame, names, rename=True)
    return dvh(found[0], read), read.fractions, notices


def _estimate(
    parameters: ParameterSet, histogram: Any, fractions: int | None, use_eqd2: bool, draws: tuple[int, int]
) -> Finding:
    from rtplan.domain import Finding
    from rtplan.dosimetry.budget import NO_INTERVAL, draw, interval95, probabilities
    from rtplan.dosimetry.outcome import evaluate
    from rtplan.dosimetry.risk import detail_of, source_of

    outcome = evaluate(parameters, histogram, fractions, use_eqd2=use_eqd2)
    drawn = draw(parameters, *draws)
    interval = None
    if drawn is not None:
        interval = interval95(probabilities(parameters, histogram, fractions, drawn, use_eqd2=use_eqd2))
    return Finding(
        parameters.kind.upper(),
        outcome.value,
        "1",
        "outcome",
        structure=parameters.structure,
        interval95=interval,
        interval_method=drawn.method if drawn else NO_INTERVAL,
        dose_kind=outcome.dose_kind,
        model=parameters.name,
        verified=parameters.verified,
        source=source_of(parameters),
        detail=detail_of(parameters, outcome) | {"fractions": fractions},
    )


def _print(finding: Finding) -> None:
    detail = finding.detail
    assert finding.value is not None
    typer.echo(
        f"{finding.metric} {100 * finding.value:.3f} % ({detail['endpoint']}; {detail['organ_definition']})"
    )
    if finding.interval95 is None:
        typer.echo(f"interval: {finding.interval_method}")
    else:
        low, high = finding.interval95
        typer.echo(f"95 % interval {100 * low:.2f} to {100 * high:.2f} % ({finding.interval_method})")
    uniform = "" if detail["geud_gy"] is None else f", gEUD {detail['geud_gy']:.3f} Gy"
    typer.echo(f"dose {finding.dose_kind}{uniform}; {finding.source}")
    for warning in detail["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
