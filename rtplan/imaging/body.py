"""The outline of the patient on CT and MR, and how much of it is skin rather than the image's border."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 (the name its users know)
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.domain import Image, Mask
from rtplan.errors import StructureError
from rtplan.imaging.itk import from_itk

Bool = NDArray[np.bool_]

#: Air along the border of an MR that is narrower than this is a fault of the image, mm.
MR_STRIP_MM = 8.0
#: A body counts as whole when at least this fraction of its outline in the slices is skin.
LEAST_SKIN = 0.97


@dataclass(frozen=True)
class BodySettings:
    """How the outline is found.

    Parameters
    ----------
    ct_threshold_hu : float
        Tissue lies above it.
    mr_valley : tuple of float
        The same for an MR lies where its histogram is lowest between these fractions of the 98th percentile
        of the smoothed image, and above the peak of its noise: above air, below dark muscle.
    mr_noise : float
        The peak of the noise in air is looked for below this fraction of the same percentile.
    thin_mm : float
        What is thinner than this in a slice is no body (table tops, tubes, sheets).
    close_mm : float
        Notches narrower than twice this are closed.
    smallest : float
        Separate parts (the other leg) smaller than this fraction of the largest are left out.
    """

    ct_threshold_hu: float = -300.0
    mr_valley: tuple[float, float] = (0.02, 0.2)
    mr_noise: float = 0.1
    thin_mm: float = 8.0
    close_mm: float = 2.0
    smallest: float = 0.1


def body_mask(image: Image, settings: BodySettings | None = None) -> Mask:
    """Return the body with everything inside its skin, gas and bone included; the couch left out.

    Parameters
    ----------
    image : Image
        A CT (HU) or an MR (any units, air dark).
    settings : BodySettings, optional
        Thresholds and sizes.

    Returns
    -------
    Mask
        On the image's grid.

    Raises
    ------
    StructureError
        If the image holds nothing like a body.

    Notes
    -----
    Threshold; opening in the slices, so that thin things come loose; the largest connected part and those
    at least a tenth as large; the body's own outline back from the threshold; closing; holes filled slice
    by slice. A gas pocket that is open to the outside or to the image's border is not filled.
    """
    settings = settings or BodySettings()
    is_mr = image.modality == "MR"
    tissue = _mr_tissue(image, settings) if is_mr else image.array > settings.ct_threshold_hu
    window = _window(tissue)
    if window is None:
        raise StructureError("No body is found in the image: nothing lies above the threshold for tissue.")
    spacing = image.grid.spacing_zyx_mm[1:]
    core = _open(tissue[window], spacing, settings.thin_mm / 2.0)
    core = _main_parts(core, settings.smallest)
    if not core.any():
        raise StructureError("No body is found in the image: all that lies above the threshold is thin.")
    radius = _pixels(spacing, settings.thin_mm / 2.0)
    own = _morph(sitk.BinaryDilate, core, (radius[0] + 1, radius[1] + 1)) & tissue[window]
    body = np.zeros(image.grid.shape, np.bool_)
    body[window] = fill_slices(close_in_slices(own, spacing, settings.close_mm))
    return Mask(image.grid, body)


def skin_seen(image: Image, body: Mask) -> float:
    """Return which fraction of the body's outline in the slices is skin and not the image's border.

    Parameters
    ----------
    image : Image
        What was seen.
    body : Mask
        On the same grid, holes filled.

    Returns
    -------
    float
        0 (no skin at all) to 1 (skin all round in every slice), weighted by length.

    Notes
    -----
    MR series often have a dark strip along the image's border (distortion correction, coil); in an MR a
    strip of air narrower than 8 mm is no air.
    """
    image.demand_same_grid(body)
    _, dy, dx = body.grid.spacing_zyx_mm
    mask = body.array
    if image.modality == "MR" and mask.any():
        mask = ~_morph(sitk.BinaryMorphologicalOpening, ~mask, _pixels((dy, dx), MR_STRIP_MM / 2.0))
    skin = dx * np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    skin += dy * np.count_nonzero(mask[:, :, 1:] != mask[:, :, :-1])
    border = dx * (np.count_nonzero(mask[:, 0]) + np.count_nonzero(mask[:, -1]))
    border += dy * (np.count_nonzero(mask[:, :, 0]) + np.count_nonzero(mask[:, :, -1]))
    return float(skin / (skin + border)) if skin + border else 0.0


def close_in_slices(tissue: Bool, spacing_yx_mm: tuple[float, ...], radius_mm: float) -> Bool:
    """Close a mask, [z, y, x], in its slices by a disc; beyond the image it goes on as at its border."""
    radius = _pixels(spacing_yx_mm, radius_mm)
    pad = ((0, 0), (radius[0], radius[0]), (radius[1], radius[1]))
    closed = _morph(sitk.BinaryMorphologicalClosing, np.pad(tissue, pad, mode="edge"), radius)
    return closed[:, radius[0] : -radius[0], radius[1] : -radius[1]]


def fill_slices(tissue: Bool) -> Bool:
    """Fill the holes of a mask, [z, y, x]: what in its slice is not joined to the outside of the image."""
    around = np.pad(~tissue, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    in_slice = np.zeros((3, 3, 3), np.bool_)
    in_slice[1] = ndimage.generate_binary_structure(2, 1)
    labels, count = ndimage.label(around, in_slice)
    outside = np.zeros(count + 1, np.bool_)
    outside[labels[:, 0, 0]] = True
    filled: Bool = ~outside[labels[:, 1:-1, 1:-1]]
    return filled


def _mr_tissue(image: Image, settings: BodySettings) -> Bool:
    """Return the voxels of an MR that are brighter than air, after smoothing by 1.5 mm in the slices."""
    sigma = (0.0, *(1.5 / step for step in image.grid.spacing_zyx_mm[1:]))
    smooth = ndimage.gaussian_filter(image.array, sigma)
    bright = float(np.percentile(smooth, 98))
    if not bright > 0.0:
        return np.zeros(image.grid.shape, np.bool_)
    low, high = settings.mr_valley
    bottom = max(low, _noise(smooth / bright, settings.mr_noise))
    edges = np.arange(bottom, high + 1e-9, 0.005) * bright
    counts = ndimage.gaussian_filter1d(np.histogram(smooth, edges)[0].astype(np.float64), 2.0)
    lit: Bool = smooth > edges[int(np.argmin(counts))]
    return lit


def _noise(values: NDArray[np.floating], highest: float) -> float:
    """Return where the noise in air peaks; 0 where nothing peaks clearly below ``highest`` (no air)."""
    counts, edges = np.histogram(values, np.arange(0.0, highest + 1e-9, 0.005))
    peak = int(np.argmax(counts))
    return float(edges[peak + 1]) if counts[-1] < 0.5 * counts[peak] else 0.0


def _window(tissue: Bool) -> tuple[slice, slice, slice] | None:
    """Return the box of the voxels that are set."""
    box = []
    for axis in range(3):
        hit = np.flatnonzero(tissue.any(axis=tuple(a for a in range(3) if a != axis)))
        if not hit.size:
            return None
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return box[0], box[1], box[2]


def _pixels(spacing_yx_mm: tuple[float, ...], radius_mm: float) -> tuple[int, int]:
    dy, dx = spacing_yx_mm
    return max(round(radius_mm / dy), 1), max(round(radius_mm / dx), 1)


def _morph(operation: Any, array: Bool, radius_yx: tuple[int, int]) -> Bool:
    """Apply a binary SimpleITK operation with a disc in the slices."""
    image = sitk.GetImageFromArray(array.astype(np.uint8))
    moved: Bool = from_itk(operation(image, [radius_yx[1], radius_yx[0], 0], sitk.sitkBall)).astype(np.bool_)
    return moved


def _open(tissue: Bool, spacing: tuple[float, ...], radius_mm: float) -> Bool:
    """Open in the slices; beyond the image the tissue goes on, so that its border is not worn away."""
    radius = _pixels(spacing, radius_mm)
    pad = ((0, 0), (radius[0], radius[0]), (radius[1], radius[1]))
    opened = _morph(sitk.BinaryMorphologicalOpening, np.pad(tissue, pad, mode="edge"), radius)
    return opened[:, radius[0] : -radius[0], radius[1] : -radius[1]]


def _main_parts(tissue: Bool, smallest: float) -> Bool:
    """Return the largest connected part and those of at least a fraction of its size."""
    labels, count = ndimage.label(tissue)
    if not count:
        return tissue
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    keep: Bool = (sizes >= smallest * sizes.max()) & (sizes > 0)
    kept: Bool = keep[labels]
    return kept
