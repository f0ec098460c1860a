"""A structure's cells on a dose grid: the doses read in them, on the surface and at the extremes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Dose, Grid
from rtplan.dosimetry.cells import LABELS, PARTS, Cells
from rtplan.dosimetry.curve import Curve, Ramps, accumulate
from rtplan.dosimetry.extremes import INNER_STARTS, SPOT_STARTS, SURFACE_STARTS, Patches, inside_of, starts
from rtplan.dosimetry.histogram import Settings
from rtplan.dosimetry.lookup import Axes, Field, covered

Float = NDArray[np.float64]
Index = NDArray[np.int64]
Labels = NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Read:
    """One dose in a structure's cells.

    Parameters
    ----------
    mean_gy, span_gy : ndarray, shape (n,)
        Mean in each cell and the width of the uniform distribution that stands for it, Gy.
    extremes_gy : ndarray, shape (LABELS, 2)
        Minimum and maximum of each part, NaN where there is none.
    """

    mean_gy: Float
    span_gy: Float
    extremes_gy: Float

    def ramps(self, cells: Cells, covered: NDArray[np.bool_], outside_gy: float = 0.0) -> Ramps:
        """Return the volumes of the parts by dose, with a dose for what lies outside the grid."""
        spans, extremes = (self.mean_gy, self.span_gy), self.extremes_gy
        if not covered.all():
            spans = np.where(covered, spans[0], outside_gy), np.where(covered, spans[1], 0.0)
            out = np.bincount(cells.label[~covered], minlength=LABELS) > 0
            extremes = extremes.copy()
            extremes[out, 0] = np.fmin(extremes[out, 0], outside_gy)
            extremes[out, 1] = np.fmax(extremes[out, 1], outside_gy)
        return accumulate(spans, cells.volume_cc, cells.label, extremes)


@dataclass(frozen=True, eq=False)
class Sampled:
    """One structure's cells with any number of doses read in them.

    Parameters
    ----------
    cells : Cells
    covered : ndarray of bool, shape (n,)
        Whether each cell's centroid lies inside the dose grid.
    reads : tuple of Read
        By dose.
    settings : Settings
    """

    cells: Cells
    covered: NDArray[np.bool_]
    reads: tuple[Read, ...]
    settings: Settings

    @classmethod
    def of(cls, cells: Cells, doses: Sequence[Dose], settings: Settings) -> Sampled:
        """Read doses on one grid in a structure's cells; raise DoseError where one is not finite."""
        within = _covered(cells, doses[0].grid)
        return cls(cells, within, tuple(_read(cells, dose, settings) for dose in doses), settings)

    @cached_property
    def ramps(self) -> tuple[Ramps, ...]:
        """Volumes of the parts under each dose; 0 Gy outside the grid."""
        return tuple(read.ramps(self.cells, self.covered) for read in self.reads)

    @cached_property
    def coarse(self) -> tuple[Curve, ...]:
        """The chosen policy's curves from coarse cells: each the sum of the cells that are its parts."""
        cells, labels = self.cells, PARTS[self.settings.caps]
        chosen = np.isin(cells.label, labels)
        parent = cells.parent[chosen]
        volume = cells.volume_cc[chosen]
        weight = np.bincount(parent, volume)
        held = np.flatnonzero(weight)
        curves = []
        for read in self.reads:
            dose = np.where(self.covered, read.mean_gy, 0.0)[chosen]
            mean = np.bincount(parent, volume * dose)[held] / weight[held]
            square = volume * (dose * dose + read.span_gy[chosen] ** 2 / 12.0)
            spread = np.bincount(parent, square)[held] / weight[held] - mean * mean
            spans = mean, np.sqrt(12.0 * np.maximum(spread, 0.0))
            low, high = np.nanmin(read.extremes_gy[list(labels), 0]), np.nanmax(read.extremes_gy[list(labels), 1])
            label = np.zeros(len(held), np.int8)
            curves.append(accumulate(spans, weight[held], label, np.array([[low, high]])).curve([0]))
        return tuple(curves)

    def covered_fraction(self) -> float:
        """Return the part of the chosen solid's volume that lies inside the dose grid."""
        if self.covered.all():
            return 1.0
        chosen = np.isin(self.cells.label, PARTS[self.settings.caps])
        volume = self.cells.volume_cc
        return float(np.clip(volume[chosen & self.covered].sum() / volume[chosen].sum(), 0.0, 1.0))


def _covered(cells: Cells, grid: Grid) -> NDArray[np.bool_]:
    axes = cells.axes
    low = [p.min() - w for p, w in zip((axes.u_mm, axes.v_mm), cells.side_mm, strict=True)]
    high = [p.max() + w for p, w in zip((axes.u_mm, axes.v_mm), cells.side_mm, strict=True)]
    thick = float(cells.thick_mm.max())
    box = np.array([[*low, axes.n_mm.min() - thick], [*high, axes.n_mm.max() + thick]])
    corners = np.array([[box[i, 0], box[j, 1], box[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    if covered(corners @ axes.directions, grid).all():
        return np.ones(len(cells.index), np.bool_)
    return covered(cells.places(slice(None)) @ axes.directions, grid)


class _Lattice:
    """One dose on the lattice, with what a cell needs of its neighbours."""

    def __init__(self, cells: Cells, field: Field) -> None:
        axes = cells.axes
        rise = np.concatenate([axes.n_mm, axes.n_mm - cells.thick_mm, axes.n_mm + cells.thick_mm])
        every = field.on(Axes(axes.directions, rise, axes.v_mm, axes.u_mm))
        self.middle, self.below, self.above = (part.ravel() for part in np.split(every, 3))
        self.wide = len(axes.u_mm)
        self.plane = self.wide * len(axes.v_mm)
        self.cells = cells

    def steps(self, index: Index) -> tuple[Any, Any, Any]:
        """Return the dose and its first and second differences along u, v and n, float32, (n,) and (3, n)."""
        middle = self.middle.take(index)
        back, ahead = np.empty((2, 3, len(index)), np.float32)
        for axis, by in enumerate((1, self.wide)):
            self.middle.take(index - by, out=back[axis])
            self.middle.take(index + by, out=ahead[axis])
        self.below.take(index, out=back[2])
        self.above.take(index, out=ahead[2])
        first = ahead - back
        first *= 0.5
        back += ahead
        back -= 2.0 * middle
        return middle, first, back

    def width(self, index: Index) -> Float:
        """Return the sides of cells along u, v and n, mm, shape (3, n)."""
        side = np.empty((3, len(index)))
        side[0], side[1] = self.cells.side_mm
        side[2] = self.cells.thick_mm.take(index // self.plane)
        return side


def _read(cells: Cells, dose: Dose, settings: Settings) -> Read:
    axes = cells.axes
    thick = float(cells.thick_mm.max())
    reach = np.array([axes.n_mm.min() - thick, axes.n_mm.max() + thick])
    field = Field.of(dose, Axes(axes.directions, reach, axes.v_mm, axes.u_mm).corners(), settings.interpolation)
    lattice = _Lattice(cells, field)
    middle, first, second = lattice.steps(cells.index)
    mean = middle.astype(np.float64)
    mean += (second[0] + second[1] + second[2]) * (1.0 / 24.0)
    square = first[0] ** 2 + first[1] ** 2 + first[2] ** 2
    cut, gradient = slice(cells.whole, None), np.zeros((0, 3))
    if len(cells.offset_mm):
        slope = first[:, cut] / lattice.width(cells.index[cut])
        gradient = np.ascontiguousarray(slope.T)
        mean[cut] += (gradient * cells.offset_mm).sum(axis=1)
        spread = ((gradient * cells.width_mm) ** 2).sum(axis=1)
        square[cut] = np.maximum(spread - (gradient * cells.taper_mm).sum(axis=1) ** 2, 0.0)
    span = np.sqrt(square, dtype=np.float64)
    places, labels = _candidates(lattice, gradient, mean, span)
    points = places @ axes.directions
    seen = covered(points, dose.grid)
    return Read(mean, span, _extremes(field.at(points[seen]), labels[seen]))


def _extremes(dose: Float, label: Labels) -> Float:
    extremes = np.full((LABELS, 2), np.nan)
    for part in np.nonzero(np.bincount(label, minlength=1))[0]:
        here = dose[label == part]
        extremes[part] = here.min(), here.max()
    return extremes


def _candidates(lattice: _Lattice, gradient: Float, mean: Float, span: Float) -> tuple[Float, Labels]:
    """Return points along u, v and n where the dose may be highest or lowest, and their parts."""
    cells, surface = lattice.cells, lattice.cells.surface
    rows = surface.inner
    chosen, _ = starts(mean[rows], 0.5 * span[rows], cells.label[rows], INNER_STARTS)
    chosen = np.unique(rows[chosen])
    found, labels = inside_of(
        cells.places(chosen), lattice.width(cells.index[chosen]).T, cells.label[chosen]
    )
    near, parts = _on_surface(cells, gradient, mean, span)
    spots, kinds = _at_spots(lattice)
    return np.concatenate([found, near, spots]), np.concatenate([labels, parts, kinds])


def _on_surface(cells: Cells, gradient: Float, mean: Float, span: Float) -> tuple[Float, Labels]:
    surface, whole = cells.surface, cells.whole
    label = cells.label[whole:]
    rows, signs = starts(mean[whole:], 0.5 * span[whole:], label, SURFACE_STARTS)
    centre = cells.places(whole + rows) - cells.offset_mm[rows]
    points = centre - surface.normal[rows] * surface.distance_mm[rows][:, None]
    width = cells.width_mm[rows]
    held = np.abs(points[:, 2] - centre[:, 2]) < 0.55 * width[:, 2]
    held &= (surface.normal[rows] ** 2).sum(axis=1) > 0.5
    rows, signs, points, width, middle = (a[held] for a in (rows, signs, points, width, centre[:, 2]))
    points[:, 2] = np.clip(points[:, 2], middle - 0.5 * width[:, 2], middle + 0.5 * width[:, 2])
    patches = Patches(points, surface.normal[rows], surface.second[rows], width, middle)
    ends = patches.farther(signs[:, None] * gradient[rows])
    good = patches.within(ends)
    kind = label[rows]
    return np.concatenate([points, ends[good]]), np.concatenate([kind, kind[good]])


def _at_spots(lattice: _Lattice) -> tuple[Float, Labels]:
    surface = lattice.cells.surface
    if not len(surface.spots):
        return surface.spots, surface.spot_label
    index = surface.spot_index
    middle, first, _ = lattice.steps(index)
    axes = lattice.cells.axes
    layer, row, column = np.unravel_index(index, axes.shape)
    away = surface.spots - np.stack([axes.u_mm[column], axes.v_mm[row], axes.n_mm[layer]], axis=1)
    score = middle + (away.T * first / lattice.width(index)).sum(axis=0)
    rows, _ = starts(score, np.zeros(len(score)), surface.spot_label, SPOT_STARTS)
    rows = np.unique(rows)
    return surface.spots[rows], surface.spot_label[rows]
