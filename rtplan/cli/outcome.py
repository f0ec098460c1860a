"""rtplan outcome: NTCP or TCP of a structure, with its interval, from a dose or a DVH table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rtplan.cli.options import AsJson, print_json

if TYPE_CHECKING:
    from rtplan.domain import Finding
    from rtplan.dosimetry.parameters import ParameterSet


def command(
    model: str = typer.Option(..., "--model", help="Parameter set (rtplan models ntcp), or a TOML file."),
    dose: list[Path] = typer.Option(
        [], "--dose", help="RTDOSE, NIfTI or MHA in Gy; again for each further course (a boost)."
    ),
    structures: Path | None = typer.Option(None, "--structures", help="RTSTRUCT, or a label map."),
    structure: str | None = typer.Option(None, "--structure", help="Name of the organ, as the set names it."),
    names: Path | None = typer.Option(None, "--names", help="Map of clinic names to TG-263 (TOML)."),
    dvh: Path | None = typer.Option(
        None, "--dvh", help="DVH table instead: dose_gy,volume_cc or volume_percent."
    ),
    fractions: list[int] = typer.Option(
        [], "--fractions", help="Number of fractions, once per --dose; never guessed.", min=1
    ),
    no_eqd2: bool = typer.Option(False, "--no-eqd2", help="Take the dose as it is."),
    samples: int = typer.Option(2000, "--samples", help="Sobol draws of the parameters.", min=8),
    seed: int = typer.Option(1, "--seed", help="Of the draws."),
    as_json: AsJson = False,
) -> None:
    """Estimate a probability with its parameter interval.

    Example: rtplan outcome --dvh rectum.csv --model rectum_bleeding_g2_quantec2010 --fractions 20
    """
    if (dvh is None) == (not dose) or (dose and (structures is None or structure is None)):
        raise typer.BadParameter("give --dvh FILE.csv, or all of --dose, --structures and --structure.")
    from rtplan.dosimetry.parameters import load_set

    parameters = load_set(model)
    if dvh is not None:
        from rtplan.dosimetry.table import read_table

        if len(fractions) > 1:
            raise typer.BadParameter("a DVH table is of one course: give --fractions once.")
        histogram, notices, count = read_table(dvh), (), next(iter(fractions), None)
    else:
        assert structures is not None
        assert structure is not None
        _demand_organ(parameters, structure)
        place = _Place(structures, structure, names)
        histogram, count, notices = _from_dose(parameters, dose, fractions, place, use_eqd2=not no_eqd2)
    finding = _estimate(parameters, histogram, count, not no_eqd2, (samples, seed))
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


@dataclass(frozen=True)
class _Place:
    """Where the organ is: a file of structures, its name, a clinic's map of names."""

    structures: Path
    name: str
    names: Path | None


def _from_dose(
    parameters: ParameterSet, paths: list[Path], fractions: list[int], place: _Place, *, use_eqd2: bool
) -> tuple[Any, int | None, Any]:
    """Return the organ's DVH; several courses are summed in the EQD2 of the set, each with its fractions."""
    from rtplan.cli.readings import frame_of, in_frame, read_courses, read_structures
    from rtplan.dosimetry.courses import eqd2_sum, physical_sum
    from rtplan.dosimetry.dvh import dvh

    doses = read_courses(paths, fractions)
    frame = doses[0].grid.frame_of_reference
    found, notices = read_structures(place.structures, [place.name], frame, place.names, rename=True)
    doses = tuple(in_frame(dose, frame_of(found)) for dose in doses)
    if len(doses) == 1:
        return dvh(found[0], doses[0]), doses[0].fractions, notices
    alpha_beta = parameters.dose.alpha_beta_gy
    if use_eqd2 and parameters.dose.kind == "EQD2" and alpha_beta is not None:
        total = eqd2_sum(doses, alpha_beta)
    else:
        total = physical_sum(doses)
    return dvh(found[0], total), None, notices


def _estimate(
    parameters: ParameterSet, histogram: Any, fractions: int | None, use_eqd2: bool, draws: tuple[int, int]
) -> Finding:
    from rtplan.domain import Finding
    from rtplan.dosimetry.budget import alpha_beta_row, lots
    from rtplan.dosimetry.exposure import alone
    from rtplan.dosimetry.outcome import detail_of, evaluate
    from rtplan.dosimetry.risk import source_of

    outcome = evaluate(parameters, histogram, fractions, use_eqd2=use_eqd2)
    budget = alone(parameters, histogram, fractions, lots(parameters, *draws), use_eqd2=use_eqd2)
    row = alpha_beta_row(parameters, histogram, fractions, use_eqd2=use_eqd2)
    return Finding(
        parameters.kind.upper(),
        outcome.value,
        "1",
        "outcome",
        structure=parameters.structure,
        interval95=budget.interval95,
        interval_method=budget.method,
        dose_kind=outcome.dose_kind,
        model=parameters.name,
        verified=parameters.verified,
        source=source_of(parameters),
        detail=detail_of(parameters, outcome)
        | {"fractions": fractions, "budget": {**budget.detail, "alpha_beta": row}},
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
    row = detail["budget"]["alpha_beta"]
    if row:
        values = ", ".join(f"{100 * item['value']:.2f} % at {item['alpha_beta_gy']:g} Gy" for item in row)
        typer.echo(f"with another alpha/beta: {values}")
    for warning in detail["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
