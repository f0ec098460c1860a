"""Where the dose is highest and lowest: local search from the best cells, on the surface and inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Index = NDArray[np.int64]
Labels = NDArray[np.int8]

#: Surface cells, spots and inner cells per part of the structure and per extreme where the search starts.
SURFACE_STARTS, SPOT_STARTS, INNER_STARTS = 12, 12, 1
#: Surface cells instead, where the contours have sharp corners.
SHARP_STARTS = 48
#: How far a search may leave its surface cell, in sides.
FARTHEST = 1.0
#: A surface whose slope (and bend, 1/mm) along the normal is below this runs straight on.
STRAIGHT = 1e-7
#: An extreme on a patch may be off by this part of the dose's span in its cell, and by so many sagittas of
#: the polygon (the values at the lattice are off by one at most; the quadric adds that of its slopes and of
#: its bends); one inside the solid by this part of the bow of the dose in its cell.
PATCH_GRAIN, SAGITTAS, TOP_PART = 5e-5, 3.0, 1e-3
#: A bow of the dose below this part of it is rounding.
NO_BOW = 1e-6
#: Sides of the second look around a turning point, in sides of the cell.
CLOSER = 0.3
#: Places in an inner cell, in sides from its centre: the middle and those of its faces.
_PLACES = np.concatenate([np.zeros((1, 3)), -0.5 * np.eye(3), 0.5 * np.eye(3)])


@dataclass(frozen=True, eq=False)
class Surface:
    """Where on a structure the extremes may lie; all along u, v and n.

    Parameters
    ----------
    inner : ndarray, shape (k,)
        Rows of the cells that lie wholly inside, holes taken away.
    normal : ndarray, shape (p, 3)
        Outward unit normal of the surface in each cut cell (of voxels, which have none: zeros).
    distance_mm : ndarray, shape (p,)
        Of the cell's centre from the surface, negative inside.
    second : ndarray, shape (p, 6)
        Second derivatives (uu, vv, nn, uv, un, vn) of the level function over its gradient's length, 1/mm.
    spots, spot_index, spot_label, spot_off_mm : ndarray, shapes (m, 3), (m,), (m,) and (m,)
        Vertices and points of ends, mm; the lattice cell near each; the part it is of; by how much its
        height is in doubt, mm.
    """

    inner: Index
    normal: Float
    distance_mm: Float
    second: Float
    spots: Float
    spot_index: Index
    spot_label: Labels
    spot_off_mm: Float


@dataclass(frozen=True, eq=False)
class Patches:
    """Pieces of a curved surface, one per surface cell, as quadrics along u, v and n.

    Parameters
    ----------
    points : ndarray, shape (m, 3)
        On the surface, mm.
    normal : ndarray, shape (m, 3)
        Outward unit normals.
    second : ndarray, shape (m, 6)
        As in `Surface`.
    width_mm : ndarray, shape (m, 3)
        Sides of the cells.
    middle_mm : ndarray, shape (m,)
        Heights of the cells' centres: a piece lies within its cell's height.
    """

    points: Float
    normal: Float
    second: Float
    width_mm: Float
    middle_mm: Float

    def straight(self) -> NDArray[np.bool_]:
        """Whether the surface runs straight on along the normal: vertices and ends have as much or more."""
        held: NDArray[np.bool_] = (np.abs(self.normal[:, 2]) < STRAIGHT) & (
            np.abs(self.second[:, 2]) < STRAIGHT
        )
        return held

    def farther(self, gradient: Float) -> tuple[Float, NDArray[np.bool_]]:
        """Return a point of each patch, within its heights, where a dose of this gradient is highest.

        Also whether the surface turns there, and is not held back by the cell's heights: what lies beyond
        these has as much or more.
        """
        a, b, c, d, e, f = self.second.T
        bend = np.stack([np.stack([a, d, e], -1), np.stack([d, b, f], -1), np.stack([e, f, c], -1)], -2)
        basis = _tangents(self.normal)
        shape = basis @ bend @ basis.transpose(0, 2, 1)
        along = np.einsum("nai,ni->na", basis, gradient)
        outward = np.einsum("ni,ni->n", self.normal, gradient)
        curve, turn = np.linalg.eigh(shape * outward[:, None, None])
        pull = np.einsum("nab,na->nb", turn, along)
        held = curve > 1e-9
        move = np.where(held, pull / np.where(held, curve, 1.0), 0.0)
        most = FARTHEST * self.width_mm.max(axis=1, keepdims=True)
        move = np.clip(move, -most, most)
        outward = np.where(outward != 0, outward, 1.0)
        across = np.einsum("nab,nai->nbi", turn, basis)

        def moved(part: Float) -> Float:
            to = part[:, None] * move
            drop = 0.5 * (to**2 * curve).sum(axis=1) / outward
            there: Float = np.einsum("nb,nbi->ni", to, across) - drop[:, None] * self.normal
            return there

        whole = moved(np.ones(len(move)))
        half, off = 0.5 * self.width_mm[:, 2], self.points[:, 2] - self.middle_mm
        room = np.where(whole[:, 2] > 0, half - off, half + off)
        part = np.clip(room / np.maximum(np.abs(whole[:, 2]), 1e-9), 0.0, 1.0)
        found: Float = self.points + moved(part)
        return found, part >= 1.0

    def within(self, points: Float) -> NDArray[np.bool_]:
        """Whether points, one per patch, lie within the patches' heights."""
        held: NDArray[np.bool_] = np.abs(points[:, 2] - self.middle_mm) < 0.5 * self.width_mm[:, 2] + 1e-6
        return held


def _tangents(normal: Float) -> Float:
    """Return two unit vectors across each normal, shape (n, 2, 3)."""
    least = np.eye(3)[np.abs(normal).argmin(axis=1)]
    first = _cross(normal, least)
    first /= np.maximum(np.sqrt((first * first).sum(axis=1)), 1e-12)[:, None]
    return np.stack([first, _cross(normal, first)], axis=1)


def _cross(a: Float, b: Float) -> Float:
    turned: Float = a[:, (1, 2, 0)] * b[:, (2, 0, 1)] - a[:, (2, 0, 1)] * b[:, (1, 2, 0)]
    return turned


@dataclass(frozen=True, eq=False)
class Places:
    """Places where the dose may be highest or lowest, and how far the truth may lie from their doses.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
        Along u, v and n, mm.
    label : ndarray, shape (n,)
        Parts of the structure.
    short_gy : ndarray, shape (n,)
        By how much the part of the solid nearby may have a higher (or lower) dose.
    over_gy : ndarray, shape (n,)
        By how much all of it may have a lower (or higher) dose, as the place may lie off it.
    """

    points: Float
    label: Labels
    short_gy: Float
    over_gy: Float

    @classmethod
    def joined(cls, parts: Sequence[Places]) -> Places:
        """Put places together."""
        return cls(
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.label for part in parts]),
            np.concatenate([part.short_gy for part in parts]),
            np.concatenate([part.over_gy for part in parts]),
        )

    @classmethod
    def sure(cls, points: Float, label: Labels) -> Places:
        """Return places that lie in the solid, with nothing better nearby."""
        return cls(points, label, np.zeros(len(label)), np.zeros(len(label)))

    def seen(self, held: NDArray[np.bool_]) -> Places:
        """Return some of the places."""
        return Places(self.points[held], self.label[held], self.short_gy[held], self.over_gy[held])

    def extremes(self, dose: Float, count: int) -> tuple[Float, Float, Float]:
        """Return minimum and maximum by part, and the least and the most that each may be, (count, 2)."""
        low = _by_part(
            np.minimum, np.inf, (dose, dose - self.short_gy, dose + self.over_gy), self.label, count
        )
        high = _by_part(
            np.maximum, -np.inf, (dose, dose - self.over_gy, dose + self.short_gy), self.label, count
        )
        usual, least, most = (np.stack(pair, axis=1) for pair in zip(low, high, strict=True))
        return usual, least, most


def _by_part(pick: np.ufunc, none: float, doses: Sequence[Float], label: Labels, count: int) -> list[Float]:
    found = []
    for dose in doses:
        best = np.full(count, none)
        pick.at(best, label, dose)
        found.append(np.where(np.isfinite(best), best, np.nan))
    return found


def starts(score: Float, span: Float, label: Labels, count: int) -> tuple[Index, Float]:
    """Return the rows where the dose may be highest or lowest, by part, and 1 or -1 for each.

    Parameters
    ----------
    score, span : ndarray, shape (n,)
        Dose and how much more or less it may be nearby, Gy.
    label : ndarray, shape (n,)
        Part of the structure.
    count : int
        Rows per part and extreme.
    """
    rows, signs = [np.zeros(0, np.int64)], [np.zeros(0)]
    for part in np.nonzero(np.bincount(label, minlength=1))[0]:
        here = np.flatnonzero(label == part)
        level, room = score.take(here), span.take(here)
        for sign in (1.0, -1.0):
            best = here[_largest(room + level if sign > 0 else room - level, count)]
            rows.append(best)
            signs.append(np.full(len(best), sign))
    return np.concatenate(rows), np.concatenate(signs)


def inside_of(centre: Float, width_mm: Float) -> Float:
    """Return the middle of each of some cells and those of its faces, shape (k, 7, 3)."""
    points: Float = centre[:, None, :] + _PLACES * width_mm[:, None, :]
    return points


def turning(dose: Float) -> Float:
    """Return where parabolas through the doses at `inside_of` turn, in sides from the centre, (k, 3)."""
    back, ahead = dose[:, 1:4], dose[:, 4:7]
    bow, rise = back + ahead - 2.0 * dose[:, :1], ahead - back
    found: Float = np.clip(-0.25 * rise / np.where(np.abs(bow) > 1e-9, bow, np.inf), -0.5, 0.5)
    return found


def _largest(values: Float, count: int) -> NDArray[np.intp]:
    if len(values) <= count:
        return np.arange(len(values))
    if count == 1:
        return np.array([values.argmax()])
    return np.argpartition(values, -count)[-count:]
