"""Where a rounded end closes: the height that the areas of the last planes of a solid foretell."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rtplan.dosimetry.solid import Plane, meet

Float = NDArray[np.float64]

#: Planes that the height is foretold from, the end plane counted.
LOOKED_AT = 4
#: Newton's steps to an apex, and the part of the end's depth that is as good as nothing (polygons' corners).
APEX_STEPS, APEX_PART = 4, 0.002


def closing(planes: tuple[Plane, ...], number: int, way: int, gap: float) -> tuple[float, float]:
    """Return the height of the cap on the rings that end at a plane, and how much it narrows in a gap.

    Parameters
    ----------
    planes : tuple of Plane
        Of one nesting depth, by rising height.
    number : int
        Of the plane where rings end.
    way : int
        1 where they end upwards, -1 downwards.
    gap : float
        To the plane that is not there, mm.

    Returns
    -------
    height : float
        At most one gap, mm.
    narrows : float
        Part of the end's area that goes in the first gap if the slope stays; 0 where the end is flat.

    Notes
    -----
    It comes from the contours alone: the square of the radius of the circle of equal area is carried on
    as the level function is (Notes of `Solid`), with its limited second difference. A shape that would
    close within the gap ends there; one that would never close (a cylinder, or one that widens) ends at
    half a slice; between them the height is ``gap/2 (1 + gap/h)``. Spheres, cylinders and cones are met.
    """
    squares, widths = _behind(planes, number, way)
    slope, bend = _outward(squares, widths)
    root = slope + (slope * slope + 2.0 * bend * squares[0]) ** 0.5
    narrows = slope * gap / squares[0]
    if root <= 0.0:
        return 0.5 * gap, narrows
    closes = 2.0 * squares[0] / root
    return (closes if closes <= gap else 0.5 * gap * (1.0 + gap / closes)), narrows


def _behind(planes: tuple[Plane, ...], number: int, way: int) -> tuple[list[float], list[float]]:
    """Return the squared radii of the ending rings and of those behind, summed by plane, and the gaps."""
    on, back = ("up", "down") if way > 0 else ("down", "up")
    plane = planes[number]
    chosen = plane.chosen(f"not {on}")
    squares, widths = [sum(plane.radii_mm[i] ** 2 for i in chosen)], []
    while len(squares) < LOOKED_AT and 0 <= number - way < len(planes):
        inner = planes[number - way]
        held = [i for i in chosen if i in plane.chosen(back)]
        partners = [
            j
            for j in inner.chosen(on)
            if (len(plane.rings) == 1 and len(inner.rings) == 1 and held)
            or any(meet(plane.rings[i], inner.rings[j]) for i in held)
        ]
        if not partners:
            break
        squares.append(sum(inner.radii_mm[j] ** 2 for j in partners))
        widths.append(abs(plane.height_mm - inner.height_mm))
        plane, chosen, number = inner, partners, number - way
    return squares, widths


def _outward(squares: list[float], widths: list[float]) -> tuple[float, float]:
    """Return by how much the square of the radius falls beyond the end, per mm, and per mm² more."""
    rises = [(inner - outer) / width for (outer, inner), width in zip(pairwise(squares), widths, strict=True)]
    if not rises:
        return 0.0, 0.0
    bends = [
        2.0 * (a - b) / (v + w) for (a, b), (v, w) in zip(pairwise(rises), pairwise(widths), strict=True)
    ]
    bend = 0.0
    if bends and bends[0] * bends[-1] > 0.0:
        bend = min(bends, key=abs)
    return max(rises[0] + 0.5 * bend * widths[0], 0.0), max(bend, 0.0)


def apex(value: Float, slope: Float, bend: Float, rise: float) -> tuple[float, float, float, float]:
    """Return where a cap closes, no higher than ``rise``: row, column (with parts), height and its doubt.

    The level function is lowest where the parabolas through the lowest point of the lattice and its
    neighbours are; Newton's steps go down from the height where nothing is left. The doubt, mm, is the next
    step that is not taken any more.
    """
    place, depth, left_mm = (0.0, 0.0), -float(value.min()), 0.0
    for _ in range(APEX_STEPS):
        left = value + rise * (slope + 0.5 * bend * rise)
        inner = left[1:-1, 1:-1]
        row, column = (int(k) + 1 for k in np.unravel_index(int(inner.argmin()), inner.shape))
        up, low = _valley(left[row - 1, column], left[row, column], left[row + 1, column])
        right, less = _valley(left[row, column - 1], left[row, column], left[row, column + 1])
        place = row + up, column + right
        steep = float(slope[row, column] + bend[row, column] * rise)
        excess = float(left[row, column]) - low - less
        left_mm = max(excess, 0.0) / steep if steep > 0.0 else 0.0
        if excess <= APEX_PART * depth or steep <= 0.0:
            break
        rise -= left_mm
    return (*place, rise, left_mm)


def _valley(before: float, middle: float, after: float) -> tuple[float, float]:
    """Return where the parabola through three values is lowest, and how far below the middle."""
    bow = float(before + after - 2.0 * middle)
    if bow <= 0.0:
        return 0.0, 0.0
    return 0.5 * float(before - after) / bow, float(after - before) ** 2 / (8.0 * bow)
