"""The one training loop: a job draws, says the loss and scores; the loop steps, averages and keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rtplan.errors import ModelError, OutputError
from rtplan.learning import together
from rtplan.learning.run import Run, begin, finish, finish_soon, go_on, keep, start_from
from rtplan.learning.settings import NetworkTraining

#: More steps than this share without a finite gradient end the training.
SKIPPED_MAX = 0.2


class Job(Protocol):
    """What is learned. The same step gives the same batch."""

    score_name: str

    def draw(self, step: int) -> Any:
        """Return the batch of a step."""

    def loss(self, run: Run, batch: Any) -> tuple[Tensor, dict[str, float]]:
        """Return what is minimised, and its parts for the log."""

    def validate(self, network: nn.Module) -> float:
        """Return the error on the validation patients; NaN without any."""


def learn(
    settings: NetworkTraining,
    job: Job,
    out: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    weights: Mapping[str, Tensor] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Path:
    """Train a network and write ``model.toml``, weights, log and checkpoints into a folder.

    Parameters
    ----------
    out : Path
        Folder.
    resume : bool
        Go on from the checkpoint in ``out``; the result is that of an uninterrupted run when the length
        is given in steps.
    device : str
        Where it is learned (``cpu``, ``cuda``).
    weights : mapping, optional
        Begin with these instead of random ones.
    report : callable
        Called with a line of text at each validation.

    Notes
    -----
    Inside `together.joined` every process calls this alike: a step is then made on one batch that is as many
    times as large as there are processes. The first one validates, writes and logs (its own losses).

    Returns
    -------
    Path
        The ``model.toml`` of the best exponential moving average of the weights.

    Raises
    ------
    OutputError
        If ``out`` holds a training already and ``resume`` is not asked for.
    ModelError
        If too many gradients are not finite, or the weights are of another network.
    """
    if (out / "state.json").exists() and not resume:
        raise OutputError(
            "The folder holds a training already.", where=out.name, action="resume it, or choose another."
        )
    out.mkdir(parents=True, exist_ok=True)
    run = begin(settings, out, device)
    if weights is not None:
        start_from(run, weights)
    if resume:
        go_on(run)
    together.demand_steps(settings.optimise.hours)
    totals: list[dict[str, float]] = []
    while run.progress < 1.0:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed * 1_000_003 + run.step + together.rank() * 7_368_787)
            totals.append(_step(run, job, job.draw(run.step)))
        run.step += 1
        if _fall_begins(run):
            report(f"step {run.step}: the final fall of the rate begins")
        if run.step % settings.optimise.validate_every == 0 or run.progress >= 1.0:
            if together.rank() == 0:
                row = keep(run, totals, job.validate(run.ema), job.score_name)
                report(", ".join(f"{key} {value}" for key, value in row.items()))
            totals = []
    with together.first_alone():
        return finish(run) if together.rank() == 0 else out / "model.toml"


def _fall_begins(run: Run) -> bool:
    """Whether the final fall of the rate begins now; the first process looks, and the others follow."""
    if run.settings.optimise.schedule != "constant":
        return False
    begins = finish_soon(run) if together.rank() == 0 else False
    begins, run.fall = together.told((begins, run.fall))
    return begins


def _step(run: Run, job: Job, batch: Any) -> dict[str, float]:
    """Make one optimiser step; return its losses."""
    rate = run.rate
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    run.generator.train()
    total, seen = job.loss(run, batch)
    run.optimiser.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    total = together.average_gradients(run.generator, total)
    norm = nn.utils.clip_grad_norm_(run.generator.parameters(), run.settings.optimise.clip)
    if torch.isfinite(norm) and torch.isfinite(total):
        run.optimiser.step()
        _average(run)
    else:
        _skip(run)
    return seen


def _average(run: Run) -> None:
    share = min(run.settings.optimise.ema, (1.0 + run.step) / (10.0 + run.step))
    for mean, now in zip(run.ema.parameters(), run.generator.parameters(), strict=True):
        mean.data.lerp_(now.data, 1.0 - share)


def _skip(run: Run) -> None:
    run.skipped += 1
    if run.skipped > 20 and run.skipped > SKIPPED_MAX * (run.step + 1):
        raise ModelError(
            f"{run.skipped} of {run.step + 1} steps had gradients that are not finite.",
            action="train with precision = 'f32', or a smaller rate.",
        )
