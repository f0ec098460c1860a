"""The search of gamma over the cells of the evaluated dose: nearest cells first, rigorous early exit."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtplan.dosimetry import gamma_cell
from rtplan.dosimetry.gamma_cell import SLACK, Array, Pairs, numbers, pick, whole

#: A cell that is not certainly convex is halved at most this often before its local minimum is taken.
DEPTH = 5

Offset = tuple[int, int, int]

#: Offsets of the eight cells that touch a node, by the number 4 k + 2 j + i of the axes that go back.
TOUCHING: tuple[Offset, ...] = tuple((-k, -j, -i) for k in (0, 1) for j in (0, 1) for i in (0, 1))


@dataclass(frozen=True, eq=False)
class Field:
    """The evaluated dose and what its cells can do at most.

    Parameters
    ----------
    dose : array, shape (z, y, x)
        Dose, Gy; at least two voxels along each axis (a single one is given twice, with size 0).
    size : tuple of float
        Voxel size along [z, y, x] in units of the distance criterion.
    low, high : array, shape (z - 1, y - 1, x - 1)
        Least and greatest dose in each cell, Gy.
    slopes : array, shape (3, 2, z + 1, y + 1, x + 1)
        By axis, the steepest rise and the steepest fall (>= 0, Gy per distance criterion) in each cell,
        with a rim of cells outside the grid, in which the dose is flat.
    """

    dose: Array
    size: tuple[float, float, float]
    low: Array
    high: Array
    slopes: Array

    @property
    def cells(self) -> tuple[int, int, int]:
        """Number of cells along each axis."""
        k, j, i = self.dose.shape
        return k - 1, j - 1, i - 1


@dataclass(frozen=True, eq=False)
class Points:
    """Reference points.

    Parameters
    ----------
    index : array, shape (3, n)
        Fractional index of each point in the evaluated grid, inside it.
    dose : array, shape (n,)
        Reference dose, Gy.
    scale : array, shape (n,)
        1 / dose criterion, 1/Gy.
    """

    index: Array
    dose: Array
    scale: Array


def make_field(dose: NDArray[np.float64], size: tuple[float, float, float]) -> Field:
    """Return a field with the tables of its cells (numpy; to be sent to a device as a whole)."""
    low, high = dose, dose
    for axis in range(3):
        low, high = np.minimum(*_ends(low, axis)), np.maximum(*_ends(high, axis))
    slopes = np.zeros((3, 2, *(n + 1 for n in dose.shape)))
    for axis in range(3):
        if not size[axis] > 0:
            continue
        before, after = _ends(dose, axis)
        rise = fall = (after - before) / size[axis]
        for across in {0, 1, 2} - {axis}:
            rise, fall = np.maximum(*_ends(rise, across)), np.minimum(*_ends(fall, across))
        slopes[axis, 0, 1:-1, 1:-1, 1:-1] = np.maximum(rise, 0)
        slopes[axis, 1, 1:-1, 1:-1, 1:-1] = np.maximum(-fall, 0)
    return Field(dose, size, low, high, slopes)


def _ends(array: NDArray[np.float64], axis: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    before = (slice(None),) * axis
    return array[(*before, slice(None, -1))], array[(*before, slice(1, None))]


def search(xp: Any, field: Field, points: Points, max_gamma: float) -> Array:
    """Return the least gamma of each reference point, at most ``max_gamma``, shape (n,).

    The cell that promises most is solved first. All others follow in the order of their distance; a cell
    whose lower bound is not below what is found already is passed over, and a point leaves once no nearer
    cell is left.
    """
    base = whole(xp, xp.floor(points.index))
    owner = numbers(xp, points.dose == points.dose)
    found = xp.zeros_like(points.dose) + max_gamma**2
    on_nodes = bool((base == points.index).all())
    if on_nodes:
        start = _search_round_nodes(xp, field, points, base, found)
    else:
        start = _inside(xp, field, base)
        _improve(xp, _pairs(xp, field, points, start, owner), found)
    for nearest, offsets in _shells(field, max_gamma, on_nodes):
        who = numbers(xp, found > nearest)
        if not len(who):
            break
        survivors = [_beyond(xp, field, points, (base, start, found, who), offset) for offset in offsets]
        survivors = [pairs for pairs in survivors if len(pairs)]
        if survivors:
            _improve(xp, gamma_cell.joined(xp, survivors), found)
    return found**0.5


def _inside(xp: Any, field: Field, cell: Array) -> Array:
    return xp.stack([xp.clip(cell[axis], 0, field.cells[axis] - 1) for axis in range(3)], 0)


def _search_round_nodes(xp: Any, field: Field, points: Points, node: Array, found: Array) -> Array:
    """Search the eight cells that touch points which lie on voxel centres; return the first one of each.

    At a node with miss m the bound of ``gamma_cell.lower_bound`` is ``m^2 / (1 + |G|^2)``, with G the
    steepest slopes of the cell away from the node and towards the reference dose: it costs three look-ups.
    """
    wide, deep = field.slopes.shape[-1], field.slopes.shape[-2]
    table = field.slopes.reshape(3, -1)
    half = table.shape[1] // 2
    miss = (field.dose[node[0], node[1], node[2]] - points.dose) * points.scale
    falls = whole(xp, miss > 0) * half  # above the reference dose: look for the steepest fall forwards
    rises = half - falls
    centre = (node[0] * deep + node[1]) * wide + node[2]  # in the rimmed table: the cell below the node
    bounds = []
    least = xp.zeros_like(miss) + xp.inf
    first = xp.zeros_like(centre)
    for number, offset in enumerate(TOUCHING):
        cell = centre + (((offset[0] + 1) * deep + offset[1] + 1) * wide + offset[2] + 1)
        forwards, backwards = cell + falls, cell + rises
        steep = [pick(xp, table[axis], backwards if offset[axis] else forwards) for axis in range(3)]
        total = steep[0] ** 2 + steep[1] ** 2 + steep[2] ** 2
        bound = miss**2 / (1 + total * points.scale**2)
        bounds.append(bound)
        first = xp.where(bound < least, number, first)
        least = xp.minimum(bound, least)
    start = _inside(xp, field, node - xp.stack((first // 4, first // 2 % 2, first % 2), 0))
    owner = numbers(xp, miss == miss)
    found[owner] = xp.minimum(found, miss**2)  # the node itself, free of rounding
    _improve(xp, _pairs(xp, field, points, start, owner), found)
    survivors = []
    limit = found * (1 - SLACK)
    for number, offset in enumerate(TOUCHING):
        who = numbers(xp, (bounds[number] < limit) & (first != number))
        if len(who):
            cell = pick(xp, node, who)
            cell = _inside(xp, field, xp.stack([cell[axis] + offset[axis] for axis in range(3)], 0))
            survivors.append(_pairs(xp, field, points, cell, who))
    if survivors:
        _improve(xp, gamma_cell.joined(xp, survivors), found)
    return start


def _pairs(xp: Any, field: Field, points: Points, cell: Array, owner: Array) -> Pairs:
    """Return the pairs of points ``owner`` with the cells of shape (3, n)."""
    _, y, x = field.dose.shape
    dose = field.dose.reshape(-1)
    flat = (cell[0] * y + cell[1]) * x + cell[2]
    scale, wanted = pick(xp, points.scale, owner), pick(xp, points.dose, owner)
    steps = (0, 1, x, x + 1, y * x, y * x + 1, y * x + x, y * x + x + 1)
    miss = xp.stack([(pick(xp, dose, flat + step) - wanted) * scale for step in steps], 0).reshape(
        2, 2, 2, -1
    )
    size = xp.stack([xp.zeros_like(scale) + length for length in field.size], 0)
    point = (pick(xp, points.index, owner) - cell) * size
    return Pairs(miss, size, point, owner)


def _beyond(
    xp: Any, field: Field, points: Points, state: tuple[Array, Array, Array, Array], offset: Offset
) -> Pairs:
    """Return the pairs of points ``who`` with their cells at this offset that may lower ``found``."""
    base, start, found, who = state
    cell = pick(xp, base, who)
    cell = xp.stack([cell[axis] + offset[axis] for axis in range(3)], 0)
    past = pick(xp, points.index, who) - cell
    size = xp.stack([xp.zeros_like(past[0]) + length for length in field.size], 0)
    out = xp.maximum(xp.maximum(-past, past - 1), xp.zeros_like(past)) * size
    away = (out * out).sum(0)
    kept = (away < pick(xp, found, who)) & (cell != pick(xp, start, who)).any(0)
    for axis in range(3):
        kept = kept & (cell[axis] >= 0) & (cell[axis] < field.cells[axis])
    kept = numbers(xp, kept)
    who, cell, away = (pick(xp, row, kept) for row in (who, cell, away))
    flat = (cell[0] * field.cells[1] + cell[1]) * field.cells[2] + cell[2]
    wanted = pick(xp, points.dose, who)
    gap = xp.maximum(
        pick(xp, field.low.reshape(-1), flat) - wanted, wanted - pick(xp, field.high.reshape(-1), flat)
    )
    gap = xp.maximum(gap, xp.zeros_like(gap)) * pick(xp, points.scale, who)
    kept = numbers(xp, away + gap * gap < pick(xp, found, who) * (1 - SLACK))
    pairs = _pairs(xp, field, points, pick(xp, cell, kept), pick(xp, who, kept))
    return _promising(xp, pairs, found)


def _shells(field: Field, reach: float, on_nodes: bool) -> list[tuple[float, list[Offset]]]:
    """Return (least squared distance, offsets) of the cells nearer than ``reach``, nearest first.

    A point lies at a share in [0, 1) of its base cell, or at 0 in all axes; then the eight cells that
    touch it are left out.
    """
    axes = []
    for axis, cells in enumerate(field.cells):
        size = field.size[axis]
        most = min(cells, int(reach / size) + 2) if size > 0 else cells
        far = [(_away(o, 0.0 if on_nodes else 1.0) * size, o) for o in range(-most, most + 1)]
        axes.append([(away**2, o) for away, o in far if away < reach])
    shells: dict[float, list[Offset]] = {}
    for (dk, k), (dj, j), (di, i) in product(*axes):
        touching = on_nodes and max(k, j, i) <= 0 and min(k, j, i) >= -1
        if dk + dj + di < reach**2 and not touching:
            shells.setdefault(round(dk + dj + di, 9), []).append((k, j, i))
    return sorted(shells.items())


def _away(offset: int, share: float) -> float:
    """Least distance, in cells, of a cell at this offset from a point at 0 to ``share`` of its base cell."""
    return max(offset - share, -1.0 - offset, 0.0)


def _improve(xp: Any, pairs: Pairs, found: Array) -> None:
    """Lower ``found`` (gamma squared by point) to the least over these pairs; halve what is not convex."""
    _lower(xp, pairs, found)
    pairs = pairs.at(xp, ~gamma_cell.is_convex(xp, pairs))
    for depth in range(1, DEPTH + 1):
        if not len(pairs):
            return
        pairs = gamma_cell.halved(xp, pairs)
        pairs = _promising(xp, pairs, found)
        convex = gamma_cell.is_convex(xp, pairs) | (depth == DEPTH)
        _lower(xp, pairs.at(xp, convex), found)
        pairs = pairs.at(xp, ~convex)


def _promising(xp: Any, pairs: Pairs, found: Array) -> Pairs:
    limit = pick(xp, found, pairs.owner) * (1 - SLACK)
    return pairs.at(xp, gamma_cell.lower_bound(xp, pairs) < limit) if len(pairs) else pairs


def _lower(xp: Any, pairs: Pairs, found: Array) -> None:
    if not len(pairs):
        return
    value = gamma_cell.minimum(xp, pairs)
    if xp.__name__ == "numpy":
        xp.minimum.at(found, pairs.owner, value)
    else:
        found.scatter_reduce_(0, pairs.owner, value, "amin")
