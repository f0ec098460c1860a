"""rtplan study: the paired study over arms, on a folder of patients or on digital ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtplan.cli import DONE, INTERRUPTED, PARTLY
from rtplan.cli.options import Algorithm, AsJson, Device, Out, Protocol, Pseudonyms, Quiet, Seed
from rtplan.cli.stopping import stoppable

if TYPE_CHECKING:
    from rtplan.evaluation.study_file import StudyFile, StudyPatient
    from rtplan.study.run import Tell
    from rtplan.study.settings import StudySettings


def command(
    protocol: Protocol,
    out: Out,
    folder: Annotated[
        Path | None, typer.Argument(help="One sub-folder of DICOM per patient, or npz pairs.")
    ] = None,
    patients: Annotated[
        str | None, typer.Option(help="phantom:N, digital patients of the study cohort.")
    ] = None,
    arms: Annotated[str, typer.Option(help="Density images to compare, with commas.")] = "",
    preset: Annotated[str, typer.Option(help="fast (one gamma criterion) or full (three).")] = "full",
    gamma: Annotated[list[str] | None, typer.Option(help="PERCENT/MM; may be repeated.")] = None,
    outcome: Annotated[list[str] | None, typer.Option(help="Outcome model beside the protocol's.")] = None,
    margin_pp: Annotated[float | None, typer.Option(help="Margin of equivalence of risks, pp.")] = None,
    precision_pp: Annotated[float | None, typer.Option(help="Wanted half width of limits, pp.")] = None,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples.", min=199, max=99999)] = 4999,
    registration_error_mm: Annotated[float, typer.Option(help="Digital: rigid error MR to CT.")] = 0.0,
    gas_and_bladder_change: Annotated[
        bool, typer.Option("--gas-and-bladder-change", help="Digital: MR of another day.")
    ] = False,
    spacing: Annotated[str, typer.Option(help="Digital: voxels Z,Y,X, mm.")] = "3,2,2",
    beams: Annotated[int, typer.Option(help="Equidistant fields.", min=1, max=36)] = 7,
    grid_mm: Annotated[float | None, typer.Option(help="Dose grid, mm; of the preset without.")] = None,
    algorithm: Algorithm = "pencil",
    margin: Annotated[list[str] | None, typer.Option(help="NAME=MM or NAME=L,R,A,P,S,I.")] = None,
    gas: Annotated[str, typer.Option(help="Gas inside the body: water or as_reference.")] = "water",
    model: Annotated[str, typer.Option(help="Synthetic CT network.")] = "synct_mr_pelvis",
    dose_samples: Annotated[
        int, typer.Option(help="Doses on samples of the synthetic CT: 0, or 40 and more (slower).", min=0)
    ] = 0,
    contours: Annotated[str, typer.Option(help="Readers' variation as SD,LENGTH in mm (2,15).")] = "",
    names: Annotated[Path | None, typer.Option(help="Map of clinic names to TG-263 (TOML).")] = None,
    pseudonym: Pseudonyms = None,
    salt: Annotated[str, typer.Option(help="Secret of the clinic that enters pseudonyms.")] = "",
    allow_unverified: Annotated[bool, typer.Option(help="Unverified numbers may decide.")] = False,
    device: Device = "cpu",
    seed: Seed = 1,
    workers: Annotated[int, typer.Option(help="Processes at once; 0: one per core.", min=0)] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on; keep finished patients.")] = False,
    judge_only: Annotated[
        bool, typer.Option("--judge-only", help="Run nobody; judge the finished patients of --out.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Plan each patient once, recalculate it on every arm, and judge the arms' agreement over the cohort.

    Exit code 3: finished, but patients failed. An interrupted study goes on with --resume.

    Example: rtplan study --patients phantom:36 --protocol prostate_boost_flame --out study/
    """
    from rtplan.case.digital import Scenario, parse_patients, parse_spacing
    from rtplan.case.settings import CaseSettings, parse_gamma, parse_margin, parse_variation
    from rtplan.domain.patient import ARMS
    from rtplan.evaluation.limits import Bootstrap
    from rtplan.io.index import SALT
    from rtplan.study.judge import judge_again
    from rtplan.study.run import run_study
    from rtplan.study.settings import StudySettings, judging_of
    from rtplan.study.settings import preset as preset_of

    judging = judging_of(
        margin_pp, precision_pp, Bootstrap(resamples, seed), allow_unverified=allow_unverified
    )
    if judge_only:
        return _told(judge_again(out, judging, protocol), out, as_json)
    chosen = preset_of(preset)
    case = CaseSettings(
        protocol=protocol,
        arms=tuple(name.strip() for name in arms.split(",")) if arms else ARMS,
        model=model,
        gas=gas,
        margins=dict(parse_margin(text) for text in margin or ()),
        beams=beams,
        grid_mm=grid_mm or chosen.grid_mm,
        algorithm=algorithm,
        allow_unverified=allow_unverified,
        gamma=tuple(dict.fromkeys(parse_gamma(text) for text in gamma)) if gamma else chosen.gamma,
        outcome=tuple(outcome or ()),
        dose_samples=dose_samples,
        residuals="real" if patients is None else "digital",
        contours=parse_variation(contours) if contours else None,
        seed=seed,
        device=device,
    )
    settings = StudySettings(
        case=case,
        folder=folder,
        phantoms=parse_patients(patients) if patients is not None else 0,
        scenario=Scenario(registration_error_mm, gas_and_bladder_change),
        spacing_zyx_mm=parse_spacing(spacing),
        judging=judging,
        names=names,
        pseudonyms=pseudonym,
        workers=workers or _cores(),
        salt=salt or SALT,
    )
    try:
        with stoppable(), _progress(settings, quiet=quiet or as_json) as tell:
            study = run_study(settings, out, resume=resume, tell=tell)
    except KeyboardInterrupt:
        print("rtplan: Interrupted; finished patients are kept, --resume goes on.", file=sys.stderr)
        return INTERRUPTED
    return _told(study, out, as_json)


def _told(study: StudyFile, out: Path, as_json: bool) -> int:
    """Print a study and return the exit code."""
    if as_json:
        typer.echo(json.dumps({"findings": [], **study.as_dict(), "out": str(out)}, allow_nan=False))
    else:
        from rtplan.cli.study_print import print_study

        print_study(study, out)
    return PARTLY if any(patient.state == "failed" for patient in study.patients) else DONE


def _cores() -> int:
    import os

    return max(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 1)


@contextmanager
def _progress(settings: StudySettings, *, quiet: bool) -> Iterator[Tell]:
    """Give what is called after each patient: a bar on a terminal, a line elsewhere."""
    if quiet:
        yield lambda patient, count, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if not sys.stderr.isatty():
        yield _say
        return
    columns = (TextColumn("Patients"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("patients", total=settings.phantoms or None)

        def tell(patient: StudyPatient, count: int, of: int) -> None:
            bar.update(task, completed=count, total=of)
            if patient.state == "failed":
                bar.console.print(words(patient), markup=False)

        yield tell


def _say(patient: StudyPatient, count: int, of: int) -> None:
    print(f"  {count} of {of}: {words(patient)}", file=sys.stderr, flush=True)


def words(patient: StudyPatient) -> str:
    """Return how one patient went, in a line."""
    end = f"failed: {patient.reason}" if patient.state == "failed" else "done"
    return f"patient {patient.number} ({patient.key or 'no key'}), {patient.seconds or 0.0:.0f} s, {end}"
