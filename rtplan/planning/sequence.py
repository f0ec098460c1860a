"""From a fluence map to leaf openings: levels, and leaves that sweep from left to right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Beam
from rtplan.planning.machine import Leaves, Machine
from rtplan.planning.shapes import Frame, frame_around, strips_of

Float = NDArray[np.float64]
#: Levels tried from the finest; the first with few enough segments is taken.
MOST_LEVELS = 20


@dataclass(frozen=True, eq=False)
class Segments:
    """Standing openings of one beam, one after the other.

    Parameters
    ----------
    frame : Frame
        Pairs, jaws, pixels.
    left, right : ndarray, shape (segments, pairs)
        Ends of the leaves, mm.
    mu : ndarray, shape (segments,)
        Of the whole course.
    """

    frame: Frame
    left: Float
    right: Float
    mu: Float


def sweep(levels: NDArray[np.int64], edges_mm: Float) -> tuple[Float, Float]:
    """Return leaf ends whose openings add up to whole numbers along each pair.

    Parameters
    ----------
    levels : ndarray, shape (pairs, columns)
        Whole numbers >= 0.
    edges_mm : ndarray, shape (columns + 1,)
        Edges of the columns.

    Returns
    -------
    left, right : ndarray, shape (segments, pairs)
        Rising from segment to segment, so that the leaves go one way. A pair that is done before the others
        stays closed where it ended; one without any opening is closed at the first edge.

    Notes
    -----
    Each rise of a profile is a place for a left leaf, each fall one for a right leaf; taken in order, the
    k-th rise lies before the k-th fall, and the openings between them add up to the profile exactly.

    References
    ----------
    Bortfeld TR, Kahler DL, Waldron TJ, Boyer AL. X-ray field compensation with multileaf collimators. Int J
    Radiat Oncol Biol Phys 28:723 (1994).

    Examples
    --------
    >>> sweep(np.array([[1, 2, 1]]), np.arange(4.0))
    (array([[0.],
           [1.]]), array([[2.],
           [3.]]))
    """
    steps = np.diff(np.pad(levels, ((0, 0), (1, 1))), axis=1)
    rises = [np.repeat(edges_mm, np.maximum(row, 0)) for row in steps]
    falls = [np.repeat(edges_mm, np.maximum(-row, 0)) for row in steps]
    count = max((len(row) for row in rises), default=0)
    left = np.full((count, len(levels)), edges_mm[0])
    right = left.copy()
    for pair, (up, down) in enumerate(zip(rises, falls, strict=True)):
        left[: len(up), pair], right[: len(down), pair] = up, down
        if len(up):
            left[len(up) :, pair] = right[len(up) :, pair] = down[-1]
    return left, right


def sequenced(beam: Beam, machine: Machine) -> Segments:
    """Return the openings of a fluence map: as many levels as the machine's number of segments permits.

    The monitor units of all segments are alike; MU times area is that of the map's rounded levels.
    """
    frame = frame_around(beam, machine.leaves.boundaries_mm)
    strips = strips_of(beam, frame)
    fluence = beam.fluence
    edges = fluence.corner_mm[0] + fluence.spacing_mm * (np.arange(fluence.mu.shape[1] + 1) - 0.5)
    top = float(strips.max())
    for count in range(MOST_LEVELS, 0, -1):
        unit = top / count if top > 0.0 else 1.0
        left, right = sweep(np.rint(strips / unit).astype(np.int64), edges)
        if len(left) <= machine.shape.max_segments:
            break
    left, right = left[: machine.shape.max_segments], right[: machine.shape.max_segments]
    left, right = with_gaps(left, right, machine.leaves)
    return Segments(frame, left, right, np.full(len(left), unit))


def with_gaps(left: Float, right: Float, leaves: Leaves) -> tuple[Float, Float]:
    """Return leaf ends opened where they stand closer than the machine lets them, shape (..., pairs).

    Pairs keep their gap; where leaves must not interdigitate, a leaf keeps it to the opposite ones of both
    neighbours too. Openings only grow, by half on either side.
    """
    left, right = _parted(left, right, left, right, leaves.min_gap_mm)
    if leaves.interdigitation or left.shape[-1] < 2:
        return left, right
    for _ in range(left.shape[-1]):
        before = left.copy(), right.copy()
        for a, b in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):
            low, high = _parted(left[..., a], right[..., b], left[..., a], right[..., b], leaves.min_gap_mm)
            left[..., a], right[..., b] = low, high
        if np.allclose(before[0], left) and np.allclose(before[1], right):
            break
    return left, right


def _parted(left: Float, right: Float, low: Float, high: Float, gap: float) -> tuple[Float, Float]:
    lack = np.maximum(gap - (high - low), 0.0) / 2.0
    return left - lack, right + lack
