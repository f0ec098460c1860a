"""rtplan train: learn a network from settings."""

from __future__ import annotations

from pathlib import Path

import typer

from rtplan.cli.options import Device, Quiet, Threads, progress, set_threads
from rtplan.errors import ModelError


def command(
    settings: Path = typer.Argument(..., metavar="SETTINGS.toml", exists=True, dir_okay=False),
    out: Path = typer.Option(None, "--out", help="Folder of the training; out/NAME by default."),
    cache: Path = typer.Option(None, "--cache", help="Where prepared patients are kept; OUT/cache."),
    resume: bool = typer.Option(False, "--resume", help="Go on from the last checkpoint in OUT."),
    begin_with: str | None = typer.Option(None, "--from", help="Model whose weights come first (doses)."),
    fold: int | None = typer.Option(
        None, "--fold", help="Fold that is left out, where the settings name some."
    ),
    device: Device = "cpu",
    threads: Threads = 0,
    quiet: Quiet = False,
) -> None:
    """Train a network; OUT gets model.toml, weights, a log and checkpoints.

    Example: rtplan train models/synct_mr_pelvis/train.toml --out out/synct
    """
    from rtplan.case.dose_training import train_dose_from
    from rtplan.case.training import train_from
    from rtplan.learning.dose_settings import DoseSettings
    from rtplan.learning.settings import load_settings, parse, task_of
    from rtplan.planning import device as devices

    set_threads(threads)
    if task_of(settings) == "dose":
        if fold is not None:
            raise ModelError("A dose network has no folds.", action="leave --fold out.")
        dose_plan = parse(settings, DoseSettings)
        folder = out or Path("out") / dose_plan.name
        path = train_dose_from(
            dose_plan,
            folder,
            resume=resume,
            device=str(devices.device(device)),
            begin_with=begin_with,
            report=progress(quiet),
        )
    else:
        if device != "cpu" or begin_with is not None:
            raise ModelError(
                "A synthetic CT is learned on the CPU and from the start.",
                action="leave --device and --from out.",
            )
        plan = load_settings(settings, fold)
        folder = out or Path("out") / plan.name
        path = train_from(plan, folder, cache=cache, resume=resume, report=progress(quiet))
    typer.echo(f"The network and its card: {path}")
