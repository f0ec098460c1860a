"""Between rtplan's volumes ([z, y, x], one affine) and SimpleITK's images (spacing, origin, direction)."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 (the name its users know)
from numpy.typing import NDArray

from rtplan.domain import Grid, Registration, Volume


def to_itk(volume: Volume) -> Any:
    """Return a SimpleITK image of a volume (bool as uint8, else float32); LPS mm, as ITK has it."""
    array = volume.array.astype(np.uint8 if volume.array.dtype == np.bool_ else np.float32)
    return place(sitk.GetImageFromArray(array), volume.grid)


def place(image: Any, grid: Grid) -> Any:
    """Give a SimpleITK image of the grid's shape the grid's origin, spacing and direction; return it."""
    image.SetOrigin(tuple(grid.origin_mm))
    image.SetSpacing(grid.spacing_zyx_mm[::-1])
    image.SetDirection(tuple(grid.direction[:, ::-1].ravel()))
    return image


def from_itk(image: Any) -> NDArray[Any]:
    """Return the voxels of a SimpleITK image, [z, y, x]."""
    array: NDArray[Any] = sitk.GetArrayFromImage(image)
    return array


def pull_transform(registration: Registration | None) -> Any:
    """Return the SimpleITK transform that takes points of ``to_frame`` back to ``from_frame``.

    Notes
    -----
    That is the direction in which ITK resamples. With a displacement d the point p of ``to_frame`` comes
    from ``matrix⁻¹ (p + d(p))``.
    """
    if registration is None:
        return sitk.Transform(3, sitk.sitkIdentity)
    back = np.linalg.inv(registration.matrix)
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(tuple(back[:3, :3].ravel()))
    affine.SetTranslation(tuple(back[:3, 3]))
    field = registration.displacement
    if field is None:
        return affine
    vectors = sitk.GetImageFromArray(field.vectors.astype(np.float64), isVector=True)
    warp = sitk.DisplacementFieldTransform(place(vectors, field.grid))
    return sitk.CompositeTransform([affine, warp])  # the last one is applied first
