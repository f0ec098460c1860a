"""Keyholes: a region with holes as one ring, a channel of no width leading to each hole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rtplan.imaging.raster import depths, ring_area

Float = NDArray[np.float64]
#: Tells the points of one ring from those of another (64 bits, they may run over).
MIXING = 0x1E3779B97F4A7C15


def keyholes(rings: Sequence[Float], along: Float, normal: Float) -> list[Float]:
    """Join the holes of one plane to the rings that hold them.

    Parameters
    ----------
    rings : sequence of ndarray, each shape (n, 3)
        Rings of one plane, mm; a ring in another one is a hole, a ring in a hole an island.
    along : ndarray, shape (3,)
        Unit vector in the plane; the channels run along it.
    normal : ndarray, shape (3,)
        Unit normal of the plane.

    Returns
    -------
    list of ndarray, each shape (n, 3)
        One ring for each region; the area that it encloses is the region's. Rings that cross each other come
        back as they were.

    Notes
    -----
    Each hole, from the first along ``-along`` on, is joined at its first corner to the edge that lies
    nearest before it: between them there is nothing but the region.
    """
    axes = np.stack([np.cross(normal, along), along], axis=1)
    flat = [np.round(ring @ axes, 7) for ring in rings]
    depth = depths(flat) if len(rings) > 1 else None
    if depth is None or not any(d % 2 for d in depth):
        return list(rings)
    joined = {n: (rings[n], flat[n]) for n, d in enumerate(depth) if d % 2 == 0}
    holes = sorted((n for n, d in enumerate(depth) if d % 2), key=lambda n: flat[n][:, 1].min())
    for n in holes:
        owner, edge, at = _before(joined, flat[n])
        first = _first(flat[n])
        door = rings[n][first] + (at - flat[n][first, 1]) * along, np.array([flat[n][first, 0], at])
        joined[owner] = _with_hole(joined[owner], edge, door, (rings[n], flat[n]))
    return [ring for ring, _ in joined.values()]


def _first(flat: Float) -> int:
    """Return the corner that comes first along the channels; of several the one with the least row."""
    return int(np.lexsort((flat[:, 0], flat[:, 1]))[0])


def _before(joined: dict[int, tuple[Float, Float]], hole: Float) -> tuple[int, int, float]:
    """Return ring, edge and column where the channel from a hole's first corner meets the region's edge."""
    row, column = hole[_first(hole)]
    best = (-1, -1, -np.inf)
    for owner, (_, flat) in joined.items():
        ends = np.roll(flat, -1, axis=0)
        spans = (flat[:, 0] <= row) != (ends[:, 0] <= row)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = flat[:, 1] + (row - flat[:, 0]) * (ends[:, 1] - flat[:, 1]) / (ends[:, 0] - flat[:, 0])
        at = np.where(spans & (at <= column), at, -np.inf)
        edge = int(np.argmax(at))
        if at[edge] > best[2]:
            best = (owner, edge, float(at[edge]))
    return best


def _with_hole(
    region: tuple[Float, Float], edge: int, door: tuple[Float, Float], hole: tuple[Float, Float]
) -> tuple[Float, Float]:
    """Return the region's ring, in space and flat, led through the channel round the hole and back."""
    turn = -1 if ring_area(region[1]) * ring_area(hole[1]) > 0 else 1
    order = (_first(hole[1]) + turn * np.arange(len(hole[1]) + 1)) % len(hole[1])
    space, flat = (
        np.concatenate([own[: edge + 1], at[None], inner[order], at[None], own[edge + 1 :]])
        for own, at, inner in zip(region, door, hole, strict=True)
    )
    return space, flat


def opened(rings: Sequence[Float]) -> list[Float]:
    """Return the rings with every channel that is walked there and back taken out: keyholes become holes.

    Parameters
    ----------
    rings : sequence of ndarray, each shape (n, 3)
        Closed rings, mm; points that agree to 1e-6 mm are one point.

    Returns
    -------
    list of ndarray, each shape (n, 3)
        Rings that were none with a channel come back as they are. What encloses nothing is left out.

    Notes
    -----
    A region's edge is where its surface is; a channel of no width is none, though the ring runs along it.
    """
    if not rings:
        return []
    lengths = np.array([len(ring) for ring in rings])
    ends = np.cumsum(lengths)
    keys = _keys(np.concatenate(rings))
    owner = np.repeat(np.arange(len(rings)), lengths)
    mixed = keys + owner * MIXING
    order = np.argsort(mixed)
    again = np.flatnonzero(mixed[order[1:]] == mixed[order[:-1]])  # two of one ring, or by chance of two
    suspect = {*owner[order[again]].tolist(), *owner[order[again + 1]].tolist()}
    found: list[Float] = []
    for n, ring in enumerate(rings):
        found += _parted(ring, keys[ends[n] - len(ring) : ends[n]].tolist()) if n in suspect else [ring]
    return found


def _keys(points: Float) -> NDArray[np.int64]:
    """Return a number for each point; equal points have equal ones."""
    whole = np.rint(points * 1e6).astype(np.int64)
    keys: NDArray[np.int64] = (whole[:, 0] * 1_000_003 + whole[:, 1]) * 1_000_003 + whole[:, 2]
    return keys


def _parted(ring: Float, keys: list[int]) -> list[Float]:
    """Cut a ring at its first edge that is walked both ways, again and again."""
    found: list[Float] = []
    waiting = [list(range(len(ring)))]
    while waiting:
        part = waiting.pop()
        if len(part) < 3:
            continue
        cut = _channel([keys[n] for n in part])
        if cut is None:
            found.append(ring[part])
        else:
            there, back = cut
            waiting += [part[: there + 1] + part[back + 2 :], part[there + 1 : back]]
    return found


def _channel(keys: list[int]) -> tuple[int, int] | None:
    """Return two edges, by their first points, of which one is the other the other way round."""
    seen: dict[tuple[int, int], int] = {}
    for n, (a, b) in enumerate(zip(keys, [*keys[1:], keys[0]], strict=True)):
        if (b, a) in seen:
            return seen[b, a], n
        seen[a, b] = n
    return None
