"""Where an arm's dose differs most from the reference's, inside the body."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Grid, Patient
from rtplan.domain.nomenclature import EXTERNAL
from rtplan.errors import RtplanError
from rtplan.imaging.contour import mask_on
from rtplan.report.words import number, place

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Worst:
    """The voxel of the largest dose difference: arm, difference in Gy, point in LPS mm, shape (3,)."""

    arm: str
    change_gy: float
    point_mm: Float

    def words(self, centre_mm: Float) -> str:
        """Return how large it is and where, as seen from a point."""
        return f"{self.arm}: {number(self.change_gy, 2, sign=True)} Gy at {place(self.point_mm - centre_mm)}"


def worst_of(patient: Patient, arms: Iterable[str], reference: str) -> tuple[Worst, ...]:
    """Return the place of the largest difference of each arm whose dose lies on the reference's grid."""
    base = patient.doses[reference]
    inside = _inside(patient, base.grid)
    found = []
    for arm in arms:
        dose = patient.doses[arm]
        if not dose.grid.same_as(base.grid):
            continue
        change = np.where(inside, dose.array - base.array, 0.0)
        index = np.unravel_index(int(np.argmax(np.abs(change))), change.shape)
        point = base.grid.to_patient([int(n) for n in index])
        found.append(Worst(arm, float(change[index]), point))
    return tuple(found)


def _inside(patient: Patient, grid: Grid) -> NDArray[np.bool_]:
    """Return the body on a grid; everything where it is not known there."""
    everything = np.ones(grid.shape, bool)
    if EXTERNAL not in patient.structures:
        return everything
    try:
        body = mask_on(patient.structure(EXTERNAL), grid).array
    except RtplanError:
        return everything
    return body if body.any() else everything
