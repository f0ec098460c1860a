"""rtplan dose: the dose of an open field or of a plan on an image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rtplan.cli.options import AsJson, Device, Threads, print_json, set_threads

if TYPE_CHECKING:
    from rtplan.domain import Beam, Dose, Image, Mask, Notice
    from rtplan.domain.delivery import ClinicalPlan
    from rtplan.domain.notice import Severity
    from rtplan.planning.beam import BeamModel
    from rtplan.planning.cone import ConeEngine
    from rtplan.planning.engine import Engine

ENDINGS = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")


def command(
    image: Path = typer.Argument(..., help="CT: NIfTI or MHA in HU, or a folder with one DICOM series."),
    out: Path = typer.Option(..., "--out", help="Dose file to write (.nii.gz, .mha), Gy."),
    plan: Path | None = typer.Option(
        None, "--plan", help="RTPLAN: of rtplan, or a clinical one (jaws, MLC)."
    ),
    open_field: str | None = typer.Option(None, "--open-field", help="Sides of an open field, mm: 100x100."),
    isocentre: str | None = typer.Option(None, "--isocentre", help="X,Y,Z of the isocentre, LPS mm."),
    gantry: float = typer.Option(0.0, "--gantry", help="Gantry angle, IEC 61217, degrees."),
    collimator: float = typer.Option(0.0, "--collimator", help="Collimator angle, degrees."),
    couch: float = typer.Option(0.0, "--couch", help="Couch angle, degrees."),
    mu: float = typer.Option(100.0, "--mu", help="Monitor units of the open field."),
    grid_mm: float = typer.Option(3.0, "--grid", help="Spacing of the dose grid, mm.", min=0.5),
    body: Path | None = typer.Option(None, "--body", help="Mask of the body; else found on the image."),
    machine: str = typer.Option(
        "",
        "--machine",
        help="Beam file: name or path (rtplan models beams); else generic_6mv.",
    ),
    algorithm: str = typer.Option("pencil", "--algorithm", help="pencil, or cone (bone, gas and lung)."),
    curve: str = typer.Option("matrad_default", "--curve", help="HU to density (rtplan models curves)."),
    device: Device = "cpu",
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Calculate or recalculate a dose (mm, degrees, LPS). All outside the body counts as air.

    Example: rtplan dose ct.nii.gz --open-field 100x100 --gantry 0 --isocentre 0,0,0 --mu 100 --out d.nii.gz
    """
    if (plan is None) == (open_field is None):
        raise typer.BadParameter("give either --plan or --open-field.")
    if open_field is not None and isocentre is None:
        raise typer.BadParameter("an open field needs --isocentre X,Y,Z (LPS, mm).")
    if not str(out).endswith(ENDINGS):
        raise typer.BadParameter(f"--out is a file that ends in {', '.join(ENDINGS)}.")
    angles = (gantry, collimator, couch)
    field = None if open_field is None else (_numbers(open_field, "x", 2), _numbers(isocentre or "", ",", 3))
    from rtplan.io.nifti import write_volume

    set_threads(threads)
    density = _image(image)
    outline = _body(density, body)
    if plan is not None:
        _demand_frame(plan, density)
        _demand_patient(plan, image)
    model, beams, notices = _beams(plan, field, angles, mu, machine)
    _demand_inside(beams, outline)
    calculating = _engine(algorithm, model, curve, device)
    dose = calculating.calculate(beams, [density], outline, density.grid.with_spacing((grid_mm,) * 3))[0]
    write_volume(dose, out)
    _tell(dose, out, [*notices, *_of_the_image(density, outline, beams, calculating)], as_json)


def _numbers(text: str, separator: str, count: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(separator))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise typer.BadParameter(f"{text!r} is not {count} numbers parted by {separator!r}.")
    return numbers


def _image(path: Path) -> Image:
    from rtplan.domain import Image
    from rtplan.errors import FormatError
    from rtplan.io.image import read_series
    from rtplan.io.nifti import read_volume

    found = read_series(path) if path.is_dir() else read_volume(path, kind="CT")
    if not isinstance(found, Image) or found.modality != "CT":
        raise FormatError(
            "A dose is calculated on a CT in HU; this is an MR.",
            where=path.name,
            action="make a synthetic CT of it first (rtplan synct).",
        )
    return found


def _body(image: Image, path: Path | None) -> Mask:
    from rtplan.domain import Mask
    from rtplan.imaging.body import body_mask
    from rtplan.io.nifti import read_volume

    if path is None:
        return body_mask(image)
    mask = read_volume(path, kind="mask", frame_of_reference=image.grid.frame_of_reference)
    assert isinstance(mask, Mask)
    return mask


def _beams(
    plan: Path | None,
    field: tuple[tuple[float, ...], tuple[float, ...]] | None,
    angles: tuple[float, float, float],
    mu: float,
    machine: str,
) -> tuple[BeamModel, tuple[Beam, ...], list[Notice]]:
    """Return the machine, its beams, and what a reader of their dose must know."""
    from rtplan.io import rtplan as door
    from rtplan.planning.beam import load_beam
    from rtplan.planning.openfield import open_field

    if plan is not None and _ours(plan):
        beams = door.read(plan).beams
        return load_beam(machine or beams[0].machine), beams, []
    model = load_beam(machine or "generic_6mv")
    if plan is not None:
        return model, *_clinical(plan, model)
    assert field is not None
    (u, v), (x, y, z) = field
    gantry, collimator, couch = angles
    beam = open_field(
        (u, v),
        (x, y, z),
        mu=mu,
        gantry_deg=gantry,
        collimator_deg=collimator,
        couch_deg=couch,
        machine=model.name,
    )
    return model, (in_air(beam, (u, v), model),), []


def in_air(beam: Beam, size_mm: tuple[float, float], model: BeamModel) -> Beam:
    """Return an open field with the collimator scatter of its jaws, where the beam file has any."""
    if model.collimator_scatter is None:
        return beam
    factor = model.collimator_scatter.of(*size_mm)
    return replace(beam, fluence=replace(beam.fluence, mu=beam.fluence.mu * factor))


def _demand_frame(plan: Path, image: Image) -> None:
    from rtplan.errors import DoseError
    from rtplan.io import rtplan as door

    frames = (door.read_summary(plan).frame, image.grid.frame_of_reference)
    if all(frames) and frames[0] != frames[1]:
        raise DoseError(
            f"The plan lies in frame of reference {frames[0]}, the image in {frames[1]}.",
            where=plan.name,
            action="give the image that the plan was made on, or one resampled onto it.",
        )


def _demand_patient(plan: Path, image: Path) -> None:
    """Refuse a plan for another patient than the DICOM series; other images say no patient."""
    from rtplan.errors import DoseError
    from rtplan.io.index import entry_of

    if not image.is_dir():
        return
    series = next(path for path in sorted(image.rglob("*")) if path.is_file() and path.name != "DICOMDIR")
    one, other = entry_of(plan), entry_of(series)
    if one.text("PatientID") and other.text("PatientID") and one.person != other.person:
        raise DoseError(
            "The plan is for another patient than the image.",
            where=plan.name,
            action="give the image that the plan was made on.",
        )


def _ours(plan: Path) -> bool:
    from rtplan.io import rtplan as door

    return door.read_summary(plan).ours


def _clinical(plan: Path, model: BeamModel) -> tuple[tuple[Beam, ...], list[Notice]]:
    from rtplan.io import rtplan_delivery
    from rtplan.planning.apertures import beams_of, head_of

    delivered = rtplan_delivery.read(plan)
    beams = beams_of(delivered, model.name, model.energy_mv, head=head_of(model))
    return beams, [*_ideal(delivered, model), *_unmapped(delivered, model)]


def _demand_inside(beams: tuple[Beam, ...], body: Mask) -> None:
    from rtplan.errors import DoseError
    from rtplan.planning.around import holds

    for beam in beams:
        if not holds(body, beam.isocentre_mm):
            x, y, z = beam.isocentre_mm
            raise DoseError(
                f"The isocentre ({x:g}, {y:g}, {z:g}) mm of beam {beam.name} lies outside the body.",
                action="give it in LPS (x to the left, y to posterior, z to the head), or give --body.",
            )


def _engine(name: str, model: BeamModel, curve: str, device: str) -> Engine | ConeEngine:
    from rtplan.planning.algorithm import algorithm
    from rtplan.planning.density import load_curve

    return algorithm(name, model, load_curve(curve), device)


def _ideal(plan: ClinicalPlan, model: BeamModel) -> list[Notice]:
    """Return what is left out where jaws and leaves of a clinical plan were turned into maps."""
    from rtplan.domain import Notice
    from rtplan.planning.apertures import NEVER, left_out

    missing = left_out(plan, model)
    if not missing:
        return []
    message = (
        f"Jaws and leaves of the plan are idealised: the beam file {model.name!r} gives nothing of "
        f"{', '.join(missing)}."
    )
    action = (
        "add what was measured to the beam file ([collimation], [collimator_scatter]); without it, read "
        "differences between density images, and use the planning system for absolute dose."
    )
    severity: Severity = "info" if missing == (NEVER,) else "warn"
    return [Notice("PLAN_APERTURES_IDEAL", severity, message, action)]


def _unmapped(plan: ClinicalPlan, model: BeamModel) -> list[Notice]:
    """Return a notice where the user has not said that the beam file stands for the plan's machines."""
    from rtplan.domain import Notice

    others = sorted({beam.machine for beam in plan.beams} - set(model.machine_names))
    if not others:
        return []
    message = (
        f"The beam file {model.name!r} is not said to stand for the plan's machine "
        f"{', '.join(repr(name) for name in others)}: the dose is relative, not that of its monitor units."
    )
    action = "give the machine's own beam file by --machine, with its name in machine_names."
    return [Notice("PLAN_MACHINE_UNMAPPED", "warn", message, action)]


def _of_the_image(
    image: Image, body: Mask, beams: tuple[Beam, ...], calculating: Engine | ConeEngine
) -> list[Notice]:
    """Return what is wrong with the image for these beams: HU beyond the curve, tissue cut off."""
    import numpy as np

    from rtplan.domain import Grid, Mask
    from rtplan.planning.around import through_crop
    from rtplan.planning.scene import mask_at
    from rtplan.planning.warnings import crop_notices, curve_notices

    curve = calculating.curve
    hu = image.array[mask_at(body, image.grid)]
    part = float(((hu < curve.hu[0]) | (hu > curve.hu[-1])).mean())
    crossed: list[str] = []
    for beam in beams:
        x, y, z = beam.isocentre_mm
        first = (x - 10.0, y - 10.0, z - 10.0)
        around = Grid.axial((3, 3, 3), (10.0,) * 3, first, body.grid.frame_of_reference)
        middle = Mask(around, np.ones((3, 3, 3), bool))
        crossed += through_crop([beam], body, middle, calculating.model.sad_mm)
    return [*curve_notices(part, curve), *crop_notices(crossed)]


def _tell(dose: Dose, out: Path, notices: list[Notice], as_json: bool) -> None:
    from rtplan.domain import Finding

    top = Finding("Max[Gy]", float(dose.array.max()), "Gy", "dose", dose_kind=dose.kind)
    if as_json:
        print_json([top], notices, out=str(out))
        return
    typer.echo(f"{out}: maximum {top.value:.3f} Gy on {dose.grid}")
    for notice in notices:
        typer.echo(f"{notice.severity}: {notice.message} {notice.action}", err=True)
