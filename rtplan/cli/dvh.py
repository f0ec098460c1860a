"""rtplan dvh: DVH metrics and goals of a dose, from DICOM, NIfTI or MHA."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from rtplan.cli.options import AsJson, print_json

if TYPE_CHECKING:
    from rtplan.domain import Dose, Finding, Notice, Structure
    from rtplan.dosimetry.dvh import Settings

STANDARD = ("Volume[cc]", "D98%[Gy]", "D50%[Gy]", "D2%[Gy]", "Mean[Gy]", "Min[Gy]", "Max[Gy]")


def command(
    dose: Path = typer.Option(..., "--dose", help="RTDOSE, NIfTI or MHA in Gy."),
    structures: Path = typer.Option(..., "--structures", help="RTSTRUCT, or a label map."),
    structure: list[str] = typer.Option([], "--structure", help="Name; may be given again. All by default."),
    names: Path | None = typer.Option(None, "--names", help="Map of clinic names to TG-263 (TOML)."),
    metric: list[str] = typer.Option(
        [], "--metric", help="TG-263: D95%[Gy], V20Gy[%] …; may be given again."
    ),
    protocol: str | None = typer.Option(None, "--protocol", help="Evaluate the goals of a protocol."),
    rx: float | None = typer.Option(None, "--rx", help="Prescription, Gy, that a % of dose refers to."),
    fractions: int | None = typer.Option(None, "--fractions", help="Number of fractions, for EQD2.", min=1),
    caps: Literal["none", "half_slice", "rounded"] = typer.Option(
        "rounded", "--caps", help="Beyond the ends."
    ),
    interpolation: Literal["linear", "cubic"] = typer.Option("cubic", "--interpolation", help="Of the dose."),
    outside: Literal["refuse", "bounds", "zero"] = typer.Option(
        "refuse", "--outside", help="Off the dose grid."
    ),
    out: Path | None = typer.Option(None, "--out", help="CSV of the curve (one structure: FILE.csv)."),
    cross_check: bool = typer.Option(False, "--cross-check", help="Print dicompyler-core beside."),
    as_json: AsJson = False,
) -> None:
    """Read DVH metrics and judge goals; each value with its error bound and cap bound.

    Example: rtplan dvh --dose RD.dcm --structures RS.dcm --structure Rectum --metric V50Gy[%]
    """
    from rtplan.cli.readings import read_dose, read_structures
    from rtplan.dosimetry.dvh import Settings

    settings = Settings(caps=caps, interpolation=interpolation, outside=outside)
    read = read_dose(dose, fractions)
    frame = read.grid.frame_of_reference
    renamed = protocol is not None or names is not None
    found, notices = read_structures(structures, structure, frame, names, rename=renamed)
    if protocol is not None:
        findings = _judged(protocol, found, read, settings)
    else:
        findings = [f for s in found for f in _read(s, read, metric or list(STANDARD), rx, settings)]
    if out is not None:
        _write(out, found, read, settings)
    if cross_check:
        findings += _peer(structures, dose, found, names, renamed=renamed)
    if as_json:
        print_json(findings, notices, settings=_said(settings))
    else:
        _print(findings, notices, settings)


def _read(
    structure: Structure, dose: Dose, metrics: Sequence[str], rx: float | None, settings: Settings
) -> list[Finding]:
    from rtplan.domain import Finding
    from rtplan.dosimetry.dvh import dvh, value
    from rtplan.dosimetry.metric import parse
    from rtplan.errors import DoseError, StructureError

    parsed = [parse(text) for text in metrics]
    findings = []
    made = None
    for metric in parsed:
        try:
            made = made or dvh(structure, dose, settings)
            got = value(made, metric, rx)
        except (DoseError, StructureError) as wrong:
            findings.append(
                Finding(
                    str(metric),
                    None,
                    metric.unit,
                    "dvh",
                    structure=structure.name,
                    verdict="not_evaluable",
                    reason=str(wrong),
                )
            )
            continue
        findings.append(
            Finding(
                str(metric),
                got.value,
                got.unit,
                "dvh",
                structure=structure.name,
                error_bound=got.error_bound,
                cap_bound=got.cap_bound,
                covered_fraction=got.covered_fraction,
                dose_kind=metric.dose_kind,
            )
        )
    return findings


def _judged(protocol: str, structures: Sequence[Structure], dose: Dose, settings: Settings) -> list[Finding]:
    from dataclasses import replace

    from rtplan.domain import Patient
    from rtplan.dosimetry.judging import judge
    from rtplan.dosimetry.protocol import load_protocol

    patient = Patient("", structures={s.name: s for s in structures}, doses={"CT": dose})
    return [replace(f, arm=None, step="dvh") for f in judge(patient, load_protocol(protocol), settings)]


def _write(out: Path, structures: Sequence[Structure], dose: Dose, settings: Settings) -> None:
    from rtplan.dosimetry.dvh import dvh
    from rtplan.dosimetry.table import write_table

    for structure in structures:
        path = out if len(structures) == 1 else out.with_name(f"{out.stem}_{structure.name}{out.suffix}")
        write_table(dvh(structure, dose, settings), path)


def _peer(
    structures: Path, dose: Path, found: Sequence[Structure], names: Path | None, *, renamed: bool
) -> list[Finding]:
    from rtplan.cli.readings import own_names
    from rtplan.domain import Finding
    from rtplan.io.crosscheck import peer_dvh

    own = own_names(structures, names) if renamed else {}
    return [
        Finding(
            metric,
            number,
            metric[-3:-1],
            "dvh cross-check",
            structure=structure.name,
            source="dicompyler-core",
        )
        for structure in found
        for metric, number in peer_dvh(structures, dose, own.get(structure.name, structure.name)).items()
    ]


def _said(settings: Settings) -> dict[str, object]:
    return {"caps": settings.caps, "interpolation": settings.interpolation, "outside": settings.outside}


def _print(findings: Sequence[Finding], notices: Sequence[Notice], settings: Settings) -> None:
    typer.echo(f"Dose interpolation {settings.interpolation}, end caps {settings.caps}.")
    for finding in findings:
        name = f"{finding.structure or '':18} {finding.metric:20}"
        if finding.value is None:
            typer.echo(f"{name} not evaluable: {finding.reason}")
            continue
        bounds = (
            ""
            if finding.error_bound is None
            else f" ± {finding.error_bound:.3f}, caps {finding.cap_bound:.3f}"
        )
        mark = "" if finding.verified is not False else " (not verified: decides nothing)"
        goal = f"  {finding.limit} {finding.verdict}{mark}" if finding.limit else ""
        peer = f"  [{finding.source}]" if finding.step == "dvh cross-check" else ""
        typer.echo(f"{name} {finding.value:10.3f} {finding.unit}{bounds}{goal}{peer}")
    for notice in notices:
        typer.echo(f"{notice.severity}: {notice.structure or ''} {notice.message}", err=True)
