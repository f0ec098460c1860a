"""A structure as weighted cells: where they lie, how much of the structure each holds, how far it spreads.

Cells lie on a lattice along the structure's own axes. Those that the surface cuts carry the partial volume,
the centroid and the width of the part inside, so a dose-volume histogram made of them converges with the
square of the cell's side or better, and no cell counts as all or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rtplan.dosimetry.extremes import Surface
from rtplan.dosimetry.facets import Facets
from rtplan.dosimetry.lookup import Axes
from rtplan.dosimetry.pieces import Shape

Float = NDArray[np.float64]
Index = NDArray[np.int64]

#: The cap policies that can be chosen.
CAPS = ("none", "half_slice", "rounded")
#: Parts of a structure: the core, half a slice below and above, rounded ends below and above, the other
#: halves of the slices, and rounded ends of either side that are flat.
CORE, LOWER, UPPER, ROUND_LOWER, ROUND_UPPER, LOWER_REST, UPPER_REST, FLAT = range(8)
LABELS = 8
ROUND = (ROUND_LOWER, ROUND_UPPER)
#: The parts that make up the solid of each policy. ``low`` and ``high`` are no policies but the extremes for
#: the cap bound: a whole slice at one end and nothing at the other.
PARTS: dict[str, tuple[int, ...]] = {
    "none": (CORE,),
    "half_slice": (CORE, LOWER, UPPER),
    "rounded": (CORE, *ROUND, FLAT),
    "low": (CORE, LOWER, LOWER_REST),
    "high": (CORE, UPPER, UPPER_REST),
}


@dataclass(frozen=True, eq=False)
class Lot:
    """Cells of one lattice.

    Parameters
    ----------
    axes : Axes
        Centres of the lattice's cells; its layers may overlap (the caps of several policies).
    side_mm : tuple of float
        Sides of a cell along u and v.
    thick_mm : ndarray, shape (L,)
        Height of each layer.
    index : ndarray, shape (n,)
        Flat places of the cells in the lattice; none lies on its rim along u and v.
    """

    axes: Axes
    side_mm: tuple[float, float]
    thick_mm: Float
    index: Index

    def centres(self, index: Index) -> Float:
        """Return centres along u, v and n, mm, shape (k, 3), of flat places."""
        layer, row, column = np.unravel_index(index, self.axes.shape)
        axes = self.axes
        return np.stack([axes.u_mm[column], axes.v_mm[row], axes.n_mm[layer]], axis=1)

    def widths(self, index: Index) -> Float:
        """Return sides along u, v and n, mm, shape (3, k), of flat places."""
        side = np.empty((3, len(index)))
        side[0], side[1] = self.side_mm
        side[2] = self.thick_mm.take(index // (len(self.axes.u_mm) * len(self.axes.v_mm)))
        return side


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells that hold some of a structure: coarse ones wholly inside, then fine ones, the last ``p`` cut.

    Parameters
    ----------
    coarse, fine : Lot
        Their lattices, along the same axes.
    volume_cc : ndarray, shape (n,)
        Volume of the part inside; negative for what a hole takes away.
    label : ndarray, shape (n,), int8
        The part that the cell is of; ``PARTS`` says which policies have it.
    parent : ndarray, shape (n,)
        Number of the larger cell that a cell is of, for the error bound.
    offset_mm, width_mm, taper_mm : ndarray, shape (p, 3)
        Of cut cells, along u, v and n: centroid from the cell's centre; sides; and what the cut takes from
        the spread: for a gradient g of the dose it is ``sqrt(sum (g_i width_i)² − (g · taper)²)``.
    surface : Surface
        Where the extremes may lie.
    facets : Facets
        How far the contours are from smooth curves; all 0 for masks.
    notes : tuple of str
        What had to be decided.
    shape : Shape or None
        The solid itself, where its contours have sharp corners that the cells round off.
    """

    coarse: Lot
    fine: Lot
    volume_cc: Float
    label: NDArray[np.int8]
    parent: Index
    offset_mm: Float
    width_mm: Float
    taper_mm: Float
    surface: Surface
    facets: Facets = field(default_factory=Facets)
    notes: tuple[str, ...] = ()
    shape: Shape | None = None

    @property
    def whole(self) -> int:
        """How many of the cells lie wholly inside (the first ones)."""
        return len(self.volume_cc) - len(self.offset_mm)

    @property
    def rows(self) -> Index:
        """Label of each cell, and ``LABELS`` more for cut ones, shape (n,)."""
        rows = self.label.astype(np.int64)
        rows[self.whole :] += LABELS
        return rows

    def labels(self) -> set[int]:
        """Return the parts that hold any volume."""
        return set(np.flatnonzero(np.bincount(self.label, minlength=LABELS)).tolist())

    def boxes(self, rows: Index) -> tuple[Float, Float]:
        """Return centres and sides of cells along u, v and n, mm, shape (k, 3)."""
        count = len(self.coarse.index)
        centre, width = np.empty((len(rows), 3)), np.empty((len(rows), 3))
        for lot, here, first in ((self.coarse, rows < count, 0), (self.fine, rows >= count, count)):
            index = lot.index[rows[here] - first]
            centre[here], width[here] = lot.centres(index), lot.widths(index).T
        return centre, width

    def centroids(self) -> Float:
        """Return the centroids of the parts inside, LPS mm, shape (n, 3)."""
        centre, _ = self.boxes(np.arange(len(self.volume_cc)))
        centre[self.whole :] += self.offset_mm
        points: Float = centre @ self.fine.axes.directions
        return points

    @cached_property
    def corners(self) -> Float:
        """Corners, LPS mm, shape (8, 3), of a box that holds all cells and one more around."""
        axes = self.fine.axes
        thick = float(max(self.fine.thick_mm.max(), self.coarse.thick_mm.max()))
        ends = np.array([axes.n_mm.min() - thick, axes.n_mm.max() + thick])
        return Axes(axes.directions, ends, axes.v_mm, axes.u_mm).corners()


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
    normal, width = np.ascontiguousarray(normal.T), np.ascontiguousarray(width.T)
    reach = np.abs(normal) * width
    reach = np.maximum(reach, 0.03 * reach.max(axis=0) + 1e-12)
    half = 0.5 * reach.sum(axis=0)
    t = np.minimum(np.maximum(-distance, -half), half)
    scale = reach[0] * reach[1] * reach[2]
    zeroth, first, second, corner = _powers(t + half, reach)
    share = np.minimum(np.maximum(zeroth / (6.0 * scale), 0.0), 1.0)
    held = share > 1e-9
    safe = scale * np.where(held, share, 1.0)
    lack = first / (24.0 * safe)
    mean = np.where(held, np.minimum(np.maximum(t - lack, -half), t), t)
    square = t * t - 2.0 * t * lack + second / (60.0 * safe)
    whole = (reach * reach).sum(axis=0) / 12.0
    part = np.minimum(np.maximum(square - mean * mean, 0.0), whole)
    place = lack / reach + corner / (6.0 * safe)
    centroid = np.sign(normal) * width * np.minimum(np.maximum(place - 0.5, -0.5), 0.5)
    centroid = np.where(held & (share < 1.0), centroid, 0.0)
    return share, centroid.T, np.where(held, whole - part, whole)


def _powers(top: Float, reach: Float) -> tuple[Float, Float, Float, Float]:
    """Return the signed sums over the cell's corners of the cut's third to fifth powers.

    The last of the four holds, for each axis, the cubes at the corners on its far side only.
    """
    zeroth, first, second = np.zeros_like(top), np.zeros_like(top), np.zeros_like(top)
    corner = np.zeros_like(reach)
    for number in range(8):
        far = [axis for axis in range(3) if number >> axis & 1]
        x = top
        for axis in far:
            x = x - reach[axis]
        x = np.maximum(x, 0.0)
        cube = x * x * x
        if len(far) % 2:
            cube = -cube
        zeroth += cube
        for axis in far:
            corner[axis] += cube
        cube = cube * x
        first += cube
        second += cube * x
    return zeroth, first, second, corner
