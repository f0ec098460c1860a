"""rtplan spacer: a virtual hydrogel spacer and what it would change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtplan.cli.options import (
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


def command(
    folder: Annotated[Path, typer.Argument(help="DICOM of one patient.")],
    protocol: Protocol,
    out: Out,
    volume_cc: Annotated[float, typer.Option(help="Volume of the gel, 2 to 25 cc.")] = 10.0,
    thickness_mm: Annotated[float, typer.Option(help="Behind the middle of the gland, 4 to 20 mm.")] = 12.0,
    rule: Annotated[
        str, typer.Option(help="The rule that decides (rtplan models spacer).")
    ] = "relative_v70_25",
    ntcp_pp: Annotated[float | None, typer.Option(help="Your own threshold of the fall of NTCP, pp.")] = None,
    gel_samples: Annotated[
        int, typer.Option(help="Other gels for the intervals: 0, or 40 and more.", min=0)
    ] = 40,
    predict: Annotated[bool, typer.Option("--predict", help="Foretell from geometry; plan nothing.")] = False,
    structures: Annotated[Path | None, typer.Option(help="An RTSTRUCT that is not in the folder.")] = None,
    names: Annotated[Path | None, typer.Option(help="Map of clinic names to TG-263 (TOML).")] = None,
    series: Series = None,
    pseudonym: Pseudonyms = None,
    margin: Annotated[list[str] | None, typer.Option(help="NAME=MM or NAME=L,R,A,P,S,I.")] = None,
    beams: Annotated[int, typer.Option(help="Number of equally spaced beams.", min=3)] = 7,
    allow_unverified: Annotated[bool, typer.Option(help="Unverified numbers may decide.")] = False,
    tps: Annotated[str, typer.Option(help="Planning system of the DICOM: eclipse, raystation …")] = "common",
    device: Device = "cpu",
    seed: Seed = 1,
    threads: Threads = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace finished results.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Insert a virtual rectal spacer, plan again by the same rules, and say whether the patient benefits.

    Example: rtplan spacer patient/ --protocol prostate_boost_flame --out spacer/
    """
    from rtplan.case.run import Place
    from rtplan.case.settings import CaseSettings, parse_margin
    from rtplan.case.spacer import Question, run_spacer
    from rtplan.case.spacer_predict import predict_spacer
    from rtplan.case.spacing import SpacerSettings
    from rtplan.report.spacer import prediction_line, verdict_line

    set_threads(threads)
    case = CaseSettings(
        protocol=protocol,
        margins=dict(parse_margin(text) for text in margin or ()),
        beams=beams,
        allow_unverified=allow_unverified,
        tps=tps,
        seed=seed,
        device=device,
    )
    settings = SpacerSettings(case, volume_cc, thickness_mm, gel_samples)
    place = Place(
        folder, out, structures, names, overwrite=overwrite, series=tuple(series or ()), pseudonyms=pseudonym
    )
    question = Question(rule, ntcp_pp, allow_unverified)
    if predict:
        findings = predict_spacer(place, settings, question, say=progress(quiet))
        line = prediction_line(findings)
    else:
        findings = run_spacer(place, settings, question, say=progress(quiet))
        line = verdict_line(findings)
    if as_json:
        print_json(findings, (), out=str(out), verdict=line)
    else:
        typer.echo(line)
        typer.echo(
            f"{'Findings' if predict else 'Report'}: {out / ('findings.json' if predict else 'report.html')}"
        )
    return 0
