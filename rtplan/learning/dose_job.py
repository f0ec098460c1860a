"""What a dose network learns: samples, losses and the error on the patients that were held out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rtplan.errors import ModelError
from rtplan.learning import loss
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
from rtplan.learning.run import Run

#: Voxels per structure whose doses are sorted.
SORTED_MAX = 4096
_AT = {name: CHANNELS.index(name) for name in (*TARGETS, *ORGANS)}
_FEASIBLE_AT = CHANNELS.index("possible_dose")
_CT_AT = CHANNELS.index("ct")


@dataclass(frozen=True, eq=False)
class DoseSample:
    """One sample: channels (1, c, z, y, x) and dose / 70 Gy (1, 1, z, y, x), both padded."""

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

    def __init__(self, settings: DoseSettings, cases: Sequence[DoseCase], held_out: Sequence[DoseCase]) -> None:
        if not cases:
            raise ModelError("There is no patient to train on.", action="check the data of the settings.")
        for case in (*cases, *held_out):
            if case.dose is None:
                raise ModelError("A training patient has no dose.", where=case.name)
        self.settings = settings
        self.cases = list(cases)
        self.held_out = list(held_out)

    def draw(self, step: int) -> DoseSample:
        """Return the sample of a step: each patient once per epoch, in another order, changed at random."""
        settings = self.settings
        epoch, at = divmod(step, len(self.cases))
        order = np.random.default_rng([settings.seed, epoch, 7]).permutation(len(self.cases))
        rng = np.random.default_rng([settings.seed, step])
        case = self.cases[int(order[at])]
        assert case.dose is not None
        x = dose_channels(case, with_ct=bool(rng.random() >= settings.augment.ct_dropout))
        dose = torch.from_numpy(case.dose)[None] / SCALE_GY
        if rng.random() < settings.augment.mirror_chance:
            x, dose = mirrored(x), dose.flip(-1)
        if rng.random() < settings.augment.upside_chance:
            x, dose = x.flip(-3), dose.flip(-3)
        pads: list[int] = []
        for size, unit in zip(x.shape[:0:-1], settings.patch_zyx[::-1], strict=True):
            free = -size % unit
            before = int(rng.integers(free + 1))
            pads += [before, free - before]
        inputs = nn.functional.pad(x, pads)[None]
        return DoseSample(inputs, nn.functional.pad(dose, pads)[None])

    def loss(self, run: Run, batch: DoseSample) -> tuple[Tensor, dict[str, float]]:
        """Return what is minimised and its parts in Gy."""
        feasible = batch.inputs[:, _FEASIBLE_AT : _FEASIBLE_AT + 1]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.optimise.precision == "bf16"):
            answers = run.generator.both(batch.inputs) if hasattr(run.generator, "both") else None
            last = answers[1] if answers else run.generator(batch.inputs)
        l1 = loss.masked_l1(last, batch.dose, feasible)
        total = l1 if answers is None else l1 + 0.5 * loss.masked_l1(answers[0], batch.dose, feasible)
        seen = {"l1_gy": l1.item() * SCALE_GY, "dvh_gy": 0.0}
        plan = self.settings.loss
        if plan.dvh > 0.0 and run.step >= plan.dvh_from:
            rng = np.random.default_rng([self.settings.seed, run.step, 3])
            dvh = sorted_l1(last, batch, rng)
            total = total + plan.dvh * dvh
            seen["dvh_gy"] = dvh.item() * SCALE_GY
        return total, seen

    def validate(self, network: nn.Module) -> float:
        """Return the mean over the held-out patients of the mean absolute error, Gy; NaN without any."""
        errors = []
        for case in self.held_out:
            assert case.dose is not None
            inside = case.mask(FEASIBLE)
            errors.append(float(np.abs(predict_case(network, case, self.settings.patch_zyx) - case.dose)[inside].mean()))
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
            where = where[torch.from_numpy(rng.choice(where.numel(), SORTED_MAX, replace=False))]
        ours, true = prediction.flatten()[where], batch.dose.flatten()[where]
        terms.append((ours.sort().values - true.sort().values).abs().mean())
    return torch.stack(terms).mean()


def predict_case(
    network: nn.Module, case: DoseCase, unit_zyx: tuple[int, int, int], *, tta: bool = False
) -> np.ndarray:
    """Return the predicted dose of a case, Gy, float32, shape (z, y, x); 0 outside the possible dose.

    Parameters
    ----------
    unit_zyx : tuple of int
        The box is padded to multiples of it.
    tta : bool
        Mean over the mirror images (left–right, and along the body).
    """
    x = dose_channels(case)
    pads: list[int] = []
    for size, unit in zip(x.shape[:0:-1], unit_zyx[::-1], strict=True):
        pads += [0, -size % unit]
    x = nn.functional.pad(x, pads)
    network.eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        answer = network(x[None])[0, 0]
        if tta:
            answer = answer + network(mirrored(x)[None])[0, 0].flip(-1)
            answer = answer + network(x.flip(-3)[None])[0, 0].flip(-3)
            answer = answer + network(mirrored(x).flip(-3)[None])[0, 0].flip(-1).flip(-3)
            answer = answer / 4.0
    nz, ny, nx = case.labels.shape
    dose = np.maximum(answer[:nz, :ny, :nx].float().numpy() * np.float32(SCALE_GY), 0.0)
    return np.where(case.mask(FEASIBLE), dose, np.float32(0.0)).astype(np.float32)
