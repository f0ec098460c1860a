"""Images painted anew from tissue labels: shape, contrast, texture and scanner drawn at random."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rtplan.learning.augment import bias_field
from rtplan.learning.card import Shape, Triple
from rtplan.learning.segment_settings import PaintSettings
from rtplan.learning.segments import SegmentCase

#: Percentiles of the signal that become 0 and 1, and where brighter signal is cut.
LOW, HIGH, CUT = 0.5, 99.5, 1.3
#: So much of the signal is looked at for the percentiles (every n-th voxel along each axis).
_EVERY = 2
#: Shares of the windows that are laid about the gland; the others anywhere in the case.
_ABOUT_GLAND = 0.85


def centred(array: NDArray[np.float32], window_zyx: Shape) -> NDArray[np.float32]:
    """Scale MR signal by what a window in the middle shows: its mean becomes 0, its spread 1.

    A network that has learned from windows sees the signal scaled as in them, however large the image.
    """
    middle = array[
        tuple(
            slice(max(0, (n - w) // 2), (n + w + 1) // 2)
            for n, w in zip(array.shape, window_zyx, strict=True)
        )
    ]
    seen = middle[::_EVERY, ::_EVERY, ::_EVERY]
    low, high = (float(v) for v in np.percentile(seen, [LOW, HIGH]))
    span = max(high - low, 1e-6)
    scaled = np.clip((array - np.float32(low)) / np.float32(span), -0.1, CUT)
    seen = np.clip((seen - low) / span, -0.1, CUT)
    return np.asarray((scaled - seen.mean()) / max(float(seen.std()), 1e-6), np.float32)


def paint_sample(
    case: SegmentCase, window_zyx: Shape, rng: np.random.Generator, settings: PaintSettings
) -> tuple[Tensor, Tensor]:
    """Return an image, float32, and its labels, int64, both of the window's shape, drawn from a case."""
    tissue, labels = _window(case, window_zyx, rng, settings)
    image = _image(tissue, case, rng, settings)
    seen = _field(window_zyx, case.spacing_zyx_mm, rng, settings)
    inner = centred(image[seen].numpy(), window_zyx)
    out = torch.zeros(window_zyx)
    out[seen] = torch.from_numpy(inner) * float(rng.uniform(0.85, 1.15)) + float(rng.normal(0.0, 0.1))
    where = torch.zeros(window_zyx, dtype=torch.int64)
    where[seen] = labels[seen]
    if rng.random() < 0.5:
        out, where = out.flip(-1), where.flip(-1)
    return out, where


def _window(
    case: SegmentCase, window: Shape, rng: np.random.Generator, settings: PaintSettings
) -> tuple[Tensor, Tensor]:
    """Return tissue and labels in a window that is turned, scaled and bent at random, int64 each."""
    shape, spacing = np.array(case.labels.shape), np.array(case.spacing_zyx_mm)
    middle = shape / 2.0
    if rng.random() < _ABOUT_GLAND:
        most = np.array([0.5, 1.0, 1.0]) * settings.shift_mm / spacing
        middle = middle + rng.uniform(-most, most)
    else:
        middle = middle + rng.uniform(-0.5, 0.5, 3) * np.maximum(shape - np.array(window), 0)
    angle = np.deg2rad(rng.uniform(-settings.rotate_deg, settings.rotate_deg))
    size = np.array([1.0 / rng.uniform(*settings.scale) for _ in range(2)])
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]])
    tilt = np.deg2rad(rng.uniform(-settings.tilt_deg, settings.tilt_deg))
    cos, sin = np.cos(tilt), np.sin(tilt)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]) @ turn * size[[0, 1, 1]]
    steps = [
        (torch.arange(n, dtype=torch.float32) - (n - 1) / 2.0) * float(s)
        for n, s in zip(window, spacing, strict=True)
    ]
    offset = torch.stack(torch.meshgrid(*steps, indexing="ij"), dim=-1) @ torch.tensor(
        turn.T, dtype=torch.float32
    )
    knots = rng.normal(0.0, settings.bend_mm * rng.random(), (1, 3, 4, 6, 6)).astype(np.float32)
    bend = functional.interpolate(torch.from_numpy(knots), size=window, mode="trilinear", align_corners=True)
    place = (offset + bend[0].permute(1, 2, 3, 0)) / torch.tensor(spacing, dtype=torch.float32)
    index = (place + torch.tensor(middle - 0.5, dtype=torch.float32)).round().long()
    for axis, n in enumerate(case.labels.shape):
        index[..., axis].clamp_(0, n - 1)
    flat = (index[..., 0] * case.labels.shape[1] + index[..., 1]) * case.labels.shape[2] + index[..., 2]
    return (torch.from_numpy(one).reshape(-1)[flat].long() for one in (case.tissue, case.labels))  # type: ignore[return-value]


def _image(tissue: Tensor, case: SegmentCase, rng: np.random.Generator, settings: PaintSettings) -> Tensor:
    """Paint tissues with drawn signals and textures, blur them and add the scanner's field and noise."""
    count = len(case.t2w)
    if rng.random() < settings.random_chance:
        signal = rng.uniform(0.0, 1.0, count)
    else:
        spread = float(rng.uniform(*settings.spread))
        signal = case.t2w / case.t2w.max() * np.exp(rng.normal(0.0, spread, count))
    signal = signal / max(float(np.percentile(signal, 90)), 1e-6)
    rough, knots = (signal * rng.uniform(*r, count) for r in (settings.texture, settings.nodules))
    lut = torch.from_numpy(np.stack([signal, rough, knots], axis=-1).astype(np.float32))
    painted = lut[tissue]
    fine = torch.from_numpy(rng.standard_normal(tuple(tissue.shape), dtype=np.float32))
    knot = _knots(tuple(tissue.shape), case.spacing_zyx_mm, float(rng.uniform(*settings.knot_mm)), rng)
    image = painted[..., 0] + painted[..., 1] * fine + painted[..., 2] * knot
    image = _blurred(image, float(rng.uniform(*settings.blur_voxels)))
    image = image * bias_field(tuple(image.shape), float(rng.uniform(*settings.bias)), rng)[0]
    noise = torch.from_numpy(rng.standard_normal((2, *tissue.shape), dtype=np.float32))
    level = float(rng.uniform(*settings.noise))
    image = torch.sqrt((image + level * noise[0]) ** 2 + (level * noise[1]) ** 2)
    low, high = np.log(settings.gamma)
    return image ** float(np.exp(rng.uniform(low, high)))


def _knots(shape: tuple[int, ...], spacing: Triple, size_mm: float, rng: np.random.Generator) -> Tensor:
    """Return smooth noise of spread about 1 with knots this far apart."""
    coarse = [max(2, round(n * s / size_mm) + 1) for n, s in zip(shape, spacing, strict=True)]
    knots = torch.from_numpy(rng.standard_normal((1, 1, *coarse), dtype=np.float32) * np.float32(1.5))
    return functional.interpolate(knots, size=shape, mode="trilinear", align_corners=True)[0, 0]


def _blurred(image: Tensor, sigma_voxels: float) -> Tensor:
    """Smooth in the plane by a Gaussian, three voxels wide each way."""
    steps = torch.arange(-2, 3, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (steps / sigma_voxels) ** 2)
    kernel = kernel / kernel.sum()
    slices = functional.pad(image[:, None], (2, 2, 2, 2), mode="replicate")
    slices = functional.conv2d(slices, kernel.view(1, 1, 5, 1))
    return functional.conv2d(slices, kernel.view(1, 1, 1, 5))[:, 0]


def _field(
    window: Shape, spacing: Triple, rng: np.random.Generator, settings: PaintSettings
) -> tuple[slice, slice, slice]:
    """Draw which part of a window the field of view shows: a square in the plane, most of the slices."""
    cuts = []
    side = float(rng.uniform(*settings.field_mm))
    for axis, (n, s) in enumerate(zip(window, spacing, strict=True)):
        wide = round(side / s) if axis else round(n * float(rng.uniform(0.75, 1.4)))
        size = min(n, wide)
        first = int(rng.integers(0, n - size + 1))
        cuts.append(slice(first, first + size))
    return cuts[0], cuts[1], cuts[2]
