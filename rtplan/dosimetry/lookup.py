"""Dose at points between the voxels: trilinear, or cubic B-spline through the voxel values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.domain import Dose, Grid
from rtplan.errors import DoseError

Float = NDArray[np.float64]
Interpolation = Literal["linear", "cubic"]

#: Order of the spline by name.
ORDERS: dict[str, int] = {"linear": 1, "cubic": 3}


@dataclass(frozen=True, eq=False)
class Place:
    """Points of a structure on a dose grid, made once for all doses on that grid.

    Parameters
    ----------
    coordinates : ndarray, shape (3, n)
        Fractional indices (k, j, i) within the crop, clamped to its voxel centres.
    covered : ndarray of bool, shape (n,)
        Whether the point lies inside the dose grid's outer faces. In the outer half voxel the dose is
        that at the nearest voxel centre.
    """

    coordinates: Float
    covered: NDArray[np.bool_]

    @classmethod
    def of(cls, points: Float, grid: Grid, start: NDArray[np.int64], shape: tuple[int, int, int]) -> Place:
        """Locate patient points (n, 3), LPS mm, in the crop ``[start, start + shape)`` of a grid."""
        index = grid.to_index(points)
        size = np.array(grid.shape)
        within = (index > -0.5 - 1e-6) & (index < size - 0.5 + 1e-6)
        covered = within[:, 0] & within[:, 1] & within[:, 2]
        inside = np.clip(index - start, 0.0, np.array(shape) - 1.0)
        return cls(np.ascontiguousarray(inside.T), covered)


def crop_around(points: Float, grid: Grid, margin: int = 9) -> tuple[NDArray[np.int64], tuple[int, int, int]]:
    """Return start and shape of the part of a grid that holds all points with a margin in voxels."""
    index = grid.to_index(points)
    size = np.array(grid.shape)
    start = np.clip(np.floor(index.min(axis=0)).astype(np.int64) - margin, 0, size - 1)
    stop = np.clip(np.ceil(index.max(axis=0)).astype(np.int64) + margin + 1, start + 1, size)
    z, y, x = stop - start
    return start, (int(z), int(y), int(x))


@dataclass(frozen=True, eq=False)
class Field:
    """A dose in a crop, ready to be read between voxels.

    Parameters
    ----------
    values : ndarray, shape (z, y, x)
        Dose at the voxel centres, Gy.
    coefficients : ndarray, shape (z, y, x)
        Spline coefficients (the values themselves for linear).
    interpolation : str
        ``linear`` or ``cubic``.
    to_lps : ndarray, shape (3, 3)
        Takes a gradient per voxel (k, j, i) to Gy/mm (x, y, z).
    """

    values: Float
    coefficients: Float
    interpolation: Interpolation
    to_lps: Float

    @classmethod
    def of(
        cls, dose: Dose, start: NDArray[np.int64], shape: tuple[int, int, int], interpolation: Interpolation
    ) -> Field:
        """Cut a dose and prepare it; raise DoseError where it is not finite."""
        window = tuple(slice(int(a), int(a) + n) for a, n in zip(start, shape, strict=True))
        values = np.asarray(dose.array[window], np.float64)
        if not np.isfinite(values).all():
            raise DoseError("The dose holds values that are not finite where the structure lies.")
        smooth = interpolation == "cubic"
        coefficients = ndimage.spline_filter(values, order=3, mode="mirror") if smooth else values
        to_lps = np.asarray(np.linalg.inv(dose.grid.affine[:3, :3]).T, np.float64)
        return cls(values, coefficients, interpolation, to_lps)

    def at(self, coordinates: Float) -> Float:
        """Return the dose, Gy, at fractional indices (3, n); a cubic undershoot below 0 Gy is 0."""
        dose: Float = ndimage.map_coordinates(
            self.coefficients,
            coordinates,
            order=ORDERS[self.interpolation],
            mode="mirror",
            prefilter=False,
        )
        return np.maximum(dose, 0.0) if self.interpolation == "cubic" and self.values.min() >= 0 else dose

    def gradient(self, coordinates: Float) -> Float:
        """Return the dose gradient, Gy/mm (x, y, z), shape (n, 3), at the nearest voxel centres."""
        nearest = tuple(np.rint(coordinates).astype(np.int64))
        axes = [
            np.gradient(self.values, axis=axis)[nearest]
            if self.values.shape[axis] > 1
            else np.zeros(len(nearest[0]))
            for axis in range(3)
        ]
        per_mm: Float = np.stack(axes, axis=1) @ self.to_lps.T
        return per_mm
