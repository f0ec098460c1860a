"""Rings along voxel edges: from the masks of a whole volume, and back to them, exactly and fast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Index = tuple[Int, Int, Int]

#: A point nearer than this to a corner of pixels (in pixels) lies on it: the rounding of a decimal string.
CORNER_TOLERANCE = 2e-4


def stack_rings(mask: NDArray[np.bool_]) -> list[Float]:
    """Return the closed rings that run along the edges of a mask's pixels, slice by slice.

    Parameters
    ----------
    mask : ndarray, shape (slices, rows, columns), bool

    Returns
    -------
    list of ndarray, each shape (n, 3)
        Corners (slice, row, column) in voxel units, voxel centres at whole numbers; only corners where the
        ring turns. Outer rings and holes; the sum of the signed areas is the number of pixels. Pixels that
        touch only at a corner belong to different rings.

    Notes
    -----
    Along each row of corners the boundary's horizontal pieces join the 1st corner with the 2nd, the 3rd with
    the 4th and so on; the same holds along the columns. A ring goes by these two pairings in turn. Where two
    pixels touch at a corner only, the corner counts twice.
    """
    where, saddle, inside, falling = _corners(mask)
    if not where.size:
        return []
    _, rows, columns = (n + 1 for n in mask.shape)
    flat = np.repeat(where, 1 + saddle)
    k, rest = np.divmod(flat, rows * columns)
    row, column = np.divmod(rest, columns)
    second = np.zeros(flat.size, np.int64)
    second[np.cumsum(1 + saddle)[saddle.astype(np.bool_)] - 1] = 1
    tie = np.where(np.repeat(falling, 1 + saddle), second, 1 - second)
    order = np.argsort(((k * columns + column) * rows + row) * 2 + tie, kind="stable")
    vertical = np.empty(flat.size, np.int64)
    vertical[order[0::2]], vertical[order[1::2]] = order[1::2], order[0::2]
    step = vertical[np.arange(flat.size) ^ 1]
    turns, lengths = _walks(step.tolist(), np.repeat(inside, 1 + saddle).tolist())
    points = np.stack([k, row, column], axis=1)[turns] - np.array([0.0, 0.5, 0.5])
    return np.split(points, np.cumsum(lengths)[:-1])


def pixel_rings(mask: NDArray[np.bool_]) -> list[Float]:
    """Return the rings of one slice as (row, column), each shape (n, 2); see `stack_rings`."""
    return [ring[:, 1:] for ring in stack_rings(mask[None])]


def _corners(mask: NDArray[np.bool_]) -> tuple[Int, Int, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the corners where the boundary turns, as flat indices of the lattice of corners.

    With each: 1 where two pixels touch at it only; whether the pixel below right is set; whether the touching
    pixels (else: no matter) are the upper left and the lower right one.
    """
    found: list[tuple[Int, Int, NDArray[np.bool_], NDArray[np.bool_]]] = []
    corners = (mask.shape[1] + 1) * (mask.shape[2] + 1)
    padded = np.zeros((mask.shape[1] + 2, mask.shape[2] + 2), np.bool_)
    for k, plane in enumerate(mask):
        padded[1:-1, 1:-1] = plane
        change = padded[:, :-1] ^ padded[:, 1:]
        both = change[:-1] & change[1:]
        both &= padded[:-1, :-1] ^ padded[1:, :-1]
        here = np.flatnonzero((change[:-1] ^ change[1:]) | both)
        inside = padded[1:, 1:].ravel()[here]
        touching = both.ravel()[here]
        found.append((here + k * corners, touching.astype(np.int64), inside, inside | ~touching))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.bool_), np.zeros(0, np.bool_)
    where, touching_all, inside_all, falling = (np.concatenate(part) for part in zip(*found, strict=True))
    return where, touching_all, inside_all, falling


def _walks(step: list[int], inside: list[bool]) -> tuple[list[int], list[int]]:
    """Follow the pairings round each ring; return the corners in order and the length of each ring."""
    seen = bytearray(len(step))
    turns: list[int] = []
    lengths: list[int] = []
    start = seen.find(0)
    while start >= 0:
        ring: list[int] = []
        at = start
        while not seen[at]:
            seen[at] = seen[at ^ 1] = 1
            ring += (at, at ^ 1)
            at = step[at]
        turns += reversed(ring) if inside[start] else ring
        lengths.append(len(ring))
        start = seen.find(0, start)
    return turns, lengths


def lattice_fill(
    planes: Sequence[tuple[int, Sequence[Float]]], shape: tuple[int, int, int]
) -> NDArray[np.bool_] | None:
    """Return the mask inside rings that run along voxel edges (even-odd); None when one does not.

    Parameters
    ----------
    planes : sequence of (int, sequence of ndarray, each shape (n, 2))
        Slice, and its rings as (row, column) in voxel units.
    shape : tuple of int
        Slices, rows and columns; what lies beyond is cut.
    """
    rings = [(k, ring) for k, own in planes if 0 <= k < shape[0] for ring in own]
    mask = np.zeros(shape, np.bool_)
    if not rings:
        return mask
    found = _toggles([ring for _, ring in rings], [k for k, _ in rings], shape)
    if found is None:
        return None
    if found[0].size:
        part = mask[tuple(slice(int(at.min()), int(at.max()) + 1) for at in found)]
        k, row, column = (at[found[1] < shape[1]] for at in found)
        flat = (k * shape[1] + row) * shape[2] + column
        np.bitwise_xor.at(mask.reshape(-1).view(np.uint8), flat, np.uint8(1))
        for n in range(1, part.shape[1]):
            part[:, n] ^= part[:, n - 1]
    return mask


def _toggles(rings: Sequence[Float], slices: Sequence[int], shape: tuple[int, int, int]) -> Index | None:
    """Return the pixels (slice, row, column) at whose upper edge inside and outside change; None off edges.

    The lower edge of the last row is that of a row beyond it.
    """
    lengths = np.array([len(ring) for ring in rings])
    starts = np.concatenate(rings) + 0.5
    corner = np.rint(starts)
    if np.abs(starts - corner).max() > CORNER_TOLERANCE:
        return None
    following = np.arange(1, len(corner) + 1)
    following[np.cumsum(lengths) - 1] -= lengths
    ends = corner[following]
    level = corner[:, 0] == ends[:, 0]
    if not (level | (corner[:, 1] == ends[:, 1])).all():
        return None
    row = np.clip(corner[level, 0], 0, shape[1]).astype(np.int64)
    sides = np.clip(np.stack([corner[level, 1], ends[level, 1]]), 0, shape[2]).astype(np.int64)
    low, high = sides.min(axis=0), sides.max(axis=0)
    count = high - low
    first = np.repeat(low - (np.cumsum(count) - count), count)
    depth = np.repeat(slices, lengths)[level]
    return np.repeat(depth, count), np.repeat(row, count), first + np.arange(first.size)
