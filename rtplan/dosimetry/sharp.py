"""Where the dose is highest and lowest on a solid with sharp corners: places that surely lie in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rtplan.dosimetry.cells import CORE, FLAT, PARTS, ROUND, ROUND_LOWER, ROUND_UPPER
from rtplan.dosimetry.climb import apart, climb, rims, within
from rtplan.dosimetry.layers import FLAT_PART
from rtplan.dosimetry.pieces import Piece, Shape

Float = NDArray[np.float64]
Labels = NDArray[np.int8]
Dose = Callable[[Float], Float]


def sharpened(
    shape: Shape,
    points: Float,
    labels: Labels,
    counts: tuple[int, int],
    search: tuple[float, Callable[[Float], Float]],
) -> tuple[Float, Labels, Float]:
    """Return places of the solid where the dose may be highest or lowest, their parts, and what was climbed.

    The last is how much lower and how much higher, Gy, the best climber came than all that surely lies in
    the solid anyway.

    Parameters
    ----------
    shape : Shape
    points : ndarray, shape (n, 3)
        Found by the lattice, along u, v and n, mm: first those inside, then those on the surface, which may
        lie a little off it, then vertices and points of ends.
    labels : ndarray, shape (n,)
        Their parts.
    counts : tuple of int
        How many of the points are inside, and on the surface.
    search : tuple of float and callable
        How far to search, mm; and the dose, Gy, at points along u, v and n.
    """
    reach, dose = search
    rim, ends = rims(shape)
    exact = ~np.isin(labels, (*ROUND, FLAT))
    exact[: sum(counts)] = False
    usual = np.isin(labels, PARTS["rounded"])
    starts = np.concatenate([points[usual], rim])
    level, inner = dose(starts), dose(points[: counts[0]])
    found, kinds = [points[exact], rim], [labels[exact], _labels(ends)]
    climbed = []
    for sign in (-1.0, 1.0):
        sure = float((sign * dose(np.concatenate(found[:2]))).max(initial=-np.inf))
        for row in np.argsort(-sign * inner):
            if within(shape, points[row]):
                found.append(points[row : row + 1])
                kinds.append(labels[row : row + 1])
                sure = max(sure, float(sign * inner[row]))
                break
        places, pieces = climb(shape, apart(starts, sign * level, reach), sign, reach, dose)
        found.append(places)
        kinds.append(_labels(pieces))
        climbed.append(max(float((sign * dose(places)).max(initial=sure)) - sure, 0.0))
    return np.concatenate(found), np.concatenate(kinds), np.array(climbed)


def _labels(pieces: list[Piece]) -> Labels:
    """Return the parts of the structure that pieces are of."""
    return np.array([_label(piece) for piece in pieces], np.int8)


def _label(piece: Piece) -> int:
    if not piece.cap:
        return CORE
    if piece.narrows <= FLAT_PART:
        return FLAT
    return ROUND_UPPER if piece.way > 0 else ROUND_LOWER
