"""Where a rounded end closes: the height that the last planes of a solid foretell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def closing(value: Float, slope: Float, bend: Float, gap: float) -> float:
    """Return the height of a rounded cap: where the extrapolated solid closes, at most one gap.

    A shape that would close just at the missing plane ends there; one that would never close (a
    cylinder) ends at half a slice; between them the height is ``gap/2 (1 + gap/h)``.
    """
    within = value < 0
    root = slope + np.sqrt(np.maximum(slope * slope - 2.0 * bend * value, 0.0))
    if not within.any() or (within & (root <= 0)).any():
        return 0.5 * gap
    height = np.where(root > 0, -2.0 * value / np.where(root > 0, root, 1.0), -np.inf)
    closes = _peak(height, within)
    return closes if closes <= gap else 0.5 * gap * (1.0 + gap / closes)


def _peak(height: Float, within: NDArray[np.bool_]) -> float:
    """Return the top of the parabolas through the highest lattice point within and its neighbours."""
    row, column = np.unravel_index(int(np.where(within, height, -np.inf).argmax()), height.shape)
    top = rise = float(height[row, column])
    for before, after in (
        (height[row - 1, column], height[row + 1, column]),
        (height[row, column - 1], height[row, column + 1]),
    ):
        bow = float(2.0 * top - before - after)
        if np.isfinite(bow) and bow > 0 and max(before, after) <= top:
            rise += float(after - before) ** 2 / (8.0 * bow)
    return rise
