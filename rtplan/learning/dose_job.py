"""What a dose network learns: samples, losses and the error on the patients that were held out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rtplan.errors import ModelError
from rtplan.learning import loss, together
from rtplan.learning.dose_settings import DoseSettings
from rtplan.learning.doses import (
    CHANNELS,
    FEASIBLE,
    ORGANS,
    SCALE_GY,
    TARGETS,
    DoseCase,
    dose_channels,
    mirrored,
)
from rtplan.learning.predict_dose import padded, predict_case
from rtplan.learning.run import Run
from rtplan.networks.cascade import Cascade

#: Voxels per structure whose doses are sorted.
SORTED_MAX = 4096
_AT = {name: CHANNELS.index(name) for name in (*TARGETS, *ORGANS)}
_FEASIBLE_AT = CHANNELS.index("possible_dose")


@dataclass(frozen=True, eq=False)
class DoseSample:
    """One sample: channels (1, c, z, y, x) and dose / 70 Gy (1, 1, z, y, x), both padded.

    Patients differ in size, so that a batch is a tuple of samples.
    """

    inputs: Tensor
    dose: Tensor


class DoseJob:
    """Draws samples, says the loss, scores on held-out patients; the loop does the rest.

    Parameters
    ----------
    settings : DoseSettings
        From ``train.toml``.
    cases, held_out : sequence of DoseCase
        What is learned from, and what chooses the weights.

    Raises
    ------
    ModelError
        If there is no case, or one without dose.
    """

    score_name = "validation_gy"

    def __init__(
        self, settings: DoseSettings, cases: Sequence[DoseCase], held_out: Sequence[DoseCase]
    ) -> None:
        if not cases:
            raise ModelError("There is no patient to train on.", action="check the data of the settings.")
        for case in (*cases, *held_out):
            if case.dose is None:
                raise ModelError("A training patient has no dose.", where=case.name)
        self.settings = settings
        self.cases = list(cases)
        self.held_out = list(held_out)

    def draw(self, step: int) -> tuple[DoseSample, ...]:
        """Return the batch of a step: each patient once per epoch, in another order, changed at random."""
        places = together.shares(range(self.settings.optimise.batch))
        whole = self.settings.optimise.batch * together.size()
        return tuple(self._sample(step * whole + place) for place in places)

    def _sample(self, number: int) -> DoseSample:
        settings = self.settings
        epoch, at = divmod(number, len(self.cases))
        order = np.random.default_rng([settings.seed, epoch, 7]).permutation(len(self.cases))
        rng = np.random.default_rng([settings.seed, number])
        case = self.cases[int(order[at])]
        assert case.dose is not None
        x = dose_channels(case, with_ct=bool(rng.random() >= settings.augment.ct_dropout))
        dose = torch.from_numpy(case.dose)[None] / SCALE_GY
        if rng.random() < settings.augment.mirror_chance:
            x, dose = mirrored(x), dose.flip(-1)
        if rng.random() < settings.augment.upside_chance:
            x, dose = x.flip(-3), dose.flip(-3)
        pads = padded(x.shape[1:], settings.patch_zyx, rng)
        return DoseSample(nn.functional.pad(x, pads)[None], nn.functional.pad(dose, pads)[None])

    def loss(self, run: Run, batch: Sequence[DoseSample]) -> tuple[Tensor, dict[str, float]]:
        """Return what is minimised (the mean over the samples) and its parts in Gy."""
        device = next(run.generator.parameters()).device
        parts = [
            self._parts(run, DoseSample(one.inputs.to(device), one.dose.to(device)), place)
            for place, one in zip(together.shares(range(len(batch))), batch, strict=True)
        ]
        total, l1, dvh = (torch.stack(terms).mean() for terms in zip(*parts, strict=True))
        return total, {"l1_gy": l1.item() * SCALE_GY, "dvh_gy": dvh.item() * SCALE_GY}

    def _parts(self, run: Run, one: DoseSample, turn: int) -> tuple[Tensor, Tensor, Tensor]:
        feasible = one.inputs[:, _FEASIBLE_AT : _FEASIBLE_AT + 1]
        bf16 = self.settings.optimise.precision == "bf16"
        with torch.autocast(one.inputs.device.type, torch.bfloat16, enabled=bf16):
            if isinstance(run.generator, Cascade):
                first, last = run.generator.both(one.inputs)
            else:
                first, last = None, run.generator(one.inputs)
        l1 = loss.masked_l1(last, one.dose, feasible)
        total = l1 if first is None else l1 + 0.5 * loss.masked_l1(first, one.dose, feasible)
        plan, dvh = self.settings.loss, l1.new_zeros(())
        if plan.dvh > 0.0 and run.step >= plan.dvh_from:
            dvh = sorted_l1(last, one, np.random.default_rng([self.settings.seed, run.step, 3 + turn]))
            total = total + plan.dvh * dvh
        return total, l1.detach(), dvh.detach()

    def validate(self, network: nn.Module) -> float:
        """Return the mean over the held-out patients of the mean absolute error, Gy; NaN without any."""
        errors = []
        for case in self.held_out:
            assert case.dose is not None
            device = next(network.parameters()).device.type
            dose = predict_case(network, case, self.settings.patch_zyx, device=device)
            errors.append(float(np.abs(dose - case.dose)[case.mask(FEASIBLE)].mean()))
        return float(np.mean(errors)) if errors else math.nan


def sorted_l1(prediction: Tensor, batch: DoseSample, rng: np.random.Generator) -> Tensor:
    """Return the mean over the structures of the mean absolute difference of their sorted doses.

    Two doses with the same DVH differ by 0. At most `SORTED_MAX` voxels per structure, drawn anew.
    """
    terms = []
    for at in _AT.values():
        where = torch.nonzero(batch.inputs[0, at].flatten(), as_tuple=True)[0]
        if where.numel() == 0:
            continue
        if where.numel() > SORTED_MAX:
            some = torch.from_numpy(rng.choice(where.numel(), SORTED_MAX, replace=False))
            where = where[some.to(where.device)]
        ours, true = prediction.flatten()[where], batch.dose.flatten()[where]
        terms.append((ours.sort().values - true.sort().values).abs().mean())
    return torch.stack(terms).mean()
