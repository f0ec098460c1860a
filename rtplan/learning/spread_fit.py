"""Learn the second head of a folded network on features that stay as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from rtplan.learning.card import Shape
from rtplan.learning.doses import FEASIBLE, SCALE_GY, DoseCase, dose_channels
from rtplan.learning.padding import padded
from rtplan.networks.folded import FoldedUNet
from rtplan.networks.scale_head import LOG_HIGH, LOG_LOW, ScaleHead, laplace_nll
from rtplan.networks.unet import fold, unfold

#: Width of the head, blocks per step, steps, and the first rate (a cosine to 0).
WIDTH, BATCH, STEPS, RATE = 48, 8192, 1500, 2e-3


@dataclass(frozen=True, eq=False)
class Cells:
    """Folded blocks: features (n, features), |error| in the network's unit and weight (n, voxels)."""

    features: Tensor
    error: Tensor
    weight: Tensor


def cells_of(network: FoldedUNet, case: DoseCase, unit_zyx: Shape, most: int, seed: int = 1) -> Cells:
    """Return at most so many of a case's blocks with possible dose, drawn at random; nothing is learned."""
    assert case.dose is not None
    x = dose_channels(case)
    pads = padded(x.shape[1:], unit_zyx)
    x, dose = (
        nn.functional.pad(x, pads),
        nn.functional.pad(torch.from_numpy(case.dose)[None] / SCALE_GY, pads),
    )
    inside = nn.functional.pad(torch.from_numpy(case.mask(FEASIBLE))[None].float(), pads)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features = network.eval().features(x[None])
        found = unfold(network.head(features).float(), network.stem).clamp(min=0.0)
    folded = [fold((found - dose[None]).abs(), network.stem), fold(inside[None], network.stem)]
    kept = torch.nonzero(folded[1].sum(1).flatten() > 0).flatten()
    kept = kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(seed))[:most]]
    rows = [part[0].flatten(1)[:, kept].T.clone() for part in (features.bfloat16(), *folded)]
    return Cells(*rows)


def fit_head(parts: Sequence[Cells], stem: Sequence[int], *, steps: int = STEPS, seed: int = 1) -> ScaleHead:
    """Return a head that minimises the negative log likelihood of Laplace errors on cells.

    Notes
    -----
    The features are brought to mean 0 and spread 1 while it learns; at the end the first convolution takes
    that over.
    """
    features = torch.cat([part.features for part in parts]).float()
    error, weight = (torch.cat([getattr(part, name) for part in parts]) for name in ("error", "weight"))
    mean, sd = features.mean(0), features.std(0) + 1e-4
    features = (features - mean) / sd
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = ScaleHead(features.shape[1], WIDTH, stem)
        first, last = head.layers[0], head.layers[2]
        assert isinstance(first, nn.Conv3d)
        assert isinstance(last, nn.Conv3d)
        assert last.bias is not None
        nn.init.constant_(last.bias, math.log(float((error * weight).sum() / weight.sum())))
        optimiser = AdamW(head.parameters(), RATE, weight_decay=1e-4)
        for step in range(steps):
            some = torch.randint(len(features), (BATCH,))
            out = head.layers(features[some].T[None, :, :, None, None])[0, :, :, 0, 0].T
            loss = laplace_nll(error[some], out.clamp(LOG_LOW, LOG_HIGH), weight[some])
            for group in optimiser.param_groups:
                group["lr"] = RATE * 0.5 * (1.0 + math.cos(math.pi * step / steps))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    with torch.no_grad():
        assert first.bias is not None
        first.bias -= (first.weight[:, :, 0, 0, 0] * (mean / sd)).sum(1)
        first.weight /= sd[None, :, None, None, None]
    return head.eval()
