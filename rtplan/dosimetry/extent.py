"""Whether a structure is whole: cut by the field of view, or completed outside the common support."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Grid, Mask, Patient, Structure
from rtplan.domain.nomenclature import SUPPORT

Float = NDArray[np.float64]


def points_of(structure: Structure) -> Float:
    """Return points of a structure, shape (n, 3), LPS mm: voxel centres of a mask, vertices of contours."""
    region = structure.region
    if isinstance(region, Mask):
        return region.grid.to_patient(np.argwhere(region.array))
    return np.concatenate([np.zeros((0, 3)), *region.rings])


def is_cut(structure: Structure, view: Grid) -> bool:
    """Whether a structure reaches the outermost voxels of the image that it was drawn on.

    An organ that goes on beyond the image has an unknown volume: its absolute metrics may be read, but
    no metric relative to the whole organ.
    """
    points = points_of(structure)
    if not len(points):
        return False
    index = view.to_index(points)
    last = np.array(view.shape) - 1
    outermost = (index < 0.45) | (index > last - 0.45)
    return bool(outermost[:, last > 0].any())


def completed_fraction(patient: Patient, name: str) -> float:
    """Return the part of a structure outside the common support: there arms take the reference's value."""
    support = patient.structures.get(SUPPORT)
    if support is None or not isinstance(support.region, Mask) or name == SUPPORT:
        return 0.0
    points = points_of(patient.structures[name])
    if not len(points):
        return 0.0
    grid = support.region.grid
    index = np.rint(grid.to_index(points)).astype(np.int64)
    within = ((index >= 0) & (index < np.array(grid.shape))).all(axis=1)
    held = np.zeros(len(points), bool)
    held[within] = support.region.array[tuple(index[within].T)]
    return float(1.0 - held.mean())
