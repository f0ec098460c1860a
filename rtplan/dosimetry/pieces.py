"""The solid in pieces, each between two planes or beyond an end, with its level function at any points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rtplan.dosimetry.closing import closing
from rtplan.dosimetry.distance import Outline
from rtplan.dosimetry.solid import Solid

Float = NDArray[np.float64]
#: A plane of one depth, and which of its rings (`Plane.chosen`).
Key = tuple[int, int, str]
Power = Callable[[Key], Float]


@dataclass(frozen=True)
class Piece:
    """Solid between two planes, or beyond one: ``value + slope t + bend t²/2 <= 0`` for t to ``height_mm``.

    Parameters
    ----------
    depth, plane : int
        Where it starts.
    way : int
        1 upwards, -1 downwards.
    start_mm, height_mm : float
        Along the normal.
    cap : bool
        Whether it lies beyond an end.
    narrows : float
        Of a cap: see `closing.closing`.
    """

    depth: int
    plane: int
    way: int
    start_mm: float
    height_mm: float
    cap: bool
    narrows: float = 0.0

    def holds(self, height_mm: float) -> bool:
        """Whether a height lies in the piece or at its ends."""
        t = self.way * (height_mm - self.start_mm)
        return -1e-6 <= t <= self.height_mm + 1e-6


class Shape:
    """The solid in pieces, with its level function at any points, without a lattice."""

    def __init__(self, solid: Solid, typical_gap: float) -> None:
        self.solid = solid
        self.outlines: dict[Key, Outline] = {}
        self.gaps = [
            {k: b.height_mm - a.height_mm for k, (a, b) in enumerate(pairwise(planes)) if any(a.up)}
            for planes in solid.levels
        ]
        self.pieces = [
            piece for depth in range(len(solid.levels)) for piece in self._of_depth(depth, typical_gap)
        ]

    def _of_depth(self, depth: int, typical_gap: float) -> list[Piece]:
        planes, gaps = self.solid.levels[depth], self.gaps[depth]
        found = [Piece(depth, k, 1, planes[k].height_mm, gap, False) for k, gap in gaps.items()]
        for k, plane in enumerate(planes):
            for way in (1, -1):
                if not all(plane.up if way > 0 else plane.down):
                    gap = gaps.get(k - 1 if way > 0 else k, typical_gap)
                    height, narrows = closing(planes, k, way, gap)
                    found.append(Piece(depth, k, way, plane.height_mm, height, True, narrows))
        return found

    def outline(self, key: Key) -> Outline:
        """Return the rings that a key names."""
        if key not in self.outlines:
            depth, number, which = key
            plane = self.solid.levels[depth][number]
            chosen = plane.chosen(which) or plane.chosen()
            self.outlines[key] = Outline.of(
                [plane.rings[i] for i in chosen], [plane.radii_mm[i] for i in chosen]
            )
        return self.outlines[key]

    def parabola(self, piece: Piece, power: Power) -> tuple[Float, Float, Float]:
        """Return value, slope and bend (see `Piece`) of the level function where ``power`` is known."""
        depth, k, way, gaps = piece.depth, piece.plane, piece.way, self.gaps[piece.depth]
        inner = (k - 1 if way > 0 else k) if piece.cap else k
        if not piece.cap:
            value = power((depth, k, "up"))
        else:
            value = power((depth, k, "not up" if way > 0 else "not down"))
        if inner not in gaps:
            return value, np.zeros_like(value), np.zeros_like(value)
        gap, bend = gaps[inner], self._bend(depth, inner, power)
        if not piece.cap:
            return value, self._rise(depth, k, power) - 0.5 * bend * gap, bend
        other = power((depth, k - way, "up" if way > 0 else "down"))
        slope = np.maximum((value - other) / gap + 0.5 * bend * gap, 0.0)
        return value, slope, np.maximum(bend, 0.0)

    def _rise(self, depth: int, k: int, power: Power) -> Float:
        rise: Float = (power((depth, k + 1, "down")) - power((depth, k, "up"))) / self.gaps[depth][k]
        return rise

    def _bend(self, depth: int, k: int, power: Power) -> Float:
        """Return the limited second difference around a gap (as `layers` has it on the lattice)."""
        gaps = self.gaps[depth]
        known = [j for j in (k - 1, k, k + 1, k + 2) if j in gaps and j - 1 in gaps]
        around = (k, k + 1) if k in known and k + 1 in known else ((k + 1, k + 2), (k, k - 1))[k in known]
        pair = [
            (self._rise(depth, j, power) - self._rise(depth, j - 1, power)) / (0.5 * (gaps[j] + gaps[j - 1]))
            for j in around
            if j in known
        ]
        if not pair:
            return np.zeros_like(power((depth, k, "up")))
        a, b = pair[0], pair[-1]
        return np.where(a * b > 0, np.where(np.abs(a) < np.abs(b), a, b), 0.0)
