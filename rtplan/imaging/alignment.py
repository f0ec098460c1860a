"""How well two images lie on each other: the figures by which a registration is judged."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.domain import Grid, Image, Mask, Registration
from rtplan.domain.registration import Displacement
from rtplan.errors import RegistrationError
from rtplan.imaging.body import body_mask
from rtplan.imaging.resample import carry_back, covered, resample

Bool = NDArray[np.bool_]


def body_overlap(a: Mask, b: Mask, within: Mask | None = None) -> float:
    """Return the Dice overlap of two bodies on one grid, inside a third mask where there is one.

    Returns
    -------
    float
        2 |A ∩ B| / (|A| + |B|), 0 to 1; 0 when both are empty.
    """
    a.demand_same_grid(b)
    first, second = a.array, b.array
    if within is not None:
        a.demand_same_grid(within)
        first, second = first & within.array, second & within.array
    total = int(np.count_nonzero(first) + np.count_nonzero(second))
    return 2.0 * int(np.count_nonzero(first & second)) / total if total else 0.0


def mutual_information(a: NDArray[Any], b: NDArray[Any], bins: int = 32) -> float:
    """Return the mutual information of two signals of equal shape, nats.

    Notes
    -----
    The values are cut at the 1st and 99th percentile and counted in ``bins`` × ``bins`` cells.
    """
    cells = []
    for values in (np.ravel(a), np.ravel(b)):
        low, high = np.percentile(values, [1.0, 99.0])
        scaled = (values - low) / max(float(high - low), 1e-9) * bins
        cells.append(np.clip(scaled, 0, bins - 1).astype(np.int64))
    joint = (
        np.bincount(cells[0] * bins + cells[1], minlength=bins * bins).reshape(bins, bins).astype(np.float64)
    )
    joint /= joint.sum()
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    return float(np.sum(joint[filled] * np.log(joint[filled] / apart[filled])))


def quality_of(moving: Image, fixed: Image, registration: Registration) -> Mapping[str, float]:
    """Return the figures by which a registration is judged.

    Returns
    -------
    mapping of str to float
        ``body_overlap`` (Dice of the bodies on the common field), ``mutual_information`` (nats, in the
        fixed body on the common field), ``shift_mm`` (mean distance that the body's points move),
        ``turn_deg``, ``residual_mm`` (median distance between the two bodies' surfaces on the common
        field), ``common_fraction`` (part of the fixed body that the moving image covers), and
        ``least_jacobian`` of a deformable one (at 0 or below it folds).

    Raises
    ------
    RegistrationError
        If the images have no part of the body in common.
    """
    grid = fixed.grid
    support = covered(grid, moving.grid, registration)
    body = body_mask(fixed)
    moved = resample(moving, grid, registration=registration)
    other = resample(body_mask(moving), grid, registration=registration)
    within = body.array & support.array
    if np.count_nonzero(within) < 100:
        raise RegistrationError(
            "The two images have no part of the body in common.",
            action="check that both series show the same region of the same patient.",
        )
    points = grid.to_patient(np.argwhere(within)[:: max(int(within.sum()) // 2000, 1)])
    turn = np.clip((np.trace(registration.matrix[:3, :3]) - 1.0) / 2.0, -1.0, 1.0)
    shift = points - carry_back(points, registration)
    figures = {
        "body_overlap": body_overlap(body, other, support),
        "mutual_information": mutual_information(fixed.array[within], moved.array[within]),
        "shift_mm": float(np.linalg.norm(shift, axis=1).mean()),
        "turn_deg": float(np.degrees(np.arccos(turn))),
        "residual_mm": _surface_distance(body.array, other.array, support.array, grid),
        "common_fraction": float(within.sum() / body.array.sum()),
    }
    if registration.displacement is not None:
        figures["least_jacobian"] = _least_jacobian(registration.displacement)
    return MappingProxyType(figures)


def _surface_distance(a: Bool, b: Bool, within: Bool, grid: Grid) -> float:
    """Return the median of the distances from each surface to the other one, mm."""
    inner: Bool = ndimage.binary_erosion(within, iterations=2)

    def surface(mask: Bool) -> Bool:
        edge: Bool = mask & ~ndimage.binary_erosion(mask, border_value=1)
        return edge & inner

    first, second = surface(a & within), surface(b & within)
    if not first.any() or not second.any():
        return 0.0
    spacing = grid.spacing_zyx_mm
    to_second = ndimage.distance_transform_edt(~second, spacing)[first]
    to_first = ndimage.distance_transform_edt(~first, spacing)[second]
    return float(np.median(np.concatenate([to_second, to_first])))


def _least_jacobian(displacement: Displacement) -> float:
    """Return the least determinant of the derivative of p + d(p) on the field's grid."""
    along = [np.gradient(displacement.vectors.astype(np.float64), axis=axis) for axis in range(3)]
    per_index = np.stack(along, axis=-1)  # [..., component, array axis]
    jacobian = np.eye(3) + per_index @ np.linalg.inv(displacement.grid.affine[:3, :3])
    return float(np.linalg.det(jacobian).min())
