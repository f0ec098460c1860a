"""Exact area coverage of polygons on a pixel lattice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def coverage(rings: Sequence[Float], shape: tuple[int, int]) -> Float:
    """Return which fraction of each pixel lies inside the rings (even-odd), exact in area.

    Parameters
    ----------
    rings : sequence of ndarray, each shape (n, 2)
        Closed polygons as (row, column) in pixel units, pixel centres at whole numbers; the first point
        is not repeated. A ring inside another one is a hole.
    shape : tuple of int
        Rows and columns of the lattice; what lies beyond it is cut.

    Returns
    -------
    ndarray, shape (rows, columns), float64
        0 to 1.

    Notes
    -----
    Each edge is cut where it crosses the lattice; the pieces' signed areas are summed along the rows. That
    is exact for rings that do not cross each other. Where two rings cross (which a valid structure never
    does) their coverages a and b combine as a + b − 2ab.

    Examples
    --------
    >>> coverage([np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])], (2, 2))
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    rings = [ring for ring in rings if len(ring) >= 3]
    if not rings:
        return np.zeros(shape)
    depth = depths(rings)
    if depth is None:
        total = np.zeros(shape)
        for ring in rings:
            one = np.clip(np.abs(_signed([ring], [1.0], shape)), 0.0, 1.0)
            total = total + one - 2.0 * total * one
        return total
    signs = [(-1.0) ** d * (1.0 if ring_area(r) > 0 else -1.0) for d, r in zip(depth, rings, strict=True)]
    return np.clip(np.abs(_signed(rings, signs, shape)), 0.0, 1.0)


def ring_area(ring: Float) -> float:
    """Return the signed area of a closed polygon of shape (n, 2), in squared units of its points."""
    a, b = ring[:, 0], ring[:, 1]
    inner = float((a[:-1] * b[1:] - a[1:] * b[:-1]).sum())
    return 0.5 * (inner + float(a[-1] * b[0] - a[0] * b[-1]))


def ends_of(ring: Float) -> Float:
    """Return where each edge of a closed polygon, shape (n, m), ends: its points, the first one last."""
    following: Float = np.concatenate([ring[1:], ring[:1]])
    return following


def contains(ring: Float, points: Float) -> NDArray[np.bool_]:
    """Return which points, shape (m, 2), lie inside a closed polygon, shape (n, 2), by ray casting."""
    r0, c0 = ring[:, 0], ring[:, 1]
    r1, c1 = ends_of(ring).T
    r, c = points[:, :1], points[:, 1:]
    spans = (r0 <= r) != (r1 <= r)
    with np.errstate(divide="ignore", invalid="ignore"):
        cross = c0 + (r - r0) * (c1 - c0) / (r1 - r0)
    odd: NDArray[np.bool_] = (np.where(spans & (c < cross), 1, 0).sum(axis=1) % 2).astype(np.bool_)
    return odd


def depths(rings: Sequence[Float]) -> list[int] | None:
    """Return in how many others each ring lies; None when two rings cross."""
    boxes = np.array([[*ring.min(axis=0), *ring.max(axis=0)] for ring in rings])
    depth = [0] * len(rings)
    for a, ring in enumerate(rings):
        for b, other in enumerate(rings):
            apart = (boxes[a, :2] > boxes[b, 2:]).any() or (boxes[b, :2] > boxes[a, 2:]).any()
            if a == b or apart:
                continue
            share = float(contains(other, _samples(ring)).mean())
            if 0.1 < share < 0.9:
                return None
            depth[a] += share >= 0.5
    return depth


def _samples(ring: Float) -> Float:
    """Return the midpoints of a ring's edges, at most about 60."""
    middle = 0.5 * (ring + ends_of(ring))
    return middle[:: max(len(middle) // 60, 1)]


def _signed(rings: Sequence[Float], signs: Sequence[float], shape: tuple[int, int]) -> Float:
    """Return the sum of the rings' signed coverages."""
    rows, columns = shape
    starts = np.concatenate(rings) + 0.5  # pixel corners at whole numbers
    ends = np.concatenate([ends_of(ring) for ring in rings]) + 0.5
    weight = np.repeat(signs, [len(ring) for ring in rings])
    r0, c0, r1, c1, owner = _cut(starts, ends)
    row = np.floor(0.5 * (r0 + r1)).astype(np.int64)
    middle = 0.5 * (c0 + c1)
    column = np.clip(np.floor(middle).astype(np.int64), 0, columns)
    share = np.clip(middle - column, 0.0, 1.0)  # part of the pixel on the left of the edge
    rise = (r1 - r0) * weight[owner]
    keep = (row >= 0) & (row < rows)
    flat = row * (columns + 2) + column
    size = rows * (columns + 2)
    own = np.bincount(flat[keep], (rise * (1.0 - share))[keep], size)
    area = own + np.bincount(flat[keep] + 1, (rise * share)[keep], size)
    covered: Float = np.cumsum(area.reshape(rows, columns + 2), axis=1)[:, :columns]
    return covered


def _cut(starts: Float, ends: Float) -> tuple[Float, Float, Float, Float, NDArray[np.int64]]:
    """Cut edges where they cross whole rows or columns; return the pieces' ends and their edge."""
    owners: list[NDArray[np.int64]] = [np.repeat(np.arange(len(starts)), 2)]
    places: list[Float] = [np.tile([0.0, 1.0], len(starts))]
    for axis in (0, 1):
        a, b = starts[:, axis], ends[:, axis]
        low: NDArray[np.int64] = np.floor(np.minimum(a, b)).astype(np.int64) + 1
        high: NDArray[np.int64] = np.ceil(np.maximum(a, b)).astype(np.int64) - 1
        count = np.maximum(high - low + 1, 0)
        edge: NDArray[np.int64] = np.repeat(np.arange(len(a)), count)
        step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        owners.append(edge)
        places.append((low[edge] + step - a[edge]) / (b - a)[edge])
    owner: NDArray[np.int64] = np.concatenate(owners)
    at = np.concatenate(places)
    order = np.lexsort((at, owner))
    owner, at = owner[order], np.clip(at[order], 0.0, 1.0)
    points = starts[owner] + at[:, None] * (ends - starts)[owner]
    pair = owner[:-1] == owner[1:]
    first, second = points[:-1][pair], points[1:][pair]
    return first[:, 0], first[:, 1], second[:, 0], second[:, 1], owner[:-1][pair]
