"""rtplan evaluate synct: score synthetic CTs of MR-CT pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rtplan.cli.options import AsJson, Quiet, Threads, print_json, progress, set_threads
from rtplan.errors import FormatError, UnknownName

if TYPE_CHECKING:
    from rtplan.case.synct_scores import Part


def command(
    data: Path = typer.Option(
        ..., "--data", help="Folder of pairs: npz, or SynthRAD's case folders.", exists=True, file_okay=False
    ),
    style: str = typer.Option(
        "clean", "--style", help="clean, synthrad2023, synthrad2025-metrics or synthrad2025-evaluation."
    ),
    model: list[str] = typer.Option(
        ["synct_mr_pelvis"], "--model", help="Name or model.toml; with --folds and no --fold one per fold."
    ),
    images: Path | None = typer.Option(
        None,
        "--images",
        help="Score the volumes CASE.nii.gz of this folder instead.",
        exists=True,
        file_okay=False,
    ),
    only: str = typer.Option("", "--only", help="Cases, separated by commas; all by default."),
    folds: Path | None = typer.Option(None, "--folds", help="folds.toml: score test patients only."),
    fold: int | None = typer.Option(None, "--fold", help="Which fold's test patients."),
    align: bool = typer.Option(
        False, "--align", help="Lay each CT on its MR first, where the pair does not agree: say so beside it."
    ),
    save: Path | None = typer.Option(None, "--save", help="New folder for scores.json."),
    threads: Threads = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score synthetic CTs by tissue, beside an intensity lookup, with intervals over patients.

    Example: rtplan evaluate synct --data ../shared/data/sts/npz_2mm --only STS_010,STS_014
    """
    from rtplan.case.synct_scores import score_synct
    from rtplan.evaluation.synct import STYLES

    if style not in STYLES:
        raise UnknownName(f"There is no style {style!r}. Known: {', '.join(STYLES)}.")
    set_threads(threads)
    parts = _parts(model, images, tuple(filter(None, only.split(","))), folds, fold)
    done = score_synct(data, parts, style, align=align, save=save, report=progress(quiet))
    if as_json:
        print_json(done.findings, (), **done.as_dict())
        return
    for finding in done.findings:
        low, high = finding.interval95 or (float("nan"),) * 2
        where = f"{finding.detail['cases']} {finding.detail['n']}, {finding.model}"
        typer.echo(
            f"{finding.metric:32} {finding.value:9.3f} {finding.unit:3} [{low:.3f}, {high:.3f}]  {where}"
        )


def _parts(
    models: list[str], images: Path | None, only: tuple[str, ...], folds: Path | None, fold: int | None
) -> list[Part]:
    """Return who answers for which cases."""
    from rtplan.case.synct_scores import by_images, by_network
    from rtplan.learning.folds import load_folds
    from rtplan.learning.zoo import load_model

    if folds is None:
        if fold is not None or len(models) != 1:
            raise FormatError("Folds, or a network for each of them, need the file of --folds.")
        return [by_images(images, only) if images else by_network(load_model(models[0]), only)]
    if only or images is not None:
        raise FormatError("--folds chooses the cases and their networks: leave --only and --images out.")
    known = load_folds(folds)
    numbers = [int(name) for name in known.fold] if fold is None else [fold]
    if len(numbers) != len(models):
        raise FormatError(f"{len(numbers)} folds need as many --model, not {len(models)}.", where=folds.name)
    return [by_network(load_model(m), known.test(k)) for k, m in zip(numbers, models, strict=True)]
