"""rtplan commission beam: a clinic's own beam file from its measurements."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rtplan.cli.options import AsJson, Quiet, print_json, progress

if TYPE_CHECKING:
    from rtplan.domain import Finding
    from rtplan.planning.beam import BeamModel
    from rtplan.planning.commission import Row
    from rtplan.planning.measured import Measured

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,39}")


def command(
    measurements: Path = typer.Argument(
        ...,
        metavar="FILE.csv",
        help="quantity,field_mm,depth_mm,offset_mm,value.",
        exists=True,
        dir_okay=False,
    ),
    out: Path = typer.Option(..., "--out", help="Folder of the results; must not exist or be empty."),
    name: str = typer.Option("", "--name", help="Name of the beam file; else that of the CSV."),
    stands_for: list[str] = typer.Option(
        [], "--machine-name", help="TreatmentMachineName of plans that it stands for; may be repeated."
    ),
    ssd: float = typer.Option(1000.0, "--ssd", help="Source to surface of pdd and profile, mm.", min=500.0),
    base: str = typer.Option("generic_6mv", "--base", help="Beam file that the fit starts from."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace results of rtplan."),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fit a beam file to measured TMR or depth doses, profiles and output factors; report what is left.

    Example: rtplan commission beam linac1.csv --machine-name LINAC1 --out linac1/
    """
    from rtplan.case.outfolder import refuse_occupied, whole
    from rtplan.planning.beamtoml import beam_text
    from rtplan.planning.commission import compared
    from rtplan.planning.measured import read_measured

    refuse_occupied(out, overwrite=overwrite)
    name = name or re.sub(r"[^A-Za-z0-9_\-]", "_", measurements.stem)
    if not NAME.fullmatch(name):
        raise typer.BadParameter("--name takes up to 40 letters, digits, - and _.")
    measured = read_measured(measurements)
    model = _fitted(measured, ssd, base, name, tuple(stands_for), quiet)
    rows = compared(model, measured, ssd)
    findings = _findings(rows)
    with whole(out, overwrite=overwrite) as folder:
        text = beam_text(model, f"Made by rtplan commission beam from {measurements.name}.")
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
        _write_rows(folder / "residuals.csv", rows)
        content = {"findings": [f.as_dict() for f in findings], "beam": f"{name}.toml"}
        (folder / "manifest.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
        _write_report(folder, name, rows, findings, model)
    if as_json:
        print_json(findings, (), out=str(out))
        return
    for finding in findings:
        typer.echo(
            f"{finding.detail['what']:40} largest {finding.value:5.2f} %  rms {finding.detail['rms']:5.2f} %"
        )
    typer.echo(f"{out / (name + '.toml')}: give it to rtplan dose and rtplan plan by --machine.")


def _fitted(
    measured: Measured, ssd: float, base: str, name: str, stands_for: tuple[str, ...], quiet: bool
) -> BeamModel:
    from rtplan.planning.beam import load_beam
    from rtplan.planning.commission import fit_pencil
    from rtplan.planning.conefit import fit_cone
    from rtplan.planning.device import one_thread

    say = progress(quiet)
    start = load_beam(base)
    say(f"Fitting the pencil beam to {measured.value.size} rows")
    with one_thread():
        model = fit_pencil(start, measured, ssd)
        cone = None
        if start.cone is not None:
            say("Fitting the collapsed cone")
            cone = fit_cone(model, start, measured, ssd)
    source = {
        "measurements": "rtplan commission beam",
        "start": start.name,
        **{f"start_{k}": v for k, v in start.source.items()},
    }
    update = {
        "name": name, "cone": cone, "machine_names": stands_for, "source": source, "verified": False,
        "fit": {"rows": int(measured.value.size), "ssd_mm": ssd},
    }  # fmt: skip
    return model.model_copy(update=update)


def _findings(rows: Sequence[Row]) -> list[Finding]:
    """Return the largest deviation of each quantity and field, fitted depths only."""
    from rtplan.domain import Finding
    from rtplan.planning.commission import SHALLOW_MM

    found = []
    for one in rows:
        off = one.deviation_percent[one.depth_mm >= SHALLOW_MM]
        if off.size:
            what = f"{one.quantity} of {one.field_mm:g} mm"
            rms = float((off**2).mean() ** 0.5)
            detail = {
                "what": what,
                "quantity": one.quantity,
                "field_mm": one.field_mm,
                "rms": rms,
                "rows": off.size,
            }
            found.append(
                Finding("Deviation[%]", float(abs(off).max()), "%", "commission beam", detail=detail)
            )
    return found


def _write_rows(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            ["quantity", "field_mm", "depth_mm", "offset_mm", "measured", "modelled", "deviation_percent"]
        )
        for one in rows:
            columns = (one.depth_mm, one.offset_mm, one.measured, one.modelled, one.deviation_percent)
            for numbers in zip(*columns, strict=True):
                writer.writerow([one.quantity, f"{one.field_mm:g}", *(f"{number:.6g}" for number in numbers)])


def _write_report(
    folder: Path, name: str, rows: Sequence[Row], findings: Sequence[Finding], model: BeamModel
) -> None:
    from rtplan.report.commissioning import commissioning
    from rtplan.report.content import Fact
    from rtplan.report.document import document_of

    facts = [
        Fact(
            "Pencil beam",
            f"attenuation {model.attenuation_per_mm:.5f} /mm, source {model.source_fwhm_mm:.1f} mm FWHM at "
            "the isocentre; kernel weights, depth functions and horn near the start's",
        ),
        Fact("Start", f"{model.source['start']}; points above 10 mm depth are not fitted"),
        Fact("Not in it", "transmission, leaf ends and jaws: add [collimation] by hand"),
    ]
    if model.cone is not None and model.cone.extra_focal is not None:
        head = model.cone.extra_focal
        said = (
            f"spectrum from the depth doses, head scatter {100.0 * head.weight:.1f} % of {head.sigma_mm:.0f} "
            f"mm from the output factors; kernel {model.cone.kernel} as it is"
        )
        facts.insert(1, Fact("Collapsed cone", said))
    content = commissioning(name, rows, findings, facts)
    (folder / "report.pdf").write_bytes(document_of(content))
    picture = content.blocks[0].pictures[0]
    (folder / "residuals.png").write_bytes(picture.png)
