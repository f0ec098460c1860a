"""Isodoses as contours, and whether one closes within the dose grid."""

from __future__ import annotations

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import NDArray

from rtplan.domain import Contours, Dose, Structure
from rtplan.errors import DoseError

Float = NDArray[np.float64]


def demand_closed(dose: Dose, level_gy: float) -> None:
    """Raise DoseError where an isodose has no known end: level <= 0, dose not finite, at the border."""
    if not (np.isfinite(level_gy) and level_gy > 0):
        raise DoseError(f"An isodose needs a positive level, got {level_gy} Gy.")
    if not np.isfinite(dose.array).all():
        raise DoseError("The dose holds values that are not finite.")
    for axis, count in enumerate(dose.grid.shape):
        if count > 1 and (dose.array.take((0, -1), axis=axis) >= level_gy).any():
            raise DoseError(
                f"The isodose of {level_gy:.2f} Gy leaves the dose grid: its end is not known.",
                action="calculate the dose on a larger grid, or choose a higher level.",
            )


def isodose(dose: Dose, level_gy: float, name: str | None = None) -> Structure:
    """Return an isodose as contours in the slices of the dose grid, linear between voxel centres.

    Parameters
    ----------
    dose : Dose
        Gy.
    level_gy : float
        At least this dose is inside.
    name : str, optional
        ``zIsodose_<level>`` (a structure of control) by default.

    Returns
    -------
    Structure
        Closed rings, LPS mm; holes are separate rings (exclusive or). None where no voxel reaches the level.

    Raises
    ------
    DoseError
        If the isodose reaches the border of the grid, or the level is not positive.
    """
    demand_closed(dose, level_gy)
    rings = []
    for k in np.flatnonzero((dose.array >= level_gy).any(axis=(1, 2))):
        plane = dose.array[k].astype(np.float64)
        for line in contour_generator(z=plane, line_type=LineType.Separate).lines(level_gy):
            ring = np.asarray(line, np.float64)[:-1]  # closed: the last point is the first
            if len(ring) >= 3:
                index = np.column_stack([np.full(len(ring), float(k)), ring[:, ::-1]])
                rings.append(dose.grid.to_patient(index))
    region = Contours(tuple(rings), dose.grid.frame_of_reference)
    return Structure(name or f"zIsodose_{level_gy:g}", "CONTROL", region)
