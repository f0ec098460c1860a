"""The one training loop: L1 first, the critic last; resumable, sized by steps or by the wall clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rtplan.errors import ModelError, OutputError
from rtplan.learning import loss
from rtplan.learning.channels import HU_SCALE
from rtplan.learning.pairs import Pair, inputs_of
from rtplan.learning.predict import predict_array
from rtplan.learning.run import Run, begin, finish, go_on, keep
from rtplan.learning.sample import Sample, Sampler
from rtplan.learning.settings import TrainSettings
from rtplan.networks.gan import Critic

#: More steps than this share without a finite gradient end the training.
SKIPPED_MAX = 0.2

Groups = Sequence[tuple[float, Sequence[Pair]]]


def train(
    settings: TrainSettings,
    pairs: Groups,
    validation: Sequence[Pair],
    out: Path,
    *,
    resume: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Path:
    """Train a network and write ``model.toml``, weights, log and checkpoints into a folder.

    Parameters
    ----------
    settings : TrainSettings
        From ``train.toml``.
    pairs : sequence of (share, pairs)
        Training pairs by source, with the share of the samples.
    validation : sequence of Pair
        Choose the best checkpoint; never trained on. Empty: the last one is kept.
    out : Path
        Folder.
    resume : bool
        Go on from the checkpoint in ``out``; the result is that of an uninterrupted run when the length
        is given in steps.
    report : callable
        Called with a line of text at each validation.

    Returns
    -------
    Path
        The ``model.toml`` of the best exponential moving average of the weights.

    Raises
    ------
    OutputError
        If ``out`` holds a training already and ``resume`` is not asked for.
    ModelError
        If there is nothing to train on, or too many gradients are not finite.
    """
    if (out / "state.json").exists() and not resume:
        raise OutputError(
            "The folder holds a training already.", where=out.name, action="resume it, or choose another."
        )
    out.mkdir(parents=True, exist_ok=True)
    sampler = Sampler(pairs, settings)
    run = begin(settings, out)
    if resume:
        go_on(run)
    plan = settings.optimise
    totals: list[dict[str, float]] = []
    while run.progress < 1.0:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed * 1_000_003 + run.step)
            totals.append(_step(run, sampler.draw(run.step)))
        run.step += 1
        if run.step % plan.validate_every == 0 or run.progress >= 1.0:
            row = keep(run, totals, validate(run.ema, validation, settings))
            report(", ".join(f"{key} {value}" for key, value in row.items()))
            totals = []
    return finish(run)


def _step(run: Run, batch: Sample) -> dict[str, float]:
    """Make one optimiser step; return its losses."""
    settings = run.settings
    rate = run.rate
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    run.generator.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.optimise.precision == "bf16"):
        fake = run.generator(batch.inputs)
    l1 = loss.masked_l1(fake, batch.ct, batch.weight)
    gradient = loss.gradient_l1(fake, batch.ct, batch.both)
    total = l1 + settings.loss.gradient * gradient
    if settings.loss.square > 0.0:
        share = settings.loss.square * (1.0 - run.progress)
        total = total + share * loss.masked_square(fake, batch.ct, batch.weight)
    seen = {"l1_hu": l1.item() * HU_SCALE, "gradient": gradient.item(), "adversarial": 0.0, "critic": 0.0}
    if run.critic is not None and run.progress >= settings.loss.adversarial_from:
        total = total + _game(run, run.critic, batch, fake, seen)
    run.optimiser.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(run.generator.parameters(), settings.optimise.clip)
    if torch.isfinite(norm) and torch.isfinite(total):
        run.optimiser.step()
        _average(run)
    else:
        _skip(run)
    return seen


def _game(run: Run, critic: Critic, batch: Sample, fake: Tensor, seen: dict[str, float]) -> Tensor:
    """Let the critic learn on this batch; return the generator's adversarial and feature terms."""
    settings, game = run.settings.loss, loss.GAMES[run.settings.loss.kind]
    mr = batch.inputs[:, _mr_plane(run.settings)]
    inside = batch.both > 0.0
    real, forged = batch.ct, torch.where(inside, fake, batch.ct)
    assert run.critic_optimiser is not None
    with torch.autocast("cpu", torch.bfloat16, enabled=run.settings.optimise.precision == "bf16"):
        told = critic(mr, real)[-1], critic(mr, forged.detach())[-1]
    verdict = game.critic(told[0].float(), told[1].float())
    run.critic_optimiser.zero_grad(set_to_none=True)
    verdict.backward()  # type: ignore[no-untyped-call]
    if torch.isfinite(nn.utils.clip_grad_norm_(critic.parameters(), 1.0)):
        run.critic_optimiser.step()
    critic.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16, enabled=run.settings.optimise.precision == "bf16"):
        maps = critic(mr, forged)
        true_maps = critic(mr, real) if settings.feature > 0.0 else []
    critic.requires_grad_(True)
    term = game.generator(maps[-1].float())
    seen |= {"adversarial": term.item(), "critic": verdict.item()}
    extra = settings.feature * loss.feature_l1(maps, true_maps) if settings.feature > 0.0 else 0.0
    return settings.adversarial * term + extra


def _mr_plane(settings: TrainSettings) -> slice:
    index = next(i for i, spec in enumerate(settings.inputs) if spec.kind == "mr")
    return slice(index, index + 1)


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


def validate(network: nn.Module, pairs: Sequence[Pair], settings: TrainSettings) -> float:
    """Return the mean over the pairs of the mean absolute error in HU, where both bodies are.

    Each pair is read in one of its contrasts, in turn; NaN without pairs.
    """
    errors = []
    for index, pair in enumerate(pairs):
        names = sorted(pair.mr)
        channels = inputs_of(pair, names[index % len(names)], settings.inputs)
        hu = predict_array(network, channels, settings.patch_zyx)
        errors.append(float(np.abs(hu - pair.ct)[pair.both].mean()))
    return float(np.mean(errors)) if errors else math.nan
