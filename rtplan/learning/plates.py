"""Beam plates: where a set of coplanar beams can put dose, before anything is optimised."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from rtplan.learning.card import Triple

Array = NDArray[np.float32]

#: Effective attenuation of a 6 MV beam in water, 1/mm; a feature's shape, no dose calculation.
MU_PER_MM = 0.0045
#: Distance from the source to the isocentre, mm.
SAD_MM = 1000.0
#: Pixel of an aperture at the isocentre, mm, and how far a target is opened beyond its voxel centres.
_PIXEL_MM, _OPEN_PIXELS, _BLUR_PIXELS = 3.0, 2, 1.0


def beam_plates(
    targets: Sequence[NDArray[np.bool_]],
    density: Array,
    spacing_zyx_mm: Triple,
    gantry_deg: Sequence[float],
) -> Array:
    """Return one plate per target, and last the plate of fields that are open everywhere.

    Parameters
    ----------
    targets : sequence of ndarray, shape (z, y, x)
        What the beams open to; axes to superior, posterior, left. The isocentre is the centroid of the
        first one that is not empty.
    density : ndarray, shape (z, y, x)
        Density relative to water, for the attenuation.
    gantry_deg : sequence of float
        IEC 61217 angles; 0 comes from anterior, 90 from the patient's left.

    Returns
    -------
    ndarray, shape (targets + 1, z, y, x)
        Mean over the beams of aperture × exp(−μ × depth): 1 at the surface of a field that all beams see,
        0 where no beam of the target passes. Zero for an empty target.
    """
    plates = np.zeros((len(targets) + 1, *density.shape), np.float32)
    seen = [target for target in targets if target.any()]
    if not seen:
        return plates
    points = _places(density.shape, spacing_zyx_mm, np.argwhere(seen[0]).mean(axis=0))
    for angle in gantry_deg:
        weight = np.exp(-MU_PER_MM * beam_depth(density, spacing_zyx_mm, angle)) / len(gantry_deg)
        v, u = _beams_eye(points, angle)
        for plate, target in zip(plates, targets, strict=False):
            if target.any():
                plate += weight * _aperture(v, u, target)
        plates[-1] += weight
    return plates


def beam_depth(density: Array, spacing_zyx_mm: Triple, gantry_deg: float) -> Array:
    """Return the depth of each voxel below the edge of the array along parallel rays, mm of water.

    Notes
    -----
    The slices are turned so that the beam runs along an axis, summed, and turned back.
    """
    _, ny, nx = density.shape
    step = min(spacing_zyx_mm[1:])
    size = math.ceil(math.hypot(ny * spacing_zyx_mm[1], nx * spacing_zyx_mm[2]) / step)
    turn, back = _turns((ny, nx), size, step, spacing_zyx_mm[1:], gantry_deg)
    slices = torch.from_numpy(np.ascontiguousarray(density))[None]
    turned = functional.grid_sample(slices, turn, align_corners=False)
    depth = (torch.cumsum(turned, dim=2) - 0.5 * turned) * step
    answer: Array = functional.grid_sample(depth, back, align_corners=False)[0].numpy()
    return answer


def _turns(
    shape: tuple[int, int], size: int, step: float, spacing: tuple[float, float], gantry_deg: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sampling grids from slices (y, x) to rays (along, across) and back."""
    cos, sin = math.cos(math.radians(gantry_deg)), math.sin(math.radians(gantry_deg))
    line = (torch.arange(size) - (size - 1) / 2) * step
    along, across = torch.meshgrid(line, line, indexing="ij")
    # The beam of gantry 0 runs to posterior (+y); its x axis (IEC) is the patient's left (+x).
    y, x = along * cos + across * sin, -along * sin + across * cos
    half = [0.5 * n * mm for n, mm in zip(shape, spacing, strict=True)]
    turn = torch.stack([x / half[1], y / half[0]], dim=-1)[None]
    ys = (torch.arange(shape[0]) - (shape[0] - 1) / 2) * spacing[0]
    xs = (torch.arange(shape[1]) - (shape[1] - 1) / 2) * spacing[1]
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    reach = 0.5 * size * step
    back = torch.stack([(y * sin + x * cos) / reach, (y * cos - x * sin) / reach], dim=-1)[None]
    return turn, back


def _places(
    shape: tuple[int, ...], spacing: Triple, centre: NDArray[np.float64]
) -> tuple[Array, Array, Array]:
    z, y, x = (
        ((np.arange(n) - c) * mm).astype(np.float32) for n, c, mm in zip(shape, centre, spacing, strict=True)
    )
    return z[:, None, None], y[None, :, None], x[None, None, :]


def _beams_eye(points: tuple[Array, Array, Array], gantry_deg: float) -> tuple[Array, Array]:
    """Return where the ray through each voxel meets the plane of the isocentre, in pixels (v, u)."""
    z, y, x = points
    cos, sin = math.cos(math.radians(gantry_deg)), math.sin(math.radians(gantry_deg))
    stretch = SAD_MM / (SAD_MM + y * cos - x * sin) / _PIXEL_MM
    v, u = z * stretch, (y * sin + x * cos) * stretch + 0 * z
    return v.astype(np.float32), u.astype(np.float32)


def _aperture(v: Array, u: Array, target: NDArray[np.bool_]) -> Array:
    """Return how far the field that opens to the target covers each voxel, 0 to 1."""
    v_in, u_in = v[target], u[target]
    low = np.floor([v_in.min(), u_in.min()]).astype(int) - 8
    high = np.ceil([v_in.max(), u_in.max()]).astype(int) + 9
    field = np.zeros(high - low, bool)
    field[np.round(v_in - low[0]).astype(int), np.round(u_in - low[1]).astype(int)] = True
    opened = ndimage.binary_dilation(field, iterations=_OPEN_PIXELS)
    soft = ndimage.gaussian_filter(opened.astype(np.float32), _BLUR_PIXELS)
    rows = np.clip(np.round(v - low[0]).astype(np.int32), 0, soft.shape[0] - 1)
    columns = np.clip(np.round(u - low[1]).astype(np.int32), 0, soft.shape[1] - 1)
    answer: Array = soft[rows, columns]
    return answer
