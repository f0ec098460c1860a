"""The only bridge between patients and tensors: images to channels, channels to images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.domain import Image, Mask
from rtplan.errors import ModelError
from rtplan.imaging.body import body_mask
from rtplan.imaging.resample import resample
from rtplan.learning.card import Card, InputSpec, Limits, Triple

Array = NDArray[np.float32]

AIR_HU = -1024.0
#: Networks speak of HU / 1000.
HU_SCALE = 1000.0
#: From here on a voxel of a CT counts as bone.
BONE_HU = 200.0
#: Percentiles of the body's signal that become 0 and 1, and where brighter signal is cut.
LOW, HIGH, CUT = 0.5, 99.5, 1.3


@dataclass(frozen=True, eq=False)
class Channels:
    """A network's input on its own grid.

    Parameters
    ----------
    array : ndarray, shape (channels, z, y, x)
        float32, in the order of the card's inputs; 0 outside the body.
    body : Mask
        The body as the MR shows it, on the same grid.
    native_body : Mask
        The same on the MR's own grid.
    """

    array: Array
    body: Mask
    native_body: Mask


def unit_scale(array: Array, body: NDArray[np.bool_]) -> Array:
    """Scale MR signal so that the body's 0.5th and 99.5th percentiles are 0 and 1; 0 outside the body.

    Raises
    ------
    ModelError
        If the body is empty, or all of it has one signal.
    """
    values = array[body]
    if values.size == 0:
        raise ModelError("No body is seen in the MR.", action="check that the series shows the patient.")
    low, high = np.percentile(values, [LOW, HIGH])
    if not high > low:
        raise ModelError("The MR has the same signal everywhere in the body.", action="check the series.")
    scaled = np.clip((array - np.float32(low)) / np.float32(high - low), -0.1, CUT)
    return np.where(body, scaled, np.float32(0.0)).astype(np.float32)


def whole_spread(values: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Return mean and standard deviation of the body's scaled signal: what becomes 0 and 1."""
    return float(values.mean()), float(values.std()) + 1e-6


def as_scaled(values: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Return 0 and 1: the signal stays in units of the body's range.

    In a T1w image the bright end is fat, whatever the share of fat, so that the same tissue keeps its signal
    from patient to patient; mean and spread move with that share.
    """
    return 0.0, 1.0


#: What becomes 0 and 1 of the signal that `unit_scale` gives, from the values in the body, by name.
NORMALISE: dict[str, Callable[[NDArray[np.floating[Any]]], tuple[float, float]]] = {
    "zscore_body": whole_spread,
    "unit_body": as_scaled,
}


def normalised(name: str, scaled: Array, body: NDArray[np.bool_]) -> Array:
    """Return a channel of scaled signal by a rule of `NORMALISE`; 0 outside the body.

    Raises
    ------
    ModelError
        If there is no such rule.
    """
    if name not in NORMALISE:
        raise ModelError(f"There is no normalisation {name!r}. Known: {', '.join(NORMALISE)}.")
    low, spread = NORMALISE[name](scaled[body])
    return np.where(body, (scaled - np.float32(low)) / np.float32(spread), np.float32(0.0)).astype(np.float32)


def demand_sane(image: Image, limits: Limits) -> None:
    """Raise ModelError when an MR is none that a network can be asked about.

    Raises
    ------
    ModelError
        If it holds values that are not finite, one value only, too few slices, too coarse voxels or too
        small a field of view.
    """
    if not np.isfinite(image.array).all():
        raise ModelError(
            "The MR holds values that are not finite (NaN or infinite).", action="repair the series."
        )
    if float(image.array.max()) == float(image.array.min()):
        raise ModelError("The MR is constant: every voxel has the same value.", action="check the series.")
    shape, spacing = np.array(image.grid.shape), np.array(image.grid.spacing_zyx_mm)
    if shape[0] < limits.slices_min:
        raise ModelError(
            f"The MR has {shape[0]} slices; the network needs {limits.slices_min} or more.",
            action="use a volume series.",
        )
    if (spacing > np.array(limits.spacing_zyx_mm_max) + 1e-6).any():
        raise ModelError(
            f"The MR's voxels of {_mm(spacing)} mm [z, y, x] are coarser than the network's limit of "
            f"{_mm(limits.spacing_zyx_mm_max)} mm.",
            action="use a finer series.",
        )
    if (shape * spacing < np.array(limits.extent_zyx_mm_min) - 1e-6).any():
        raise ModelError(
            f"The MR's field of view of {_mm(shape * spacing)} mm [z, y, x] is smaller than the network's "
            f"limit of {_mm(limits.extent_zyx_mm_min)} mm.",
            action="use a larger series.",
        )


def demand_contrast(image: Image, body: Mask, limits: Limits) -> None:
    """Raise ModelError when the body is all but absent, or shows no contrast in it."""
    share = float(body.array.mean())
    if share < limits.body_fraction_min:
        raise ModelError(
            f"Only {100 * share:.1f} % of the MR's field of view is body.",
            action="check that the series shows the patient.",
        )
    quarter, half, three = np.percentile(image.array[body.array], [25, 50, 75])
    contrast = float((three - quarter) / max(abs(half), 1e-6))
    if contrast < limits.contrast_min:
        raise ModelError(
            f"The MR shows next to no contrast in the body ({contrast:.3f}, limit {limits.contrast_min}).",
            action="check the series and its scaling.",
        )


def _mm(values: NDArray[np.float64] | tuple[float, ...]) -> str:
    return "×".join(f"{value:.1f}" for value in values)


def at_spacing(image: Image, spacing_zyx_mm: Triple) -> Image:
    """Return the image at another spacing on its own axes; smoothed first where it becomes coarser."""
    factor = np.array(spacing_zyx_mm) / np.array(image.grid.spacing_zyx_mm)
    sigma = np.where(factor > 1.2, 0.35 * factor, 0.0)
    smooth = ndimage.gaussian_filter(image.array, sigma, mode="nearest") if sigma.any() else image.array
    grid = image.grid.with_spacing(spacing_zyx_mm)
    edge = float(image.array.min()) if image.modality == "MR" else AIR_HU
    return resample(image.with_array(smooth), grid, order="linear", outside=edge)


def channels_of(image: Image, card: Card) -> Channels:
    """Return what a network sees of an MR: the MR alone, on the network's spacing and the MR's axes.

    Raises
    ------
    ModelError
        If the MR is beyond the card's limits (see `demand_sane`, `demand_contrast`).
    """
    demand_sane(image, card.limits)
    native_body = body_mask(image)
    demand_contrast(image, native_body, card.limits)
    coarse = at_spacing(image, card.spacing_zyx_mm)
    body = resample(native_body, coarse.grid)
    planes = [_channel(spec, coarse.array, body.array) for spec in card.inputs]
    return Channels(np.stack(planes), body, native_body)


def _channel(spec: InputSpec, array: Array, body: NDArray[np.bool_]) -> Array:
    if spec.kind == "body":
        return body.astype(np.float32)
    return normalised(spec.normalise, unit_scale(array, body), body)


def choose_mr(images: Mapping[str, Image], roles: tuple[str, ...]) -> str:
    """Return the role of the MR to use: the first of ``roles`` that is there.

    Raises
    ------
    ModelError
        If there is none of them; the message lists what is there.
    """
    for role in roles:
        if role in images and images[role].modality == "MR":
            return role
    there = ", ".join(name for name, image in images.items() if image.modality == "MR") or "no MR"
    raise ModelError(f"The network reads {', '.join(roles)}; the patient has {there}.")


def image_of(hu: Array, body: Mask, like: Image, native_body: Mask, clip: tuple[float, float]) -> Image:
    """Return a network's answer as a CT on the MR's own grid; −1024 HU outside the body.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x)
        HU on the grid of ``body``.
    like : Image
        The MR, whose grid and frame the CT gets.
    clip : tuple of float
        Smallest and largest HU.
    """
    coarse = Image(body.grid, hu)
    fine = resample(coarse, like.grid, order="linear", outside=AIR_HU)
    array = np.where(native_body.array, np.clip(np.round(fine.array), *clip), np.float32(AIR_HU))
    return Image(like.grid, array.astype(np.float32), modality="CT")
