"""rtplan run: the clinical pipeline on one patient."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtplan.cli.options import (
    Algorithm,
    AsJson,
    Device,
    Out,
    Protocol,
    Pseudonyms,
    Quiet,
    Seed,
    Series,
    Threads,
    print_json,
    progress,
    set_threads,
)

if TYPE_CHECKING:
    from rtplan.case.run import Place
    from rtplan.case.settings import CaseSettings


def command(
    folder: Annotated[Path, typer.Argument(help="DICOM of one patient.")],
    protocol: Protocol,
    out: Out,
    structures: Annotated[Path | None, typer.Option(help="An RTSTRUCT that is not in the folder.")] = None,
    names: Annotated[Path | None, typer.Option(help="Map of clinic names to TG-263 (TOML).")] = None,
    series: Series = None,
    pseudonym: Pseudonyms = None,
    arms: Annotated[str, typer.Option(help="Density images to compare, with commas.")] = "",
    plan_on: Annotated[str | None, typer.Option(help="Arm that the plan is made on (SynCT …).")] = None,
    margin: Annotated[list[str] | None, typer.Option(help="NAME=MM or NAME=L,R,A,P,S,I.")] = None,
    gas: Annotated[str, typer.Option(help="Gas inside the body: water or as_reference.")] = "water",
    tps: Annotated[str, typer.Option(help="Planning system of the DICOM: eclipse, raystation …")] = "common",
    dose_samples: Annotated[
        int, typer.Option(help="Doses on samples of the synthetic CT: 0, or 40 and more (slower).", min=0)
    ] = 0,
    residuals: Annotated[str, typer.Option(help="What the samples are made with: real or digital.")] = "real",
    contours: Annotated[
        str, typer.Option(help="Readers' variation as SD,LENGTH in mm (2,15); none is shipped.")
    ] = "",
    algorithm: Algorithm = "pencil",
    allow_unverified: Annotated[bool, typer.Option(help="Unverified numbers may decide.")] = False,
    device: Device = "cpu",
    seed: Seed = 1,
    threads: Threads = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 3 when a must-goal is missed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, run nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Keep finished results.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace finished results.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Run the clinical pipeline on one patient: synthetic CT, arms, plan, dose, DVH, toxicity, report.

    Example: rtplan run patient/ --protocol prostate_boost_flame --out out/
    """
    from rtplan.case.run import Place, run_case
    from rtplan.case.settings import CaseSettings, parse_margin, parse_variation
    from rtplan.domain.patient import ARMS

    set_threads(threads)
    settings = CaseSettings(
        protocol=protocol,
        arms=tuple(name.strip() for name in arms.split(",")) if arms else ARMS,
        gas=gas,
        plan_on=plan_on,
        margins=dict(parse_margin(text) for text in margin or ()),
        algorithm=algorithm,
        allow_unverified=allow_unverified,
        tps=tps,
        dose_samples=dose_samples,
        residuals=residuals,
        contours=parse_variation(contours) if contours else None,
        seed=seed,
        device=device,
    )
    place = Place(
        folder, out, structures, names, resume, overwrite, tuple(series or ()), pseudonyms=pseudonym
    )
    if dry_run:
        return _forecast(place, settings)
    patient = run_case(place, settings, say=progress(quiet))
    if as_json:
        print_json(patient.findings, patient.notices, out=str(out))
    else:
        from rtplan.cli.summary import print_summary

        print_summary(patient, out)
    missed = any(f.verdict == "missed" and f.verified for f in patient.findings)
    return 3 if strict and missed else 0


def _forecast(place: Place, settings: CaseSettings) -> int:
    from rtplan import pipeline
    from rtplan.case.assemble import clinical_steps
    from rtplan.case.run import read
    from rtplan.dosimetry.protocol import load_protocol

    patient = read(place)
    for step, lacks in pipeline.forecast(clinical_steps(load_protocol(settings.protocol), settings), patient):
        words = "would run"
        if lacks:
            words = "left out: missing " + ", ".join(pipeline.THINGS[n].words for n in lacks)
        typer.echo(f"{type(step).__name__:18} {words}")
    return 0
