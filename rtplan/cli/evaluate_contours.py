"""rtplan evaluate contours: compare structures with a reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import typer

from rtplan.cli.options import AsJson, print_json
from rtplan.domain import Finding, Mask, Structure
from rtplan.errors import FormatError


def command(
    ref: Path = typer.Argument(..., metavar="REF", help="RTSTRUCT, SEG or label map.", exists=True),
    new: Path = typer.Argument(..., metavar="NEW", help="The same, to be judged.", exists=True),
    structure: list[str] = typer.Option(
        [], "--structure", help="Name in REF, or REF=NEW where they differ; may be repeated."
    ),
    tolerance: float = typer.Option(2.0, "--tolerance", help="Of the surface Dice, mm.", min=0.0),
    pixel: float = typer.Option(1.0, "--pixel", help="Pixels where both are contours, mm.", min=0.05),
    probability: Path | None = typer.Option(
        None, "--probability", help="Volume of NEW's probability (one structure): AUC.", exists=True
    ),
    as_json: AsJson = False,
) -> None:
    """Compare structures: Dice, surface Dice, HD95, mean surface distance, volume, too much, too little, AUC.

    Example: rtplan evaluate contours RS_expert.dcm labels.nii.gz --structure Prostate
    """
    from rtplan.cli.readings import frame_of, read_structures
    from rtplan.evaluation.contours import compare

    reference, notices = read_structures(ref, [], "")
    frame = frame_of(reference)
    made, more = read_structures(new, [], frame)
    if not frame and (frame := frame_of(made)):
        reference, notices = read_structures(ref, [], frame)
    findings: list[Finding] = []
    pairs = _pairs(reference, made, structure)
    for one, other in pairs:
        findings += compare(one, other, tolerance_mm=tolerance, pixel_mm=pixel).findings(tolerance)
    if probability is not None:
        findings.append(_auc(pairs, probability, frame))
    findings += _missing(reference, made, pairs, structure)
    if as_json:
        print_json(findings, (*notices, *more))
        return
    for finding in findings:
        said = f"{finding.value:10.3f} {finding.unit}" if finding.value is not None else f"  {finding.reason}"
        typer.echo(f"{finding.structure or '':24} {finding.metric:22} {said}")


def _pairs(
    reference: tuple[Structure, ...], made: tuple[Structure, ...], wanted: list[str]
) -> list[tuple[Structure, Structure]]:
    """Return what is compared with what: the wanted names, else those in both, else the only two."""
    here, there = ({one.name: one for one in found} for found in (reference, made))
    names = [tuple(name.split("=", 1)) if "=" in name else (name, name) for name in wanted]
    if not names:
        names = [(name, name) for name in here if name in there]
    if not names and len(here) == len(there) == 1:
        names = [(*here, *there)]
    for mine, yours in names:
        if mine not in here or yours not in there:
            raise FormatError(
                f"There is no structure {mine!r} in REF or no {yours!r} in NEW. REF has {', '.join(here)}; "
                f"NEW has {', '.join(there)}."
            )
    if not names:
        raise FormatError(
            f"No structure has one name in both. REF has {', '.join(here)}; NEW has {', '.join(there)}.",
            action="give --structure REF=NEW.",
        )
    return [(here[mine], there[yours]) for mine, yours in names]


def _missing(
    reference: tuple[Structure, ...],
    made: tuple[Structure, ...],
    pairs: list[tuple[Structure, Structure]],
    wanted: list[str],
) -> list[Finding]:
    """Return a line for each structure of REF that NEW lacks, unless some were chosen."""
    seen = {one.name for one, _ in pairs}
    return [
        Finding(
            metric="Dice",
            value=None,
            unit="1",
            step="evaluate",
            structure=one.name,
            verdict="not_evaluable",
            reason="NEW has no structure of this name.",
        )
        for one in reference
        if not wanted and one.name not in seen and one.name not in {other.name for other in made}
    ]


def _auc(pairs: list[tuple[Structure, Structure]], path: Path, frame: str) -> Finding:
    """Return the AUC of a probability map for the one structure that is compared."""
    from rtplan.evaluation.contours import auc
    from rtplan.imaging.contour import mask_on
    from rtplan.io.nifti import read_volume

    if len(pairs) != 1:
        raise FormatError("A probability map is of one structure.", action="choose it by --structure.")
    volume = read_volume(path, kind="MR", frame_of_reference=frame)
    reference = pairs[0][0]
    if isinstance(reference.region, Mask) and not reference.region.grid.frame_of_reference:
        volume = replace(volume, grid=replace(volume.grid, frame_of_reference=""))
    value = auc(mask_on(reference, volume.grid).array, volume.array.astype(float))
    return Finding(metric="AUC", value=value, unit="1", step="evaluate", structure=reference.name)
