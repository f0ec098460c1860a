"""Cells of a mask: every voxel a cuboid; small structures are cut finer, large ones taken in blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Mask
from rtplan.dosimetry.cells import Cells
from rtplan.errors import StructureError

Float = NDArray[np.float64]


def count_for(mask: Mask, wanted: int) -> int:
    """Return parts per voxel side (> 0) or voxels per block side (< 0) for about this many cells."""
    voxels = int(mask.array.sum())
    if voxels == 0:
        raise StructureError("The structure is empty.")
    if voxels <= wanted:
        return int(np.clip(np.floor((wanted / voxels) ** (1 / 3)), 1, 8))
    block = int(np.ceil((voxels / wanted) ** (1 / 3)))
    return -max(block, 2)


def cells_of_mask(mask: Mask, parts: int) -> Cells:
    """Return the cells of a mask (see `count_for`); there are no caps: voxels have their own ends.

    Blocks keep the centroid and the spread of the voxels that they hold, so their partial volume is exact.
    """
    index = np.argwhere(mask.array)
    if not len(index):
        raise StructureError("The structure is empty.")
    spacing = np.array(mask.grid.spacing_zyx_mm)
    centre, weight, width = _split(index, parts) if parts > 0 else _block(index, -parts)
    surface = _corners(mask, index)
    return Cells(
        points=mask.grid.to_patient(centre),
        volume_cc=weight * mask.grid.voxel_cc,
        width_mm=width * spacing,
        taper_mm=np.zeros((len(centre), 3)),
        cap=np.zeros(len(centre), np.int8),
        axes=np.ascontiguousarray(mask.grid.direction.T),
        surface=mask.grid.to_patient(surface),
        surface_cap=np.zeros(len(surface), np.int8),
        full=np.ones(len(centre), np.bool_) if parts > 0 else weight > (-parts) ** 3 - 0.5,
    )


def _split(index: NDArray[np.int64], parts: int) -> tuple[Float, Float, Float]:
    place = (np.arange(parts) + 0.5) / parts - 0.5
    offsets = np.stack(np.meshgrid(place, place, place, indexing="ij"), axis=-1).reshape(-1, 3)
    centre = (index[:, None, :] + offsets).reshape(-1, 3)
    return centre, np.full(len(centre), 1.0 / parts**3), np.full((len(centre), 3), 1.0 / parts)


def _block(index: NDArray[np.int64], side: int) -> tuple[Float, Float, Float]:
    low = index.min(axis=0)
    block = (index - low) // side
    size = block.max(axis=0) + 1
    key = np.ravel_multi_index(tuple(block.T), tuple(size))
    count = np.bincount(key)
    held = np.nonzero(count)[0]
    weight = count[held].astype(np.float64)
    first = np.stack([np.bincount(key, index[:, a])[held] for a in range(3)], axis=1) / weight[:, None]
    square = np.stack([np.bincount(key, index[:, a].astype(float) ** 2)[held] for a in range(3)], axis=1)
    variance = np.maximum(square / weight[:, None] - first**2, 0.0)
    return first, weight, np.sqrt(12.0 * variance + 1.0)


def _corners(mask: Mask, index: NDArray[np.int64]) -> Float:
    """Return the corners of the voxels on the mask's surface, in indices."""
    padded = np.pad(mask.array, 1)
    around = [np.roll(padded, by, axis)[1:-1, 1:-1, 1:-1] for axis in range(3) for by in (-1, 1)]
    buried = np.logical_and.reduce(around)
    outer = index[~buried[tuple(index.T)]]
    lowest = np.unique((outer[:, None, :] + _OFFSETS).reshape(-1, 3), axis=0)
    return lowest - 0.5


_OFFSETS = np.array([[k, j, i] for k in (0, 1) for j in (0, 1) for i in (0, 1)])
