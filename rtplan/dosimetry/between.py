"""Voxels of a structure with its shape interpolated between the contours' planes: no stairs to grow from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.domain import Grid, Mask, Structure
from rtplan.imaging.contour import ALIGNED_COSINE, mask_on
from rtplan.imaging.planes import GAP_SPACINGS, Planes, planes_of
from rtplan.imaging.raster import coverage
from rtplan.imaging.resample import demand_frames

Bool = NDArray[np.bool_]
Float = NDArray[np.float64]


def voxels_between(structure: Structure, grid: Grid) -> Bool:
    """Return which voxels of an axial grid belong to a structure, shape (z, y, x).

    Parameters
    ----------
    structure : Structure
        Axial contours are interpolated by their shape; a mask, tilted contours and those of one plane are
        taken as `rtplan.imaging.contour.mask_on` does.
    grid : Grid
        Axial.

    Notes
    -----
    Between two planes the signed in-plane distance to the outline is interpolated linearly and the solid is
    where it is negative; the end planes go on for half a slice, and so do planes on both sides of a gap.

    References
    ----------
    S. P. Raya, J. K. Udupa, "Shape-based interpolation of multidimensional objects", IEEE Trans. Med.
    Imaging 9:32-42 (1990).
    """
    region = structure.region
    if isinstance(region, Mask) or not grid.is_axial or not any(len(ring) >= 3 for ring in region.rings):
        return mask_on(structure, grid).array
    planes = planes_of(region)
    if len(planes.rings) < 2 or abs(float(planes.normal[2])) < ALIGNED_COSINE:
        return mask_on(structure, grid).array
    demand_frames(Grid((1, 1, 1), np.eye(4), region.frame_of_reference), grid, None)
    return _interpolated(planes, grid)


def _interpolated(planes: Planes, grid: Grid) -> Bool:
    made: Bool = np.zeros(grid.shape, np.bool_)
    heights = planes.at_mm * np.sign(planes.normal[2])
    order = np.argsort(heights)
    heights, rings = heights[order], [planes.rings[n] for n in order]
    slabs = planes.slabs_mm(grid.spacing_zyx_mm[0])
    low, high = heights[0] - np.diff(slabs[0])[0] / 2, heights[-1] + np.diff(slabs[-1])[0] / 2
    nominal = float(np.median(np.diff(heights)))
    fields: dict[int, Float] = {}
    z_mm = grid.origin_mm[2] + grid.spacing_zyx_mm[0] * np.arange(grid.shape[0])
    for k in np.flatnonzero((z_mm >= low) & (z_mm < high)):
        below = int(np.clip(np.searchsorted(heights, z_mm[k], side="right") - 1, 0, len(heights) - 2))
        gap = heights[below + 1] - heights[below]
        share = float(np.clip((z_mm[k] - heights[below]) / gap, 0.0, 1.0))
        if gap > GAP_SPACINGS * nominal and 0.0 < share < 1.0:
            near = min(share, 1.0 - share) * gap <= nominal / 2
            if not near:
                continue
            share = round(share)
        for n in (below, below + 1):
            if n not in fields:
                fields[n] = _signed(rings[n], grid)
        made[k] = (1.0 - share) * fields[below] + share * fields[below + 1] < 0.0
        fields = {n: field for n, field in fields.items() if n >= below}
    return made


def _signed(rings: tuple[Float, ...], grid: Grid) -> Float:
    """Return the signed distance to the outline of one plane in pixels, negative inside, shape (y, x)."""
    share = coverage([grid.to_index(ring)[:, 1:] for ring in rings], grid.shape[1:])
    inside = share >= 0.5
    away = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    away -= 0.5 * np.sign(away)
    cut = (share > 0.0) & (share < 1.0)
    signed: Float = np.where(cut, 0.5 - share, away)
    return signed
