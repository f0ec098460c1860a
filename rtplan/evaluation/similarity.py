"""Structural similarity of two volumes inside a mask: one scale, and five scales in two readings."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.signal import fftconvolve

from rtplan.errors import GeometryMismatch

Array = NDArray[np.float64]
Bool = NDArray[np.bool_]

#: Edge of the cubic window, voxels, and what its half takes off each side.
WINDOW, HALF = 7, 3
#: Exponent of each scale, finest first (Wang 2003, section 3.2).
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
#: Volumes are padded by their edges to this size: five windows must fit.
SMALLEST = 97
_K1, _K2 = 0.01, 0.03


def ssim(reference: Array, image: Array, mask: Bool, limits: tuple[float, float]) -> float:
    """Return the mean structural similarity over the voxels of a mask.

    Parameters
    ----------
    reference, image : ndarray, shape (z, y, x)
        HU; cut to ``limits`` and set to the lower one outside the mask first.
    mask : ndarray
        bool; voxels within 3 of the volume's border do not count.
    limits : tuple of float
        Smallest and largest HU; their distance is the dynamic range.

    Raises
    ------
    GeometryMismatch
        If the shapes differ or no voxel counts.

    References
    ----------
    Wang Z et al. Image quality assessment: from error visibility to structural similarity. IEEE Trans
    Image Process 2004;13:600-612; uniform window of 7 voxels and sample covariance, as SynthRAD 2023 does.
    """
    a, b = prepared(reference, image, mask, limits)
    spread = limits[1] - limits[0]
    luminance, contrast, structure = parts(a, b, spread)
    return _mean(luminance * contrast * structure, mask.astype(np.float64))


def ms_ssim(
    reference: Array, image: Array, mask: Bool, limits: tuple[float, float], *, as_synthrad: bool = False
) -> float:
    """Return the multi-scale structural similarity over the voxels of a mask.

    Parameters
    ----------
    reference, image, mask, limits
        As in `ssim`; volumes below 97 voxels along an axis are padded by their edges.
    as_synthrad : bool
        As the SynthRAD 2025 code computes it (see Notes), not as its reference says.

    Returns
    -------
    float
        0 to 1.

    Raises
    ------
    GeometryMismatch
        If the shapes differ or no voxel counts at a scale.

    Notes
    -----
    As the reference says: luminance at the coarsest scale only; volumes shrink by means over 2 x 2 x 2
    voxels, and so does the mask, whose share of a voxel is that voxel's weight. As SynthRAD: luminance
    at every scale with that scale's exponent; the volumes shrink by a convolution that lies half a voxel
    off, the mask by every other voxel; padding of the mask repeats its edge; the outermost 3 voxels of
    every scale do not count, which leaves a single voxel of the coarsest in a volume of 97.

    References
    ----------
    Wang Z, Simoncelli EP, Bovik AC. Multiscale structural similarity for image quality assessment.
    Asilomar 2003, eq. 7. SynthRAD2025/evaluation, image_metrics.py.
    """
    a, b = (_padded(one) for one in prepared(reference, image, mask, limits))
    inside = _padded(mask.astype(np.float64), mode="edge" if as_synthrad else "constant")
    spread, product = limits[1] - limits[0], 1.0
    shrunk, mean = (_strided, _mean) if as_synthrad else (_halved, _weighted)
    for scale, weight in enumerate(SCALES):
        luminance, contrast, structure = parts(a, b, spread)
        part = contrast**weight * structure**weight
        if as_synthrad or scale == len(SCALES) - 1:
            part = luminance**weight * part
        product *= min(max(mean(part, inside), 0.0), 1.0)
        a, b, inside = shrunk(a, b, inside)
    return product


def prepared(reference: Array, image: Array, mask: Bool, limits: tuple[float, float]) -> tuple[Array, Array]:
    """Return both volumes cut to the limits, at the lower limit outside the mask, and moved to start at 0."""
    if not reference.shape == image.shape == mask.shape:
        raise GeometryMismatch("Structural similarity needs volumes and a mask of one shape.")
    low, high = limits
    a, b = (
        np.where(mask, np.clip(one.astype(np.float64), low, high), low) - low for one in (reference, image)
    )
    return a, b


def parts(a: Array, b: Array, spread: float) -> tuple[Array, Array, Array]:
    """Return luminance, contrast and structure of every voxel's window, each cut at 0."""
    ma, mb = ndimage.uniform_filter(a, WINDOW), ndimage.uniform_filter(b, WINDOW)
    sample = WINDOW**3 / (WINDOW**3 - 1)
    va = sample * (ndimage.uniform_filter(a * a, WINDOW) - ma * ma)
    vb = sample * (ndimage.uniform_filter(b * b, WINDOW) - mb * mb)
    vab = sample * (ndimage.uniform_filter(a * b, WINDOW) - ma * mb)
    c1, c2 = (_K1 * spread) ** 2, (_K2 * spread) ** 2
    roots = np.clip(va, 0.0, None) ** 0.5 * np.clip(vb, 0.0, None) ** 0.5
    luminance = (2 * ma * mb + c1) / (ma * ma + mb * mb + c1)
    contrast = (2 * roots + c2) / (va + vb + c2)
    structure = (vab + c2 / 2) / (roots + c2 / 2)
    return np.clip(luminance, 0.0, None), np.clip(contrast, 0.0, None), np.clip(structure, 0.0, None)


def _mean(values: Array, mask: Array) -> float:
    inner = (slice(HALF, -HALF),) * 3
    return _weighted(values[inner], (mask[inner] > 0.0).astype(np.float64))


def _weighted(values: Array, weight: Array) -> float:
    if not (weight > 0.0).any():
        raise GeometryMismatch("Structural similarity was asked in a mask that is empty or at the border.")
    counted = weight > 0.0
    return float(np.average(values[counted], weights=weight[counted]))


def _padded(array: Array, mode: Literal["edge", "constant"] = "edge") -> Array:
    short = [max(0, SMALLEST - size) for size in array.shape]
    return np.pad(array, [(n // 2, n - n // 2) for n in short], mode=mode)


def _strided(*volumes: Array) -> tuple[Array, ...]:
    every = (slice(None, None, 2),) * 3
    *images, mask = volumes
    window = np.ones((2, 2, 2)) / 8
    return *(fftconvolve(one, window, mode="same")[every] for one in images), mask[every]


def _halved(*volumes: Array) -> tuple[Array, ...]:
    return tuple(_pooled(one) for one in volumes)


def _pooled(array: Array) -> Array:
    even = np.pad(array, [(0, size % 2) for size in array.shape], mode="edge")
    z, y, x = (size // 2 for size in even.shape)
    pooled: Array = even.reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5))
    return pooled
