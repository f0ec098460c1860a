"""What a boost network learns: samples, losses and the error on the patients that were held out."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from rtplan.learning import loss
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
from rtplan.learning.volume_job import VolumeJob, VolumeSample

#: Structures whose sorted doses are compared.
SORTED = ("ptv", "gtv", "Rectum", "Bladder", "Urethra")
#: Their channels, and the part of a voxel from which on it is one of them.
LEAST = {CHANNELS.index(n): {"ptv": INSIDE["ptv"], "gtv": TOUCHED}.get(n, 0.5) for n in SORTED}


class BoostJob(VolumeJob[BoostCase, BoostSettings]):
    """Learns the dose over the gland's prescription in a window about the gland."""

    score_name = "validation_percent"
    scale = 100.0
    unit = "percent"
    terms = ("l1", "dvh", "means")

    def sample(self, case: BoostCase, rng: np.random.Generator) -> VolumeSample:
        """Return a case in its window, which is moved at random, and mirrored at random."""
        settings = self.settings
        most = settings.augment.shift_voxels
        dz, dy, dx = (int(n) for n in rng.integers(-most, most + 1, 3))
        start = start_of(case, settings.patch_zyx, (dz, dy, dx))
        seen = windowed(case, start, settings.patch_zyx)
        assert seen.dose is not None
        x, dose = boost_channels(seen), torch.from_numpy(seen.dose.astype(np.float32))[None]
        for chance, axis in ((settings.augment.mirror_chance, -1), (settings.augment.upside_chance, -3)):
            if rng.random() < chance:
                x, dose = x.flip(axis), dose.flip(axis)
        return VolumeSample(x[None], dose[None], Course(case.gland_gy, case.fractions))

    def parts(self, run: Run, one: VolumeSample, turn: int) -> tuple[Tensor, ...]:
        """Return the weighted L1 in the body, the sorted doses and the generalised means."""
        plan = self.settings.loss
        bf16 = self.settings.optimise.precision == "bf16"
        with torch.autocast(one.inputs.device.type, torch.bfloat16, enabled=bf16):
            found = answer(run.generator, one.inputs)
        body, gtv, rectum = (one.inputs[:, CHANNELS.index(n)][:, None] for n in (BODY, "gtv", "Rectum"))
        high = one.dose >= HIGH
        special = (gtv >= TOUCHED) | (high & (rectum > 0.0))
        weight = body * (1.0 + (plan.high - 1.0) * high + plan.boost * special)
        l1 = loss.masked_l1(found, one.dose, weight)
        dvh = self.sorted_loss(run, found, one, LEAST, turn)
        means = mean_terms(found, one.dose, lambda name: part_of(one, name), one.course, plan.means)
        return l1 + plan.dvh * dvh + means, l1.detach(), dvh.detach(), means.detach()

    def validate(self, network: nn.Module) -> float:
        """Return the mean over the held-out patients of the error where the dose is high, %; NaN without."""
        errors = []
        for case in self.held_out:
            assert case.dose is not None
            dose = predict_boost(network, case, self.settings.patch_zyx)
            errors.append(high_error(dose, case.dose.astype(np.float32)))
        return 100.0 * float(np.mean(errors)) if errors else math.nan


def part_of(one: VolumeSample, name: str) -> Tensor:
    """Return the part of each voxel in a structure, shape (1, 1, z, y, x); targets as planned."""
    at = CHANNELS.index(name)
    part = one.inputs[:, at][:, None]
    return torch.where(part >= LEAST.get(at, 0.5), part, torch.zeros_like(part))
