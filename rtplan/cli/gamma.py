"""rtplan gamma: the gamma index of two doses, from DICOM, NIfTI or MHA."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer

if TYPE_CHECKING:
    from rtplan.domain import Dose, Finding, Mask, Notice
    from rtplan.dosimetry.difference import DoseDifference
    from rtplan.dosimetry.gamma import GammaResult


def command(
    reference: Path = typer.Argument(..., metavar="REF", help="Reference dose: RTDOSE, NIfTI or MHA."),
    evaluated: Path = typer.Argument(..., metavar="EVAL", help="Evaluated dose."),
    dose: float = typer.Option(3.0, "--dose", help="Dose criterion, %."),
    distance: float = typer.Option(2.0, "--distance", help="Distance to agreement, mm."),
    cutoff: float = typer.Option(10.0, "--cutoff", help="Leave out reference points below this, %."),
    local: bool = typer.Option(False, "--local", help="Dose criterion in % of the local dose."),
    normalisation: float | None = typer.Option(
        None, "--normalisation", help="Dose that stands for 100 %, Gy (the greatest reference dose)."
    ),
    max_gamma: float = typer.Option(2.0, "--max-gamma", help="Search no further than this gamma."),
    device: str = typer.Option("cpu", "--device", help="cpu or cuda."),
    structures: Path | None = typer.Option(
        None, "--structures", help="RTSTRUCT or label map: with --structure, only inside it."
    ),
    structure: list[str] = typer.Option([], "--structure", help="Name; again for the union of several."),
    out: Path | None = typer.Option(None, "--out", help="Write the gamma map (.nii.gz, .mha)."),
    difference: Path | None = typer.Option(
        None, "--difference", help="Write evaluated minus reference dose (.nii.gz, .mha)."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    cross_check: bool = typer.Option(False, "--cross-check", help="Run pymedphys beside, if installed."),
) -> None:
    """Compare two doses by the gamma index in three dimensions, exact on linear interpolation.

    Example: rtplan gamma plan.dcm recalculated.dcm --dose 3 --distance 2 --cutoff 10
    """
    from rtplan.cli.options import print_json
    from rtplan.dosimetry.difference import dose_difference
    from rtplan.dosimetry.gamma import GammaSettings, gamma

    for name, number in (("dose", dose), ("distance", distance), ("max-gamma", max_gamma)):
        if not number > 0:
            raise typer.BadParameter(f"--{name} wants a number above 0, got {number:g}.")
    if (structures is None) != (not structure):
        raise typer.BadParameter("--structures and --structure go together.")
    settings = GammaSettings(dose, distance, cutoff, local, max_gamma, normalisation)
    doses = _read(reference), _read(evaluated)
    mask = None if structures is None else _mask(structures, structure, doses[0])
    result = gamma(*doses, settings, mask=mask, device=device)
    change = dose_difference(*doses, mask)
    findings = findings_of(result) + difference_findings(change)
    notices = _notices(result)
    if cross_check:
        more, said = _peer(*doses, result)
        findings, notices = findings + more, notices + said
    _write(result, change, out, difference)
    if as_json:
        histogram = {"edges": result.edges.tolist(), "counts": result.histogram.tolist()}
        print_json(findings, notices, histogram=histogram)
        return
    for notice in notices:
        typer.echo(f"{notice.severity} {notice.code}: {notice.message}", err=True)
    _show(result, findings)


def findings_of(result: GammaResult) -> list[Finding]:
    """Return pass rate, mean and greatest gamma as findings."""
    from rtplan.domain import Finding

    settings = result.settings
    name = f"Gamma {settings.dose_percent:g}%/{settings.distance_mm:g}mm"
    detail = {
        "kind": "local" if settings.local else "global",
        "cutoff_percent": settings.cutoff_percent,
        "normalisation_gy": result.normalisation_gy,
        "max_gamma": settings.max_gamma,
        "n": result.n,
        "n_outside": result.n_outside,
    }
    rows = (
        ("pass rate", 100.0 * result.pass_rate, "%"),
        ("mean", result.mean, "1"),
        ("maximum", result.maximum, "1"),
    )
    return [
        Finding(metric=f"{name} {what}", value=value, unit=unit, step="gamma", detail=detail)
        for what, value, unit in rows
    ]


def _read(path: Path) -> Dose:
    from rtplan.domain import Dose
    from rtplan.errors import DoseError
    from rtplan.io import rtdose
    from rtplan.io.nifti import is_volume_file, read_volume

    if not is_volume_file(path):
        return rtdose.read(path).dose
    volume = read_volume(path, kind="dose")
    if not isinstance(volume, Dose):
        raise DoseError("The file holds no dose.", where=path.name)
    return volume


def _notices(result: GammaResult) -> list[Notice]:
    from rtplan.domain import Notice

    if not result.n_outside:
        return []
    found = f"{result.n_outside} reference points lie outside the evaluated dose and were not evaluated."
    return [Notice("GAMMA_OUTSIDE", "warn", found, "evaluate on a grid that covers the reference")]


def difference_findings(change: DoseDifference) -> list[Finding]:
    """Return mean, root mean square, 95th percentile and extreme of the dose difference as findings."""
    from rtplan.domain import Finding

    rows = (
        ("mean", change.mean_gy),
        ("rms", change.rms_gy),
        ("p95", change.p95_gy),
        ("largest", change.largest_gy),
    )
    return [
        Finding(
            metric=f"Dose difference {what}", value=value, unit="Gy", step="gamma", detail={"n": change.n}
        )
        for what, value in rows
    ]


def _mask(path: Path, wanted: list[str], reference: Dose) -> Mask:
    from rtplan.cli.readings import frame_of, in_frame, read_structures
    from rtplan.domain import Mask
    from rtplan.imaging.contour import mask_on

    frame = reference.grid.frame_of_reference
    found, _ = read_structures(path, wanted, frame)
    grid = in_frame(reference, frame_of(found)).grid
    inside = np.zeros(grid.shape, np.bool_)
    for structure in found:
        inside |= mask_on(structure, grid).array
    return Mask(reference.grid, inside)


def _write(result: GammaResult, change: DoseDifference, out: Path | None, difference: Path | None) -> None:
    """Write the maps that are asked for; both or none."""
    from rtplan.domain import Volume
    from rtplan.errors import OutputError
    from rtplan.io.nifti import write_volume

    if out is not None:
        write_volume(Volume(result.grid, result.map), out)
    if difference is not None:
        try:
            write_volume(change.map, difference)
        except OutputError:
            if out is not None:
                out.unlink()
            raise


def _peer(reference: Dose, evaluated: Dose, result: GammaResult) -> tuple[list[Finding], list[Notice]]:
    """Run pymedphys on the same doses; it knows only grids along the patient's axes."""
    import importlib

    from rtplan.domain import Finding, Notice

    try:
        peer = importlib.import_module("pymedphys")
    except ImportError:
        return [], [Notice("PEER_MISSING", "info", "pymedphys is not installed: no cross-check.")]
    if not (reference.grid.is_axial and evaluated.grid.is_axial):
        return [], [Notice("PEER_LEFT_OUT", "info", "pymedphys does not compare tilted grids.")]
    axes = [
        tuple(
            o + s * np.arange(n) for o, s, n in zip(g.origin_mm[::-1], g.spacing_zyx_mm, g.shape, strict=True)
        )
        for g in (reference.grid, evaluated.grid)
    ]
    settings = result.settings
    values = peer.gamma(
        axes[0], reference.array, axes[1], evaluated.array, settings.dose_percent, settings.distance_mm,
        lower_percent_dose_cutoff=settings.cutoff_percent, local_gamma=settings.local,
        max_gamma=settings.max_gamma, global_normalisation=result.normalisation_gy,
    )  # fmt: skip
    values = values[np.isfinite(values) & np.isfinite(result.map)]
    rate = 100.0 * float(np.mean(values <= 1))
    name = f"Gamma {settings.dose_percent:g}%/{settings.distance_mm:g}mm pass rate"
    detail = {"program": f"pymedphys {peer.__version__}", "interp_fraction": 10, "n": int(values.size)}
    return [Finding(metric=name, value=rate, unit="%", step="pymedphys", detail=detail)], []


def _show(result: GammaResult, findings: list[Finding]) -> None:
    settings = result.settings
    typer.echo(
        f"{'Local' if settings.local else 'Global'} gamma, {settings.dose_percent:g} % of "
        f"{'the local dose' if settings.local else f'{result.normalisation_gy:.2f} Gy'}, "
        f"{settings.distance_mm:g} mm, points from {settings.cutoff_percent:g} %: {result.n} points"
    )
    for finding in findings:
        by = f"  ({finding.detail['program']})" if "program" in finding.detail else ""
        typer.echo(f"  {finding.metric:32} {finding.value:8.3f} {finding.unit.replace('1', '')}{by}")
