"""The difference of two doses: a map, and its figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rtplan.domain import Dose, Grid, Mask, Volume
from rtplan.errors import DoseError, GeometryMismatch
from rtplan.imaging.resample import covered, resample


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
