"""The gamma function inside one trilinear cell: a rigorous lower bound, and the minimum.

All arrays are in the scaled space of the gamma function: lengths in units of the distance criterion,
doses in units of the dose criterion. A *pair* is one reference point and one cell (or part of a cell)
of the evaluated dose; it is the last axis of every array. ``xp`` is numpy, or torch on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

#: An array of numpy or a tensor of torch: the functions here are written against what both share.
Array = Any

#: Relative margin on gamma squared within which a cell cannot improve a minimum worth the search.
SLACK = 2e-7
ITERATIONS = 100
#: Steps (in units of the distance criterion) below which a search has come to its end; a free Newton step
#: converges quadratically, so what follows it is of the order of its square, in gamma of its fourth power.
STEP = 1e-7
NEWTON_STEP = 5e-5


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of a reference point and a box with a trilinear dose.

    Parameters
    ----------
    miss : array, shape (2, 2, 2, n)
        Evaluated dose at the corners of the box along (k, j, i) minus the reference dose of the point, in
        units of the dose criterion.
    size : array, shape (3, n)
        Edge lengths of the box; 0 along an axis in which the grid has a single voxel.
    point : array, shape (3, n)
        Reference point, seen from corner [0, 0, 0]; it may lie outside the box.
    owner : array of int, shape (n,)
        Number of the reference point.
    """

    miss: Array
    size: Array
    point: Array
    owner: Array

    def __len__(self) -> int:
        return int(self.owner.shape[0])

    def at(self, xp: Any, chosen: Array) -> Pairs:
        """Return the pairs that are chosen by a boolean array of shape (n,)."""
        number = numbers(xp, chosen)
        rows = (self.miss, self.size, self.point, self.owner)
        return Pairs(*(pick(xp, row, number) for row in rows))


def joined(xp: Any, parts: list[Pairs]) -> Pairs:
    """Return several lists of pairs as one."""
    if len(parts) == 1:
        return parts[0]
    rows = ([getattr(part, name) for part in parts] for name in ("miss", "size", "point", "owner"))
    return Pairs(*(xp.concatenate(row, -1) for row in rows))


def lower_bound(xp: Any, pairs: Pairs) -> Array:
    """Return a number that gamma squared is never below anywhere in the box, shape (n,).

    With q the point of the box nearest to the reference point p, and G_a the steepest slope towards the
    reference dose along axis a that the box offers in a direction open from q, every x of the box has
    ``|x - p|^2 >= |q - p|^2 + |x - q|^2`` and ``|T(x) - d| >= |T(q) - d| - sum_a G_a |x_a - q_a|``;
    minimising their sum over all lengths gives ``|q - p|^2 + (T(q) - d)^2 / (1 + |G|^2)``. The range of
    the corners bounds the dose difference a second time: a trilinear function is extreme at corners.
    """
    miss, size, point = pairs.miss, pairs.size, pairs.point
    nearest = xp.minimum(xp.maximum(point, xp.zeros_like(point)), size)
    away = ((nearest - point) ** 2).sum(0)
    length = xp.where(size > 0, size, xp.ones_like(size))
    short = _at(miss, nearest / length)
    sign = -xp.sign(short)
    steepness = xp.zeros_like(short)
    for axis in range(3):
        edges = _difference(miss, axis) * (sign / length[axis])
        edges = edges.reshape(4, -1)
        up, down = xp.amax(edges, 0), -xp.amin(edges, 0)
        up = xp.where(nearest[axis] < size[axis], up, xp.zeros_like(up))
        down = xp.where(nearest[axis] > 0, down, xp.zeros_like(down))
        steepest = xp.maximum(xp.maximum(up, down), xp.zeros_like(up))
        steepness = steepness + steepest**2
    by_slope = short**2 / (1 + steepness)
    flat = miss.reshape(8, -1)
    gap = xp.maximum(xp.amin(flat, 0), -xp.amax(flat, 0))
    by_range = xp.maximum(gap, xp.zeros_like(gap)) ** 2
    return away + xp.maximum(by_slope, by_range)


def is_convex(xp: Any, pairs: Pairs) -> Array:
    """Whether gamma squared is certainly convex in the box, so that a local minimum is the minimum.

    Half its Hessian is ``1 + g g' + (T - d) H`` with the twist H of the trilinear function (a zero
    diagonal); it is positive when ``max|T - d|`` times the norm of H stays below 1.
    """
    miss, size = pairs.miss, pairs.size
    length = xp.where(size > 0, size, xp.ones_like(size))
    twist = []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        second = _difference(_difference(miss, b), a).reshape(2, -1)
        twist.append(xp.amax(xp.abs(second), 0) / (length[a] * length[b]))
    kj, ki, ji = twist
    norm = xp.maximum(xp.maximum(kj + ki, kj + ji), ki + ji)
    worst = xp.amax(xp.abs(miss).reshape(8, -1), 0)
    return worst * norm <= 1.0


def halved(xp: Any, pairs: Pairs) -> Pairs:
    """Cut every box into eight."""
    lattice = pairs.miss
    for axis in range(3):
        low, high = _take(lattice, axis, 0), _take(lattice, axis, 1)
        lattice = xp.stack((low, (low + high) / 2, high), axis)
    size = pairs.size / 2
    parts = []
    for k in (0, 1):
        for j in (0, 1):
            for i in (0, 1):
                moved = (k, j, i)
                point = xp.stack([pairs.point[a] - size[a] * moved[a] for a in range(3)], 0)
                miss = lattice[k : k + 2, j : j + 2, i : i + 2]
                parts.append(replace(pairs, miss=miss, size=size, point=point))
    return joined(xp, parts)


def minimum(xp: Any, pairs: Pairs) -> Array:
    """Return the least gamma squared in each box, shape (n,): projected Newton, kept monotone.

    The start is the point of the box nearest to the reference point. A Newton step whose value is not
    lower is replaced by one sweep of exact minimisations along each axis, in which gamma squared is a
    parabola. In a convex box the answer is the minimum; elsewhere it is a local one.
    """
    cell = _Polynomial(xp, pairs)
    x = cell.clip(pairs.point)
    best = cell.value(x)
    result = best + 0.0
    where = numbers(xp, best == best)
    for _ in range(ITERATIONS):
        step = cell.newton(x)
        trial = cell.clip(x + step)
        value = cell.value(trial)
        worse = value > best
        if bool(worse.any()):
            swept = cell.sweep(x)
            trial = xp.where(worse, swept, trial)
            value = xp.where(worse, cell.value(swept), value)
        better = value < best
        best = xp.where(better, value, best)
        result[where] = best
        clipped = xp.amax(xp.abs(trial - x - step), 0) > STEP
        going = better & (xp.amax(xp.abs(trial - x), 0) > xp.where(clipped, STEP, NEWTON_STEP))
        x = trial
        if not bool(going.any()):
            break
        left = numbers(xp, going)
        cell = cell.at(left)
        x, best, where = (pick(xp, row, left) for row in (x, best, where))
    return result


class _Polynomial:
    """A trilinear dose as a polynomial, and one step of each kind towards the least gamma squared."""

    def __init__(self, xp: Any, pairs: Pairs) -> None:
        self.xp, self.point, self.size = xp, pairs.point, pairs.size
        a, b, c = xp.where(pairs.size > 0, pairs.size, xp.ones_like(pairs.size))
        (v000, v001), (v010, v011) = pairs.miss[0]
        (v100, v101), (v110, v111) = pairs.miss[1]
        kj, ki, ji = v110 - v100 - v010 + v000, v101 - v100 - v001 + v000, v011 - v010 - v001 + v000
        kji = v111 - v110 - v101 + v100 - ji
        ab, bc = a * b, b * c
        rows = (v000, (v100 - v000) / a, (v010 - v000) / b, (v001 - v000) / c)
        self.terms = xp.stack((*rows, kj / ab, ki / (a * c), ji / bc, kji / (ab * c)), 0)

    def at(self, chosen: Array) -> _Polynomial:
        """Return the polynomials of the pairs with these numbers."""
        part = object.__new__(_Polynomial)
        part.xp = self.xp
        rows = (self.point, self.size, self.terms)
        part.point, part.size, part.terms = (pick(self.xp, row, chosen) for row in rows)
        return part

    def clip(self, x: Array) -> Array:
        """Bring positions into the box."""
        return self.xp.minimum(self.xp.maximum(x, self.xp.zeros_like(x)), self.size)

    def value(self, x: Array) -> Array:
        """Return gamma squared at positions of shape (3, n)."""
        away = x - self.point
        return away[0] ** 2 + away[1] ** 2 + away[2] ** 2 + self._miss(x[0], x[1], x[2]) ** 2

    def _miss(self, k: Array, j: Array, i: Array) -> Array:
        c, ck, cj, ci, ckj, cki, cji, ckji = self.terms
        return (c + cj * j + (ci + cji * j) * i) + (ck + ckj * j + (cki + ckji * j) * i) * k

    def newton(self, x: Array) -> Array:
        """Return the step of one projected Newton step; axes held at a bound do not move."""
        xp = self.xp
        c, ck, cj, ci, ckj, cki, cji, ckji = self.terms
        k, j, i = x
        mix_j, mix_k = cki + ckji * j, cji + ckji * k
        slope_k, slope_i = ck + ckj * j + mix_j * i, ci + cki * k + mix_k * j
        slope_j = cj + ckj * k + mix_k * i
        miss = c + cj * j + (ci + cji * j) * i + slope_k * k
        slopes = xp.stack((slope_k, slope_j, slope_i), 0)
        down = self.point - x - slopes * miss
        free = ((x > 0) | (down > 0)) & ((x < self.size) | (down < 0))
        free = xp.where(free, xp.ones_like(down), xp.zeros_like(down))
        down, slopes = down * free, slopes * free
        diagonal = 1 + slopes * slopes
        plain = slopes[[0, 0, 1]] * slopes[[1, 2, 2]]
        twist = xp.stack((ckj + ckji * i, mix_j, mix_k), 0) * (free[[0, 0, 1]] * free[[1, 2, 2]])
        full = plain + twist * miss
        sound = _positive(diagonal, full)
        if not bool(sound.all()):
            full = xp.where(sound, full, plain)
        return _solve(xp, diagonal, full, down)

    def sweep(self, x: Array) -> Array:
        """Minimise exactly along k, then j, then i: gamma squared is a parabola along each."""
        xp = self.xp
        new = [x[0], x[1], x[2]]
        nought, one = xp.zeros_like(new[0]), xp.ones_like(new[0])
        for axis in range(3):
            new[axis] = nought
            rest = self._miss(*new)
            new[axis] = one
            slope = self._miss(*new) - rest
            best = (self.point[axis] - slope * rest) / (1 + slope * slope)
            new[axis] = xp.minimum(xp.maximum(best, nought), self.size[axis])
        return xp.stack(new, 0)


def _positive(diagonal: Array, off: Array) -> Array:
    (a, d, f), (b, c, e) = diagonal, off
    minor = a * d - b * b
    return (minor > 0) & (minor * f + 2 * b * c * e - a * e * e - d * c * c > 1e-9)


def _solve(xp: Any, diagonal: Array, off: Array, right: Array) -> Array:
    (a, d, f), (b, c, e) = diagonal, off
    kk, kj, ki = d * f - e * e, c * e - b * f, b * e - c * d
    det = a * kk + b * kj + c * ki
    jj, ji, ii = a * f - c * c, b * c - a * e, a * d - b * b
    r, s, t = right[0], right[1], right[2]
    solved = (kk * r + kj * s + ki * t, kj * r + jj * s + ji * t, ki * r + ji * s + ii * t)
    return xp.stack(solved, 0) / det


def numbers(xp: Any, chosen: Array) -> Array:
    """Return the numbers of the true places of a boolean array of shape (n,)."""
    return xp.flatnonzero(chosen) if xp.__name__ == "numpy" else xp.nonzero(chosen)[:, 0]


def pick(xp: Any, values: Array, number: Array) -> Array:
    """Return ``values[..., number]``."""
    return values.take(number, axis=-1) if xp.__name__ == "numpy" else values.index_select(-1, number)


def whole(xp: Any, values: Array) -> Array:
    """Return values as 64-bit whole numbers, for use as indices."""
    return values.astype(xp.int64) if xp.__name__ == "numpy" else values.to(xp.int64)


def _take(corners: Array, axis: int, end: int) -> Array:
    return corners[(slice(None),) * axis + (end,)]


def _difference(corners: Array, axis: int) -> Array:
    return _take(corners, axis, 1) - _take(corners, axis, 0)


def _at(corners: Array, share: Array) -> Array:
    for axis in range(3):
        corners = corners[0] + (corners[1] - corners[0]) * share[axis]
    return corners
