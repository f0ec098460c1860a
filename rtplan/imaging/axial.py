"""A volume on axial slices, as planning systems demand; and in words what was done to it."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from rtplan.domain import Dose, Grid, Image
from rtplan.imaging.resample import resample

V = TypeVar("V", Image, Dose)


def axial_grid(grid: Grid) -> Grid:
    """Return the axial grid of about the same spacing that covers a grid's box; itself when it is axial.

    Each patient axis takes the spacing of the array axis that lies nearest to it.
    """
    if grid.is_axial:
        return grid
    nearest = np.abs(grid.direction).argmax(axis=1)  # array axis for x, y, z
    step = np.array(grid.spacing_zyx_mm)[nearest]
    corners = grid.corners()
    low, high = corners.min(axis=0), corners.max(axis=0)
    count = np.maximum(np.ceil((high - low) / step - 1e-6).astype(int), 1)
    first = low + step / 2
    return Grid.axial(
        (int(count[2]), int(count[1]), int(count[0])),
        (float(step[2]), float(step[1]), float(step[0])),
        (float(first[0]), float(first[1]), float(first[2])),
        grid.frame_of_reference,
    )


def axial(volume: V, outside: float) -> tuple[V, str]:
    """Return a volume on axial slices, and what was done in words (empty when it was axial already).

    Parameters
    ----------
    volume : Image or Dose
        On any grid.
    outside : float
        Value of voxels outside the volume's box.

    Examples
    --------
    >>> image = Image(Grid.axial((2, 2, 2), (3.0, 1.0, 1.0), (0.0, 0.0, 0.0)), np.zeros((2, 2, 2)))
    >>> axial(image, -1024.0)[1]
    ''
    """
    grid = axial_grid(volume.grid)
    if grid is volume.grid:
        return volume, ""
    tilt = np.degrees(np.arccos(np.clip(np.abs(volume.grid.direction).max(axis=1).min(), 0.0, 1.0)))
    z, y, x = grid.spacing_zyx_mm
    text = (
        f"resampled (trilinear, {outside:g} outside) from a grid tilted by {tilt:.1f} degrees "
        f"to axial slices, {x:.4g} x {y:.4g} x {z:.4g} mm"
    )
    return resample(volume, grid, outside=outside), text
