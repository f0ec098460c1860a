"""Learn a synthetic CT: L1 first, the critic last."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rtplan.learning import loss, together
from rtplan.learning.channels import BONE_HU, HU_SCALE
from rtplan.learning.loop import learn
from rtplan.learning.pairs import Pair, inputs_of
from rtplan.learning.predict import predict_array
from rtplan.learning.run import Run
from rtplan.learning.sample import Sample, Sampler
from rtplan.learning.settings import TrainSettings
from rtplan.networks.gan import Critic

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
    """Train a synthetic-CT network into a folder; see `loop.learn`.

    Parameters
    ----------
    settings : TrainSettings
        From ``train.toml``.
    pairs : sequence of (share, pairs)
        Training pairs by source, with the share of the samples.
    validation : sequence of Pair
        Choose the best checkpoint; never trained on. Empty: the last one is kept.

    Raises
    ------
    OutputError
        If ``out`` holds a training already and ``resume`` is not asked for.
    ModelError
        If there is nothing to train on, or too many gradients are not finite.
    """
    return learn(settings, SynctJob(settings, pairs, validation), out, resume=resume, report=report)


class SynctJob:
    """Draws patches of pairs; masked L1, gradients, and the critic's verdict."""

    score_name = "validation_hu"

    def __init__(self, settings: TrainSettings, pairs: Groups, validation: Sequence[Pair]) -> None:
        self.settings = settings
        self.validation = validation
        self.draw = Sampler(pairs, settings).draw

    def loss(self, run: Run, batch: Sample) -> tuple[Tensor, dict[str, float]]:
        """Return what is minimised, and its parts; the critic learns on the way."""
        settings = self.settings
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.optimise.precision == "bf16"):
            fake = run.generator(batch.inputs)
        l1 = loss.masked_l1(fake, batch.ct, batch.weight, together.mean)
        gradient = loss.gradient_l1(fake, batch.ct, batch.both, together.mean)
        total = l1 + settings.loss.gradient * gradient
        fade = settings.loss.square_steps
        share = settings.loss.square * (1.0 - (run.step / fade if fade else run.progress))
        if share > 0.0:
            total = total + share * loss.masked_square(fake, batch.ct, batch.weight, together.mean)
        if settings.loss.entropy > 0.0:
            width = settings.loss.entropy_width_hu / HU_SCALE
            edge = (BONE_HU / HU_SCALE, width)
            entropy = loss.bone_entropy(fake, batch.ct, batch.both, edge, together.mean)
            total = total + settings.loss.entropy * entropy
        seen = {"l1_hu": l1.item() * HU_SCALE, "gradient": gradient.item(), "adversarial": 0.0, "critic": 0.0}
        if run.critic is not None and run.progress >= settings.loss.adversarial_from:
            total = total + _game(run, run.critic, batch, fake, seen, settings)
        return total, seen

    def validate(self, network: nn.Module) -> float:
        """Return the error on the validation pairs, HU."""
        return validate(network, self.validation, self.settings)


def _game(
    run: Run, critic: Critic, batch: Sample, fake: Tensor, seen: dict[str, float], whole: TrainSettings
) -> Tensor:
    """Let the critic learn on this batch; return the generator's adversarial and feature terms."""
    settings, game = whole.loss, loss.GAMES[whole.loss.kind]
    bf16 = whole.optimise.precision == "bf16"
    mr = batch.inputs[:, _mr_plane(whole)]
    inside = batch.both > 0.0
    real, forged = batch.ct, torch.where(inside, fake, batch.ct)
    assert run.critic_optimiser is not None
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        told = critic(mr, real)[-1], critic(mr, forged.detach())[-1]
    verdict = game.critic(told[0].float(), told[1].float())
    run.critic_optimiser.zero_grad(set_to_none=True)
    verdict.backward()  # type: ignore[no-untyped-call]
    together.average_gradients(critic, verdict)
    if torch.isfinite(nn.utils.clip_grad_norm_(critic.parameters(), 1.0)):
        run.critic_optimiser.step()
    critic.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
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
