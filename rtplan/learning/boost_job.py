"""What a boost network learns: samples, losses and the error on the patients that were held out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rtplan.errors import ModelError
from rtplan.learning import loss, together
from rtplan.learning.boost import (
    BODY,
    CHANNELS,
    INSIDE,
    TOUCHED,
    BoostCase,
    boost_channels,
    start_of,
    windowed,
)
from rtplan.learning.boost_settings import BoostSettings
from rtplan.learning.dose_terms import Course, mean_terms
from rtplan.learning.predict_boost import HIGH, answer, high_error, predict_boost
from rtplan.learning.run import Run

#: Structures whose sorted doses are compared, and so many voxels of each.
SORTED = ("ptv", "gtv", "Rectum", "Bladder", "Urethra")
SORTED_MAX = 4096
#: Part of a voxel from which on it is one of them.
LEAST = {**dict.fromkeys(SORTED, 0.5), "ptv": INSIDE["ptv"], "gtv": TOUCHED}
_AT = {name: CHANNELS.index(name) for name in SORTED}


@dataclass(frozen=True, eq=False)
class BoostSample:
    """One sample: channels (1, c, z, y, x), dose over the gland's (1, 1, z, y, x), and the course."""

    inputs: Tensor
    dose: Tensor
    course: Course


class BoostJob:
    """Draws samples, says the loss, scores on held-out patients; the loop does the rest.

    Parameters
    ----------
    settings : BoostSettings
        From ``train.toml``.
    cases, held_out : sequence of BoostCase
        What is learned from, and what chooses the weights.

    Raises
    ------
    ModelError
        If there is no case, or one without dose.
    """

    score_name = "validation_percent"

    def __init__(
        self, settings: BoostSettings, cases: Sequence[BoostCase], held_out: Sequence[BoostCase]
    ) -> None:
        if not cases:
            raise ModelError("There is no patient to train on.", action="check the data of the settings.")
        for case in (*cases, *held_out):
            if case.dose is None:
                raise ModelError("A training patient has no dose.", where=case.name)
        self.settings = settings
        self.cases = list(cases)
        self.held_out = list(held_out)

    def draw(self, step: int) -> tuple[BoostSample, ...]:
        """Return the batch of a step: each patient once per epoch, in another order, mirrored at random."""
        places = together.shares(range(self.settings.optimise.batch))
        whole = self.settings.optimise.batch * together.size()
        return tuple(self._sample(step * whole + place) for place in places)

    def _sample(self, number: int) -> BoostSample:
        settings = self.settings
        epoch, at = divmod(number, len(self.cases))
        order = np.random.default_rng([settings.seed, epoch, 7]).permutation(len(self.cases))
        rng = np.random.default_rng([settings.seed, number])
        case = self.cases[int(order[at])]
        assert case.dose is not None
        most = settings.augment.shift_voxels
        dz, dy, dx = (int(n) for n in rng.integers(-most, most + 1, 3))
        start = start_of(case, settings.patch_zyx, (dz, dy, dx))
        seen = windowed(case, start, settings.patch_zyx)
        assert seen.dose is not None
        x, dose = boost_channels(seen), torch.from_numpy(seen.dose.astype(np.float32))[None]
        for chance, axis in ((settings.augment.mirror_chance, -1), (settings.augment.upside_chance, -3)):
            if rng.random() < chance:
                x, dose = x.flip(axis), dose.flip(axis)
        return BoostSample(x[None], dose[None], Course(case.gland_gy, case.fractions))

    def loss(self, run: Run, batch: Sequence[BoostSample]) -> tuple[Tensor, dict[str, float]]:
        """Return what is minimised (the mean over the samples) and its parts in % of the gland's dose."""
        parts = [
            self._parts(run, one, place)
            for place, one in zip(together.shares(range(len(batch))), batch, strict=True)
        ]
        total, *seen = (torch.stack(terms).mean() for terms in zip(*parts, strict=True))
        names = ("l1_percent", "dvh_percent", "means_percent")
        return total, {name: part.item() * 100.0 for name, part in zip(names, seen, strict=True)}

    def _parts(self, run: Run, one: BoostSample, turn: int) -> tuple[Tensor, ...]:
        plan = self.settings.loss
        bf16 = self.settings.optimise.precision == "bf16"
        with torch.autocast(one.inputs.device.type, torch.bfloat16, enabled=bf16):
            found = answer(run.generator, one.inputs)
        body, gtv, rectum = (one.inputs[:, CHANNELS.index(n)][:, None] for n in (BODY, "gtv", "Rectum"))
        high = one.dose >= HIGH
        special = (gtv >= TOUCHED) | (high & (rectum > 0.0))
        weight = body * (1.0 + (plan.high - 1.0) * high + plan.boost * special)
        l1 = loss.masked_l1(found, one.dose, weight)
        total, dvh = l1, l1.new_zeros(())
        if plan.dvh > 0.0 and run.step >= plan.dvh_from:
            rng = np.random.default_rng([self.settings.seed, run.step, 3 + turn])
            dvh = sorted_l1(found, one, rng)
            total = total + plan.dvh * dvh
        means = mean_terms(found, one.dose, lambda name: part_of(one, name), one.course, plan.means)
        return total + means, l1.detach(), dvh.detach(), means.detach()

    def validate(self, network: nn.Module) -> float:
        """Return the mean over the held-out patients of the error where the dose is high, %; NaN without."""
        errors = []
        for case in self.held_out:
            assert case.dose is not None
            dose = predict_boost(network, case, self.settings.patch_zyx)
            errors.append(high_error(dose, case.dose.astype(np.float32)))
        return 100.0 * float(np.mean(errors)) if errors else math.nan


def part_of(one: BoostSample, name: str) -> Tensor:
    """Return the part of each voxel in a structure, shape (1, 1, z, y, x); targets as planned."""
    part = one.inputs[:, CHANNELS.index(name)][:, None]
    return torch.where(part >= LEAST.get(name, 0.5), part, torch.zeros_like(part))


def sorted_l1(prediction: Tensor, batch: BoostSample, rng: np.random.Generator) -> Tensor:
    """Return the mean over the structures of the mean absolute difference of their sorted doses.

    Two doses with the same DVH differ by 0. At most `SORTED_MAX` voxels per structure, drawn anew.
    """
    terms = []
    for name, at in _AT.items():
        where = torch.nonzero(batch.inputs[0, at].flatten() >= LEAST[name], as_tuple=True)[0]
        if where.numel() == 0:
            continue
        if where.numel() > SORTED_MAX:
            where = where[torch.from_numpy(rng.choice(where.numel(), SORTED_MAX, replace=False))]
        ours, true = prediction.flatten()[where], batch.dose.flatten()[where]
        terms.append((ours.sort().values - true.sort().values).abs().mean())
    return torch.stack(terms).mean() if terms else prediction.new_zeros(())
