"""Contours to partial volumes and masks on any grid, and masks back to contours."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Contours, Grid, Mask, Registration, Structure, Volume
from rtplan.imaging.lattice import lattice_fill, stack_rings
from rtplan.imaging.planes import Planes, planes_of
from rtplan.imaging.raster import coverage, ring_area
from rtplan.imaging.resample import demand_frames, resample

__all__ = ["Planes", "contours_of", "fraction_on", "mask_on", "planes_of"]

Float = NDArray[np.float64]
Fraction = NDArray[np.float32]

#: The grid's slices follow the contours' planes when their normals differ by less than this (cosine).
ALIGNED_COSINE = 1.0 - 1e-8


def fraction_on(structure: Structure, grid: Grid, registration: Registration | None = None) -> Fraction:
    """Return which fraction of each voxel belongs to a structure.

    Parameters
    ----------
    structure : Structure
        Contours or a mask.
    grid : Grid
        Where it is wanted.
    registration : Registration, optional
        When the structure lies in another frame of reference (rigid ones only for contours).

    Returns
    -------
    ndarray, shape (z, y, x), float32
        0 to 1.

    Raises
    ------
    GeometryMismatch
        If the frames of reference do not agree.
    StructureError
        If the contours are not flat and parallel.

    Notes
    -----
    A contour stands for a slab that ends half-way to its neighbours. Where the grid's slices are parallel
    to the contours the fractions are exact for these slabs. Where they are tilted, and for a mask on
    another grid, the structure's own fractions are averaged over sub-voxels no larger than its own.
    """
    region = structure.region
    if isinstance(region, Mask):
        demand_frames(region.grid, grid, registration)
        if registration is None and region.grid.same_as(grid):
            return region.array.astype(np.float32)
        return _averaged(Volume(region.grid, region.array.astype(np.float32)), grid, registration)
    if registration is not None:
        moved = tuple(registration.apply(ring) for ring in region.rings)
        region = Contours(moved, registration.to_frame)
    demand_frames(Grid((1, 1, 1), np.eye(4), region.frame_of_reference), grid, None)
    if not any(len(ring) >= 3 for ring in region.rings):
        return np.zeros(grid.shape, np.float32)
    planes = planes_of(region)
    if _parallel(planes, grid):
        return _slab_fractions(planes, grid)
    own = _own_grid(planes, grid)
    return _averaged(Volume(own, _slab_fractions(planes, own)), grid, None)


def mask_on(structure: Structure, grid: Grid, registration: Registration | None = None) -> Mask:
    """Return the voxels of which at least half belongs to a structure: the one way to voxels."""
    region = structure.region
    if isinstance(region, Mask) and registration is None and region.grid.same_as(grid):
        return region
    if isinstance(region, Contours) and registration is None:
        exact = _along_edges(region, grid)
        return _near(structure, region, grid) if exact is None else exact
    return Mask(grid, fraction_on(structure, grid, registration) >= 0.5)


def _near(structure: Structure, contours: Contours, grid: Grid) -> Mask:
    """Return the mask of contours; fractions are reckoned only near them."""
    mask = np.zeros(grid.shape, np.bool_)
    rings = [ring for ring in contours.rings if len(ring) >= 3]
    demand_frames(Grid((1, 1, 1), np.eye(4), contours.frame_of_reference), grid, None)
    if not rings:
        return Mask(grid, mask)
    planes = planes_of(contours)
    reach = float(np.abs(planes.slabs_mm(grid.spacing_zyx_mm[0]) - planes.at_mm[:, None]).max())
    points = np.concatenate(rings)
    index = grid.to_index(np.concatenate([points - reach * planes.normal, points + reach * planes.normal]))
    start = np.clip(np.floor(index.min(axis=0)).astype(int) - 1, 0, grid.shape)
    stop = np.clip(np.ceil(index.max(axis=0)).astype(int) + 2, 0, grid.shape)
    if bool((start < stop).all()):
        box = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        part = grid.crop((box[0].start, box[1].start, box[2].start), (box[0].stop, box[1].stop, box[2].stop))
        mask[box] = fraction_on(structure, part) >= 0.5
    return Mask(grid, mask)


def _along_edges(contours: Contours, grid: Grid) -> Mask | None:
    """Return the mask of contours that run along the grid's voxel edges; None when they do not."""
    rings = [ring for ring in contours.rings if len(ring) >= 3]
    if not rings or contours.frame_of_reference != grid.frame_of_reference:
        return None
    index = grid.to_index(rings[0])
    if np.ptp(index[:, 0]) > 1e-3 or np.abs(index[:, 1:] + 0.5 - np.rint(index[:, 1:] + 0.5)).max() > 1e-3:
        return None
    planes = planes_of(contours)
    if not _parallel(planes, grid):
        return None
    thick, along = grid.spacing_zyx_mm[0], float(grid.direction[:, 0] @ planes.normal)
    ends = (planes.slabs_mm(thick) - float(grid.origin_mm @ planes.normal)) / (along * thick)
    ends.sort(axis=1)
    slices = np.rint(ends.mean(axis=1)).astype(int)
    if np.abs(ends - slices[:, None] - np.array([-0.5, 0.5])).max() > 1e-3:
        return None
    inverse = np.linalg.inv(grid.affine[:3, :3]).T[:, 1:]
    flat = [[(ring - grid.affine[:3, 3]) @ inverse for ring in plane] for plane in planes.rings]
    mask = lattice_fill(list(zip(slices.tolist(), flat, strict=True)), grid.shape)
    return None if mask is None else Mask(grid, mask)


def contours_of(mask: Mask, *, style: Literal["edges", "midpoints"] = "edges") -> Contours:
    """Return the closed rings around a mask in each of its slices.

    Parameters
    ----------
    mask : Mask
        On any grid; the rings lie in its slices (planes through the voxel centres).
    style : str
        ``edges``: along the voxels' edges; the way back to the same grid is exact. ``midpoints``: through
        the midpoints of the edges, smoother to the eye, each ring scaled about its centre so that its area
        is that of its voxels.

    Returns
    -------
    Contours
        Holes are separate rings (exclusive or). In both styles the area of a slice's rings is the area of
        its voxels.
    """
    box = _filled(mask.array)
    if box is None:
        return Contours((), mask.grid.frame_of_reference)
    rings = stack_rings(mask.array[box])
    if style == "midpoints":
        rings = [np.insert(_through_midpoints(ring[:, 1:]), 0, ring[0, 0], axis=1) for ring in rings]
    corner = [part.start for part in box]
    points = mask.grid.to_patient(np.concatenate(rings) + corner)
    ends = np.cumsum([len(ring) for ring in rings])[:-1]
    return Contours(tuple(np.split(points, ends)), mask.grid.frame_of_reference)


def _filled(array: NDArray[np.bool_]) -> tuple[slice, slice, slice] | None:
    """Return the smallest box that holds all true voxels; None when there is none."""
    slices = np.flatnonzero(array.any(axis=(1, 2)))
    if not slices.size:
        return None
    flat: NDArray[np.bool_] = np.any(array[slices[0] : slices[-1] + 1], axis=0)
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    z, y, x = (slice(int(hit[0]), int(hit[-1]) + 1) for hit in (slices, rows, columns))
    return z, y, x


def _parallel(planes: Planes, grid: Grid) -> bool:
    """Whether the grid's slices are parallel to the contours, and follow each other along their normal."""
    across = np.cross(grid.direction[:, 1], grid.direction[:, 2])
    parallel = abs(float(across @ planes.normal)) / np.linalg.norm(across)
    return bool(
        parallel >= ALIGNED_COSINE and abs(float(grid.direction[:, 0] @ planes.normal)) >= ALIGNED_COSINE
    )


def _slab_fractions(planes: Planes, grid: Grid) -> Fraction:
    """Return the exact fractions of slabs on a grid whose slices are parallel to them."""
    thick = grid.spacing_zyx_mm[0]
    along = float(grid.direction[:, 0] @ planes.normal)
    first = float(grid.origin_mm @ planes.normal)
    total = np.zeros(grid.shape, np.float32)
    for (low, high), rings in zip(planes.slabs_mm(thick), planes.rings, strict=True):
        ends = sorted(((low - first) / (along * thick) + 0.5, (high - first) / (along * thick) + 0.5))
        start, stop = max(int(np.floor(ends[0])), 0), min(int(np.ceil(ends[1])), grid.shape[0])
        if start >= stop:
            continue
        rows, columns, part = _plane_coverage(rings, grid)
        for k in range(start, stop):
            share = min(ends[1], k + 1.0) - max(ends[0], float(k))
            if share > 1e-7:
                total[k, rows, columns] += (share * part).astype(np.float32)
    return np.clip(total, 0.0, 1.0, out=total)


def _plane_coverage(rings: tuple[Float, ...], grid: Grid) -> tuple[slice, slice, Float]:
    """Return the coverage of one plane's rings, and the rows and columns of the grid that it fills."""
    flat = [grid.to_index(ring)[:, 1:] for ring in rings]
    low = np.floor(np.min([ring.min(axis=0) for ring in flat], axis=0)).astype(int)
    high = np.ceil(np.max([ring.max(axis=0) for ring in flat], axis=0)).astype(int) + 1
    low, high = np.clip(low, 0, grid.shape[1:]), np.clip(high, 0, grid.shape[1:])
    shape = (max(int(high[0] - low[0]), 0), max(int(high[1] - low[1]), 0))
    window = slice(int(low[0]), int(low[0]) + shape[0]), slice(int(low[1]), int(low[1]) + shape[1])
    if 0 in shape:
        return *window, np.zeros(shape)
    return *window, coverage([ring - low for ring in flat], shape)


def _own_grid(planes: Planes, grid: Grid) -> Grid:
    """Return a grid along the contours' own planes, about as fine as the given one."""
    step = min(grid.spacing_zyx_mm)
    normal = planes.normal
    u = np.cross(normal, np.eye(3)[int(np.argmin(np.abs(normal)))])
    u /= np.linalg.norm(u)
    axes = np.stack([normal, u, np.cross(normal, u)], axis=1)
    points = np.concatenate([ring for plane in planes.rings for ring in plane]) @ axes
    slabs = planes.slabs_mm(step)
    low = np.array([slabs[0, 0], *points[:, 1:].min(axis=0)]) - step
    high = np.array([slabs[-1, 1], *points[:, 1:].max(axis=0)]) + step
    count = np.ceil((high - low) / step).astype(int) + 1
    affine = np.eye(4)
    affine[:3, :3] = axes * step
    affine[:3, 3] = axes @ low
    return Grid((int(count[0]), int(count[1]), int(count[2])), affine, grid.frame_of_reference)


def _averaged(fraction: Volume, grid: Grid, registration: Registration | None) -> Fraction:
    """Return fractions on another grid: trilinear on sub-voxels, then averaged over each voxel."""
    wanted, own = np.array(grid.spacing_zyx_mm), min(fraction.grid.spacing_zyx_mm)
    aligned = np.abs(np.linalg.inv(fraction.grid.direction) @ grid.direction)
    own_along = np.array(fraction.grid.spacing_zyx_mm) if np.allclose(aligned, np.eye(3)) else own
    times = np.clip(np.ceil(wanted / own_along - 1e-6), 1, 8).astype(int)
    box = _window(fraction, grid, registration)
    result = np.zeros(grid.shape, np.float32)
    if box is None:
        return result
    start, stop = box
    part = grid.crop(start, stop)
    fine = part.with_spacing((wanted[0] / times[0], wanted[1] / times[1], wanted[2] / times[2]))
    values = resample(fraction, fine, registration=registration).array
    z, y, x = part.shape
    blocks = values.reshape(z, times[0], y, times[1], x, times[2])
    inner = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    result[inner] = blocks.mean(axis=(1, 3, 5), dtype=np.float64)
    return result


def _window(
    fraction: Volume, grid: Grid, registration: Registration | None
) -> tuple[tuple[int, int, int], tuple[int, int, int]] | None:
    """Return first and last-plus-one voxel of the grid that the non-zero fractions can reach."""
    if not fraction.array.any():
        return None
    ends = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        hit = np.flatnonzero(fraction.array.any(axis=others))
        ends.append((hit[0] - 1.0, hit[-1] + 1.0))
    corners = np.array([[k, j, i] for k in ends[0] for j in ends[1] for i in ends[2]])
    points = fraction.grid.to_patient(corners)
    slack = 1.0
    if registration is not None:
        points = points @ registration.matrix[:3, :3].T + registration.matrix[:3, 3]
        if registration.displacement is not None:
            slack += float(np.abs(registration.displacement.vectors).max()) / min(grid.spacing_zyx_mm)
    index = grid.to_index(points)
    start = np.clip(np.floor(index.min(axis=0) - slack).astype(int), 0, grid.shape)
    stop = np.clip(np.ceil(index.max(axis=0) + slack).astype(int) + 1, 0, grid.shape)
    if (start >= stop).any():
        return None
    return (int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2]))


def _through_midpoints(ring: Float) -> Float:
    """Return the ring through the midpoints of its unit edges, scaled to the same area."""
    target = abs(ring_area(ring))
    ends = np.roll(ring, -1, axis=0)
    pieces = []
    for a, b in zip(ring, ends, strict=True):
        length = round(float(np.abs(b - a).max()))
        at = np.array([0.5, length - 0.5])[: 1 if length == 1 else 2] / length
        pieces.append(a + at[:, None] * (b - a))
    points = np.concatenate(pieces)
    centre = points.mean(axis=0)
    scaled: Float = centre + (points - centre) * np.sqrt(target / abs(ring_area(points)))
    return scaled
