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
    from rtplan.case.training import train_from
    from rtplan.learning.settings import load_settings, task_of

    set_threads(threads)
    if task_of(settings) == "dose":
        if fold is not None:
            raise ModelError("A dose network has no folds.", action="leave --fold out.")
        path = _dose(settings, out, cache, resume, (device, begin_with, quiet))
    elif task_of(settings) == "segment":
        if device != "cpu" or begin_with is not None or fold is not None:
            raise ModelError(
                "A segmentation is learned on the CPU, from the start and without folds.",
                action="leave --device, --from and --fold out.",
            )
        path = _segment(settings, out, cache, resume, quiet)
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


def _segment(settings: Path, out: Path | None, cache: Path | None, resume: bool, quiet: bool) -> Path:
    """Train a segmentation network on digital pelves."""
    from rtplan.case.segment_training import train_segment_from
    from rtplan.learning.segment_settings import SegmentSettings
    from rtplan.learning.settings import parse

    plan = parse(settings, SegmentSettings)
    folder = out or Path("out") / plan.name
    return train_segment_from(plan, folder, cache=cache, resume=resume, report=progress(quiet))


def _dose(
    settings: Path, out: Path | None, cache: Path | None, resume: bool, rest: tuple[str, str | None, bool]
) -> Path:
    """Train a dose network, of the head and neck or of the prostate's boost by the settings' site."""
    from rtplan.case.boost_training import train_boost_from
    from rtplan.case.dose_training import train_dose_from
    from rtplan.learning.boost_settings import BoostSettings
    from rtplan.learning.dose_settings import DoseSettings
    from rtplan.learning.settings import parse, site_of
    from rtplan.planning import device as devices

    device, begin_with, quiet = rest
    if site_of(settings) == "prostate":
        if device != "cpu":
            raise ModelError("A boost network is learned on the CPU.", action="leave --device out.")
        plan = parse(settings, BoostSettings)
        return train_boost_from(
            plan,
            out or Path("out") / plan.name,
            cache=cache,
            resume=resume,
            begin_with=begin_with,
            report=progress(quiet),
        )
    dose_plan = parse(settings, DoseSettings)
    return train_dose_from(
        dose_plan,
        out or Path("out") / dose_plan.name,
        resume=resume,
        device=str(devices.device(device)),
        begin_with=begin_with,
        report=progress(quiet),
    )
