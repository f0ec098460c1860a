"""rtplan phantom: digital patients of a cohort as DICOM folders, or the table of the cohorts' shift."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from rtplan.cli.options import Quiet, progress
from rtplan.errors import OutputError, UnknownName


def command(
    patients: int = typer.Option(1, "--patients", min=1, help="How many."),
    seed: int = typer.Option(1, "--seed", min=0, help="Number of the first patient; the others follow."),
    out: Path | None = typer.Option(None, "--out", help="New or empty folder; one folder per patient in it."),
    cohort: str = typer.Option("study", "--cohort", help="train, valid or study."),
    spacer: bool = typer.Option(False, "--spacer", help="With a hydrogel spacer."),
    contrasts: str = typer.Option("T2w,T1w", "--contrasts", help="MR images: T2w, T1w, Dixon."),
    spacing: str = typer.Option("2.5,1.5,1.5", "--spacing", help="Voxels z,y,x in mm."),
    shape: Path | None = typer.Option(
        None,
        "--shape",
        help="Prostate masks (npz: gland, zones, lesion_isup, spacing_zyx) for the drawn gland.",
    ),
    table: bool = typer.Option(False, "--table", help="Print how far the study cohort is shifted, and stop."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    quiet: Quiet = False,
) -> None:
    """Make digital patients (CT, MR, structures) as DICOM.

    Example: rtplan phantom --patients 2 --seed 1 --out phantoms
    """
    from rtplan.phantom.shift import shift_text

    if table:
        typer.echo(shift_text())
        return
    if out is None:
        raise OutputError("There is no folder to write to.", action="give --out DIR.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError("The out folder is not empty.", where=str(out), action="choose a new folder.")
    seeds, options = range(seed, seed + patients), _options(spacing, spacer, contrasts, shape)
    folders = _write(cohort, seeds, out, options, quiet)
    if as_json:
        typer.echo(json.dumps({"findings": [], "notices": [], "outputs": folders}))
    else:
        typer.echo(f"{len(folders)} digital patients in {out}")


def _options(spacing: str, spacer: bool, contrasts: str, shape: Path | None) -> dict[str, Any]:
    """Options of make_patient; the shape is read here: a bad one is refused before anything is written."""
    options: dict[str, Any] = {"spacing_zyx_mm": _numbers(spacing), "spacer": spacer}
    options["contrasts"] = tuple(c.strip() for c in contrasts.split(",") if c.strip())
    if shape is not None:
        from rtplan.io.datasets.picai import read_prostate
        from rtplan.phantom.shapes import Shape

        options["shape"] = Shape.of(read_prostate(shape))
    return options


def _write(cohort: str, seeds: range, out: Path, options: dict[str, Any], quiet: bool) -> list[str]:
    from rtplan.io.modules import Stamp
    from rtplan.io.patient import write_patient
    from rtplan.phantom.cohort import make_patient

    tell, folders = progress(quiet), []
    for number in seeds:
        patient = make_patient(cohort, number, **options)  # type: ignore[arg-type]
        folder = out / patient.key
        write_patient(patient, folder, stamp=Stamp(seed=f"phantom/{patient.key}"))
        tell(f"{folder}")
        for notice in patient.notices:
            tell(notice.message)
        folders.append(str(folder))
    return folders


def _numbers(text: str) -> tuple[float, float, float]:
    try:
        z, y, x = (float(part) for part in text.split(","))
    except ValueError:
        raise UnknownName(
            f"--spacing {text!r} is not three numbers.", action="give e.g. 2.5,1.5,1.5."
        ) from None
    if not all(0.4 <= v <= 12.0 for v in (z, y, x)):
        raise UnknownName(f"--spacing {text!r} is out of range.", action="give voxels between 0.4 and 12 mm.")
    return z, y, x
