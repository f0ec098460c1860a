"""Correct an MR's bias field (N4) and put its signal on a common scale."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk  # noqa: N813 (the name its users know)

from rtplan.domain import Image, Mask
from rtplan.errors import GeometryMismatch
from rtplan.imaging.body import body_mask
from rtplan.imaging.itk import from_itk, to_itk


@dataclass(frozen=True)
class BiasSettings:
    """How N4 runs.

    Parameters
    ----------
    working_mm : float
        The field is fitted on the image shrunk to about this spacing.
    iterations : tuple of int
        At most so many per fitting level.
    convergence : float
        A level ends when the field changes by less than this.
    """

    working_mm: float = 6.0
    iterations: tuple[int, ...] = (20, 20, 20)
    convergence: float = 1e-3


def correct_bias(image: Image, body: Mask | None = None, settings: BiasSettings | None = None) -> Image:
    """Return an MR without its smooth bias field.

    Parameters
    ----------
    image : Image
        MR, any units.
    body : Mask, optional
        Where the field is fitted; found in the image without.
    settings : BiasSettings, optional
        Speed and strength.

    Returns
    -------
    Image
        Scaled so that the median in the body stays. Voxels of value 0 stay 0.

    Raises
    ------
    GeometryMismatch
        If the mask lies on another grid, or the image is no MR.

    Notes
    -----
    The field is fitted on the shrunk image and evaluated on every voxel; same input, same output.

    References
    ----------
    Tustison NJ et al. N4ITK: improved N3 bias correction. IEEE Trans Med Imaging 2010;29:1310-1320.
    """
    if image.modality != "MR":
        raise GeometryMismatch("Bias correction is for MR: the image is a " + image.modality + ".")
    settings = settings or BiasSettings()
    body = body or body_mask(image)
    image.demand_same_grid(body)
    positive = image.with_array(np.maximum(image.array, 0.0))
    factors = [max(round(settings.working_mm / step), 1) for step in image.grid.spacing_zyx_mm[::-1]]
    factors = [min(f, max(n // 4, 1)) for f, n in zip(factors, image.grid.shape[::-1], strict=True)]
    whole, mask = to_itk(positive), to_itk(body)
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations(list(settings.iterations))
    corrector.SetConvergenceThreshold(settings.convergence)
    corrector.SetNumberOfThreads(1)
    corrector.Execute(sitk.Shrink(whole, factors), sitk.Shrink(mask, factors))
    log_field = from_itk(corrector.GetLogBiasFieldAsImage(whole))
    corrected = positive.array * np.exp(-np.clip(log_field, -3.0, 3.0))
    before, after = np.median(positive.array[body.array]), np.median(corrected[body.array])
    scale = float(before / after) if after > 0 else 1.0
    return replace(image, array=(corrected * scale).astype(np.float32))


def normalise(image: Image, mask: Mask) -> Image:
    """Return the image shifted and scaled to mean 0 and standard deviation 1 inside a mask.

    Parameters
    ----------
    image : Image
        MR, any units.
    mask : Mask
        Usually the body; on the same grid, not empty.

    Raises
    ------
    GeometryMismatch
        If the mask lies on another grid or is empty.
    """
    image.demand_same_grid(mask)
    values = image.array[mask.array].astype(np.float64)
    if not values.size:
        raise GeometryMismatch("The signal cannot be normalised: the mask is empty.")
    spread = float(values.std()) or 1.0
    return image.with_array(((image.array - values.mean()) / spread).astype(np.float32))
