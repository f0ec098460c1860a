"""Where the edges of polygons in one plane cross; how much area depends on the rule that fills them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rtplan.imaging.raster import coverage, ends_of, ring_area

Float = NDArray[np.float64]
Int = NDArray[np.int64]
#: Pixels across a polygon when its areas are compared.
PIXELS = 200.0
#: Pairs of edges that are compared at once.
PAIRS = 1_000_000


def plane_axes(normal: Float) -> Float:
    """Return two unit vectors across a normal, right-handed with it, as columns, shape (3, 2)."""
    first = np.cross(normal, np.eye(3)[int(np.argmin(np.abs(normal)))])
    first = first / np.linalg.norm(first)
    return np.stack([first, np.cross(normal, first)], axis=1)


def crosses_itself(ring: Float) -> bool:
    """Whether two edges of a closed polygon, shape (n, 2), cross each other between their ends.

    Edges that only touch do not count, so a keyhole (a channel walked there and back) does not cross itself.

    Examples
    --------
    >>> bow_tie = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    >>> crosses_itself(bow_tie), crosses_itself(bow_tie[[0, 2, 1, 3]])
    (True, False)
    """
    return bool(which_cross_themselves([ring])[0])


def which_cross_themselves(rings: Sequence[Float]) -> NDArray[np.bool_]:
    """Return for each closed polygon, shape (n, 2), whether it `crosses_itself`; all at once."""
    crossed = np.zeros(len(rings), np.bool_)
    if rings:
        group = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
        ends = np.concatenate([ends_of(ring) for ring in rings])
        crossed[_crossing(np.concatenate(rings), ends, group, None)] = True
    return crossed


def cross(ring: Float, other: Float) -> bool:
    """Whether an edge of one closed polygon, shape (n, 2), crosses an edge of another, shape (m, 2)."""
    apart = (ring.max(axis=0) <= other.min(axis=0)).any() or (other.max(axis=0) <= ring.min(axis=0)).any()
    if apart:
        return False
    starts = np.concatenate([ring, other])
    ends = np.concatenate([ends_of(ring), ends_of(other)])
    owner = np.repeat([0, 1], [len(ring), len(other)])
    return bool(_crossing(starts, ends, np.zeros(len(starts), np.int64), owner).size)


def doubtful_area(ring: Float) -> float:
    """Return by how much the area of a polygon that crosses itself depends on the rule, mm².

    The rules are: every region that is wound round counts once; or regions count as often, and with the sign,
    that they are wound round.
    """
    inside, pixel = _filled([ring])
    return abs(float(inside[0].sum()) * pixel - abs(ring_area(ring)))


def shared_area(ring: Float, other: Float) -> float:
    """Return the area that two polygons share, mm², to about a thousandth of the larger."""
    (a, b), pixel = _filled([ring, other])
    return float(np.minimum(a, b).sum()) * pixel


def _filled(rings: list[Float]) -> tuple[list[Float], float]:
    """Return each polygon's coverage of common pixels, and the area of one, mm²."""
    points = np.concatenate(rings)
    low, high = points.min(axis=0), points.max(axis=0)
    side = max(float((high - low).max()) / PIXELS, 1e-6)
    rows, columns = (np.ceil((high - low) / side).astype(int) + 1).tolist()
    return [coverage([(ring - low) / side], (rows, columns)) for ring in rings], side * side


def _crossing(starts: Float, ends: Float, group: Int, owner: Int | None) -> Int:
    """Return the groups in which two edges cross strictly; with owners, only those of different ones."""
    left = np.minimum(starts[:, 0], ends[:, 0])
    span = max(float(np.ptp(starts[:, 0])), 1e-6)
    apart = (left - left.min()) + group * (1.01 * span)  # one group beside the other
    order = np.argsort(apart)
    starts, ends, left, apart, group = starts[order], ends[order], left[order], apart[order], group[order]
    owners = None if owner is None else owner[order]
    right = np.maximum(starts[:, 0], ends[:, 0])
    last = np.searchsorted(apart, apart + (right - left) + 1e-6 * span)  # never too few; see near
    floor, roof = np.minimum(starts[:, 1], ends[:, 1]), np.maximum(starts[:, 1], ends[:, 1])
    count = np.maximum(last - np.arange(len(left)) - 1, 0)  # edges that begin before this one ends
    done = np.concatenate([[0], np.cumsum(count)])
    crossed: Int = np.zeros(0, np.int64)
    for low in range(0, int(done[-1]), PAIRS):
        here = np.diff(np.clip(done, low, low + PAIRS))
        first = np.repeat(np.arange(len(here)), here)
        second = first + 1 + np.arange(low, low + len(first)) - done[first]
        near = (floor[first] < roof[second]) & (floor[second] < roof[first]) & (left[second] < right[first])
        first, second = first[near], second[near]
        if owners is not None:
            parted = owners[first] != owners[second]
            first, second = first[parted], second[parted]
        a, b, c, d = starts[first], ends[first], starts[second], ends[second]
        sides = (_turn(a, b, c) * _turn(a, b, d) < 0) & (_turn(c, d, a) * _turn(c, d, b) < 0)
        crossed = np.union1d(crossed, group[first[sides]])
        if crossed.size and group[0] == group[-1]:
            break
    return crossed


def _turn(a: Float, b: Float, c: Float) -> Float:
    turned: Float = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    return turned
