"""What a segmentation network learns: painted images, Dice and cross-entropy, and Dice on other pelves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from monai.losses.dice import DiceLoss
from torch import Tensor, nn
from torch.nn import functional

from rtplan.errors import ModelError
from rtplan.learning import together
from rtplan.learning.run import Run
from rtplan.learning.segment_paint import paint_sample
from rtplan.learning.segment_settings import SegmentSettings
from rtplan.learning.segments import LABELS, SegmentCase

#: Draws of the choosing set have numbers of their own.
_CHOOSING = 999_983


class SegmentJob:
    """Paints samples, says the loss, scores on held-out pelves; the loop does the rest.

    Parameters
    ----------
    settings : SegmentSettings
        From ``train.toml``.
    cases, held_out : sequence of SegmentCase
        What is learned from, and what chooses the weights.

    Raises
    ------
    ModelError
        If there is no case.
    """

    score_name = "validation_percent"

    def __init__(
        self, settings: SegmentSettings, cases: Sequence[SegmentCase], held_out: Sequence[SegmentCase]
    ) -> None:
        if not cases:
            raise ModelError("There is no patient to train on.", action="check the data of the settings.")
        self.settings = settings
        self.cases = list(cases)
        self.held_out = [
            paint_sample(
                case,
                settings.patch_zyx,
                np.random.default_rng([settings.seed, _CHOOSING, at]),
                settings.paint,
            )
            for at, case in enumerate(held_out)
        ]
        self._dice = DiceLoss(
            include_background=True,
            softmax=True,
            to_onehot_y=True,
            reduction="none",
            smooth_nr=1.0,
            smooth_dr=1.0,
        )

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """Return images (batch, 1, z, y, x) and labels (batch, 1, z, y, x) of a step, painted anew."""
        settings = self.settings
        whole = settings.optimise.batch * together.size()
        pairs = []
        for place in together.shares(range(settings.optimise.batch)):
            rng = np.random.default_rng([settings.seed, step * whole + place])
            case = self.cases[int(rng.integers(len(self.cases)))]
            pairs.append(paint_sample(case, settings.patch_zyx, rng, settings.paint))
        images, labels = zip(*pairs, strict=True)
        return torch.stack(images)[:, None], torch.stack(labels)[:, None]

    def loss(self, run: Run, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Return Dice loss over the organs that are there, plus cross-entropy, and both."""
        images, labels = batch
        bf16 = self.settings.optimise.precision == "bf16"
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            logits = run.generator(images)
        logits = logits.float()
        present = torch.stack([(labels == k).flatten(1).any(dim=1) for k in range(len(LABELS))], dim=1)
        terms = self._dice(logits, labels).flatten(1)
        dice = (terms * present).sum() / present.sum()
        entropy = functional.cross_entropy(logits, labels[:, 0])
        return dice + entropy, {"dice": dice.item(), "cross_entropy": entropy.item()}

    def validate(self, network: nn.Module) -> float:
        """Return 100 − the mean Dice in % over the organs of the held-out pelves; NaN without any."""
        network.eval()
        scores = []
        for image, labels in self.held_out:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                found = network(image[None, None])[0].argmax(dim=0)
            scores += [
                float(2 * ((found == k) & (labels == k)).sum() / ((found == k).sum() + (labels == k).sum()))
                for k in range(1, len(LABELS))
                if (labels == k).any()
            ]
        return 100.0 * (1.0 - float(np.mean(scores))) if scores else math.nan
