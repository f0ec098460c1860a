"""Margins in mm per direction, and unions, intersections and differences of structures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Grid, Mask, Structure
from rtplan.domain.nomenclature import kind_of
from rtplan.errors import StructureError
from rtplan.imaging.contour import mask_on

Bool = NDArray[np.bool_]

#: Directions of a margin: patient axis (x, y, z in LPS) and sign.
DIRECTIONS: dict[str, tuple[int, int]] = {
    "L": (0, 1),
    "R": (0, -1),
    "P": (1, 1),
    "A": (1, -1),
    "S": (2, 1),
    "I": (2, -1),
}


def expand(
    structure: Structure, grid: Grid, margin_mm: Mapping[str, float], *, name: str | None = None
) -> Structure:
    """Return a structure grown (or shrunk) by a margin that may differ in the six directions.

    Parameters
    ----------
    structure : Structure
        What is grown; brought onto the grid first.
    grid : Grid
        Where the result lies; what grows beyond it is cut. May be tilted: the directions are the patient's.
    margin_mm : mapping
        ``L, R, A, P, S, I`` (patient's left, right, anterior, posterior, superior, inferior), mm. Positive
        values grow, negative ones shrink; growth comes first.
    name : str, optional
        TG-263 name of the result; the old name without.

    Returns
    -------
    Structure
        Its region is a mask on the grid; its kind follows its name.

    Raises
    ------
    StructureError
        If a direction is missing or unknown, or nothing of the structure lies on the grid.

    Notes
    -----
    The margin is an ellipsoid whose half-axes differ by octant. A voxel belongs to the result when the
    ellipsoid reaches its centre from the octahedron that half a voxel along each axis spans about a voxel
    of the structure: along the axes the surface then lies within half a voxel of where it should, and the
    steps of an oblique surface do not push it outwards (their whole boxes would, by up to a voxel).
    Shrinking grows the outside; outside the grid counts as outside the structure.
    """
    if set(margin_mm) != set(DIRECTIONS):
        raise StructureError(
            f"A margin needs the directions {', '.join(DIRECTIONS)}, got {', '.join(margin_mm) or 'none'}.",
            where=structure.name,
        )
    array = mask_on(structure, grid).array
    if not array.any():
        raise StructureError("Nothing of the structure lies on the grid.", where=structure.name)
    grow = {key: max(float(value), 0.0) for key, value in margin_mm.items()}
    shrink = {key: max(-float(value), 0.0) for key, value in margin_mm.items()}
    if any(grow.values()):
        array = _dilate(array, _kernel(grid, grow))
    if any(shrink.values()):
        kernel = _kernel(grid, shrink)
        pad = [(n // 2, n // 2) for n in kernel.shape]
        outside = ~np.pad(array, pad)
        inner = tuple(slice(p, p + n) for (p, _), n in zip(pad, array.shape, strict=True))
        array = ~_dilate(outside, kernel[::-1, ::-1, ::-1])[inner]
    new = name or structure.name
    return Structure(new, kind_of(new) if name else structure.kind, Mask(grid, array))


def union(name: str, a: Structure, b: Structure, grid: Grid) -> Structure:
    """Return the voxels that belong to either structure, as a structure of the given name."""
    return _combined(name, mask_on(a, grid).array | mask_on(b, grid).array, grid)


def intersect(name: str, a: Structure, b: Structure, grid: Grid) -> Structure:
    """Return the voxels that belong to both structures, as a structure of the given name."""
    return _combined(name, mask_on(a, grid).array & mask_on(b, grid).array, grid)


def subtract(name: str, a: Structure, b: Structure, grid: Grid) -> Structure:
    """Return the voxels of ``a`` that do not belong to ``b``, as a structure of the given name."""
    return _combined(name, mask_on(a, grid).array & ~mask_on(b, grid).array, grid)


def _combined(name: str, array: Bool, grid: Grid) -> Structure:
    return Structure(name, kind_of(name), Mask(grid, array))


def _kernel(grid: Grid, margin_mm: Mapping[str, float]) -> Bool:
    """Return which voxel offsets the margin reaches from a voxel; odd shape, centre in the middle."""
    towards = np.array([margin_mm["L"], margin_mm["P"], margin_mm["S"]])
    against = np.array([margin_mm["R"], margin_mm["A"], margin_mm["I"]])
    towards, against = np.maximum(towards, 1e-6), np.maximum(against, 1e-6)
    axes = grid.affine[:3, :3]
    reach = np.abs(np.linalg.inv(axes)) @ np.maximum(towards, against)
    size = np.ceil(reach + 0.5 - 1e-9).astype(int)
    offsets = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in size], indexing="ij"), axis=-1)
    reached: Bool = np.zeros(offsets.shape[:3], np.bool_)
    for start in _octahedron():
        delta = (offsets + start) @ axes.T
        reached |= ((delta / np.where(delta > 0, towards, against)) ** 2).sum(axis=-1) <= 1.0 + 1e-9
    return reached


def _octahedron() -> NDArray[np.float64]:
    """Return points that fill the octahedron |k| + |j| + |i| <= 1/2, shape (n, 3)."""
    steps = np.linspace(-0.5, 0.5, 7)
    points = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    inside: NDArray[np.float64] = points[np.abs(points).sum(axis=1) <= 0.5 + 1e-9]
    return inside


def _dilate(array: Bool, kernel: Bool) -> Bool:
    """Return the union of the kernel put on every voxel of the array; cut at the array's border."""
    from scipy.signal import fftconvolve  # it brings half of scipy with it

    grown: Bool = np.zeros_like(array)
    window: list[slice] = []  # where the structure is
    target: list[slice] = []  # where the result is, cut at the array's border
    source: list[slice] = []  # the same within the whole result
    for axis, (size, count) in enumerate(zip(kernel.shape, array.shape, strict=True)):
        hit = np.flatnonzero(array.any(axis=tuple(a for a in range(3) if a != axis)))
        start, stop, reach = int(hit[0]), int(hit[-1]) + 1, size // 2
        window.append(slice(start, stop))
        target.append(slice(max(start - reach, 0), min(stop + reach, count)))
        source.append(slice(target[axis].start - start + reach, target[axis].stop - start + reach))
    part = array[tuple(window)].astype(np.float32)
    full = fftconvolve(part, kernel.astype(np.float32), mode="full") > 0.5
    grown[tuple(target)] = full[tuple(source)]
    return grown
