"""rtplan plan: optimise a plan for one patient."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from rtplan.domain import Patient


def command(
    folder: Annotated[Path, typer.Argument(help="DICOM of one patient.")],
    protocol: Protocol,
    out: Out,
    beams: Annotated[str, typer.Option(help="Fields: 5, 7, 9, 11; or arc.")] = "7",
    deliver: Annotated[
        bool, typer.Option("--deliverable/--ideal", help="Leaf positions, or fluence maps only.")
    ] = True,
    grid_mm: Annotated[float, typer.Option("--grid", help="Spacing of the dose grid, mm.")] = 2.5,
    structures: Annotated[Path | None, typer.Option(help="An RTSTRUCT that is not in the folder.")] = None,
    names: Annotated[Path | None, typer.Option(help="Map of clinic names to TG-263 (TOML).")] = None,
    series: Series = None,
    pseudonym: Pseudonyms = None,
    plan_on: Annotated[str | None, typer.Option(help="CT or SynCT; by default the CT, else SynCT.")] = None,
    margin: Annotated[list[str] | None, typer.Option(help="NAME=MM or NAME=L,R,A,P,S,I.")] = None,
    climb: Annotated[
        float, typer.Option(help="How far above its prescription the boost is tried, Gy; 0: not.", min=0.0)
    ] = 2.0,
    risk: Annotated[bool, typer.Option("--risk", help="Let the protocol's NTCP models drive too.")] = False,
    algorithm: Annotated[str, typer.Option(help="Of the reported dose: pencil or cone.")] = "pencil",
    second: Annotated[
        bool, typer.Option("--second/--no-second", help="Calculate by the other algorithm too.")
    ] = True,
    setup: Annotated[
        float, typer.Option("--setup", help="Setup error of the scenarios, mm each way and axis; 0: none.")
    ] = 3.0,
    contours: Annotated[
        str, typer.Option(help="Readers' variation as SD,LENGTH in mm (2,15); none is shipped.")
    ] = "",
    robust: Annotated[
        str, typer.Option("--robust", help="Optimise for the scenarios too: worst or expected.")
    ] = "",
    mimic: Annotated[
        Path | None, typer.Option("--mimic", help="RTDOSE (predicted) that the plan shall come near to.")
    ] = None,
    mlc: Annotated[str, typer.Option(help="Machine limits (models/machines).")] = "generic_mlc120",
    machine: Annotated[str, typer.Option(help="Beam file (rtplan models beams).")] = "generic_6mv",
    curve: Annotated[str, typer.Option(help="HU to density (rtplan models curves).")] = "matrad_default",
    allow_unverified: Annotated[bool, typer.Option(help="Unverified goals may drive the plan.")] = False,
    device: Device = "cpu",
    seed: Seed = 1,
    threads: Threads = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 3 when a hard limit is missed.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace finished results.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Optimise a plan: organ limits first, then targets, then the boost as high as they permit.

    Example: rtplan plan patient/ --protocol prostate_boost_flame --margin PTVp_7700=5 --out plan/
    """
    from rtplan.case.plan import plan_case
    from rtplan.case.plan_settings import PlanSettings
    from rtplan.case.run import Place
    from rtplan.case.settings import parse_margin, parse_variation
    from rtplan.planning.robust import Robust

    set_threads(threads)
    variation = parse_variation(contours) if contours else None
    settings = PlanSettings(
        protocol=protocol,
        beams=beams,
        grid_mm=grid_mm,
        deliver=deliver,
        climb_gy=climb,
        plan_on=plan_on,
        margins=dict(parse_margin(text) for text in margin or ()),
        allow_unverified=allow_unverified,
        risk=risk,
        algorithm=algorithm,
        second=second,
        robust=Robust(setup, variation, robust or "worst", seed) if setup or variation else None,
        serve=bool(robust),
        mimic=mimic,
        mlc=mlc,
        machine=machine,
        curve=curve,
        seed=seed,
        device=device,
    )
    place = Place(
        folder,
        out,
        structures,
        names,
        overwrite=overwrite,
        series=tuple(series or ()),
        pseudonyms=pseudonym,
    )
    patient = plan_case(place, settings, say=progress(quiet))
    if as_json:
        print_json(patient.findings, patient.notices, out=str(out))
    else:
        from rtplan.cli.summary import print_summary

        print_summary(patient, out)
        _tell(patient)
    missed = any(f.verdict == "missed" and f.verified for f in patient.findings)
    return 3 if strict and missed else 0


def _tell(patient: Patient) -> None:
    for finding in patient.findings:
        if finding.metric == "Boost[Gy]":
            breaks = "; ".join(finding.detail["raising_by_2_gy_breaks"])
            typer.echo(f"Boost {finding.structure}: {finding.value:g} Gy; 2 Gy more would break {breaks}.")
