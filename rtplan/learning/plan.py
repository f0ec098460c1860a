"""Self-configuration: what the pairs are like (fingerprint) to how a network should learn them (plan)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Image, Mask
from rtplan.errors import ModelError
from rtplan.learning.card import Shape, Triple

#: An axis whose spacing exceeds both others this often is coarse: it keeps more of its own fineness.
COARSE = 3.0
#: Numbers in the feature maps of a patch of which two fit 8 GiB (a plain U-Net); how features grow.
REFERENCE_FEATURES, REFERENCE_GIB = 5.6e8, 8.0
FIRST_FEATURES, MOST_FEATURES = 32, 320
#: A batch shows at most this share of all voxels, and two patches at least.
BATCH_SHARE, BATCH_MIN = 0.05, 2
#: An axis is halved while at least this many voxels are left.
EDGE_MIN = 4


@dataclass(frozen=True)
class CaseFacts:
    """What the plan needs of one case: its body's box on its own spacing, and the signal in the body."""

    shape_zyx: Shape
    whole_zyx: Shape
    spacing_zyx_mm: Triple
    percentiles: Triple
    mean: float
    spread: float


@dataclass(frozen=True)
class Plan:
    """How a network should be set up for a set of cases.

    Parameters
    ----------
    spacing_zyx_mm : tuple of float
        Spacing that all cases are brought to.
    median_zyx : tuple of int
        Median shape of the cases at that spacing.
    patch_zyx : tuple of int
        Voxels that are seen at once.
    pools_zyx : tuple of int
        How often each axis is halved.
    kernels, strides : tuple of tuple of int
        Of each level, finest first.
    features : tuple of int
        Channels of each level.
    batch : int
        Patches in a step.
    masked : bool
        Whether signal is normalised inside the body only: cropping takes away much of the volumes.
    """

    spacing_zyx_mm: Triple
    median_zyx: Shape
    patch_zyx: Shape
    pools_zyx: Shape
    kernels: tuple[Shape, ...]
    strides: tuple[Shape, ...]
    features: tuple[int, ...]
    batch: int
    masked: bool


def facts_of(image: Image, body: Mask) -> CaseFacts:
    """Return the facts of one case.

    Raises
    ------
    ModelError
        If the body is empty.
    GeometryMismatch
        If image and body do not lie on one grid.
    """
    image.demand_same_grid(body)
    values = image.array[body.array].astype(np.float64)
    if not values.size:
        raise ModelError("No body is seen in the image.", action="check that the series shows the patient.")
    hit = np.argwhere(body.array)
    z, y, x = (int(n) for n in hit.max(axis=0) - hit.min(axis=0) + 1)
    low, middle, high = (float(p) for p in np.percentile(values, [0.5, 50.0, 99.5]))
    return CaseFacts(
        (z, y, x),
        image.grid.shape,
        image.grid.spacing_zyx_mm,
        (low, middle, high),
        float(values.mean()),
        float(values.std()),
    )


def plan_of(cases: Sequence[CaseFacts], memory_gib: float = REFERENCE_GIB) -> Plan:
    """Return the plan for a set of cases.

    Parameters
    ----------
    memory_gib : float
        What a training may use; patch and batch grow with it.

    Raises
    ------
    ModelError
        If there is no case.

    References
    ----------
    Isensee F et al. nnU-Net: a self-configuring method for deep learning-based biomedical image
    segmentation. Nat Methods 2021;18:203-211: median spacing (a coarse axis by its 10th percentile), patch of
    the median's proportions shrunk until its feature maps fit, axes halved while they are fine enough.
    """
    if not cases:
        raise ModelError("There is no case to plan for.", action="check the folder of the pairs.")
    spacing = target_spacing(cases)
    shapes = np.array([np.array(c.shape_zyx) * c.spacing_zyx_mm / spacing for c in cases])
    median = np.maximum(np.round(np.median(shapes, axis=0)), 1).astype(int)
    budget = REFERENCE_FEATURES * memory_gib / REFERENCE_GIB
    patch, levels = _fitting(spacing, median, budget)
    kept = np.median([np.prod(c.shape_zyx) / np.prod(c.whole_zyx) for c in cases])
    strides = tuple(level.stride for level in levels)
    return Plan(
        spacing_zyx_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        median_zyx=_shape(median),
        patch_zyx=_shape(patch),
        pools_zyx=_shape(np.log2(np.prod(strides, axis=0))),
        kernels=tuple(level.kernel for level in levels),
        strides=strides,
        features=tuple(min(FIRST_FEATURES * 2**k, MOST_FEATURES) for k in range(len(levels))),
        batch=_batch(levels, patch, budget, float(np.prod(shapes, axis=1).sum())),
        masked=bool(kept < 0.75),
    )


def target_spacing(cases: Sequence[CaseFacts]) -> NDArray[np.float64]:
    """Return the median spacing; a coarse axis gets its 10th percentile, but none below the others'."""
    spacings = np.array([c.spacing_zyx_mm for c in cases], np.float64)
    shapes = np.array([c.shape_zyx for c in cases], np.float64)
    target, size = np.median(spacings, axis=0), np.median(shapes, axis=0)
    worst = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != worst]
    coarse = target[worst] > COARSE * max(target[others]) and COARSE * size[worst] < min(size[others])
    if coarse:
        finer = float(np.percentile(spacings[:, worst], 10))
        target[worst] = max(finer, float(max(target[others])))
    return target


@dataclass(frozen=True)
class _Level:
    shape: tuple[float, ...]
    kernel: Shape
    stride: Shape


def _levels(patch: NDArray[np.int64], spacing: NDArray[np.float64]) -> list[_Level]:
    """Return the levels of a patch: an axis is halved while fine and long enough, and then convolved."""
    size, mm = patch.astype(np.float64), spacing.copy()
    stride, levels = np.ones(3, int), []
    kernel = np.ones(3, int)
    while True:
        kernel = np.where(mm < 2.0 * mm.min(), 3, kernel)
        levels.append(_Level(tuple(size), _shape(kernel), _shape(stride)))
        long = size / 2.0 >= EDGE_MIN
        if not long.any():
            return levels
        fine = mm < 2.0 * mm[long].min()
        stride = np.where(long & fine, 2, 1)
        size, mm = np.ceil(size / stride), mm * stride


def _estimate(levels: Sequence[_Level]) -> float:
    """Return how many numbers a patch's feature maps hold: two convolutions down, up-step and two up."""
    total = 0.0
    for k, level in enumerate(levels):
        features = min(FIRST_FEATURES * 2**k, MOST_FEATURES)
        maps = 2 if k == len(levels) - 1 else 5
        total += maps * features * math.prod(level.shape)
    return total


def _fitting(
    spacing: NDArray[np.float64], median: NDArray[np.int64], budget: float
) -> tuple[NDArray[np.int64], list[_Level]]:
    """Return the largest patch like the median whose feature maps fit the budget, and its levels."""
    start = 1.0 / spacing
    patch = np.minimum(np.round(start * (256.0**3 / start.prod()) ** (1 / 3)).astype(int), median)
    while True:
        levels = _levels(patch, spacing)
        patch = _divisible(patch, levels)
        levels = _levels(patch, spacing)
        if _estimate(levels) <= budget or (patch <= 2 * EDGE_MIN).all():
            return patch, levels
        step = np.prod([level.stride for level in levels], axis=0)
        ratio = np.where(patch > step, patch / median, -1.0)
        axis = int(np.argmax(ratio))
        if ratio[axis] < 0.0:
            return patch, levels
        patch[axis] -= step[axis]


def _divisible(patch: NDArray[np.int64], levels: Sequence[_Level]) -> NDArray[np.int64]:
    step = np.prod([level.stride for level in levels], axis=0)
    divisible: NDArray[np.int64] = (np.ceil(patch / step) * step).astype(int)
    return divisible


def _batch(levels: Sequence[_Level], patch: NDArray[np.int64], budget: float, voxels: float) -> int:
    fits = round(BATCH_MIN * budget / _estimate(levels))
    shown = int(BATCH_SHARE * voxels / float(patch.prod()))
    return max(min(fits, shown), BATCH_MIN)


def _shape(values: NDArray[np.generic]) -> Shape:
    z, y, x = (int(v) for v in values)
    return z, y, x
