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
ITERATIONS = 40
STEP = 1e-7


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of a reference point and a box with a trilinear dose.

    Parameters
    ----------
    corners : array, shape (2, 2, 2, n)
        Dose at the corners of the box along its axes (k, j, i), minus nothing, in units of the criterion.
    size : array, shape (3, n)
        Edge lengths of the box; 0 along an axis in which the grid has a single voxel.
    point : array, shape (3, n)
        Reference point, seen from corner [0, 0, 0]; it may lie outside the box.
    dose : array, shape (n,)
        Reference dose.
    owner : array of int, shape (n,)
        Number of the reference point.
    """

    corners: Array
    size: Array
    point: Array
    dose: Array
    owner: Array

    def __len__(self) -> int:
        return int(self.dose.shape[0])

    def at(self, chosen: Array) -> Pairs:
        """Return the chosen pairs (a boolean array of shape (n,))."""
        return Pairs(
            self.corners[..., chosen],
            self.size[:, chosen],
            self.point[:, chosen],
            self.dose[chosen],
            self.owner[chosen],
        )


def joined(xp: Any, parts: list[Pairs]) -> Pairs:
    """Return several lists of pairs as one."""
    if len(parts) == 1:
        return parts[0]
    return Pairs(
        xp.concatenate([part.corners for part in parts], -1),
        xp.concatenate([part.size for part in parts], -1),
        xp.concatenate([part.point for part in parts], -1),
        xp.concatenate([part.dose for part in parts], -1),
        xp.concatenate([part.owner for part in parts], -1),
    )


def lower_bound(xp: Any, pairs: Pairs) -> Array:
    """Return a number that gamma squared is never below anywhere in the box, shape (n,).

    With q the point of the box nearest to the reference point p, and G_a the steepest slope towards the
    reference dose along axis a that the box offers in a direction open from q, every x of the box has
    ``|x - p|^2 >= |q - p|^2 + |x - q|^2`` and ``|T(x) - d| >= |T(q) - d| - sum_a G_a |x_a - q_a|``;
    minimising their sum over all lengths gives ``|q - p|^2 + (T(q) - d)^2 / (1 + |G|^2)``. The range of
    the corners bounds the dose difference a second time: a trilinear function is extreme at corners.
    """
    corners, size, point, dose = pairs.corners, pairs.size, pairs.point, pairs.dose
    nearest = xp.minimum(xp.maximum(point, xp.zeros_like(point)), size)
    away = ((nearest - point) ** 2).sum(0)
    length = xp.where(size > 0, size, xp.ones_like(size))
    short = dose - _at(corners, nearest / length)
    sign = xp.sign(short)
    steepness = xp.zeros_like(short)
    for axis in range(3):
        edges = (_take(corners, axis, 1) - _take(corners, axis, 0)) * (sign / length[axis])
        edges = edges.reshape(4, -1)
        up, down = xp.amax(edges, 0), -xp.amin(edges, 0)
        up = xp.where(nearest[axis] < size[axis], up, xp.zeros_like(up))
        down = xp.where(nearest[axis] > 0, down, xp.zeros_like(down))
        steepest = xp.maximum(xp.maximum(up, down), xp.zeros_like(up))
        steepness = steepness + steepest**2
    by_slope = short**2 / (1 + steepness)
    flat = corners.reshape(8, -1)
    gap = xp.maximum(xp.amin(flat, 0) - dose, dose - xp.amax(flat, 0))
    by_range = xp.maximum(gap, xp.zeros_like(gap)) ** 2
    return away + xp.maximum(by_slope, by_range)


def is_convex(xp: Any, pairs: Pairs) -> Array:
    """Whether gamma squared is certainly convex in the box, so that a local minimum is the minimum.

    Half its Hessian is ``1 + g g' + (T - d) H`` with the twist H of the trilinear function (a zero
    diagonal); it is positive when ``max|T - d|`` times the norm of H stays below 1.
    """
    corners, size = pairs.corners, pairs.size
    length = xp.where(size > 0, size, xp.ones_like(size))
    twist = []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        second = _difference(_difference(corners, b), a).reshape(2, -1)
        twist.append(xp.amax(xp.abs(second), 0) / (length[a] * length[b]))
    kj, ki, ji = twist
    norm = xp.maximum(xp.maximum(kj + ki, kj + ji), ki + ji)
    worst = xp.amax(xp.abs(corners - pairs.dose).reshape(8, -1), 0)
    return worst * norm <= 1.0


def halved(xp: Any, pairs: Pairs) -> Pairs:
    """Cut every box into eight."""
    lattice = pairs.corners
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
                corners = lattice[k : k + 2, j : j + 2, i : i + 2]
                parts.append(replace(pairs, corners=corners, size=size, point=point))
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
    where = whole(xp, xp.cumsum(xp.ones_like(best), 0)) - 1
    for _ in range(ITERATIONS):
        trial = cell.newton(x)
        value = cell.value(trial)
        worse = value >= best
        if bool(worse.any()):
            swept = cell.sweep(x)
            swept_value = cell.value(swept)
            trial = xp.where(worse, swept, trial)
            value = xp.where(worse, swept_value, value)
        better = value < best
        moved = xp.amax(xp.abs(trial - x), 0)
        x = xp.where(better, trial, x)
        best = xp.where(better, value, best)
        result[where] = best
        going = better & (moved > STEP)
        left = int(going.sum())
        if left == 0:
            break
        if 2 * left < going.shape[0]:
            cell, x, best, where = cell.at(going), x[:, going], best[going], where[going]
    return result


class _Polynomial:
    """A trilinear dose as a polynomial, and one step of each kind towards the least gamma squared."""

    def __init__(self, xp: Any, pairs: Pairs) -> None:
        self.xp = xp
        self.pairs = pairs
        v, size = pairs.corners, pairs.size
        one = xp.where(size > 0, size, xp.ones_like(size))
        a, b, c = one[0], one[1], one[2]
        self.c0 = v[0, 0, 0] - pairs.dose
        self.k = (v[1, 0, 0] - v[0, 0, 0]) / a
        self.j = (v[0, 1, 0] - v[0, 0, 0]) / b
        self.i = (v[0, 0, 1] - v[0, 0, 0]) / c
        self.kj = (v[1, 1, 0] - v[1, 0, 0] - v[0, 1, 0] + v[0, 0, 0]) / (a * b)
        self.ki = (v[1, 0, 1] - v[1, 0, 0] - v[0, 0, 1] + v[0, 0, 0]) / (a * c)
        self.ji = (v[0, 1, 1] - v[0, 1, 0] - v[0, 0, 1] + v[0, 0, 0]) / (b * c)
        top = v[1, 1, 1] - v[1, 1, 0] - v[1, 0, 1] + v[1, 0, 0]
        bottom = v[0, 1, 1] - v[0, 1, 0] - v[0, 0, 1] + v[0, 0, 0]
        self.kji = (top - bottom) / (a * b * c)

    def at(self, chosen: Array) -> _Polynomial:
        """Return the polynomial of the chosen pairs."""
        return _Polynomial(self.xp, self.pairs.at(chosen))

    def clip(self, x: Array) -> Array:
        """Bring positions into the box."""
        return self.xp.minimum(self.xp.maximum(x, self.xp.zeros_like(x)), self.pairs.size)

    def value(self, x: Array) -> Array:
        """Return gamma squared at positions of shape (3, n)."""
        return ((x - self.pairs.point) ** 2).sum(0) + self._miss(x) ** 2

    def _miss(self, x: Array) -> Array:
        k, j, i = x[0], x[1], x[2]
        plane = self.c0 + self.j * j + (self.i + self.ji * j) * i
        slope = self.k + self.kj * j + (self.ki + self.kji * j) * i
        return plane + slope * k

    def _slopes(self, x: Array) -> tuple[Array, Array, Array]:
        k, j, i = x[0], x[1], x[2]
        in_k = self.k + self.kj * j + (self.ki + self.kji * j) * i
        in_j = self.j + self.kj * k + (self.ji + self.kji * k) * i
        in_i = self.i + self.ki * k + (self.ji + self.kji * k) * j
        return in_k, in_j, in_i

    def newton(self, x: Array) -> Array:
        """One projected Newton step; axes held at a bound by the gradient do not move."""
        xp, size = self.xp, self.pairs.size
        k, j, i = x[0], x[1], x[2]
        sk, sj, si = self._slopes(x)
        miss = self.c0 + self.j * j + (self.i + self.ji * j) * i + sk * k
        down = (self.pairs.point - x) - xp.stack((sk, sj, si), 0) * miss
        held = ((x <= 0) & (down < 0)) | ((x >= size) & (down > 0))
        down = xp.where(held, xp.zeros_like(down), down)
        free = xp.where(held, xp.zeros_like(down), xp.ones_like(down))
        diagonal = 1 + sk * sk * free[0], 1 + sj * sj * free[1], 1 + si * si * free[2]
        full = (
            (sk * sj + miss * (self.kj + self.kji * i)) * free[0] * free[1],
            (sk * si + miss * (self.ki + self.kji * j)) * free[0] * free[2],
            (sj * si + miss * (self.ji + self.kji * k)) * free[1] * free[2],
        )
        sound = _positive(diagonal, full)
        plain = (sk * sj * free[0] * free[1], sk * si * free[0] * free[2], sj * si * free[1] * free[2])
        off = tuple(xp.where(sound, f, g) for f, g in zip(full, plain, strict=True))
        return self.clip(x + _solve(xp, diagonal, off, down))

    def sweep(self, x: Array) -> Array:
        """Minimise exactly along k, then j, then i."""
        xp, point, size = self.xp, self.pairs.point, self.pairs.size
        new = [x[0], x[1], x[2]]
        for axis in range(3):
            slope = self._slopes(new)[axis]
            rest = self._miss(new) - slope * new[axis]
            best = (point[axis] - slope * rest) / (1 + slope * slope)
            new[axis] = xp.minimum(xp.maximum(best, xp.zeros_like(best)), size[axis])
        return xp.stack(new, 0)


def _positive(diagonal: tuple[Array, ...], off: tuple[Array, ...]) -> Array:
    (a, d, f), (b, c, e) = diagonal, off
    minor = a * d - b * b
    return (minor > 0) & (minor * f + 2 * b * c * e - a * e * e - d * c * c > 1e-9)


def _solve(xp: Any, diagonal: tuple[Array, ...], off: tuple[Array, ...], right: Array) -> Array:
    (a, d, f), (b, c, e) = diagonal, off
    kk, kj, ki = d * f - e * e, c * e - b * f, b * e - c * d
    det = a * kk + b * kj + c * ki
    jj, ji, ii = a * f - c * c, b * c - a * e, a * d - b * b
    r, s, t = right[0], right[1], right[2]
    solved = (kk * r + kj * s + ki * t, kj * r + jj * s + ji * t, ki * r + ji * s + ii * t)
    return xp.stack(solved, 0) / det


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
