"""Dose surface histogram of any organ from the voxels along one side of its surface, ends included."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.domain import Dose, Structure
from rtplan.dosimetry.tube import demand_frame
from rtplan.errors import DoseError, StructureError
from rtplan.imaging.contour import fraction_on
from rtplan.imaging.resample import resample

Float = NDArray[np.float64]

#: A voxel lies on the surface when one of its neighbours by face or by edge lies on the other side.
NEIGHBOURS = ndimage.generate_binary_structure(3, 2)


def shell_doses(
    dose: Dose,
    structure: Structure,
    *,
    side: Literal["inside", "outside"] = "inside",
    finer: int = 2,
) -> Float:
    """Return the doses of the voxels along the surface of a structure, rising, Gy, shape (n,).

    Parameters
    ----------
    dose : Dose
        Gy; linear between voxel centres.
    structure : Structure
        Any organ; its ends count as surface.
    side : str
        Voxels just inside or just outside the surface.
    finer : int
        Each dose voxel is divided by this number along each axis.

    Raises
    ------
    StructureError
        If no voxel lies inside the structure, or its surface reaches the border of the dose grid.
    DoseError
        If the dose is not finite, or ``finer`` is not positive.

    Notes
    -----
    This is the definition of SlicerRT's dose surface histogram (its shell of one voxel, dose grid
    oversampled twice). Voxels are no measure of area on oblique surfaces: `surface.surface_map` weighs by
    true area, but knows only tubes.
    """
    demand_frame(structure, dose.grid)
    if finer < 1 or not np.isfinite(dose.array).all():
        raise DoseError("A surface histogram needs a finite dose and at least one part per voxel.")
    z, y, x = (spacing / finer for spacing in dose.grid.spacing_zyx_mm)
    fine = dose.grid.with_spacing((z, y, x))
    fraction = fraction_on(structure, fine)
    mask = fraction >= 0.5
    if not mask.any():
        raise StructureError("Nothing of the structure lies on the dose grid.", where=structure.name)
    for axis in range(3):
        if mask.take((0, -1), axis=axis).any():
            raise StructureError(
                "The structure reaches the border of the dose grid: its surface there is not known.",
                where=structure.name,
                action="calculate the dose on a larger grid, or cut the structure.",
            )
    if side == "inside":
        shell = mask & ~ndimage.binary_erosion(mask, NEIGHBOURS)
    else:
        shell = ndimage.binary_dilation(mask, NEIGHBOURS) & ~mask
    doses: Float = np.sort(resample(dose, fine, order="linear").array[shell].astype(np.float64))
    return doses


def shell_histogram(doses_gy: Float, levels_gy: Float) -> Float:
    """Return the share of the shell at or above each level, %, from the rising doses of `shell_doses`.

    Examples
    --------
    >>> shell_histogram(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 2.0, 5.0]))
    array([100.,  75.,   0.])
    """
    below = np.searchsorted(doses_gy, levels_gy, side="left")
    share: Float = 100.0 * (1.0 - below / doses_gy.size)
    return share
