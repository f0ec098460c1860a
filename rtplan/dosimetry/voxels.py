"""Cells of a mask: every voxel a cuboid; small structures are cut finer, large ones taken in blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Mask
from rtplan.dosimetry.cells import Cells, Lot
from rtplan.dosimetry.extremes import Surface
from rtplan.dosimetry.lookup import Axes
from rtplan.errors import StructureError

Float = NDArray[np.float64]
Index = NDArray[np.int64]


def count_for(mask: Mask, wanted: float) -> int:
    """Return parts per voxel side (> 0) or voxels per block side (< 0) for about this many cells.

    Raises
    ------
    StructureError
        If the mask is empty.
    """
    voxels = int(np.count_nonzero(mask.array))
    if voxels == 0:
        raise StructureError("The structure is empty.")
    if voxels <= wanted:
        return int(np.clip(np.floor((wanted / voxels) ** (1 / 3)), 1, 8))
    return -max(int(np.ceil((voxels / wanted) ** (1 / 3))), 2)


def cells_of_mask(mask: Mask, parts: int) -> Cells:
    """Return the cells of a mask (see `count_for`); there are no caps: voxels have their own ends.

    Blocks keep the centroid and the spread of the voxels that they hold, so their partial volume is exact.
    """
    low, array = _cropped(mask)
    block, fine = max(-parts, 1), max(parts, 1)
    index, weight, centre, width = _blocks(array, block)
    shape = tuple(-(-n // block) + 2 for n in array.shape)
    full = weight > block**3 - 0.5
    spacing = np.array(mask.grid.spacing_zyx_mm)[::-1]
    side = spacing * block / fine
    axes = _axes(mask, low, (block, fine), shape)
    thick = np.full(shape[0] * fine, side[2])
    whole = _finer(index[full], fine, shape)
    share = np.concatenate([np.ones(len(whole)), weight[~full] / block**3])
    parent = np.concatenate([index[full], index[~full]])
    offset = centre[~full] * spacing
    return Cells(
        coarse=Lot(axes, (float(side[0]), float(side[1])), thick, whole),
        fine=Lot(axes, (float(side[0]), float(side[1])), thick, index[~full]),
        volume_cc=share * (mask.grid.voxel_cc * (block / fine) ** 3),
        label=np.zeros(len(share), np.int8),
        parent=np.repeat(parent, fine**3) if fine > 1 else _coarser(parent, shape),
        offset_mm=offset,
        width_mm=width[~full] * spacing,
        taper_mm=np.zeros((len(offset), 3)),
        surface=_surface(mask, (low, array), (block, fine), (len(whole), len(offset), shape)),
    )


def _cropped(mask: Mask) -> tuple[Index, NDArray[np.bool_]]:
    """Return the first index and the voxels of the box that holds the mask."""
    window = []
    for axis in range(3):
        held = np.flatnonzero(mask.array.any(axis=tuple({0, 1, 2} - {axis})))
        if not len(held):
            raise StructureError("The structure is empty.")
        window.append(slice(int(held[0]), int(held[-1]) + 1))
    return np.array([part.start for part in window]), mask.array[tuple(window)]


def _blocks(array: NDArray[np.bool_], side: int) -> tuple[Index, Float, Float, Float]:
    """Return place, number of voxels, centroid and width (u, v, n, in voxels) of the blocks that hold any.

    The place is that in a lattice with a rim of one block around the array; the centroid is from the
    block's centre.
    """
    count = [-(-n // side) for n in array.shape]
    padded = np.zeros([c * side for c in count], np.float64)
    padded[tuple(slice(n) for n in array.shape)] = array
    tiles = padded.reshape(count[0], side, count[1], side, count[2], side)
    weight = tiles.sum(axis=(1, 3, 5))
    held = np.nonzero(weight)
    weight = weight[held]
    place = np.arange(side) - 0.5 * (side - 1)
    centre, width = [], []
    for axis in (5, 3, 1):
        along = np.moveaxis(tiles.sum(axis=tuple({1, 3, 5} - {axis})), (axis + 1) // 2, -1)[held]
        first = along @ place / weight
        centre.append(first)
        width.append(np.sqrt(12.0 * np.maximum(along @ place**2 / weight - first**2, 0.0) + 1.0))
    z, y, x = (part + 1 for part in held)
    index = (z * (count[1] + 2) + y) * (count[2] + 2) + x
    return index, weight, np.stack(centre, axis=1), np.stack(width, axis=1)


def _finer(cell: Index, fine: int, shape: tuple[int, ...]) -> Index:
    z, y, x = np.unravel_index(cell, shape)
    k, j, i = (part.ravel() for part in np.meshgrid(*[np.arange(fine)] * 3, indexing="ij"))
    rows, columns = shape[1] * fine, shape[2] * fine
    small: Index = (
        ((z[:, None] * fine + k) * rows + y[:, None] * fine + j) * columns + x[:, None] * fine + i
    ).ravel()
    return small


def _coarser(cell: Index, shape: tuple[int, ...]) -> Index:
    z, y, x = np.unravel_index(cell, shape)
    rows, columns = shape[1] // 2 + 1, shape[2] // 2 + 1
    coarse: Index = (z // 2 * rows + y // 2) * columns + x // 2
    return coarse


def _axes(mask: Mask, low: Index, split: tuple[int, int], shape: tuple[int, ...]) -> Axes:
    """Return the lattice of the cells: blocks from ``low``, with a rim of one, each cut finer."""
    block, fine = split
    directions = mask.grid.direction.T[::-1]
    spacing = np.array(mask.grid.spacing_zyx_mm)
    start = np.linalg.solve(directions.T, mask.grid.to_patient(low - 0.5))[::-1]
    places = [
        start[axis] + spacing[axis] * block * ((np.arange(shape[axis] * fine) + 0.5) / fine - 1.0)
        for axis in range(3)
    ]
    return Axes(np.ascontiguousarray(directions), places[0], places[1], places[2])


def _surface(
    mask: Mask,
    held: tuple[Index, NDArray[np.bool_]],
    split: tuple[int, int],
    cells: tuple[int, int, tuple[int, ...]],
) -> Surface:
    """Return the corners of the voxels on the mask's surface, and all whole cells."""
    (low, array), (block, fine), (whole, partial, shape) = held, split, cells
    padded = np.pad(array, 1)
    buried = padded.copy()
    for axis in range(3):
        buried &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
    outer = np.argwhere(padded & ~buried) - 1
    size = np.array(array.shape) + 1
    corners = np.zeros(size, bool)
    for offset in np.ndindex(2, 2, 2):
        corners[tuple((outer + offset).T)] = True
    corner = np.argwhere(corners)
    directions = mask.grid.direction.T[::-1]
    points = mask.grid.to_patient(corner + low - 0.5)
    spots = np.linalg.solve(directions.T, points.T).T.astype(np.float64)
    at = np.minimum(corner * fine // block + fine, np.array(shape) * fine - 2)
    rows, columns = shape[1] * fine, shape[2] * fine
    index = (at[:, 0] * rows + at[:, 1]) * columns + at[:, 2]
    label = np.zeros(len(spots), np.int8)
    none = np.zeros((partial, 3)), np.zeros(partial), np.zeros((partial, 6))
    return Surface(np.arange(whole), *none, spots, index, label, np.zeros(len(label)))
