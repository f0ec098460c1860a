"""The changing part of a training: networks, optimisers, clock; its checkpoints, log and final weights."""

from __future__ import annotations

import copy
import csv
import math
import os
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim import AdamW

from rtplan.learning import checkpoint
from rtplan.learning.card import Card, TrainingSpec, WeightsSpec
from rtplan.learning.settings import TrainSettings
from rtplan.learning.zoo import network_of, save_model
from rtplan.networks.gan import Critic

COLUMNS = (
    "step",
    "seconds",
    "rate",
    "l1_hu",
    "gradient",
    "adversarial",
    "critic",
    "skipped",
    "validation_hu",
)


@dataclass
class Run:
    """Networks, optimisers and the clock of one training; made by `begin`."""

    settings: TrainSettings
    out: Path
    generator: nn.Module
    ema: nn.Module
    critic: Critic | None
    optimiser: AdamW
    critic_optimiser: AdamW | None
    step: int = 0
    skipped: int = 0
    before: float = 0.0
    best: float = math.inf
    start: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of all parts so far."""
        return self.before + time.perf_counter() - self.start

    @property
    def progress(self) -> float:
        """Part of the training that is done, 0 to 1."""
        plan = self.settings.optimise
        if plan.steps is not None:
            return min(1.0, self.step / plan.steps)
        return min(1.0, self.seconds / (3600.0 * (plan.hours or 1.0)))

    @property
    def rate(self) -> float:
        """The learning rate now: a short rise, then a cosine to 0."""
        plan = self.settings.optimise
        rise = min(1.0, (self.progress + 1e-3) / max(plan.warm_up, 1e-3))
        return plan.rate * rise * 0.5 * (1.0 + math.cos(math.pi * self.progress))

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What is kept in a checkpoint, by name."""
        found = {"generator": self.generator, "ema": self.ema}
        return found | ({"critic": self.critic} if self.critic else {})

    @property
    def optimisers(self) -> dict[str, AdamW]:
        """The optimisers by name."""
        found = {"optimiser": self.optimiser}
        return found | ({"critic_optimiser": self.critic_optimiser} if self.critic_optimiser else {})


def begin(settings: TrainSettings, out: Path) -> Run:
    """Return a fresh run; the first weights depend on the seed only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        generator = network_of(settings.network, settings.inputs, settings.outputs)
        critic = Critic(1, settings.loss.critic_channels) if settings.loss.adversarial > 0.0 else None
    plan = settings.optimise
    return Run(
        settings,
        out,
        generator,
        copy.deepcopy(generator).requires_grad_(False),
        critic,
        AdamW(generator.parameters(), lr=plan.rate, weight_decay=plan.decay),
        AdamW(critic.parameters(), lr=plan.critic_rate, betas=(0.5, 0.99)) if critic else None,
    )


def go_on(run: Run) -> None:
    """Bring a fresh run to the checkpoint in its folder."""
    numbers = checkpoint.load(run.out, run.modules, run.optimisers)
    run.step, run.skipped = int(numbers["step"]), int(numbers["skipped"])
    run.before, run.best = float(numbers["seconds"]), float(numbers["best"] or math.inf)


def keep(run: Run, totals: list[dict[str, float]], score: float) -> dict[str, object]:
    """Keep the weights when they are the best so far, log a line, write a checkpoint; return the line.

    Parameters
    ----------
    totals : list of dict
        Losses of the steps since the last line.
    score : float
        Error on the validation patients, HU; NaN where there are none.
    """
    if math.isnan(score) or score < run.best:
        run.best = run.best if math.isnan(score) else score
        state = {key: value.contiguous() for key, value in run.ema.state_dict().items()}
        save_file(state, run.out / "best.safetensors")
    row: dict[str, object] = {"step": run.step, "seconds": round(run.seconds, 1), "rate": f"{run.rate:.3g}"}
    row |= {key: f"{np.mean([one[key] for one in totals]):.4g}" for key in totals[0]}
    row |= {"skipped": run.skipped, "validation_hu": f"{score:.3f}"}
    log = run.out / "log.csv"
    fresh = not log.exists()
    with log.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        if fresh:
            writer.writeheader()
        writer.writerow(row)
    best = None if math.isinf(run.best) else run.best
    numbers = {"step": run.step, "skipped": run.skipped, "seconds": run.seconds, "best": best}
    checkpoint.save(run.out, run.modules, run.optimisers, numbers)
    return row


def finish(run: Run) -> Path:
    """Write the best weights and their card; return the path of ``model.toml``."""
    settings = run.settings
    card = Card(
        name=settings.name,
        task=settings.task,
        site=settings.site,
        network=settings.network,
        inputs=settings.inputs,
        outputs=settings.outputs,
        spacing_zyx_mm=settings.spacing_zyx_mm,
        patch_zyx=settings.patch_zyx,
        limits=settings.limits,
        weights=WeightsSpec(),
        training=TrainingSpec(
            data=tuple(source.words for source in settings.data),
            seed=settings.seed,
            hours=round(run.seconds / 3600.0, 3),
            steps=run.step,
            hardware=f"{platform.machine()} CPU, {os.cpu_count()} cores",
        ),
        licence=settings.licence,
    )
    return save_model(run.out, card, load_file(run.out / "best.safetensors"))
