"""Fields on an axial grid: coordinates, separable up-sampling, smooth noise, distances and partial volume."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.domain import Grid

Array = NDArray[np.float32]
Box = tuple[slice, slice, slice]

#: A distance that stands for "far away", mm.
FAR_MM = 60.0


@dataclass(frozen=True, eq=False)
class Axes:
    """The patient coordinates of an axial grid, one vector per array axis, mm.

    Parameters
    ----------
    z, y, x : ndarray
        Coordinates of the voxel centres along each array axis, LPS mm, rising.
    """

    z: Array
    y: Array
    x: Array

    @classmethod
    def of(cls, grid: Grid) -> Axes:
        """Return the axes of an axial grid."""
        origin, (dz, dy, dx) = grid.origin_mm, grid.spacing_zyx_mm
        nz, ny, nx = grid.shape
        return cls(
            (origin[2] + dz * np.arange(nz)).astype(np.float32),
            (origin[1] + dy * np.arange(ny)).astype(np.float32),
            (origin[0] + dx * np.arange(nx)).astype(np.float32),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels [z, y, x]."""
        return len(self.z), len(self.y), len(self.x)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel spacing (z, y, x), mm."""
        return tuple(float(a[1] - a[0]) if len(a) > 1 else 1.0 for a in (self.z, self.y, self.x))  # type: ignore[return-value]

    @property
    def voxel_cc(self) -> float:
        """Volume of a voxel, cc."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    def open(self) -> tuple[Array, Array, Array]:
        """Return the coordinates (z, y, x) ready to be broadcast to the grid's shape."""
        return self.z[:, None, None], self.y[None, :, None], self.x[None, None, :]

    def points(self) -> Array:
        """Return all voxel centres, shape (z, y, x, 3), as (x, y, z) in LPS mm."""
        z, y, x = np.meshgrid(self.z, self.y, self.x, indexing="ij")
        return np.stack([x, y, z], axis=-1)

    def box(self, low_xyz: NDArray[np.float64], high_xyz: NDArray[np.float64]) -> Box:
        """Return the slices that cover a box of patient points (x, y, z), clipped to the grid."""
        cuts = []
        for axis, low, high in zip((self.z, self.y, self.x), low_xyz[::-1], high_xyz[::-1], strict=True):
            start = int(np.searchsorted(axis, low))
            stop = max(int(np.searchsorted(axis, high, side="right")), start)
            cuts.append(slice(start, stop))
        return cuts[0], cuts[1], cuts[2]

    def cut(self, box: Box) -> Axes:
        """Return the axes inside a box."""
        return Axes(self.z[box[0]], self.y[box[1]], self.x[box[2]])


def even_axes(low_xyz: NDArray[np.float64], high_xyz: NDArray[np.float64], step_mm: float) -> Axes:
    """Return axes with an even step over a box of patient points."""
    x, y, z = (
        (low + step_mm * np.arange(int(np.ceil((high - low) / step_mm)) + 1)).astype(np.float32)
        for low, high in zip(low_xyz, high_xyz, strict=True)
    )
    return Axes(z, y, x)


def _steps(old: Array, new: Array) -> tuple[NDArray[np.intp], Array]:
    """Index of the knot to the left, and the share of the one to the right, for each new place."""
    place = np.clip((new - old[0]) / (old[1] - old[0]), 0.0, len(old) - 1.0)
    left = np.minimum(place.astype(np.intp), len(old) - 2)
    return left, (place - left).astype(np.float32)


def _linear(old: Array, new: Array) -> Array:
    """Return the matrix, shape (new, old), of linear interpolation between two rising axes."""
    left, right = _steps(old, new)
    matrix = np.zeros((len(new), len(old)), np.float32)
    row = np.arange(len(new))
    matrix[row, left] = 1.0 - right
    matrix[row, left + 1] = right
    return matrix


def upsample(values: Array, old: Axes, new: Axes) -> Array:
    """Bring a field from coarse axes to finer ones by separable linear interpolation (edges held)."""
    nz, ny, nx = new.shape
    rows = values.astype(np.float32, copy=False).reshape(-1, values.shape[2]) @ _linear(old.x, new.x).T
    planes = np.matmul(_linear(old.y, new.y), rows.reshape(values.shape[0], values.shape[1], nx))
    left, right = _steps(old.z, new.z)
    out = np.empty((nz, ny, nx), np.float32)
    for k in range(nz):
        np.multiply(planes[left[k] + 1] - planes[left[k]], right[k], out=out[k])
        out[k] += planes[left[k]]
    return out


def smooth_noise(rng: np.random.Generator, axes: Axes, scale_mm: float) -> Array:
    """Return a smooth random field of mean 0 and standard deviation about 1.

    Parameters
    ----------
    rng : Generator
        Source of the draw.
    axes : Axes
        Where the field is wanted.
    scale_mm : float
        Distance over which it forgets itself (the knots' distance), mm.

    Returns
    -------
    ndarray, shape (z, y, x), float32
    """
    low = np.array([axes.x[0], axes.y[0], axes.z[0]], float) - scale_mm
    high = np.array([axes.x[-1], axes.y[-1], axes.z[-1]], float) + scale_mm
    knots = even_axes(low, high, scale_mm)
    values = ndimage.gaussian_filter(rng.standard_normal(knots.shape), 0.7, mode="reflect")
    values = (values / max(float(values.std()), 1e-6)).astype(np.float32)
    if scale_mm > 2.5 * max(axes.spacing_mm):  # rounder than linear: one step on half knots
        half = even_axes(low, high, scale_mm / 2.0)
        values, knots = ndimage.gaussian_filter(upsample(values, knots, half), 0.8), half
    return upsample(values, knots, axes)


def grain(
    rng: np.random.Generator, shape: tuple[int, int, int], sigma_voxels: tuple[float, float, float]
) -> Array:
    """Return fine noise of standard deviation 1 that is correlated over a few voxels."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, sigma_voxels, mode="wrap", truncate=2.5)
    return np.asarray(noise / max(float(noise.std()), 1e-6), np.float32)


def fraction(distance: Array, width_mm: float) -> Array:
    """Return the partial volume 0..1 of a signed distance (negative inside) over a soft edge, mm."""
    return np.asarray(np.clip(0.5 - distance / np.float32(width_mm), 0.0, 1.0), np.float32)


def smooth_min(a: Array, b: Array, radius_mm: float) -> Array:
    """Return the union of two signed distances with a fillet of this radius, mm."""
    h = np.clip(0.5 + 0.5 * (b - a) / radius_mm, 0.0, 1.0)
    return np.asarray(b * (1 - h) + a * h - radius_mm * h * (1 - h), np.float32)


def smooth_max(a: Array, b: Array, radius_mm: float) -> Array:
    """Return the intersection of two signed distances with a fillet of this radius, mm."""
    return -smooth_min(-a, -b, radius_mm)


def signed_distance(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> Array:
    """Return the signed distance of a mask, mm, negative inside (half a voxel off at the edge)."""
    if not mask.any():
        return np.full(mask.shape, FAR_MM, np.float32)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    inside = ndimage.distance_transform_edt(mask, sampling=spacing_mm)
    return np.asarray(outside - inside, np.float32)


def true_distance(level: Array, spacing_mm: tuple[float, float, float]) -> Array:
    """Return the signed distance, mm, of a level's zero: exact near it, where the level's slope is not 1."""
    slope = np.sqrt(sum(np.square(g) for g in np.gradient(level, *spacing_mm)))
    return np.asarray(level / np.clip(slope, 0.6, 1.8), np.float32)


def ellipsoid(
    axes: Axes, centre_xyz: NDArray[np.float64], radii_xyz: NDArray[np.float64], power: float = 2.0
) -> Array:
    """Return about the signed distance, mm, of a super-ellipsoid along the patient's axes."""
    z, y, x = axes.open()
    a, b, c = (np.abs((v - m) / r) for v, m, r in zip((x, y, z), centre_xyz, radii_xyz, strict=True))
    value = (a**power + b**power + c**power) ** (1.0 / power)
    slope = np.sqrt((a / radii_xyz[0]) ** 2 + (b / radii_xyz[1]) ** 2 + (c / radii_xyz[2]) ** 2)
    return np.asarray((value - 1.0) * value / np.maximum(slope, 1e-3 * value + 1e-6), np.float32)


def capsule(
    points: Array, a: NDArray[np.float64], b: NDArray[np.float64], radius_a_mm: float, radius_b_mm: float
) -> Array:
    """Return the signed distance, mm, of points (..., 3) to a rod whose radius runs from end to end."""
    rod = (b - a).astype(np.float32)
    from_a = points - a.astype(np.float32)
    along, whole = from_a @ rod, max(float(rod @ rod), 1e-6)
    t = np.clip(along / np.float32(whole), 0.0, 1.0)
    gap = np.einsum("...i,...i->...", from_a, from_a) - t * (2.0 * along - t * np.float32(whole))
    distance = np.sqrt(np.maximum(gap, 0.0))
    return np.asarray(distance - (radius_a_mm + t * (radius_b_mm - radius_a_mm)), np.float32)


def tube(points: Array, line: NDArray[np.float64]) -> Array:
    """Return the signed distance, mm, of points (..., 3) to a chain of rods.

    Parameters
    ----------
    points : ndarray, shape (..., 3)
        Patient points (x, y, z), mm.
    line : ndarray, shape (n, 4)
        The chain's corners as (x, y, z, radius), mm.
    """
    out = capsule(points, line[0, :3], line[1, :3], line[0, 3], line[1, 3])
    for first, second in pairwise(line[1:]):
        out = np.minimum(out, capsule(points, first[:3], second[:3], first[3], second[3]))
    return out
