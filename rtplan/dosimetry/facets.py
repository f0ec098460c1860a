"""How far polygons are from smooth curves, and whether they turn at sharp corners (voxels' edges)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rtplan.dosimetry.solid import Solid

#: A corner is sharp where an outline turns by more, rad.
SHARP = 0.6
#: Least part of the area of all rings that holes leave.
LEAST_NET = 0.05


@dataclass(frozen=True)
class Facets:
    """Areas, as parts of that of the contours less holes, and lengths between polygons and smooth curves.

    An edge of length e where the outline turns by an angle t lies up to e t / 8 off an arc, and e² t / 12
    of area is between them; what is longer than the lattice's step is seen by it.

    Parameters
    ----------
    area : float
        Sum over the gentle turns, which err alike, and the sum with its sign over the sharp ones, which to
        the left and to the right make up for each other.
    noise : float
        Root of the sum of squares over the sharp turns.
    sagitta_mm : float
        Mean distance off the arc in the ring where it is largest, mm.
    sharp : bool
        Whether the sharp turns make half a turn in each ring or more, on the average.
    """

    area: float = 0.0
    noise: float = 0.0
    sagitta_mm: float = 0.0
    sharp: bool = False

    @classmethod
    def of(cls, solid: Solid, step_mm: float) -> Facets:
        """Measure the contours of a solid for a lattice's step."""
        rings = [ring for level in solid.levels for plane in level for ring in plane.rings]
        counts = np.array([len(ring) for ring in rings])
        u, v = np.ascontiguousarray(np.concatenate(rings).T)
        stop = np.cumsum(counts)
        after = np.arange(1, len(u) + 1)
        after[stop - 1] = stop - counts
        u, v = u.take(after) - u, v.take(after) - v
        next_u, next_v = u.take(after), v.take(after)
        signed = np.arctan2(u * next_v - v * next_u, u * next_u + v * next_v)
        turn = np.abs(signed)
        length = np.minimum(np.sqrt(u * u + v * v), step_mm)
        length = 0.5 * (length + length.take(after))
        between = length * length * turn
        part = 1.0 / (
            12.0 * np.pi * sum(r * r for level in solid.levels for plane in level for r in plane.radii_mm)
        )
        sagitta = float((np.add.reduceat(length * turn, stop - counts) / counts).max() / 8.0)
        corners = turn > SHARP
        if not corners.any():
            return cls(float(between.sum()) * part, 0.0, sagitta)
        left = np.where(corners, between * np.sign(signed), 0.0)
        area = between[~corners].sum() + np.abs(np.add.reduceat(left, stop - counts)).sum()
        noise = np.sqrt((left * left).sum())
        sharp = bool(turn[corners].sum() > np.pi * len(rings))
        return cls(float(area) * part, float(noise) * part, sagitta, sharp)
