"""Image figures of a density image against a reference: MAE, ME, PSNR, and the Dice of bone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Image, Mask
from rtplan.errors import GeometryMismatch

#: Values are cut to this range before PSNR, which uses its width (as SynthRAD 2023), HU.
PSNR_RANGE_HU = (-1024.0, 3000.0)


def mean_absolute_error(image: Image, reference: Image, mask: Mask) -> float:
    """Return the mean absolute difference inside a mask, HU.

    Parameters
    ----------
    image, reference : Image
        HU, on one grid.
    mask : Mask
        On the same grid, not empty.

    Returns
    -------
    float
        Mean of |image − reference|, nothing cut, HU.

    Raises
    ------
    GeometryMismatch
        If the grids differ or the mask is empty.

    Notes
    -----
    The figure depends on the mask: in the body with air around it is far smaller than in the body alone.
    Always print the mask's name beside it.
    """
    return float(np.abs(_difference(image, reference, mask)).mean())


def mean_error(image: Image, reference: Image, mask: Mask) -> float:
    """Return the mean of image − reference inside a mask, HU; as `mean_absolute_error` otherwise."""
    return float(_difference(image, reference, mask).mean())


def psnr(image: Image, reference: Image, mask: Mask) -> float:
    """Return the peak signal-to-noise ratio inside a mask, dB.

    Notes
    -----
    ``10 log10(w² / mean squared error)`` with both images cut to `PSNR_RANGE_HU` and w its width. Equal
    images give infinity.

    References
    ----------
    Thummerer A et al. SynthRAD2023 grand challenge dataset. Med Phys 2023;50:4664-4674 (metrics code).
    """
    low, high = PSNR_RANGE_HU
    cut = [one.with_array(np.clip(one.array, low, high)) for one in (image, reference)]
    squared = float((_difference(cut[0], cut[1], mask) ** 2).mean())
    return float("inf") if squared == 0.0 else float(10.0 * np.log10((high - low) ** 2 / squared))


def dice(a: Mask, b: Mask, within: Mask | None = None) -> float:
    """Return 2 |A ∩ B| / (|A| + |B|), inside a third mask where there is one; NaN when both are empty."""
    a.demand_same_grid(b)
    first, second = a.array, b.array
    if within is not None:
        a.demand_same_grid(within)
        first, second = first & within.array, second & within.array
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2.0 * int(np.count_nonzero(first & second)) / total if total else float("nan")


def _difference(image: Image, reference: Image, mask: Mask) -> NDArray[np.float64]:
    image.demand_same_grid(reference)
    image.demand_same_grid(mask)
    if not mask.array.any():
        raise GeometryMismatch("An image figure was asked in an empty mask.")
    change: NDArray[np.float64] = image.array[mask.array].astype(np.float64) - reference.array[mask.array]
    return change
