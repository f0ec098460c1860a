"""The changing part of a training: networks, optimisers, clock; its checkpoints, log and final weights."""

from __future__ import annotations

import copy
import csv
import json
import math
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import AdamW

from rtplan.errors import ModelError
from rtplan.learning import checkpoint
from rtplan.learning.card import Card, TrainingSpec, WeightsSpec
from rtplan.learning.settings import NetworkTraining, TrainSettings
from rtplan.learning.zoo import network_of, save_model
from rtplan.networks.gan import Critic


@dataclass
class Run:
    """Networks, optimisers and the clock of one training; made by `begin`."""

    settings: NetworkTraining
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
    worked_before: float = 0.0
    worked_start: float = field(default_factory=time.process_time)
    fall: tuple[int, int, float] | None = None

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of all parts so far."""
        return self.before + time.perf_counter() - self.start

    @property
    def worked(self) -> float:
        """Processor seconds of all parts so far."""
        return self.worked_before + time.process_time() - self.worked_start

    @property
    def progress(self) -> float:
        """Part of the training that is done, 0 to 1."""
        plan = self.settings.optimise
        if self.fall is not None:
            return min(1.0, self.step / (self.fall[0] + self.fall[1]))
        if plan.steps is not None:
            return min(1.0, self.step / plan.steps)
        return min(1.0, self.seconds / (3600.0 * (plan.hours or 1.0)))

    @property
    def rate(self) -> float:
        """The learning rate now: a short rise, then a cosine to 0 (at once, or from ``finish`` on)."""
        plan = self.settings.optimise
        if plan.schedule == "constant":
            if self.fall is not None:
                begun, steps, share = self.fall
                part = min(1.0, (self.step - begun) / steps)
                return plan.rate * share * 0.5 * (1.0 + math.cos(math.pi * part))
            return plan.rate * min(1.0, (self.step + 1) / max(plan.warm_up * (plan.steps or 1), 1.0))
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


def finish_soon(run: Run) -> bool:
    """Begin the final fall of the rate when ``finish.json`` asks for it; say whether it did.

    The file holds ``{"steps": N}``; it is renamed when it has been read. A second one plans anew.
    """
    path = run.out / "finish.json"
    if run.settings.optimise.schedule != "constant" or not path.is_file():
        return False
    steps = int(json.loads(path.read_text(encoding="utf-8"))["steps"])
    run.fall = (run.step, max(1, steps), run.rate / run.settings.optimise.rate)
    path.replace(run.out / "finish.taken.json")
    return True


def begin(settings: NetworkTraining, out: Path, device: str = "cpu") -> Run:
    """Return a fresh run; the first weights depend on the seed only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        generator = network_of(settings.network, settings.inputs, settings.outputs).to(device)
        critic = None
        if isinstance(settings, TrainSettings) and settings.loss.adversarial > 0.0:
            critic = Critic(1, settings.loss.critic_channels)
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


def start_from(run: Run, weights: Mapping[str, Tensor]) -> None:
    """Put weights into a fresh run.

    Raises
    ------
    ModelError
        If they are of another network.
    """
    for network in (run.generator, run.ema):
        try:
            network.load_state_dict(dict(weights))
        except RuntimeError as other:
            raise ModelError(
                "The weights to begin with are of another network.",
                action="begin with a model of the same network and inputs.",
            ) from other


def go_on(run: Run) -> None:
    """Bring a fresh run to the checkpoint in its folder."""
    numbers = checkpoint.load(run.out, run.modules, run.optimisers)
    run.step, run.skipped = int(numbers["step"]), int(numbers["skipped"])
    run.before, run.best = float(numbers["seconds"]), float(numbers["best"] or math.inf)
    run.worked_before = float(numbers.get("worked", 0.0))
    if numbers.get("fall"):
        begun, steps, share = numbers["fall"]
        run.fall = (int(begun), int(steps), float(share))


def keep(
    run: Run, totals: list[dict[str, float]], score: float, name: str = "validation_hu"
) -> dict[str, object]:
    """Keep the weights when they are the best so far, log a line, write a checkpoint; return the line.

    Parameters
    ----------
    totals : list of dict
        Losses of the steps since the last line.
    score : float
        Error on the validation patients; NaN where there are none.
    name : str
        Its column in the log.
    """
    if math.isnan(score) or score < run.best:
        run.best = run.best if math.isnan(score) else score
        state = {key: value.cpu().contiguous() for key, value in run.ema.state_dict().items()}
        save_file(state, run.out / "best.safetensors")
    row: dict[str, object] = {"step": run.step, "seconds": round(run.seconds, 1), "rate": f"{run.rate:.3g}"}
    row |= {key: f"{np.mean([one[key] for one in totals]):.4g}" for key in totals[0]}
    row |= {"skipped": run.skipped, "processor": round(run.worked, 1), name: f"{score:.3f}"}
    log = run.out / "log.csv"
    fresh = not log.exists()
    with log.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(row))
        if fresh:
            writer.writeheader()
        writer.writerow(row)
    best = None if math.isinf(run.best) else run.best
    numbers: dict[str, object] = {
        "step": run.step,
        "skipped": run.skipped,
        "seconds": run.seconds,
        "best": best,
    }
    numbers |= {"worked": run.worked, "fall": run.fall}
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
