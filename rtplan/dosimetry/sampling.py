"""Cells of a solid that contours define: those wholly inside, and what its surface leaves of the others."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from rtplan.dosimetry.cells import Cells, Lot, cut
from rtplan.dosimetry.distance import Lattice
from rtplan.dosimetry.extremes import Surface
from rtplan.dosimetry.facets import Facets
from rtplan.dosimetry.layers import Face, Layers, typical_gap
from rtplan.dosimetry.lookup import Axes
from rtplan.dosimetry.pieces import Shape
from rtplan.dosimetry.solid import Solid

Float = NDArray[np.float64]
Index = NDArray[np.int64]

#: A cell is cut along the normal only where it is thicker than this part of its side.
THICK = 0.6
#: Most vertices that are looked at for the extremes.
MOST_SPOTS = 8000


def cells_of(solid: Solid, step_mm: float, *, single_slice_mm: float | None = None) -> Cells:
    """Return the cells of a solid for all cap policies.

    The level function is calculated on a lattice of sides ``step_mm``; each of its cells is then cut into
    four or eight, in which the function is a parabola from the middle of the whole one.

    Parameters
    ----------
    solid : Solid
        Planes, depths and runs.
    step_mm : float
        Side of a lattice cell along u and v.
    single_slice_mm : float, optional
        Thickness of a structure that has one plane only.

    Raises
    ------
    StructureError
        If there is one plane and no thickness is given.
    """
    lattice = _lattice(solid, step_mm)
    facets = Facets.of(solid, step_mm)
    layers = Layers.of(solid, lattice, single_slice_mm=single_slice_mm)
    full, met = _sorted(layers, lattice.step_mm)
    split = _Split.of(layers, lattice)
    (met_full, met_parent), cuts = _cut_cells(layers, lattice, split, met)
    lots = split.lots(solid, layers, lattice, (full, np.concatenate([met_full, cuts.index])))
    small = np.concatenate([met_parent, cuts.parent])
    parent = np.concatenate([full, small])
    layer = parent // (lattice.shape[0] * lattice.shape[1])
    share = np.ones(len(parent))
    share[len(full) :] = 0.25 / split.along
    share[len(parent) - len(cuts.share) :] *= cuts.share
    return Cells(
        *lots,
        volume_cc=share * (lattice.step_mm**2 / 1000.0 * layers.sign * layers.thick_mm)[layer],
        label=layers.label[layer],
        parent=_parents(layers, full, small, split.along),
        offset_mm=cuts.offset,
        width_mm=cuts.width,
        taper_mm=cuts.taper,
        surface=Surface(
            _inner(layers, parent[: len(full) + len(met_full)]),
            cuts.normal,
            cuts.distance,
            cuts.second,
            *_spots(solid, layers, split, lattice),
        ),
        facets=facets,
        notes=solid.notes,
        shape=Shape(solid, typical_gap(solid, single_slice_mm)) if facets.sharp else None,
    )


def _parents(layers: Layers, full: Index, small: Index, along: int) -> Index:
    """Return the number of the larger cell that each cell is one of.

    Whole cells go together in eights, over two layers; the smaller ones in the cell that they were cut
    from, and over two layers where that was not cut along the normal.
    """
    _, rows, columns = layers.value.shape
    pair = _pairs(layers)
    layer, rest = np.divmod(full, rows * columns)
    row, column = np.divmod(rest, columns)
    whole = (pair[layer] * (rows // 2 + 1) + row // 2) * (columns // 2 + 1) + column // 2
    if along == 1:
        layer, rest = np.divmod(small, rows * columns)
        small = pair[layer] * (rows * columns) + rest
    return np.concatenate([whole + layers.value.size, small])


def _pairs(layers: Layers) -> Index:
    """Return the number of the pair that each layer is one of: of two that touch, and are of one part."""
    distance = np.abs(np.diff(layers.height_mm))
    touch = distance < 0.51 * (layers.thick_mm[1:] + layers.thick_mm[:-1])
    alike = (np.diff(layers.label) == 0) & (np.diff(layers.sign) == 0) & touch
    start = np.concatenate([[True], ~alike])
    place = np.arange(len(start))
    second = (place - np.maximum.accumulate(np.where(start, place, 0))) % 2 == 1
    pair: Index = np.cumsum(~second) - 1
    return pair


def _lattice(solid: Solid, step_mm: float) -> Lattice:
    low, high = (end[:2] for end in solid.box_mm)
    count = np.ceil((high - low) / step_mm).astype(int) + 4
    corner = 0.5 * (low + high) - 0.5 * count * step_mm
    return Lattice((float(corner[0]), float(corner[1])), step_mm, (int(count[1]), int(count[0])))


def _sorted(layers: Layers, step: float) -> tuple[Index, Index]:
    """Return the flat places of the cells wholly inside, and of those that the surface may meet."""
    value = layers.value
    inner = value[:, 1:-1, 1:-1]
    reach = np.abs(value[:, 1:-1, 2:] - value[:, 1:-1, :-2])
    reach += np.abs(value[:, 2:, 1:-1] - value[:, :-2, 1:-1])
    reach *= 0.35
    reach += np.abs(layers.slope[:, 1:-1, 1:-1]) * (0.65 * layers.thick_mm)[:, None, None]
    reach += 0.5 * step * step
    near = np.zeros(value.shape, bool)
    np.less(np.abs(inner), reach, out=near[:, 1:-1, 1:-1])
    return np.flatnonzero((value < 0) & ~near), np.flatnonzero(near)


@dataclass(frozen=True)
class _Split:
    """How the lattice's cells are cut: in two along u and v, in one or two along the normal."""

    layers: int
    shape: tuple[int, int]
    along: int

    @classmethod
    def of(cls, layers: Layers, lattice: Lattice) -> _Split:
        thick = median(layers.thick_mm.tolist()) > THICK * lattice.step_mm
        return cls(len(layers.height_mm), lattice.shape, 2 if thick else 1)

    def places(self, lattice: Lattice, layers: Layers) -> tuple[Float, Float, Float]:
        """Return the centres of the smaller cells along n, v and u, mm."""
        quarter = 0.25 * lattice.step_mm * np.array([-1.0, 1.0])
        n = layers.height_mm[:, None] + layers.thick_mm[:, None] * self.rises()
        return (
            n.ravel(),
            (lattice.v_mm[:, None] + quarter).ravel(),
            (lattice.u_mm[:, None] + quarter).ravel(),
        )

    def rises(self) -> Float:
        """Return the heights of the smaller cells in a whole one, in its own height."""
        rises: Float = (np.arange(self.along) + 0.5) / self.along - 0.5
        return rises

    def steps(self) -> Index:
        """Return the places of the smaller cells from the first one, shape (m,); as ``offsets``."""
        rows, columns = self.shape
        in_plane = np.array([0, 1, 2 * columns, 2 * columns + 1])
        steps: Index = (4 * rows * columns * np.arange(self.along)[:, None] + in_plane).ravel()
        return steps

    def offsets(self) -> tuple[Float, Float, Float]:
        """Return where the smaller cells lie in a whole one along u, v and n, in its sides, shape (m,)."""
        quarter = 0.25 * np.array([[-1.0, 1.0, -1.0, 1.0], [-1.0, -1.0, 1.0, 1.0]])
        u, v = np.tile(quarter, self.along)
        return u, v, np.repeat(self.rises(), 4)

    def first(self, cell: Index) -> Index:
        """Return the place of the first smaller cell of each cell (flat places of both)."""
        rows, columns = self.shape
        layer, rest = np.divmod(cell, rows * columns)
        row, column = np.divmod(rest, columns)
        return ((layer * self.along * rows + row) * 2 * columns + column) * 2

    def lots(
        self, solid: Solid, layers: Layers, lattice: Lattice, index: tuple[Index, Index]
    ) -> tuple[Lot, Lot]:
        """Return whole and smaller cells of these flat places."""
        side, half = lattice.step_mm, 0.5 * lattice.step_mm
        axes = Axes(solid.axes, layers.height_mm, lattice.v_mm, lattice.u_mm)
        finer = Axes(solid.axes, *self.places(lattice, layers))
        thick = np.repeat(layers.thick_mm / self.along, self.along)
        return Lot(axes, (side, side), layers.thick_mm, index[0]), Lot(finer, (half, half), thick, index[1])


@dataclass(frozen=True)
class _Cuts:
    """What the surface leaves of the cells that it meets, and where it passes."""

    index: Index
    parent: Index
    share: Float
    offset: Float
    width: Float
    taper: Float
    distance: Float
    normal: Float
    second: Float


def _cut_cells(
    layers: Layers, lattice: Lattice, split: _Split, met: Index
) -> tuple[tuple[Index, Index], _Cuts]:
    """Return the smaller cells wholly inside among those of the cells that are met, and the cut ones."""
    step = lattice.step_mm
    value, gradient, second = _parabolas(layers, step, met)
    thick = layers.thick_mm[met // (lattice.shape[0] * lattice.shape[1])]
    u, v, n = split.offsets()
    du, dv, dn = (step * u)[:, None], (step * v)[:, None], n[:, None] * thick
    uu, vv, nn, uv, un, vn = second
    pull = (uu * du + uv * dv + un * dn, uv * du + vv * dv + vn * dn, un * du + vn * dv + nn * dn)
    g = value + gradient[0] * du + gradient[1] * dv + gradient[2] * dn
    g += 0.5 * (pull[0] * du + pull[1] * dv + pull[2] * dn)
    slopes = [a + b for a, b in zip(gradient, pull, strict=True)]
    height = thick / split.along
    reach = 0.3 * step * (np.abs(slopes[0]) + np.abs(slopes[1])) + 0.6 * height * np.abs(slopes[2])
    reach += 0.125 * step * step
    near = np.abs(g) < reach
    first, steps = split.first(met), split.steps()
    part, cell = np.nonzero(near)
    flat = part * len(met) + cell
    width = np.empty((3, len(cell)))
    width[:2], width[2] = 0.5 * step, height.take(cell)
    slope = np.stack([s.ravel().take(flat) for s in slopes])
    cuts = _cuts(g.ravel().take(flat), slope, second.take(cell, axis=1), width)
    kept = np.flatnonzero(cuts[0] > 1e-6)
    part, cell = part.take(kept), cell.take(kept)
    index = first.take(cell) + steps.take(part)
    held = _Cuts(index, met.take(cell), *(_rows(values, kept) for values in cuts))
    part, cell = np.nonzero((g < 0) & ~near)
    return (first.take(cell) + steps.take(part), met.take(cell)), held


def _rows(values: Float, kept: Index) -> Float:
    """Return some of the last axis's places as rows: shape (n,) or (d, n) to (k,) or (k, d)."""
    if values.ndim == 1:
        return values.take(kept)
    rows = np.empty((len(kept), len(values)))
    for number, along in enumerate(values):
        rows[:, number] = along.take(kept)
    return rows


def _parabolas(layers: Layers, step: float, met: Index) -> tuple[Float, Float, Float]:
    """Return the level function, its gradient (3, n) and second derivatives (6, n) in some cells."""
    wide = layers.value.shape[2]
    value, slope = layers.value.ravel(), layers.slope.ravel()
    middle = value.take(met)
    west, east = value.take(met - 1), value.take(met + 1)
    south, north = value.take(met - wide), value.take(met + wide)
    turn = value.take(met + wide + 1) - value.take(met + wide - 1)
    turn -= value.take(met - wide + 1) - value.take(met - wide - 1)
    gradient = np.stack([(east - west) / (2 * step), (north - south) / (2 * step), slope.take(met)])
    second = np.stack(
        [
            (east + west - 2 * middle) / step**2,
            (north + south - 2 * middle) / step**2,
            layers.bend.reshape(-1).take(met),
            turn / (4 * step**2),
            (slope.take(met + 1) - slope.take(met - 1)) / (2 * step),
            (slope.take(met + wide) - slope.take(met - wide)) / (2 * step),
        ]
    )
    return middle, gradient, second


def _cuts(value: Float, gradient: Float, second: Float, width: Float) -> tuple[Float, ...]:
    """Return what `_Cuts` holds from the share on, by the plane that leaves what the curve leaves.

    Vectors are (3, n) and second derivatives (6, n) here.
    """
    steep = np.sqrt(gradient[0] ** 2 + gradient[1] ** 2 + gradient[2] ** 2) + 1e-12
    normal, second = gradient / steep, second / steep
    u, v, n = normal
    uu, vv, nn, uv, un, vn = second
    along = u * (u * uu + 2 * v * uv + 2 * n * un) + v * (v * vv + 2 * n * vn) + n * n * nn
    room = 0.3 * (np.abs(normal) * width).sum(axis=0)
    first = value / steep
    distance = first + np.minimum(np.maximum(0.5 * along * first * first, -room), room)
    square = width * width
    swell = square[0] * (uu - u * u * along) + square[1] * (vv - v * v * along)
    swell += square[2] * (nn - n * n * along)
    mean = distance + np.minimum(np.maximum(swell / 24.0, -room), room)
    share, centroid, lost = cut(mean, normal.T, width.T)
    turned = square * normal
    turned *= np.sqrt(12.0 * lost) / np.maximum((turned * normal).sum(axis=0), 1e-12)
    return share, centroid.T, width, turned, distance, normal, second


def _inner(layers: Layers, parent: Index) -> Index:
    """Return the rows of the cells wholly inside, of these lattice cells, that no hole touches."""
    rows = np.arange(len(parent))
    if (layers.sign > 0).all():
        return rows
    taken = np.zeros(layers.value.shape, bool)
    low, high = layers.height_mm - 0.5 * layers.thick_mm, layers.height_mm + 0.5 * layers.thick_mm
    for hole in np.flatnonzero(layers.sign < 0).tolist():
        beside = (low < high[hole] - 1e-9) & (high > low[hole] + 1e-9)
        taken[beside] |= layers.value[hole] < _margin(layers, hole)
    held = ~taken & (layers.sign > 0)[:, None, None]
    return rows[held.ravel().take(parent)]


def _margin(layers: Layers, hole: int) -> Float:
    """Return by how much the level function of a hole may fall within a cell."""
    value = layers.value[hole]
    across, along = np.gradient(value)
    margin: Float = 0.5 * (np.abs(across) + np.abs(along))
    return margin


def _spots(
    solid: Solid, layers: Layers, split: _Split, lattice: Lattice
) -> tuple[Float, Index, NDArray[np.int8], Float]:
    """Return vertices of all planes and points of ends, the lattice cell near each, its part, and doubts."""
    rings = [(ring, plane.height_mm) for level in solid.levels for plane in level for ring in plane.rings]
    stride = -(-sum(len(ring) for ring, _ in rings) // MOST_SPOTS)
    faces: list[Face] = [(ring[::stride], height, 0, 0.0) for ring, height in rings]
    faces += layers.faces
    counts = [len(points) for points, *_ in faces]
    flat = np.concatenate([points for points, *_ in faces])
    height = np.repeat([height for _, height, *_ in faces], counts)
    label = np.repeat(np.array([label for *_, label, _ in faces], np.int8), counts)
    off = np.repeat([off for *_, off in faces], counts)
    n = split.places(lattice, layers)[0]
    order = np.argsort(n, kind="stable")
    layer = order[np.searchsorted(0.5 * (n[order][1:] + n[order][:-1]), height)]
    rows, columns = split.shape
    at = np.floor((flat - lattice.corner_mm) / (0.5 * lattice.step_mm)).astype(np.int64)
    row, column = at[:, 1].clip(1, 2 * rows - 2), at[:, 0].clip(1, 2 * columns - 2)
    return np.column_stack([flat, height]), (layer * 2 * rows + row) * 2 * columns + column, label, off
