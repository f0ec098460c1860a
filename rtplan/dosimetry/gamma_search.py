"""The search of gamma over the cells of the evaluated dose: nearest cells first, rigorous early exit."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from rtplan.dosimetry import gamma_cell
from rtplan.dosimetry.gamma_cell import Array, Pairs, whole

#: A cell that is not certainly convex is halved at most this often before its local minimum is taken.
DEPTH = 5


@dataclass(frozen=True, eq=False)
class Field:
    """The evaluated dose, laid flat.

    Parameters
    ----------
    values : array, shape (z * y * x,)
        Dose, Gy.
    shape : tuple of int
        Number of voxels [z, y, x].
    size : tuple of float
        Voxel size along [z, y, x] in units of the distance criterion.
    """

    values: Array
    shape: tuple[int, int, int]
    size: tuple[float, float, float]

    @property
    def cells(self) -> tuple[int, int, int]:
        """Number of cells along each axis; an axis of one voxel has one cell of no thickness."""
        k, j, i = (max(n - 1, 1) for n in self.shape)
        return k, j, i

    @property
    def steps(self) -> tuple[int, int, int]:
        """Distance in the flat array between the two corners of a cell along each axis."""
        z, y, x = self.shape
        k, j, i = y * x * (z > 1), x * (y > 1), int(x > 1)
        return k, j, i


@dataclass(frozen=True, eq=False)
class Points:
    """Reference points.

    Parameters
    ----------
    index : array, shape (3, n)
        Fractional index of each point in the evaluated grid.
    dose : array, shape (n,)
        Reference dose, Gy.
    scale : array, shape (n,)
        1 / dose criterion, 1/Gy.
    """

    index: Array
    dose: Array
    scale: Array


def search(xp: Any, field: Field, points: Points, max_gamma: float) -> Array:
    """Return the least gamma of each reference point, at most ``max_gamma``, shape (n,).

    The cell that holds the point, on the side to which the dose tends towards the reference dose, is
    solved first. All other cells follow in the order of their distance; a cell whose lower bound is not
    below what is found already is passed over, and a point leaves once no nearer cell is left.
    """
    base = _base_cell(xp, field, points)
    start = _upwind(xp, field, points, base)
    found = xp.zeros_like(points.dose) + max_gamma**2
    owner = whole(xp, xp.cumsum(xp.ones_like(base[0]), 0)) - 1
    _improve(xp, _pairs(xp, field, points, start, owner), found)
    shells = _Shells(xp, field, points, base)
    for nearest, offsets in shells.within(max_gamma):
        active = found > nearest
        if not bool(active.any()):
            break
        who = owner[active]
        survivors = []
        for offset in offsets:
            pairs = shells.pairs(offset, who, start, found)
            if len(pairs):
                survivors.append(pairs)
        if survivors:
            _improve(xp, gamma_cell.joined(xp, survivors), found)
    return found**0.5


def _base_cell(xp: Any, field: Field, points: Points) -> Array:
    cell = xp.floor(points.index)
    rows = [xp.clip(cell[axis], 0, field.cells[axis] - 1) for axis in range(3)]
    return xp.stack(rows, 0)


def _pairs(xp: Any, field: Field, points: Points, cell: Array, owner: Array) -> Pairs:
    """Return the pairs of points ``owner`` with the cells of shape (3, n) that lie beside them."""
    _, y, x = field.shape
    steps = field.steps
    flat = whole(xp, (cell[0] * y + cell[1]) * x + cell[2])
    scale = points.scale[owner]
    rows = [field.values[flat + (k * steps[0] + j * steps[1] + i * steps[2])] * scale
            for k in (0, 1) for j in (0, 1) for i in (0, 1)]  # fmt: skip
    corners = xp.stack(rows, 0).reshape(2, 2, 2, -1)
    thick = [field.size[axis] * (field.shape[axis] > 1) for axis in range(3)]
    size = xp.stack([xp.zeros_like(scale) + length for length in thick], 0)
    point = xp.stack([(points.index[a][owner] - cell[a]) * field.size[a] for a in range(3)], 0)
    return Pairs(corners, size, point, points.dose[owner] * scale, owner)


def _upwind(xp: Any, field: Field, points: Points, base: Array) -> Array:
    """Return the cell to solve first.

    It is the base cell, or its lower neighbour where the point lies on their common face and the dose
    there tends to the reference dose more steeply.
    """
    _, y, x = field.shape
    node = whole(xp, (base[0] * y + base[1]) * x + base[2])
    here = field.values[node]
    wanted = xp.sign(points.dose - here)
    rows = []
    for axis in range(3):
        step = field.steps[axis]
        on_face = (points.index[axis] == base[axis]) & (base[axis] > 0)
        ahead = (field.values[node + step] - here) * wanted
        behind = (field.values[node - step * whole(xp, on_face)] - here) * wanted
        rows.append(xp.where(on_face & (behind > ahead), base[axis] - 1, base[axis]))
    return xp.stack(rows, 0)


def _improve(xp: Any, pairs: Pairs, found: Array) -> None:
    """Lower ``found`` (gamma squared by point) to the least over these pairs; halve what is not convex."""
    for depth in range(DEPTH + 1):
        value = gamma_cell.minimum(xp, pairs)
        _lower(xp, found, pairs.owner, value)
        if depth == DEPTH:
            return
        pairs = pairs.at(~gamma_cell.is_convex(xp, pairs))
        if not len(pairs):
            return
        pairs = gamma_cell.halved(xp, pairs)
        pairs = pairs.at(gamma_cell.lower_bound(xp, pairs) < found[pairs.owner] * (1 - gamma_cell.SLACK))
        if not len(pairs):
            return


def _lower(xp: Any, found: Array, owner: Array, value: Array) -> None:
    if xp.__name__ == "numpy":
        xp.minimum.at(found, owner, value)
    else:
        found.scatter_reduce_(0, owner, value, "amin")


class _Shells:
    """Cells round the base cells in the order of their least distance to any point."""

    def __init__(self, xp: Any, field: Field, points: Points, base: Array) -> None:
        self.xp, self.field, self.points, self.base = xp, field, points, base
        share = points.index - base
        low = [float(xp.amin(share[axis])) for axis in range(3)]
        high = [float(xp.amax(share[axis])) for axis in range(3)]
        self.low, self.high = low, high

    def _away(self, axis: int, offset: int) -> float:
        """Least distance along an axis between a point of this list and its cell at this offset."""
        size = self.field.size[axis]
        return size * max(offset - self.high[axis], self.low[axis] - (offset + 1), 0.0)

    def within(self, reach: float) -> list[tuple[float, list[tuple[int, int, int]]]]:
        """Return (least squared distance, offsets) of all cells nearer than ``reach``, nearest first."""
        axes = []
        for axis, cells in enumerate(self.field.cells):
            far = [(self._away(axis, o) ** 2, o) for o in range(-cells, cells + 1)]
            axes.append([pair for pair in far if pair[0] < reach**2])
        shells: dict[float, list[tuple[int, int, int]]] = {}
        for (dk, k), (dj, j), (di, i) in product(*axes):
            if dk + dj + di < reach**2:
                shells.setdefault(round(dk + dj + di, 9), []).append((k, j, i))
        return sorted(shells.items())

    def pairs(self, offset: tuple[int, int, int], who: Array, start: Array, found: Array) -> Pairs:
        """Return the pairs of points ``who`` with their cells at this offset that may lower ``found``."""
        xp, field = self.xp, self.field
        cell = xp.stack([self.base[a][who] + offset[a] for a in range(3)], 0)
        kept = xp.zeros_like(who) == 0
        other = xp.zeros_like(who) == 1
        away = xp.zeros_like(self.points.dose[who])
        for axis in range(3):
            kept = kept & (cell[axis] >= 0) & (cell[axis] < field.cells[axis])
            other = other | (cell[axis] != start[axis][who])
            past = self.points.index[axis][who] - cell[axis]
            out = xp.maximum(xp.maximum(-past, past - 1), xp.zeros_like(past)) * field.size[axis]
            away = away + out * out
        kept = kept & other & (away < found[who])
        pairs = _pairs(xp, field, self.points, cell[:, kept], who[kept])
        if not len(pairs):
            return pairs
        return pairs.at(gamma_cell.lower_bound(xp, pairs) < found[pairs.owner] * (1 - gamma_cell.SLACK))
