"""A structure as weighted cells: where they lie, how much of the structure each holds, how far it spreads.

Cells carry the partial volume of the surface that cuts them, the centroid of the part inside and the
width of that part, so a dose-volume histogram made of them converges with the square of the cell's side or
better, and no cell counts as all or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.dosimetry.extremes import Patches

Float = NDArray[np.float64]

#: The cap policies that can be chosen.
CAPS = ("none", "half_slice", "rounded")
#: Parts of a structure: the core, half a slice below and above, rounded ends, the other halves of the slices.
CORE, LOWER, UPPER, ROUND, LOWER_REST, UPPER_REST = range(6)
#: The parts that make up the solid of each policy. ``low`` and ``high`` are no policies but the extremes for
#: the cap bound: a whole slice at one end and nothing at the other.
PARTS: dict[str, tuple[int, ...]] = {
    "none": (CORE,),
    "half_slice": (CORE, LOWER, UPPER),
    "rounded": (CORE, ROUND),
    "low": (CORE, LOWER, LOWER_REST),
    "high": (CORE, UPPER, UPPER_REST),
}
_TABLE = {caps: np.isin(np.arange(6), parts) for caps, parts in PARTS.items()}
_SIGNS = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])


@dataclass(frozen=True, eq=False)
class Cells:
    """Weighted points of a structure.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
        Centroids of the parts inside, LPS mm.
    volume_cc : ndarray, shape (n,)
        Volume of the part inside; negative for what a hole takes away.
    width_mm : ndarray, shape (n, 3)
        Sides of the cell along the rows of ``axes``.
    taper_mm : ndarray, shape (n, 3)
        Along ``axes``: for a part with a gradient g of the dose, the spread of dose in it is
        ``sqrt(sum (g_i width_i)² − (g · taper)²)``.
    cap : ndarray, shape (n,), int8
        The part that the cell is of; ``PARTS`` says which policies have it.
    axes : ndarray, shape (3, 3)
        Unit vectors as rows, LPS.
    surface, surface_cap : ndarray, shape (m, 3) and (m,)
        Points on the surface, for the extremes.
    full : ndarray of bool, shape (n,)
        Whether the cell lies wholly inside.
    patches : Patches or None
        The curved pieces of the surface; the first of the surface points are theirs. None for masks.
    notes : tuple of str
        What had to be decided.
    """

    points: Float
    volume_cc: Float
    width_mm: Float
    taper_mm: Float
    cap: NDArray[np.int8]
    axes: Float
    surface: Float
    surface_cap: NDArray[np.int8]
    full: NDArray[np.bool_]
    patches: Patches | None = None
    notes: tuple[str, ...] = ()

    def belongs(self, caps: str) -> NDArray[np.bool_]:
        """Whether each cell belongs to the solid of a cap policy."""
        wanted: NDArray[np.bool_] = _TABLE[caps][self.cap]
        return wanted

    def surface_of(self, caps: str) -> NDArray[np.bool_]:
        """Whether each surface point belongs to the solid of a cap policy."""
        wanted: NDArray[np.bool_] = _TABLE[caps][self.surface_cap]
        return wanted

    def volume_of(self, caps: str) -> float:
        """Return the volume of the solid of a cap policy, cc."""
        return float(self.volume_cc[self.belongs(caps)].sum())


def cut(distance: Float, normal: Float, width: Float) -> tuple[Float, Float, Float]:
    """Return what a plane leaves of cuboid cells: share, centroid and lost variance along the normal.

    Parameters
    ----------
    distance : ndarray, shape (n,)
        Of the cell's centre from the plane, mm; negative inside.
    normal : ndarray, shape (n, 3)
        Outward unit normals along the cell's sides.
    width : ndarray, shape (n, 3)
        Sides, mm.

    Returns
    -------
    share : ndarray, shape (n,)
        Part of the volume inside, 0 to 1.
    centroid : ndarray, shape (n, 3)
        Of the part, from the cell's centre, along the cell's sides, mm.
    lost : ndarray, shape (n,)
        Variance of x·n over the whole cell less that over the part, mm².

    Notes
    -----
    x·n is the sum of three uniform variables of widths |n_i| w_i; its distribution is a piecewise cubic,
    and the moments of the cut part are its integrals: exact for a plane.
    """
    reach = np.abs(normal) * width
    largest = np.maximum(np.maximum(reach[:, 0], reach[:, 1]), reach[:, 2])
    reach = np.maximum(reach, 0.03 * largest[:, None] + 1e-12)
    half = 0.5 * (reach[:, 0] + reach[:, 1] + reach[:, 2])
    t = np.clip(-distance, -half, half)
    scale = reach[:, 0] * reach[:, 1] * reach[:, 2]
    zeroth, first, second = np.zeros(len(t)), np.zeros(len(t)), np.zeros(len(t))
    corner = np.zeros((len(t), 3))
    for signs in _SIGNS:
        x = np.maximum(t + half - reach @ signs, 0.0)
        sign = -1.0 if signs.sum() % 2 else 1.0
        cube = sign * x * x * x
        zeroth += cube
        first += cube * x
        second += cube * x * x
        corner += cube[:, None] * signs
    share = np.clip(zeroth / (6.0 * scale), 0.0, 1.0)
    held = share > 1e-9
    safe = np.where(held, share, 1.0)
    lack = first / (24.0 * scale) / safe
    mean = np.where(held, np.clip(t - lack, -half, t), t)
    square = t * t - 2.0 * t * lack + 2.0 * second / (120.0 * scale) / safe
    whole = np.einsum("ij,ij->i", reach, reach) / 12.0
    part = np.clip(square - mean * mean, 0.0, whole)
    place = lack[:, None] / reach + corner / (6.0 * scale * safe)[:, None]
    centroid = np.sign(normal) * width * np.clip(place - 0.5, -0.5, 0.5)
    centroid = np.where((held & (share < 1.0))[:, None], centroid, 0.0)
    return share, centroid, np.where(held, whole - part, whole)
