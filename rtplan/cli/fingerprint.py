"""rtplan fingerprint: plan a training from what the pairs are like."""

from __future__ import annotations

from pathlib import Path

import typer

from rtplan.cli.options import Quiet, progress
from rtplan.errors import OutputError


def command(
    folder: Path = typer.Argument(
        ..., metavar="FOLDER", help="Pairs: npz, or SynthRAD's folders.", exists=True, file_okay=False
    ),
    out: Path | None = typer.Option(None, "--out", help="New TOML file; printed without."),
    name: str = typer.Option("synct_planned", "--name", help="Name of the network."),
    memory: float = typer.Option(8.0, "--memory", help="Memory that a training may use, GiB.", min=1.0),
    quiet: Quiet = False,
) -> None:
    """Measure spacing, shape and signal of MR-CT pairs and write settings that rtplan train takes.

    Example: rtplan fingerprint ../shared/data/sts/npz_2mm --out out/train.toml
    """
    from rtplan.imaging.body import body_mask
    from rtplan.io.datasets.matched import read_pairs
    from rtplan.learning.plan import facts_of, plan_of
    from rtplan.learning.plan_toml import settings_toml

    if out is not None and out.exists():
        raise OutputError("The file is there already.", where=out.name, action="choose another --out.")
    report, cases = progress(quiet), []
    for patient in read_pairs(folder):
        mr = next(iter(patient.mr.values()))
        cases.append(facts_of(mr, body_mask(mr)))
        report(f"{patient.key}: {cases[-1].shape_zyx} voxels of body")
    kind = "npz" if any(folder.glob("*.npz")) else "synthrad"
    text = settings_toml(plan_of(cases, memory), cases, name, str(folder), kind=kind)
    if out is None:
        typer.echo(text)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    typer.echo(f"Settings: {out}")
