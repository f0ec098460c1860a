"""Dose between the voxels: trilinear, or local cubic through the voxel values; at points and on lattices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Dose, Grid
from rtplan.errors import DoseError

Float = NDArray[np.float64]
Interpolation = Literal["linear", "cubic"]

#: Points whose taps are gathered at once.
CHUNK = 40_000
#: Rows of a matrix of weights, mostly 0, that are multiplied at once.
BAND = 12
#: Parts of a voxel by which a lattice that counts as parallel to the dose grid may drift over the grid.
PARALLEL = 1e-3


@dataclass(frozen=True, eq=False)
class Axes:
    """A rectangular lattice in patient space: unit vectors and the places along each.

    Parameters
    ----------
    directions : ndarray, shape (3, 3)
        Unit vectors u, v, n as rows, LPS.
    n_mm, v_mm, u_mm : ndarray, shapes (L,), (V,) and (U,)
        Places along each: the lattice's point [l, v, u] is ``u_mm[u] u + v_mm[v] v + n_mm[l] n``.
    """

    directions: Float
    n_mm: Float
    v_mm: Float
    u_mm: Float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of points along n, v and u."""
        return len(self.n_mm), len(self.v_mm), len(self.u_mm)

    def corners(self) -> Float:
        """Return the eight outermost points, LPS mm, shape (8, 3)."""
        ends = [(float(places.min()), float(places.max())) for places in (self.u_mm, self.v_mm, self.n_mm)]
        corners: Float = np.array(list(product(*ends))) @ self.directions
        return corners


@dataclass(frozen=True, eq=False)
class Field:
    """A dose in a crop of its grid, ready to be read between voxels.

    Parameters
    ----------
    values : ndarray, shape (z, y, x)
        Dose at the voxel centres, Gy. Where the crop reaches a face of the grid, the values are carried on
        by one voxel (by a parabola for cubic).
    start : ndarray, shape (3,)
        Index in the grid of the first of ``values``.
    grid : Grid
        The whole dose grid.
    interpolation : str
        ``linear``, or ``cubic``: the local cubic of Keys (1981) with a = −1/2, exact on parabolas.
    positive : bool
        Whether no voxel in the crop is below 0 Gy: then a cubic undershoot is 0.

    References
    ----------
    Keys R. Cubic convolution interpolation for digital image processing. IEEE Trans Acoust Speech Signal
    Process 1981;29:1153-60. doi:10.1109/TASSP.1981.1163711.
    """

    values: NDArray[np.float32]
    start: NDArray[np.int64]
    grid: Grid
    interpolation: Interpolation
    positive: bool

    @classmethod
    def of(cls, dose: Dose, corners: Float, interpolation: Interpolation) -> Field:
        """Cut the part of a dose that the box of some points (LPS mm) needs.

        Raises
        ------
        DoseError
            Where the dose is not finite there.
        """
        index = dose.grid.to_index(corners)
        size = np.array(dose.grid.shape)
        first = np.clip(np.floor(index.min(axis=0)).astype(np.int64) - 2, 0, size - 1)
        stop = np.clip(np.ceil(index.max(axis=0)).astype(np.int64) + 3, first + 1, size)
        box = tuple(slice(int(a), int(b)) for a, b in zip(first, stop, strict=True))
        values = np.ascontiguousarray(dose.array[box])
        lowest = values.min()
        if not (np.isfinite(lowest) and np.isfinite(values.max())):
            raise DoseError("The dose holds values that are not finite where the structure lies.")
        for axis in range(3):
            if first[axis] == 0 or stop[axis] == size[axis]:
                values = _carried_on(values, axis, interpolation)
                first[axis] -= 1
        return cls(values, first, dose.grid, interpolation, bool(lowest >= 0))

    @cached_property
    def _inverse(self) -> Float:
        """Steps of the index along x, y and z, shape (3, 3)."""
        inverse: Float = np.asarray(np.linalg.inv(self.grid.affine[:3, :3]), np.float64)
        return inverse

    def at(self, points: Float) -> Float:
        """Return the dose, Gy, at patient points (n, 3), LPS mm (beyond the outer centres, that there)."""
        found = np.empty(len(points))
        for begin in range(0, len(points), CHUNK):
            part = points[begin : begin + CHUNK]
            index = np.minimum(np.maximum(self.grid.to_index(part), 0.0), np.array(self.grid.shape) - 1.0)
            found[begin : begin + CHUNK] = self._at_index(index - self.start)
        dose: Float = self._clipped(found)
        return dose

    def _at_index(self, index: Float) -> Float:
        taps, weights = _taps(index, self.interpolation)
        size = np.array(self.values.shape)
        taps = np.minimum(np.maximum(taps, 0), size[:, None] - 1)
        taps *= np.array([[size[1] * size[2]], [size[2]], [1]])
        flat = (taps[:, 0, :, None] + taps[:, 1, None, :])[..., None] + taps[:, 2, None, None, :]
        gathered = self.values.ravel().take(flat)
        along = np.einsum("nabc,nc->nab", gathered, weights[:, 2])
        across = np.einsum("nab,nb->na", along, weights[:, 1])
        dose: Float = np.einsum("na,na->n", across, weights[:, 0])
        return dose

    def _clipped(self, dose: Any) -> Any:
        if self.interpolation == "cubic" and self.positive:
            np.maximum(dose, 0.0, out=dose)
        return dose

    def on(self, axes: Axes) -> NDArray[np.float32]:
        """Return the dose, Gy, at every point of a lattice, shape (L, V, U).

        A lattice parallel to the dose grid is read axis by axis, another one point by point.
        """
        rate = axes.directions @ self._inverse.T
        where = np.abs(rate).argmax(axis=1)
        extent = [float(p.max() - p.min()) for p in (axes.u_mm, axes.v_mm, axes.n_mm)]
        drift = np.abs(rate) * np.array(extent)[:, None]
        drift[np.arange(3), where] = 0.0
        if len(set(where.tolist())) < 3 or drift.max() > PARALLEL:
            return self._point_by_point(axes)
        corner = self.grid.to_index(np.zeros(3)) - self.start
        last = np.array(self.grid.shape) - 1.0
        matrices = []
        for number, places in enumerate((axes.u_mm, axes.v_mm, axes.n_mm)):
            axis = int(where[number])
            low, high = -self.start[axis], last[axis] - self.start[axis]
            index = np.minimum(np.maximum(corner[axis] + rate[number, axis] * places, low), high)
            matrices.append(_matrix(index, self.values.shape[axis], self.interpolation))
        turned = self.values.transpose(where[2], where[1], where[0])
        dose: NDArray[np.float32] = self._clipped(_tensor(turned, matrices))
        return dose

    def _point_by_point(self, axes: Axes) -> NDArray[np.float32]:
        n, v, u = np.meshgrid(axes.n_mm, axes.v_mm, axes.u_mm, indexing="ij")
        points = np.stack([u.ravel(), v.ravel(), n.ravel()], axis=1) @ axes.directions
        return self.at(points).reshape(axes.shape).astype(np.float32)


def covered(points: Float, grid: Grid) -> NDArray[np.bool_]:
    """Whether patient points (n, 3), LPS mm, lie inside the outer faces of a grid."""
    index = grid.to_index(points)
    within = (index > -0.5 - 1e-6) & (index < np.array(grid.shape) - 0.5 + 1e-6)
    inside: NDArray[np.bool_] = within[:, 0] & within[:, 1] & within[:, 2]
    return inside


def _carried_on(values: NDArray[np.float32], axis: int, interpolation: Interpolation) -> NDArray[np.float32]:
    """Return the values with one more on each side of an axis, by a parabola, a line or as they are."""
    size = values.shape[axis]

    def take(k: int) -> NDArray[np.float32]:
        return np.take(values, [k], axis=axis)

    if interpolation == "linear" or size == 1:
        ends = take(0), take(size - 1)
    elif size == 2:
        ends = 2 * take(0) - take(1), 2 * take(1) - take(0)
    else:
        ends = (
            3 * take(0) - 3 * take(1) + take(2),
            3 * take(size - 1) - 3 * take(size - 2) + take(size - 3),
        )
    return np.concatenate([ends[0], values, ends[1]], axis=axis)


def _taps(index: Float, interpolation: Interpolation) -> tuple[NDArray[np.int64], Float]:
    """Return the places and weights of the voxels that count at fractional indices, shape (..., 2 or 4)."""
    base = np.floor(index)
    t = index - base
    s = 1.0 - t
    first, weights = 0, [s, t]
    if interpolation == "cubic":
        left, right = s * (1.0 + t - 1.5 * t * t), t * (1.0 + s - 1.5 * s * s)
        first, weights = -1, [-0.5 * t * s * s, left, right, -0.5 * s * t * t]
    taps = np.empty((*index.shape, len(weights)), np.int64)
    kept = np.empty(taps.shape)
    for number, weight in enumerate(weights):
        kept[..., number] = weight
        taps[..., number] = base + (first + number)
    return taps, kept


def _matrix(index: Float, size: int, interpolation: Interpolation) -> NDArray[np.float32]:
    """Return the weights of all voxels along one axis at fractional indices, shape (n, size)."""
    taps, weights = _taps(index, interpolation)
    place = np.minimum(np.maximum(taps, 0), size - 1)
    place += (np.arange(len(index)) * size)[:, None]
    matrix = np.bincount(place.ravel(), weights.ravel(), minlength=len(index) * size)
    return matrix.astype(np.float32).reshape(len(index), size)


def _tensor(values: NDArray[np.float32], matrices: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return ``values`` (n, v, u) with a matrix put to each axis (u, v, n), the most shrinking one first."""
    growth = [m.shape[0] / m.shape[1] for m in matrices]
    for axis in np.argsort(growth):
        matrix = matrices[axis]
        shape = list(values.shape)
        shape[2 - axis] = len(matrix)
        found = np.empty(shape, np.float32)
        for rows, taps in _bands(matrix):
            part = matrix[rows, taps]
            if axis == 0:
                np.matmul(values[:, :, taps], part.T, out=found[:, :, rows])
            elif axis == 1:
                np.matmul(part, values[:, taps], out=found[:, rows])
            else:
                flat = values[taps].reshape(part.shape[1], -1)
                np.matmul(part, flat, out=found[rows].reshape(len(part), -1))
        values = found
    return values


def _bands(matrix: NDArray[np.float32]) -> Iterator[tuple[slice, slice]]:
    """Yield some rows of a matrix and the columns that hold all that is not 0 in them."""
    if len(matrix) < 2 * BAND:
        yield slice(None), slice(None)
        return
    count = len(matrix) // BAND
    for part in range(count):
        rows = slice(len(matrix) * part // count, len(matrix) * (part + 1) // count)
        held = np.flatnonzero(matrix[rows].any(axis=0))
        yield rows, slice(int(held[0]), int(held[-1]) + 1)
