"""Random changes of training images: contrast, field, sharpness, noise, place. All drawn from a Generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rtplan.learning.card import Triple
from rtplan.learning.settings import AugmentSettings

#: No change at all.
NONE = AugmentSettings(
    mix_chance=0.0,
    gamma=(1.0, 1.0),
    invert_chance=0.0,
    curve_chance=0.0,
    bias=0.0,
    blur_chance=0.0,
    thick_chance=0.0,
    noise=(0.0, 0.0),
    mirror_chance=0.0,
    upside_chance=0.0,
    warp_chance=0.0,
)


@dataclass(frozen=True, eq=False)
class Curve:
    """A map of signal in units of the body's range: power, random curve, inversion.

    Parameters
    ----------
    gamma : float
        Exponent; monotone.
    knots : ndarray or None
        Values at equal steps from 0 to 1, piecewise linear; need not be monotone, as another sequence's
        contrast is none of this one's.
    invert : bool
        Dark becomes bright.
    """

    gamma: float = 1.0
    knots: NDArray[np.float32] | None = None
    invert: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """Map signal of any shape."""
        y = x.clamp(min=0.0) ** self.gamma
        if self.knots is not None:
            knots = torch.from_numpy(self.knots).to(x.device)
            place = y.clamp(0.0, 1.0) * (len(knots) - 1)
            left = place.floor().clamp(max=len(knots) - 2)
            low = left.long()
            y = knots[low] + (place - left) * (knots[low + 1] - knots[low])
        return 1.0 - y if self.invert else y


def draw_curve(rng: np.random.Generator, settings: AugmentSettings) -> Curve:
    """Draw a contrast map."""
    low, high = np.log(settings.gamma)
    gamma = float(np.exp(rng.uniform(low, high)))
    invert = bool(rng.random() < settings.invert_chance)
    knots = None
    if rng.random() < settings.curve_chance:
        steps = np.linspace(0.0, 1.0, settings.curve_knots) + rng.normal(0.0, 0.25, settings.curve_knots)
        knots = steps.astype(np.float32)
    return Curve(gamma, knots, invert)


def bias_field(shape: tuple[int, ...], strength: float, rng: np.random.Generator) -> Tensor:
    """Return a smooth positive field of mean log 0, shape (1, z, y, x); ``strength`` is its log's spread."""
    coarse = torch.from_numpy(rng.normal(0.0, strength, (1, 1, 3, 3, 3)).astype(np.float32))
    smooth = functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)
    return torch.exp(smooth - smooth.mean())[0]


def blur(x: Tensor, sigma_voxels: float) -> Tensor:
    """Smooth (channels, z, y, x) by a Gaussian of this sigma on every axis; edges repeat."""
    reach = max(1, round(3 * sigma_voxels))
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32, device=x.device)
    kernel = torch.exp(-0.5 * (steps / max(sigma_voxels, 1e-3)) ** 2)
    kernel = kernel / kernel.sum()
    y = x[:, None]
    for axis in range(3):
        shape, pad = [1, 1, 1], [0, 0, 0, 0, 0, 0]
        shape[axis] = len(kernel)
        pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = reach
        y = functional.conv3d(functional.pad(y, pad, mode="replicate"), kernel.view(1, 1, *shape))
    return y[:, 0]


def thicken(x: Tensor) -> Tensor:
    """Average pairs of slices of (channels, z, y, x) and interpolate back: thick slices."""
    thick = functional.avg_pool3d(x[None], (2, 1, 1), ceil_mode=True)
    return functional.interpolate(thick, size=x.shape[1:], mode="trilinear", align_corners=False)[0]


def corrupt(x: Tensor, rng: np.random.Generator, settings: AugmentSettings) -> Tensor:
    """Draw and apply gain, bias field, blur, thick slices and noise to signal (1, z, y, x) in body units."""
    low, high = settings.gain
    if high > low:
        x = x * float(rng.uniform(low, high))
    if settings.bias > 0.0:
        x = x * bias_field(tuple(x.shape[1:]), settings.bias * float(rng.random()), rng)
    if rng.random() < settings.blur_chance:
        x = blur(x, float(rng.uniform(*settings.blur_sigma_voxels)))
    if rng.random() < settings.thick_chance:
        x = thicken(x)
    spread = float(rng.uniform(*settings.noise))
    if spread > 0.0:
        x = x + spread * torch.from_numpy(rng.standard_normal(tuple(x.shape), dtype=np.float32))
    return x


def warp(x: Tensor, spacing_zyx_mm: Triple, rng: np.random.Generator, settings: AugmentSettings) -> Tensor:
    """Draw a rotation about the long axis and a scale; move all channels of (channels, z, y, x) alike.

    What comes from outside the patch is 0.
    """
    angle = np.deg2rad(rng.uniform(-settings.rotate_deg, settings.rotate_deg))
    scale = rng.uniform(*settings.scale)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    half = np.array(x.shape[:0:-1]) * np.array(spacing_zyx_mm[::-1]) / 2.0
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0 / scale]])
    theta = np.zeros((1, 3, 4), np.float32)
    theta[0, :, :3] = turn * half[None, :] / half[:, None]
    grid = functional.affine_grid(torch.from_numpy(theta), [1, *x.shape], align_corners=False)
    moved: Tensor = functional.grid_sample(x[None], grid, mode="bilinear", align_corners=False)[0]
    return moved
