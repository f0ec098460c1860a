"""rtplan batch: the clinical pipeline on many patients, on Dask; how far it is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtplan.cli import DONE, INTERRUPTED, PARTLY
from rtplan.cli.options import Algorithm, AsJson, Device, Out, Pseudonyms, Quiet, Seed, progress
from rtplan.cli.stopping import stoppable
from rtplan.errors import FormatError

if TYPE_CHECKING:
    from rtplan.batch.settings import BatchSettings
    from rtplan.case.settings import CaseSettings


def command(
    out: Out,
    source: Annotated[
        str | None,
        typer.Argument(help="Folder of patients, folder of mixed DICOM, list of folders, or phantom:N."),
    ] = None,
    protocol: Annotated[str, typer.Option("--protocol", help="Name (see rtplan protocols) or TOML.")] = "",
    workers: Annotated[int, typer.Option(help="Local processes; 0: as cores and memory allow.", min=0)] = 0,
    scheduler: Annotated[str, typer.Option(help="Address of a Dask scheduler, or its file.")] = "",
    slurm: Annotated[Path | None, typer.Option(help="TOML file of a queue (Slurm or PBS).")] = None,
    status: Annotated[bool, typer.Option("--status", help="Say how far the batch in --out is.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on; keep finished patients.")] = False,
    attempts: Annotated[int, typer.Option(help="Starts of a patient whose worker failed.", min=1)] = 3,
    patience_s: Annotated[float, typer.Option(help="Wait so long for disk, share, workers.", min=0)] = 300.0,
    memory_mib: Annotated[int, typer.Option(help="What one patient needs on a worker.", min=1)] = 3000,
    split: Annotated[
        bool | None, typer.Option("--split/--whole", help="Three tasks a patient, or one; else by workers.")
    ] = None,
    dashboard: Annotated[int, typer.Option(help="Port of Dask's dashboard; 0: any.", min=0)] = 8787,
    spacing: Annotated[str, typer.Option(help="Digital patients: voxels Z,Y,X, mm.")] = "3,2,2",
    arms: Annotated[str, typer.Option(help="Density images to compare, with commas.")] = "",
    plan_on: Annotated[str | None, typer.Option(help="Arm that the plan is made on (SynCT …).")] = None,
    margin: Annotated[list[str] | None, typer.Option(help="NAME=MM or NAME=L,R,A,P,S,I.")] = None,
    beams: Annotated[int, typer.Option(help="Equidistant fields.", min=1, max=36)] = 7,
    grid_mm: Annotated[float, typer.Option(help="Dose grid, mm.", min=1.0, max=12.0)] = 3.0,
    algorithm: Algorithm = "pencil",
    gamma: Annotated[list[str] | None, typer.Option(help="PERCENT/MM; may be repeated.")] = None,
    outcome: Annotated[list[str] | None, typer.Option(help="Outcome model beside the protocol's.")] = None,
    gas: Annotated[str, typer.Option(help="Gas inside the body: water or as_reference.")] = "water",
    model: Annotated[str, typer.Option(help="Synthetic CT network.")] = "synct_mr_pelvis",
    tps: Annotated[str, typer.Option(help="Planning system of the DICOM: eclipse, raystation …")] = "common",
    dose_samples: Annotated[int, typer.Option(help="0, or 40 and more (slower).", min=0)] = 0,
    names: Annotated[Path | None, typer.Option(help="Map of clinic names to TG-263 (TOML).")] = None,
    pseudonym: Pseudonyms = None,
    salt: Annotated[str, typer.Option(help="Secret of the clinic that enters the keys.")] = "",
    allow_unverified: Annotated[bool, typer.Option(help="Unverified numbers may decide.")] = False,
    device: Device = "cpu",
    seed: Seed = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Run the clinical pipeline on many patients, one task each, and gather their findings.

    Exit code 3: finished, but patients failed. After 1 or 130 the batch goes on with --resume.

    Example: rtplan batch patients/ --protocol prostate_boost_flame --out cohort/ --workers 4
    """
    _demand_dask()
    if status:
        return _status(out, as_json)
    if source is None or not protocol:
        raise FormatError(
            "A batch needs patients and a protocol.",
            action="rtplan batch FOLDER --protocol NAME --out DIR; with --status --out DIR alone is enough.",
        )
    if bool(scheduler) + (slurm is not None) + bool(workers) > 1:
        raise FormatError("Give only one of --workers, --scheduler and --slurm.")
    from rtplan.case.settings import CaseSettings, parse_gamma, parse_margin
    from rtplan.domain.patient import ARMS

    case = CaseSettings(
        protocol=protocol,
        arms=tuple(name.strip() for name in arms.split(",")) if arms else ARMS,
        model=model,
        gas=gas,
        margins=dict(parse_margin(text) for text in margin or ()),
        plan_on=plan_on,
        beams=beams,
        grid_mm=grid_mm,
        algorithm=algorithm,
        allow_unverified=allow_unverified,
        tps=tps,
        gamma=tuple(dict.fromkeys(parse_gamma(text) for text in gamma)) if gamma else CaseSettings.gamma,
        outcome=tuple(outcome or ()),
        dose_samples=dose_samples,
        residuals="digital" if source.startswith("phantom:") else "real",
        seed=seed,
        device=device,
    )
    from rtplan.batch.cluster import Site
    from rtplan.batch.run import run_batch
    from rtplan.batch.settings import Limits

    settings = _settings(
        case, source, spacing, Limits(attempts, patience_s, memory_mib), names, pseudonym, salt
    )
    site = Site(workers, scheduler, slurm, dashboard)
    try:
        with stoppable():
            state = run_batch(
                settings, out, site, resume=resume, split=split, tell=progress(quiet or as_json)
            )
    except KeyboardInterrupt:
        print("rtplan: Interrupted; finished patients are kept, --resume goes on.", file=sys.stderr)
        return INTERRUPTED
    if as_json:
        typer.echo(json.dumps({"findings": [], "notices": [], **state.as_dict(), "out": str(out)}))
    else:
        from rtplan.cli.batch_print import print_batch

        print_batch(state)
        typer.echo(f"Report: {out / 'report.html'} (findings: cohort.parquet)")
    return PARTLY if state.counts["failed"] else DONE


def _demand_dask() -> None:
    from importlib.util import find_spec

    if not all(find_spec(name) for name in ("dask", "distributed", "dask_jobqueue")):
        raise FormatError("A batch needs Dask.", action="pip install rtplan[batch].")


def _settings(
    case: CaseSettings,
    source: str,
    spacing: str,
    limits: object,
    names: Path | None,
    pseudonym: Path | None,
    salt: str,
) -> BatchSettings:
    from rtplan.batch.settings import BatchSettings, Limits
    from rtplan.case.digital import parse_patients, parse_spacing
    from rtplan.io.index import SALT

    assert isinstance(limits, Limits)
    digital = source.startswith("phantom:")
    return BatchSettings(
        case=case,
        source=None if digital else Path(source),
        phantoms=parse_patients(source) if digital else 0,
        spacing_zyx_mm=parse_spacing(spacing),
        names=names,
        pseudonyms=pseudonym,
        salt=salt or SALT,
        limits=limits,
    )


def _status(out: Path, as_json: bool) -> int:
    from rtplan.batch.run import status_of
    from rtplan.cli.batch_print import print_batch

    state = status_of(out)
    if as_json:
        typer.echo(json.dumps({"findings": [], "notices": [], **state.as_dict(), "out": str(out)}))
    else:
        print_batch(state)
    return DONE
