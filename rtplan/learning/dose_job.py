"""What a dose network learns: samples, losses and the error on the patients that were held out."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from rtplan.learning import loss
from rtplan.learning.dose_settings import DoseSettings
from rtplan.learning.dose_terms import Course
from rtplan.learning.doses import (
    CHANNELS,
    FEASIBLE,
    FRACTIONS,
    ORGANS,
    SCALE_GY,
    TARGETS,
    DoseCase,
    dose_channels,
    mirrored,
)
from rtplan.learning.padding import padded
from rtplan.learning.predict_dose import predict_case
from rtplan.learning.run import Run
from rtplan.learning.volume_job import VolumeJob, VolumeSample
from rtplan.networks.cascade import Cascade

#: Channels of the structures whose sorted doses are compared.
LEAST = {CHANNELS.index(name): 0.5 for name in (*TARGETS, *ORGANS)}
_FEASIBLE_AT = CHANNELS.index("possible_dose")


class DoseJob(VolumeJob[DoseCase, DoseSettings]):
    """Learns dose / 70 Gy of head-and-neck patients, whole and padded."""

    score_name = "validation_gy"
    scale = SCALE_GY
    unit = "gy"

    def sample(self, case: DoseCase, rng: np.random.Generator) -> VolumeSample:
        """Return a case, mirrored and without its CT at random, with random padding."""
        settings = self.settings
        assert case.dose is not None
        x = dose_channels(case, with_ct=bool(rng.random() >= settings.augment.ct_dropout))
        dose = torch.from_numpy(case.dose)[None] / SCALE_GY
        if rng.random() < settings.augment.mirror_chance:
            x, dose = mirrored(x), dose.flip(-1)
        if rng.random() < settings.augment.upside_chance:
            x, dose = x.flip(-3), dose.flip(-3)
        pads = padded(x.shape[1:], settings.patch_zyx, rng)
        x, dose = nn.functional.pad(x, pads), nn.functional.pad(dose, pads)
        return VolumeSample(x[None], dose[None], Course(SCALE_GY, FRACTIONS))

    def parts(self, run: Run, one: VolumeSample, turn: int) -> tuple[Tensor, ...]:
        """Return the L1 over the possible dose (of both answers of a cascade) and the sorted doses."""
        feasible = one.inputs[:, _FEASIBLE_AT : _FEASIBLE_AT + 1]
        bf16 = self.settings.optimise.precision == "bf16"
        with torch.autocast(one.inputs.device.type, torch.bfloat16, enabled=bf16):
            if isinstance(run.generator, Cascade):
                first, last = run.generator.both(one.inputs)
            else:
                first, last = None, run.generator(one.inputs)
        l1 = loss.masked_l1(last, one.dose, feasible)
        total = l1 if first is None else l1 + 0.5 * loss.masked_l1(first, one.dose, feasible)
        dvh = self.sorted_loss(run, last, one, LEAST, turn)
        return total + self.settings.loss.dvh * dvh, l1.detach(), dvh.detach()

    def validate(self, network: nn.Module) -> float:
        """Return the mean over the held-out patients of the mean absolute error, Gy; NaN without any."""
        errors = []
        for case in self.held_out:
            assert case.dose is not None
            device = next(network.parameters()).device.type
            dose = predict_case(network, case, self.settings.patch_zyx, device=device)
            errors.append(float(np.abs(dose - case.dose)[case.mask(FEASIBLE)].mean()))
        return float(np.mean(errors)) if errors else math.nan
