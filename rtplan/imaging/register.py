"""Bring an MR onto a CT: rigid or deformable registration with a stated quality; a bad one is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 (the name its users know)
from numpy.typing import NDArray

from rtplan.domain import Grid, Image, Mask, Registration
from rtplan.domain.registration import Displacement
from rtplan.errors import RegistrationError
from rtplan.imaging.alignment import body_overlap, mutual_information, quality_of
from rtplan.imaging.body import body_mask
from rtplan.imaging.itk import from_itk, to_itk
from rtplan.imaging.resample import demand_frames, resample

__all__ = ["RegisterSettings", "body_overlap", "identity", "mutual_information", "quality_of", "register"]


@dataclass(frozen=True)
class RegisterSettings:
    """How a registration runs, and what is good enough.

    Parameters
    ----------
    working_mm : float
        Both images are sampled to about this spacing first.
    least_overlap : float
        Dice of the two bodies on their common field below which the result is refused.
    most_shift_mm, most_turn_deg : float
        A rigid result beyond these is refused as implausible within one frame of reference; with two
        frames of reference only the overlap decides.
    least_common : float
        Part of the common field before that must still be common afterwards, within one frame.
    knots_mm : float
        Spacing of the B-spline's knots, deformable only.
    samples : int
        Points at which the similarity is taken, at most, on every level.
    """

    working_mm: float = 3.0
    least_overlap: float = 0.90
    most_shift_mm: float = 60.0
    most_turn_deg: float = 30.0
    least_common: float = 0.8
    knots_mm: float = 60.0
    samples: int = 20000


def identity(moving: Image, fixed: Image) -> Registration:
    """Return the registration that leaves every point where it is, with its quality.

    Raises
    ------
    GeometryMismatch
        If the frames of reference differ.
    """
    demand_frames(moving.grid, fixed.grid, None)
    frame = fixed.grid.frame_of_reference
    plain = Registration(frame, frame, np.eye(4), "identity")
    return Registration(frame, frame, np.eye(4), "identity", quality_of(moving, fixed, plain))


def register(
    moving: Image,
    fixed: Image,
    *,
    deformable: bool = False,
    seed: int = 1,
    settings: RegisterSettings | None = None,
) -> Registration:
    """Return the registration that brings ``moving`` onto ``fixed``.

    Parameters
    ----------
    moving, fixed : Image
        Usually the MR and the CT. Where they share a frame of reference the search starts from their
        positions, else from the centres of the bodies.
    deformable : bool
        Follow the rigid one by a B-spline.
    seed : int
        Of the points at which the similarity is sampled; same input and seed, same output.
    settings : RegisterSettings, optional
        Resolution and limits.

    Returns
    -------
    Registration
        From the moving frame to the fixed one, with its quality (see `quality_of`).

    Raises
    ------
    RegistrationError
        If the result is not good enough; the message holds the figures.

    References
    ----------
    Mattes D et al. PET-CT image registration in the chest using free-form deformations. IEEE Trans Med
    Imaging 2003;22:120-128.
    """
    settings = settings or RegisterSettings()
    small_fixed, small_moving = _working(fixed, settings), _working(moving, settings)
    body = body_mask(small_fixed)
    fixed_itk, moving_itk = to_itk(_windowed(small_fixed)), to_itk(_windowed(small_moving))
    region = to_itk(body)  # not the air around it: it would draw the result towards the larger overlap
    starts = _starts(small_moving, small_fixed, body)
    pair = fixed_itk, moving_itk, region
    found = [_rigid(pair, start, settings.samples, seed) for start in starts]
    rigid = min(found, key=lambda one: one[0])[1]
    rigid.SetParameters([round(p, 6) for p in rigid.GetParameters()])  # sums differ in their last digits
    frames = moving.grid.frame_of_reference, fixed.grid.frame_of_reference
    matrix: NDArray[np.float64] = np.linalg.inv(_matrix(rigid)).astype(np.float64)
    result = Registration(*frames, matrix, "rigid")
    if deformable:
        field = _deform(pair, rigid, settings, seed)
        result = Registration(
            *frames, matrix, "deformable", displacement=Displacement(small_fixed.grid, field)
        )
    quality = quality_of(small_moving, small_fixed, result)
    start = identity(small_moving, small_fixed).quality if frames[0] == frames[1] else None
    _judge(quality, start, settings)
    return Registration(*frames, matrix, result.kind, quality, result.displacement)


def _working(image: Image, settings: RegisterSettings) -> Image:
    """Return the image at the working resolution."""
    step = [max(settings.working_mm, s) for s in image.grid.spacing_zyx_mm]
    return resample(image, image.grid.with_spacing((step[0], step[1], step[2])))


def _windowed(image: Image) -> Image:
    """Return the image with its values cut where they say nothing about soft tissue and bone."""
    if image.modality == "MR":
        top = float(np.percentile(image.array, 99.5))
        return image.with_array(np.clip(image.array, 0.0, top))
    return image.with_array(np.clip(image.array, -500.0, 1000.0))


def _centre(grid: Grid, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    centre: NDArray[np.float64] = grid.to_patient(np.argwhere(mask).mean(axis=0))
    return centre


def _starts(moving: Image, fixed: Image, body: Mask) -> list[Any]:
    """Return the rigid transforms (fixed point to moving point) from which the search starts."""
    centre = _centre(fixed.grid, body.array)
    shift = _centre(moving.grid, body_mask(moving).array) - centre
    offsets = [shift]
    if moving.grid.frame_of_reference == fixed.grid.frame_of_reference:
        offsets.insert(0, np.zeros(3))
    starts = []
    for offset in offsets:
        start = sitk.Euler3DTransform()
        start.SetCenter(tuple(centre))
        start.SetTranslation(tuple(offset))
        starts.append(start)
    return starts


def _method(fixed: Any, region: Any, levels: Sequence[tuple[int, float]], samples: int, seed: int) -> Any:
    """Return a registration method; ``levels`` are shrink factor and smoothing in mm, coarse to fine."""
    count = float(np.prod(fixed.GetSize()))
    shares = [min(samples * shrink**3 / count, 1.0) for shrink, _ in levels]
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel(shares, seed)
    method.SetMetricFixedMask(region)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([shrink for shrink, _ in levels])
    method.SetSmoothingSigmasPerLevel([smooth for _, smooth in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetNumberOfThreads(1)  # sums in one order: same input, same output
    return method


def _rigid(pair: tuple[Any, Any, Any], start: Any, samples: int, seed: int) -> tuple[float, Any]:
    """Return the metric (lower is better) and the rigid transform found from one start."""
    fixed, moving, region = pair
    method = _method(fixed, region, ((2, 5.0), (1, 2.5), (1, 1.0)), samples, seed)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.02, 80, 0.6, 1e-5)
    method.SetOptimizerScalesFromPhysicalShift()
    transform = sitk.Euler3DTransform(start)
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(fixed, moving)
        return float(method.GetMetricValue()), transform
    except RuntimeError:  # no overlap left on the way
        return float("inf"), start


def _deform(
    pair: tuple[Any, Any, Any], rigid: Any, settings: RegisterSettings, seed: int
) -> NDArray[np.float32]:
    """Return the B-spline's displacement on the fixed grid, before the rigid part, [z, y, x, 3] mm."""
    fixed, moving, region = pair
    size = [n * s for n, s in zip(fixed.GetSize(), fixed.GetSpacing(), strict=True)]
    mesh = [max(round(length / settings.knots_mm), 1) for length in size]
    spline = sitk.BSplineTransformInitializer(fixed, mesh, 3)
    method = _method(fixed, region, ((2, 3.0), (1, 1.0)), settings.samples, seed)
    method.SetMovingInitialTransform(rigid)
    method.SetOptimizerAsLBFGSB(1e-4, 20, 5, 40)
    method.SetInitialTransform(spline, inPlace=True)
    method.Execute(fixed, moving)
    to_field = sitk.TransformToDisplacementFieldFilter()
    to_field.SetReferenceImage(fixed)
    field: NDArray[np.float32] = from_itk(to_field.Execute(spline)).astype(np.float32)
    return field


def _matrix(transform: Any) -> NDArray[np.float64]:
    """Return a rigid SimpleITK transform as a 4 × 4 matrix (fixed point to moving point)."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    return matrix


def _judge(
    quality: Mapping[str, float], start: Mapping[str, float] | None, settings: RegisterSettings
) -> None:
    """Raise RegistrationError when the figures are not good enough.

    ``start`` holds the figures of the positions as they came, where the frame of reference is one.
    """
    reasons = []
    if quality["body_overlap"] < settings.least_overlap:
        reasons.append(f"the bodies overlap by {quality['body_overlap']:.2f} < {settings.least_overlap:.2f}")
    if quality.get("least_jacobian", 1.0) <= 0.0:
        reasons.append("the deformation folds")
    if start is not None:
        reasons += _against(quality, start, settings)
    if reasons:
        figures = ", ".join(f"{key} {value:.3g}" for key, value in quality.items())
        raise RegistrationError(
            f"The registration of the two images is refused: {' and '.join(reasons)} ({figures}).",
            action="look at both series; supply a registration made by hand, or another series.",
        )


def _against(
    quality: Mapping[str, float], start: Mapping[str, float], settings: RegisterSettings
) -> list[str]:
    """Return what speaks against a result within one frame of reference."""
    reasons = []
    if quality["shift_mm"] > settings.most_shift_mm:
        reasons.append(f"the shift is {quality['shift_mm']:.0f} mm within one frame of reference")
    if quality["turn_deg"] > settings.most_turn_deg:
        reasons.append(f"the turn is {quality['turn_deg']:.0f}° within one frame of reference")
    if quality["mutual_information"] < start["mutual_information"]:
        reasons.append("the images agree less than where they lay before")
    if quality["residual_mm"] > max(start["residual_mm"], settings.working_mm):
        reasons.append(f"the outlines lie {quality['residual_mm']:.1f} mm apart, further than before")
    if quality["common_fraction"] < settings.least_common * start["common_fraction"]:
        reasons.append("the images have less of the body in common than before")
    return reasons
