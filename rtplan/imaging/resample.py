"""Bring a volume onto another grid, by name: the only way in which two grids meet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, TypeVar

import numpy as np
import SimpleITK as sitk  # noqa: N813 (the name its users know)
from numpy.typing import ArrayLike, NDArray

from rtplan.domain import Grid, Mask, Registration, Volume
from rtplan.errors import GeometryMismatch
from rtplan.imaging.itk import from_itk, pull_transform, to_itk

V = TypeVar("V", bound=Volume)
Order = Literal["nearest", "linear", "cubic"]

_INTERPOLATORS: dict[str, Any] = {
    "nearest": sitk.sitkNearestNeighbor,
    "linear": sitk.sitkLinear,
    "cubic": sitk.sitkBSpline3,
}


def resample(
    volume: V,
    grid: Grid,
    *,
    order: Order = "linear",
    outside: float = 0.0,
    registration: Registration | None = None,
) -> V:
    """Return the volume on another grid, as the same class with the same meaning.

    Parameters
    ----------
    volume : Image, Dose, Mask or Volume
        What is moved; lies in ``registration.from_frame`` when there is a registration.
    grid : Grid
        Where it is wanted; lies in ``registration.to_frame``.
    order : str
        ``nearest``, ``linear`` or ``cubic`` (B-spline of third order; may overshoot at edges).
    outside : float
        Value where the new voxel's centre lies outside the box of the old grid. The box ends half a voxel
        beyond the outer voxel centres; in that rim the edge value is taken.
    registration : Registration, optional
        Needed when the frames of reference differ.

    Returns
    -------
    Volume
        Of the class of ``volume``. A mask is interpolated and then taken where it is 0.5 or more.

    Raises
    ------
    GeometryMismatch
        If the frames of reference do not agree.

    Notes
    -----
    Values are sampled at the new voxel centres; there is no averaging. For a structure's partial volume on
    a coarse grid use `rtplan.imaging.contour.fraction_on`.

    Examples
    --------
    >>> import numpy as np
    >>> from rtplan.domain import Grid, Volume
    >>> coarse = Grid.axial((2, 2, 2), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    >>> ramp = Volume(coarse, np.arange(8.0).reshape(2, 2, 2))
    >>> float(resample(ramp, Grid.axial((1, 1, 1), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0))).array[0, 0, 0])
    3.5
    """
    demand_frames(volume.grid, grid, registration)
    if registration is None and volume.grid.same_as(grid):
        return replace(volume, grid=grid)
    source = to_itk(volume)
    moved = sitk.Resample(
        source,
        grid.shape[::-1],
        pull_transform(registration),
        _INTERPOLATORS[order],
        tuple(grid.origin_mm),
        grid.spacing_zyx_mm[::-1],
        tuple(grid.direction[:, ::-1].ravel()),
        float(outside),
        sitk.sitkUnknown if order == "nearest" else sitk.sitkFloat32,
    )
    array = from_itk(moved)
    return replace(volume, grid=grid, array=array >= 0.5 if volume.array.dtype == np.bool_ else array)


def covered(grid: Grid, by: Grid, registration: Registration | None = None) -> Mask:
    """Return the voxels of ``grid`` whose centres lie inside the box of ``by``.

    Parameters
    ----------
    grid, by : Grid
        The box of ``by`` ends half a voxel beyond its outer voxel centres.
    registration : Registration, optional
        Takes the frame of ``by`` to the frame of ``grid``.

    Raises
    ------
    GeometryMismatch
        If the frames of reference do not agree.
    """
    demand_frames(by, grid, registration)
    if registration is not None and registration.displacement is not None:
        box = Mask(by, np.ones(by.shape, np.bool_))
        return resample(box, grid, order="nearest", registration=registration)
    back = np.eye(4) if registration is None else np.linalg.inv(registration.matrix)
    to_patient = back @ grid.affine
    to_index = np.linalg.inv(by.affine) @ to_patient
    axes = [np.arange(n, dtype=np.float64) for n in grid.shape]
    inside: NDArray[np.bool_] = np.ones(grid.shape, np.bool_)
    for row, count in zip(to_index[:3], by.shape, strict=True):
        index = row[3] + (row[0] * axes[0])[:, None, None] + (row[1] * axes[1])[:, None] + (row[2] * axes[2])
        inside &= (index >= -0.5 - 1e-6) & (index <= count - 0.5 + 1e-6)
    return Mask(grid, inside)


def carry_back(points: ArrayLike, registration: Registration) -> NDArray[np.float64]:
    """Take points (x, y, z), shape (n, 3), LPS mm, of ``to_frame`` to where they come from.

    Works for rigid and deformable registrations; the inverse of ``Registration.apply`` for the former.
    """
    transform = pull_transform(registration)
    flat = np.asarray(points, np.float64).reshape(-1, 3)
    moved = [transform.TransformPoint(tuple(point)) for point in flat]
    return np.array(moved, np.float64).reshape(np.shape(points))


def demand_frames(moving: Grid, fixed: Grid, registration: Registration | None) -> None:
    """Raise GeometryMismatch unless the frames agree, through the registration where there is one."""
    if registration is None:
        if moving.frame_of_reference != fixed.frame_of_reference:
            raise GeometryMismatch(
                "Two volumes lie in different frames of reference, and no registration joins them.",
                where=f"frames {moving.frame_of_reference or '-'} and {fixed.frame_of_reference or '-'}",
                action="register them first (imaging.register), or supply a registration.",
            )
        return
    wanted = (registration.from_frame, registration.to_frame)
    found = (moving.frame_of_reference, fixed.frame_of_reference)
    if wanted != found:
        raise GeometryMismatch(
            f"The registration goes from frame {wanted[0] or 'none'} to {wanted[1] or 'none'}, "
            f"the volumes lie in {found[0] or 'none'} and {found[1] or 'none'}.",
            action="use the registration of these two series.",
        )
