"""Contours finer than voxels: where a probability falls through a level, each slice's area kept."""

from __future__ import annotations

from typing import cast

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import NDArray

from rtplan.domain import Contours, Volume
from rtplan.errors import StructureError
from rtplan.imaging.raster import ring_area

Float = NDArray[np.float64]

#: The area of a slice's contours is that of its voxels to this share.
AREA_TOLERANCE = 1e-4
#: Most halvings of the level.
HALVINGS = 40


def contours_of_probability(probability: Volume) -> Contours:
    """Return smooth rings around what is more probable than not, with the area of those voxels.

    Parameters
    ----------
    probability : Volume
        0 to 1, finite, on any grid; 0 is taken beyond it.

    Returns
    -------
    Contours
        In the grid's slices. In each slice the rings follow one level of the probability (linear between
        voxel centres): the one at which they enclose the area of the voxels of at least 0.5. Holes are rings
        of their own.

    Raises
    ------
    StructureError
        If a value is not a probability.
    """
    values = np.asarray(probability.array, np.float64)
    if not (np.isfinite(values).all() and values.min() >= 0.0 and values.max() <= 1.0):
        raise StructureError("Probabilities lie between 0 and 1.")
    rings = []
    for k in np.flatnonzero((values >= 0.5).any(axis=(1, 2))):
        for flat in _slice_rings(values[k]):
            rings.append(probability.grid.to_patient(np.insert(flat, 0, float(k), axis=1)))
    return Contours(tuple(rings), probability.grid.frame_of_reference)


def _slice_rings(plane: Float) -> list[Float]:
    """Return the rings (row, column) of one slice at the level that keeps the area."""
    wanted = float(np.count_nonzero(plane >= 0.5))
    padded = np.pad(plane, 1)
    generator = contour_generator(z=padded, line_type=LineType.Separate)
    low, high, rings = 0.0, float(plane.max()), []
    for _ in range(HALVINGS):
        level = (low + high) / 2
        lines = cast(list[Float], generator.lines(level))  # closed: the first point is the last
        rings = [line[:-1, ::-1] - 1.0 for line in lines if len(line) > 3]
        area = abs(sum(ring_area(ring) for ring in rings))
        if abs(area - wanted) <= AREA_TOLERANCE * wanted:
            break
        low, high = (level, high) if area > wanted else (low, level)
    return rings
