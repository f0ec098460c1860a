"""rtplan outcome: NTCP or TCP of an organ, with its interval, from a dose or from a DVH file."""

from __future__ import annotations

from pathlib import Path

import typer

from rtplan.cli.options import AsJson, print_json


def command(
    model: str = typer.Option(..., "--model", help="Parameter set (rtplan models ntcp), or a TOML file."),
    dose: list[Path] = typer.Option(
        [], "--dose", help="RTDOSE, NIfTI or MHA in Gy; again for each further course (a boost)."
    ),
    structures: Path | None = typer.Option(None, "--structures", help="RTSTRUCT, or a label map."),
    structure: str | None = typer.Option(
        None, "--structure", help="The organ, as the file or TG-263 names it; the set's by default."
    ),
    names: Path | None = typer.Option(None, "--names", help="Map of clinic names to TG-263 (TOML)."),
    dvh: Path | None = typer.Option(
        None, "--dvh", help="DVH instead: Eclipse, RayStation, Monaco, Pinnacle export, or a CSV table."
    ),
    plan: str = typer.Option("", "--plan", help="Plan in the DVH export, where it holds several."),
    fractions: list[int] = typer.Option(
        [], "--fractions", help="Number of fractions, once per --dose; never guessed.", min=1
    ),
    no_eqd2: bool = typer.Option(False, "--no-eqd2", help="Take the dose as it is."),
    factor: list[str] = typer.Option(
        [], "--factor", help="Clinical factor of the patient, NAME or NAME=VALUE; may be given again."
    ),
    site: str = typer.Option("", "--site", help="Of the disease (prostate); a set for another is refused."),
    endpoint: str = typer.Option(
        "", "--endpoint", help="Words of the endpoint wanted (late bleeding); a set of another is refused."
    ),
    against: Path | None = typer.Option(
        None, "--against", help="Reference dose or DVH: the paired difference too (TCP: alone)."
    ),
    samples: int = typer.Option(2000, "--samples", help="Sobol draws of the parameters.", min=8),
    seed: int = typer.Option(1, "--seed", help="Of the draws."),
    as_json: AsJson = False,
) -> None:
    """Estimate a probability with its parameter interval.

    Example: rtplan outcome --dvh rectum.csv --model rectum_bleeding_g2_quantec2010 --fractions 20
    """
    if (dvh is None) == (not dose) or (dose and structures is None):
        raise typer.BadParameter("give --dvh FILE, or both --dose and --structures.")
    if (dvh is not None or against is not None) and max(len(fractions), len(dose)) > 1:
        raise typer.BadParameter("a DVH file, and a comparison, is of one course: give --fractions once.")
    from rtplan.cli.outcome_print import show
    from rtplan.cli.outcome_read import Asked, from_dose, from_dvh
    from rtplan.dosimetry.parameters import load_set, with_factors
    from rtplan.dosimetry.population import Use
    from rtplan.dosimetry.single import Question, single_findings

    parameters = load_set(model)
    parameters = with_factors(parameters, dict(_factor(text) for text in factor))
    asked = Asked(parameters, structure, names, plan, use_eqd2=not no_eqd2)
    if dvh is not None:
        organ = from_dvh(dvh, fractions, asked)
        reference = None if against is None else from_dvh(against, fractions, asked)
    else:
        assert structures is not None
        organ = from_dose(dose, fractions, structures, asked)
        reference = None if against is None else from_dose([against], fractions, structures, asked)
    use = Use(site.strip().casefold().replace(" ", "_"), endpoint, organ.name)
    question = Question(parameters, use, not no_eqd2, samples, seed)
    findings = single_findings(question, organ.seen, None if reference is None else reference.seen)
    if as_json:
        print_json(findings, organ.notices)
    else:
        show(findings, organ.notices, parameters)


def _factor(text: str) -> tuple[str, float]:
    name, sign, value = text.partition("=")
    try:
        return name.strip(), float(value) if sign else 1.0
    except ValueError:
        raise typer.BadParameter(f"--factor wants NAME or NAME=NUMBER, got {text!r}.") from None
