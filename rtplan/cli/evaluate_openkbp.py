"""rtplan evaluate openkbp: score a dose network as the challenge does."""

from __future__ import annotations

from pathlib import Path

import typer

from rtplan.cli.options import AsJson, Quiet, Threads, print_json, progress, set_threads


def command(
    data: Path = typer.Option(
        ..., "--data", help="Folder of the patients (pt_*).", exists=True, file_okay=False
    ),
    model: str = typer.Option("dose_openkbp", "--model", help="Name (see rtplan models) or model.toml."),
    tta: bool = typer.Option(False, "--tta", help="Mean over four mirror images."),
    save: Path | None = typer.Option(None, "--save", help="New folder: doses as CSV, scores, pictures."),
    threads: Threads = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Predict the dose of OpenKBP patients and score it as the challenge does.

    Example: rtplan evaluate openkbp --data ../shared/data/openkbp/valid --tta --save out/valid
    """
    from rtplan.case.openkbp import evaluate_openkbp
    from rtplan.learning.zoo import load_model

    set_threads(threads)
    done = evaluate_openkbp(load_model(model), data, tta=tta, save=save, report=progress(quiet))
    if as_json:
        print_json(done.findings, done.notices, **done.as_dict())
        return
    for finding in done.findings:
        assert finding.value is not None
        assert finding.interval95 is not None
        low, high = finding.interval95
        typer.echo(f"{finding.metric:52} {finding.value:.3f} {finding.unit}  [{low:.3f}, {high:.3f}]")
    for name, gy in done.scores.per_metric.items():
        typer.echo(f"  {name:24} {gy:.3f} Gy")
    for notice in done.notices:
        typer.echo(f"{notice.severity}: {notice.message} {notice.action}", err=True)
    typer.echo(f"{done.scores.n} patients, {done.seconds_per_patient:.2f} s each; predicted, not planned.")
