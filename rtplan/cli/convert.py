"""rtplan convert: DICOM to NIfTI or MHA and back, label map and RTSTRUCT or SEG, DICOM for one system."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from rtplan.errors import FormatError

KINDS = ("auto", "CT", "MR", "labels", "dose", "seg", "uncertainty")


def command(
    given: Path = typer.Argument(..., metavar="IN", help="DICOM folder or object, or a volume file."),
    out: Path = typer.Option(..., "--out", help="Volume file, RT object (.dcm) or new folder."),
    like: Path | None = typer.Option(
        None, "--like", help="DICOM series that gives patient, frame and slices."
    ),
    names: Path | None = typer.Option(None, "--names", help='JSON {"labels": {"1": "Prostate"}}.'),
    kind: str = typer.Option(
        "auto", "--kind", help="What a volume file is, or OUT: CT, MR, labels, dose, seg or uncertainty."
    ),
    tps: str = typer.Option("generic", "--tps", help="Planning system: eclipse, raystation, a TOML file …"),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Convert a series, a structure set, a segmentation, a label map or a dose; or fit it to a system.

    Example: rtplan convert CT_FOLDER --out ct.nii.gz
    """
    from rtplan.io.convert import Order, convert

    if kind not in KINDS:
        raise FormatError(f"--kind {kind} is not known. Known: {', '.join(KINDS)}.")
    done = convert(Order(given, out, like, names, kind, tps))  # type: ignore[arg-type]
    notices = [notice.as_dict() for notice in done.notices]
    if as_json:
        plain = {
            "findings": [],
            "notices": notices,
            "outputs": [str(p) for p in done.paths],
            "labels": done.labels,
        }
        typer.echo(json.dumps(plain, indent=2))
        return
    for notice in done.notices:
        typer.echo(f"{notice.severity} {notice.code}: {notice.message}", err=True)
    more = f" and {len(done.paths) - 1} more" if len(done.paths) > 1 else ""
    typer.echo(f"Written: {done.paths[0]}{more}")
