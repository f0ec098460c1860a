"""From the case of a prostate boost to the dose that our planner would reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rtplan.errors import ModelError
from rtplan.learning.boost import (
    BODY,
    CHANNELS,
    RATIO_SCALE,
    REACH_MM,
    TOUCHED,
    BoostCase,
    boost_channels,
    start_of,
    windowed,
)
from rtplan.learning.card import Shape
from rtplan.learning.zoo import Model

SITE = "prostate"
#: Part of the gland's dose from which on a voxel counts as one of high dose.
HIGH = 0.5
#: Distance over which the first guess of the boost's dose beyond the gland's falls by e, mm.
FALL_MM = 6.0
#: Voxels over which the network's answer becomes the dose of the open fields at the window's border.
SEAM = 3
#: Views whose mean is the answer: axes that are mirrored (left–right, along the body), and by how many voxels
#: the window is moved, so that the network folds other voxels together.
VIEWS: tuple[tuple[tuple[int, ...], Shape], ...] = (
    ((), (0, 0, 0)),
    ((-1,), (1, 0, 1)),
    ((-3,), (0, 1, 1)),
    ((-1, -3), (1, 1, 0)),
)


def demand_boost_model(model: Model) -> None:
    """Raise ModelError unless a network is one for boosts of the prostate, with this version's channels."""
    card = model.card
    if card.task != "dose" or card.site != SITE:
        raise ModelError(f"The network {card.name} is for {card.task} of {card.site}, not for this dose.")
    if tuple(spec.name for spec in card.inputs) != CHANNELS:
        raise ModelError(f"The network {card.name} reads other channels than this version makes.")


def predicted_gy(model: Model, case: BoostCase, *, tta: bool = True) -> NDArray[np.float32]:
    """Return the predicted dose of a case, Gy, shape (z, y, x); 0 outside the body.

    It is scaled so that the median of the gland's target outside the boost is its prescription, as the
    planner normalises.
    """
    demand_boost_model(model)
    relative = predict_boost(model.network, case, model.card.patch_zyx, tta=tta)
    relative = np.clip(normalised(relative, case), *model.card.outputs[0].clip)
    return (relative * case.gland_gy).astype(np.float32)


def swept_gy(model: Model, case: BoostCase, boosts_gy: tuple[float, ...]) -> list[NDArray[np.float32]]:
    """Return the predicted doses of a case for other doses of the boost."""
    return [predicted_gy(model, replace(case, boost_gy=boost), tta=False) for boost in boosts_gy]


def predict_boost(
    network: nn.Module, case: BoostCase, window_zyx: Shape, *, tta: bool = False
) -> NDArray[np.float32]:
    """Return the predicted dose of a case over the gland's, shape (z, y, x); 0 outside the body.

    Parameters
    ----------
    window_zyx : tuple of int
        What the network sees about the middle of the gland's target. Outside, the dose is that of the open
        fields; over `SEAM` voxels one becomes the other.
    tta : bool
        Mean over `VIEWS`.
    """
    network = network.eval()
    views = VIEWS if tta else VIEWS[:1]
    doses = [_seen(network, case, window_zyx, axes, shift) for axes, shift in views]
    mean: NDArray[np.float32] = np.mean(doses, axis=0, dtype=np.float32)
    return mean


def _seen(
    network: nn.Module, case: BoostCase, window_zyx: Shape, axes: tuple[int, ...], shift: Shape
) -> NDArray[np.float32]:
    """Return the dose that the network gives one view of a case: mirrored, its window moved."""
    start = start_of(case, window_zyx, shift)
    device = next(network.parameters(), torch.empty(0)).device
    x = boost_channels(windowed(case, start, window_zyx))[None].to(device)
    with torch.inference_mode(), torch.autocast(x.device.type, torch.bfloat16):
        found = answer(network, x.flip(axes)).flip(axes)
    dose = case.plates[0].astype(np.float32)
    inner, own = _overlap(case.labels.shape, start, window_zyx)
    share = seam(window_zyx)[own]
    dose[inner] += share * (found[0, 0].float().cpu().numpy()[own] - dose[inner])
    return np.where(case.mask(BODY), np.maximum(dose, 0.0), np.float32(0.0)).astype(np.float32)


def seam(window_zyx: Shape) -> NDArray[np.float32]:
    """Return how much of the network's answer counts in the window: 1, and less in its outermost voxels."""
    ramps = [
        np.minimum((np.minimum(np.arange(n), np.arange(n)[::-1]) + 1.0) / (SEAM + 1.0), 1.0)
        for n in window_zyx
    ]
    z, y, x = (ramp.astype(np.float32) for ramp in ramps)
    return np.minimum(np.minimum(z[:, None, None], y[None, :, None]), x[None, None, :])


def _overlap(
    shape: tuple[int, ...], start: Shape, window: Shape
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the part of the grid that a window covers, and the same part of the window."""
    inner = tuple(slice(max(a, 0), min(a + n, size)) for a, n, size in zip(start, window, shape, strict=True))
    own = tuple(slice(part.start - a, part.stop - a) for part, a in zip(inner, start, strict=True))
    return inner, own


def answer(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the dose of channels, shape (1, 1, z, y, x): the network says what a first guess lacks."""
    return network(x) + guess(x)


def guess(x: Tensor) -> Tensor:
    """Return the first guess: open fields on the gland, and what the boost has beyond it, falling off.

    Voxels that the boost touches have its whole height, as the planner gives it to them. The height follows
    the prescription of the boost, which the network then need not learn.
    """
    plate, boost, away, part, body = (
        x[:, CHANNELS.index(name) : CHANNELS.index(name) + 1]
        for name in ("plate_ptv", "boost_level", "distance_gtv", "gtv", BODY)
    )
    near = torch.exp(-away.clamp(min=0.0) * (REACH_MM / FALL_MM))
    share = torch.where(part >= TOUCHED, torch.ones_like(near), near)
    return plate + boost / RATIO_SCALE * share * body


def normalised(relative: NDArray[np.float32], case: BoostCase) -> NDArray[np.float32]:
    """Return a dose with the median of the gland's target, outside the boost where there is such, at 1."""
    ptv = case.mask("ptv")
    own = ptv & ~case.mask("gtv")
    median = float(np.median(relative[own if own.any() else ptv]))
    if not median > 0.1:
        raise ModelError("The network predicts next to no dose in the gland's target.", where=case.name)
    return relative / np.float32(median)


def high_error(dose: NDArray[np.float32], planned: NDArray[np.float32]) -> float:
    """Return the mean absolute error where the planned dose is at least half of the gland's."""
    high = planned >= HIGH
    return float(np.abs(dose - planned)[high].mean())
