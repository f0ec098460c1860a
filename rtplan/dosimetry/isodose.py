"""Isodoses as contours, and the difference of two doses as a map with its figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import NDArray

from rtplan.domain import Contours, Dose, Grid, Mask, Structure, Volume
from rtplan.errors import DoseError, GeometryMismatch
from rtplan.imaging.resample import covered, resample

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


@dataclass(frozen=True, eq=False)
class DoseDifference:
    """Evaluated minus reference dose, where both are known.

    Parameters
    ----------
    map : Volume
        Gy on the reference grid; NaN where the evaluated dose is unknown or the mask says no.
    mean_gy, rms_gy, p95_gy, largest_gy : float
        Mean; root mean square; 95th percentile of the size; the difference of the greatest size, signed.
    n : int
        Number of voxels.
    """

    map: Volume
    mean_gy: float
    rms_gy: float
    p95_gy: float
    largest_gy: float
    n: int


def dose_difference(reference: Dose, evaluated: Dose, mask: Mask | None = None) -> DoseDifference:
    """Return the evaluated minus the reference dose on the reference grid (linear between voxels).

    Raises
    ------
    DoseError
        If a dose is not finite, the kinds differ, or no voxel is left.
    GeometryMismatch
        If the frames of reference differ, or the mask lies on another grid.

    Examples
    --------
    >>> from rtplan.domain import Grid
    >>> grid = Grid.axial((2, 2, 2), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    >>> low, high = (Dose(grid, np.full(grid.shape, gy)) for gy in (50.0, 51.5))
    >>> dose_difference(low, high).mean_gy
    1.5
    """
    for dose in (reference, evaluated):
        if not np.isfinite(dose.array).all():
            raise DoseError("A dose holds values that are not finite.")
    if reference.kind != evaluated.kind:
        raise DoseError(f"A difference is of doses of one kind, got {reference.kind} and {evaluated.kind}.")
    frames = {dose.grid.frame_of_reference for dose in (reference, evaluated)} - {""}
    if len(frames) > 1:
        raise GeometryMismatch("The two doses lie in different frames of reference.")
    own = evaluated.grid
    same = Dose(Grid(own.shape, own.affine, reference.grid.frame_of_reference), evaluated.array)
    known = covered(reference.grid, same.grid).array
    if mask is not None:
        reference.demand_same_grid(mask)
        known = known & mask.array
    if not known.any():
        raise DoseError("No voxel is left for the difference: the doses do not lie on each other.")
    moved = resample(same, reference.grid, order="linear").array.astype(np.float64)
    change = np.where(known, moved - reference.array, np.nan)
    inside = change[known]
    return DoseDifference(
        map=Volume(reference.grid, change),
        mean_gy=float(inside.mean()),
        rms_gy=float(np.sqrt((inside**2).mean())),
        p95_gy=float(np.percentile(np.abs(inside), 95.0)),
        largest_gy=float(inside[np.argmax(np.abs(inside))]),
        n=int(inside.size),
    )
