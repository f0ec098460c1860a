"""rtplan predict-dose: from contours to the dose, goals and risk that a plan with a boost would have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtplan.cli.options import (
    AsJson,
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
    from rtplan.case.predict_dose import Predicted


def command(
    folder: Annotated[Path, typer.Argument(help="DICOM of one patient.")],
    protocol: Protocol,
    out: Out,
    risk: Annotated[bool, typer.Option("--risk", help="Goals and NTCP on the predicted dose.")] = False,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Page beside the dose on which the reader moves the boost.")
    ] = False,
    beams: Annotated[int, typer.Option(help="Fields of the plan that is foreseen: 7 or 9.")] = 7,
    model: Annotated[str, typer.Option(help="Network: name or model.toml.")] = "dose_prostate_boost",
    structures: Annotated[Path | None, typer.Option(help="An RTSTRUCT that is not in the folder.")] = None,
    names: Annotated[Path | None, typer.Option(help="Map of clinic names to TG-263 (TOML).")] = None,
    series: Series = None,
    pseudonym: Pseudonyms = None,
    plan_on: Annotated[str | None, typer.Option(help="CT or SynCT; by default the CT, else SynCT.")] = None,
    margin: Annotated[list[str] | None, typer.Option(help="NAME=MM or NAME=L,R,A,P,S,I.")] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror/--no-mirror", help="Mean over four views, mirrored and moved.")
    ] = True,
    seed: Seed = 1,
    threads: Threads = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Predict the dose of a prostate boost without planning; the RTDOSE says that it is predicted.

    Example: rtplan predict-dose patient/ --protocol prostate_boost_flame --out RD.dcm --risk
    """
    from rtplan.case.predict_dose import PredictSettings, predict_case
    from rtplan.case.run import Place
    from rtplan.case.settings import parse_margin

    set_threads(threads)
    settings = PredictSettings(
        protocol=protocol,
        beams=beams,
        model=model,
        plan_on=plan_on,
        margins=dict(parse_margin(text) for text in margin or ()),
        risk=risk,
        sweep=sweep,
        mirror=mirror,
        seed=seed,
    )
    place = Place(
        folder, out, structures, names, overwrite=overwrite, series=tuple(series or ()), pseudonyms=pseudonym
    )
    done = predict_case(place, settings, say=progress(quiet))
    if as_json:
        print_json(
            done.patient.findings,
            done.patient.notices,
            out=str(out),
            seconds=round(done.seconds, 2),
            sweep=[stop.as_dict() for stop in done.stops],
        )
    else:
        _tell(done, out)


def _tell(done: Predicted, out: Path) -> None:
    typer.echo(f"{out}: PREDICTED, NOT PLANNED ({done.seconds:.1f} s)")
    for f in done.patient.findings:
        if f.quantity != "value" or (f.limit is None and f.metric != "NTCP" and f.step != "PredictDose"):
            continue
        factor, unit = (100.0, "%") if f.metric == "NTCP" else (1.0, f.unit)
        said = f"not evaluable: {f.reason}" if f.value is None else f"{factor * f.value:.2f} {unit}"
        limit = (
            f", wanted {f.limit}: {str(f.detail.get('would_be', f.verdict)).replace('_', ' ')}"
            if f.limit
            else ""
        )
        typer.echo(f"  {f.structure or '':16s} {f.metric:22s} {said}{limit}")
    for notice in done.patient.notices:
        if notice.severity != "info":
            typer.echo(f"{notice.severity}: {notice.message} {notice.action}", err=True)
