"""A structure's cells on a dose grid: the doses read in them, on the surface and at the extremes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Dose, Grid
from rtplan.dosimetry.cells import LABELS, PARTS, Cells, Lot
from rtplan.dosimetry.curve import Curve, Ramps, accumulate
from rtplan.dosimetry.extremes import (
    CLOSER,
    INNER_STARTS,
    NO_BOW,
    PATCH_GRAIN,
    SAGITTAS,
    SHARP_STARTS,
    SPOT_STARTS,
    SURFACE_STARTS,
    TOP_PART,
    Patches,
    Places,
    inside_of,
    starts,
    turning,
)
from rtplan.dosimetry.histogram import Settings
from rtplan.dosimetry.lookup import Axes, Field, covered
from rtplan.dosimetry.sharp import sharpened

Float = NDArray[np.float64]
Index = NDArray[np.int64]
Labels = NDArray[np.int8]

#: On sharp corners an extreme may be off by the climb's last step, mm, by this part of what was climbed, and
#: of the dose's span in a cell.
CLIMB_MM, CLIMB_PART, CLIMB_GRAIN = 8e-4, 1.0, 5e-5


@dataclass(frozen=True, eq=False)
class Read:
    """One dose in a structure's cells.

    Parameters
    ----------
    mean_gy, span_gy : ndarray, shape (n,)
        Mean in each cell and the width of the uniform distribution that stands for it, Gy.
    extremes_gy : ndarray, shape (LABELS, 2)
        Minimum and maximum of each part, NaN where there is none.
    least_gy, most_gy : ndarray, shape (LABELS, 2)
        What each of them may be at least and at most (`extremes.Places`).
    steep_gy_mm : float
        Root mean square of the dose's gradient along the contours' planes in cut cells.
    climbed_gy : ndarray, shape (2,)
        How much lower and higher a search on a solid with sharp corners came (`sharp.sharpened`); else 0.
    """

    mean_gy: Float
    span_gy: Float
    extremes_gy: Float
    least_gy: Float
    most_gy: Float
    steep_gy_mm: float
    climbed_gy: Float

    def left_open(self, cells: Cells, labels: Sequence[int]) -> tuple[float, float]:
        """Return the bounds on the minimum and the maximum of some parts: what the search leaves open, Gy."""
        if cells.shape is not None:
            least = CLIMB_MM * self.steep_gy_mm + CLIMB_GRAIN * self.grain_gy
            low, high = (least + CLIMB_PART * float(gained) for gained in self.climbed_gy)
            return low, high
        chosen = list(labels)
        usual, least_gy, most_gy = (part[chosen] for part in (self.extremes_gy, self.least_gy, self.most_gy))
        low, high = (
            max(pick(usual[:, side]) - pick(least_gy[:, side]), pick(most_gy[:, side]) - pick(usual[:, side]))
            for side, pick in ((0, np.fmin.reduce), (1, np.fmax.reduce))
        )
        return low, high

    @cached_property
    def grain_gy(self) -> float:
        """Median span of the dose in a cell, Gy: the scale of what a sampling may miss."""
        return float(np.median(self.span_gy))

    def ramps(self, cells: Cells, covered: NDArray[np.bool_], outside_gy: float = 0.0) -> Ramps:
        """Return the volumes of the parts by dose, with a dose for what lies outside the grid."""
        spans, extremes = (self.mean_gy, self.span_gy), self.extremes_gy
        if not covered.all():
            spans = np.where(covered, spans[0], outside_gy), np.where(covered, spans[1], 0.0)
            out = np.bincount(cells.label[~covered], minlength=LABELS) > 0
            extremes = extremes.copy()
            extremes[out, 0] = np.fmin(extremes[out, 0], outside_gy)
            extremes[out, 1] = np.fmax(extremes[out, 1], outside_gy)
        return accumulate(spans, cells.volume_cc, cells.rows, extremes)


@dataclass(frozen=True, eq=False)
class Sampled:
    """One structure's cells with a dose read in them.

    Parameters
    ----------
    cells : Cells
    covered : ndarray of bool, shape (n,)
        Whether each cell's centroid lies inside the dose grid.
    read : Read
    settings : Settings
    """

    cells: Cells
    covered: NDArray[np.bool_]
    read: Read
    settings: Settings

    @classmethod
    def of(cls, cells: Cells, dose: Dose, settings: Settings) -> Sampled:
        """Read a dose in a structure's cells; raise DoseError where it is not finite."""
        return cls(cells, _covered(cells, dose.grid), _read(cells, dose, settings), settings)

    def under(self, dose: Dose) -> Sampled:
        """Return the same cells under another dose on the same grid."""
        return replace(self, read=_read(self.cells, dose, self.settings))

    @cached_property
    def ramps(self) -> Ramps:
        """Volumes of the parts by dose; 0 Gy outside the grid."""
        return self.read.ramps(self.cells, self.covered)

    @cached_property
    def curve(self) -> Curve:
        """The chosen policy's curve."""
        return self.ramps.curve(PARTS[self.settings.caps])

    @cached_property
    def coarse(self) -> Curve:
        """The chosen policy's curve from coarse cells: each the sum of the cells that are its parts."""
        cells, labels = self.cells, PARTS[self.settings.caps]
        chosen = np.zeros(LABELS)
        chosen[list(labels)] = 1.0
        volume = cells.volume_cc * chosen.take(cells.label)
        all_weights = np.bincount(cells.parent, volume)
        held = np.flatnonzero(all_weights)
        weight = all_weights.take(held).astype(np.float64, copy=False)
        dose = self.read.mean_gy if self.covered.all() else np.where(self.covered, self.read.mean_gy, 0.0)
        mean = np.bincount(cells.parent, volume * dose).take(held) / weight
        square = volume * (dose * dose + self.read.span_gy**2 / 12.0)
        spread = np.bincount(cells.parent, square).take(held) / weight - mean * mean
        spans = mean, np.sqrt(12.0 * np.maximum(spread, 0.0))
        ends = self.ramps.extremes_gy[list(labels)]
        extremes = np.array([[np.fmin.reduce(ends[:, 0]), np.fmax.reduce(ends[:, 1])]])
        alike = np.zeros(len(held), np.int64)
        return accumulate(spans, weight, alike, extremes).curve([0])

    def covered_fraction(self) -> float:
        """Return the part of the chosen solid's volume that lies inside the dose grid."""
        if self.covered.all():
            return 1.0
        chosen = np.isin(self.cells.label, PARTS[self.settings.caps])
        volume = self.cells.volume_cc
        return float(np.clip(volume[chosen & self.covered].sum() / volume[chosen].sum(), 0.0, 1.0))


def _covered(cells: Cells, grid: Grid) -> NDArray[np.bool_]:
    if covered(cells.corners, grid).all():
        return np.ones(len(cells.volume_cc), np.bool_)
    return covered(cells.centroids(), grid)


class _OnLot:
    """One dose on a lot's lattice, with what a cell needs of its neighbours."""

    def __init__(self, lot: Lot, field: Field) -> None:
        axes = lot.axes
        rise = np.concatenate([axes.n_mm, axes.n_mm - lot.thick_mm, axes.n_mm + lot.thick_mm])
        heights, row = np.unique(np.round(rise, 6), return_inverse=True)
        every = field.on(Axes(axes.directions, heights, axes.v_mm, axes.u_mm))
        self.middle, self.below, self.above = every.take(row, axis=0).reshape(3, -1)
        self.wide = len(axes.u_mm)
        self.lot = lot

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


def _read(cells: Cells, dose: Dose, settings: Settings) -> Read:
    field = Field.of(dose, cells.corners, settings.interpolation)
    coarse, fine = cells.coarse, _OnLot(cells.fine, field)
    found = [fine.steps(fine.lot.index)]
    if len(coarse.index):
        found.insert(0, _OnLot(coarse, field).steps(coarse.index))
    middle, first, second = (np.concatenate(part, axis=-1) for part in zip(*found, strict=True))
    mean = middle.astype(np.float64)
    mean += (second[0] + second[1] + second[2]) * (1.0 / 24.0)
    square = first[0] ** 2 + first[1] ** 2 + first[2] ** 2
    cut, gradient = slice(cells.whole, None), np.zeros((0, 3))
    if len(cells.offset_mm):
        last = fine.lot.index[len(fine.lot.index) - len(cells.offset_mm) :]
        gradient = np.ascontiguousarray((first[:, cut] / fine.lot.widths(last)).T)
        mean[cut] += _dot(gradient, cells.offset_mm)
        wide = gradient * cells.width_mm
        square[cut] = np.maximum(_dot(wide, wide) - _dot(gradient, cells.taper_mm) ** 2, 0.0)
    span = np.sqrt(square, dtype=np.float64)
    places, doses, climbed = _candidates(cells, fine, field, gradient, (mean, span))
    steep = float(np.sqrt((gradient[:, :2] ** 2).sum() / max(len(gradient), 1)))
    return Read(mean, span, *places.extremes(doses, LABELS), steep, climbed)


def _dot(a: Float, b: Float) -> Float:
    """Return the scalar products of the rows of two arrays of shape (n, 3)."""
    products: Float = np.einsum("ij,ij->i", a, b)
    return products


def _candidates(
    cells: Cells, fine: _OnLot, field: Field, gradient: Float, spans: tuple[Float, Float]
) -> tuple[Places, Float, Float]:
    """Return places where the dose may be highest or lowest, their doses, Gy, and `Read.climbed_gy`."""
    directions = cells.fine.axes.directions

    def dose(points: Float) -> Float:
        return field.at(points @ directions)

    inner = _within(cells, dose, spans)
    near, spots = _on_surface(cells, gradient, spans), _at_spots(cells, fine)
    places, climbed = Places.joined([inner, near, spots]), np.zeros(2)
    if cells.shape is not None:
        counts = len(inner.label), len(near.label)
        found, label, climbed = sharpened(
            cells.shape, places.points, places.label, counts, (cells.fine.side_mm[0], dose)
        )
        places = Places.sure(found, label)
    points = places.points @ directions
    seen = covered(points, field.grid)
    if not seen.all():
        places, points = places.seen(seen), points[seen]
    return places, field.at(points), climbed


def _within(cells: Cells, dose: Callable[[Float], Float], spans: tuple[Float, Float]) -> Places:
    rows, (mean, span) = cells.surface.inner, spans
    level, reach, kind = mean.take(rows), 0.5 * span.take(rows), cells.label.take(rows)
    sure, hopeful = (starts(level, part * reach, kind, INNER_STARTS)[0] for part in (0.0, 1.0))
    chosen = np.unique(rows[np.concatenate([sure, hopeful])])
    centre, width = cells.boxes(chosen)
    here = inside_of(centre, width)
    doses = dose(here.reshape(-1, 3)).reshape(len(here), -1)
    tops = centre + turning(doses) * width
    near_tops = inside_of(tops, CLOSER * width)
    moved = turning(dose(near_tops.reshape(-1, 3)).reshape(len(here), -1))
    tops = np.clip(tops + moved * (CLOSER * width), centre - 0.5 * width, centre + 0.5 * width)
    label = cells.label[chosen]
    bow = np.abs(doses[:, 1:4] + doses[:, 4:] - 2.0 * doses[:, :1])
    off = TOP_PART * np.where(bow > NO_BOW * np.abs(doses[:, :1]), bow, 0.0).sum(axis=1)
    faces = Places.sure(here.reshape(-1, 3), np.repeat(label, here.shape[1]))
    return Places.joined([faces, Places(tops, label, off, np.zeros(len(off)))])


def _on_surface(cells: Cells, gradient: Float, spans: tuple[Float, Float]) -> Places:
    surface, whole = cells.surface, cells.whole
    label = cells.label[whole:]
    count = SURFACE_STARTS if cells.shape is None else SHARP_STARTS
    rows, signs = starts(spans[0][whole:], 0.5 * spans[1][whole:], label, count)
    centre, _ = cells.boxes(whole + rows)
    points = centre - surface.normal[rows] * surface.distance_mm[rows][:, None]
    width = cells.width_mm[rows]
    held = np.abs(points[:, 2] - centre[:, 2]) < 0.55 * width[:, 2]
    held &= (surface.normal[rows] ** 2).sum(axis=1) > 0.5
    rows, signs, points = rows[held], signs[held], points[held]
    patches = Patches(points, surface.normal[rows], surface.second[rows], width[held], centre[held, 2])
    ends, turns = patches.farther(signs[:, None] * gradient[rows])
    good = np.concatenate([patches.within(points), patches.within(ends)])
    along = np.abs(gradient[rows])
    across = np.sqrt((along[:, :2] ** 2).sum(axis=1))
    beside = (PATCH_GRAIN * width[held, 0] + SAGITTAS * cells.facets.sagitta_mm) * across
    over = beside + PATCH_GRAIN * width[held, 2] * along[:, 2]
    short = np.where(patches.straight(), 0.0, np.where(turns, over, beside))
    found, kind = np.concatenate([points, ends]), np.concatenate([label[rows]] * 2)
    short = np.concatenate([np.zeros(len(short)), short])
    return Places(found, kind, short, np.concatenate([over, over])).seen(good)


def _at_spots(cells: Cells, fine: _OnLot) -> Places:
    surface, lot = cells.surface, fine.lot
    if not len(surface.spots):
        return Places.sure(surface.spots, surface.spot_label)
    index = surface.spot_index
    middle, first, second = fine.steps(index)
    widths = lot.widths(index)
    score = middle + ((surface.spots - lot.centres(index)).T * first / widths).sum(axis=0)
    rows, _ = starts(score, np.zeros(len(score)), surface.spot_label, SPOT_STARTS)
    rows = np.unique(rows)
    rise, bow = np.abs(first[:2, rows]), np.abs(second[:2, rows])
    turns = (rise < bow) & (bow > NO_BOW * np.abs(middle[rows]))
    short = np.where(turns, rise * rise / (2.0 * np.maximum(bow, 1e-12)), 0.0).sum(axis=0, dtype=np.float64)
    over = surface.spot_off_mm[rows] * np.abs(first[2, rows]) / widths[2, rows]
    return Places(surface.spots[rows], surface.spot_label[rows], short, over)
