"""Signed distance to planar polygons, exact, at scattered points and on a lattice; negative inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Float = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Lattice:
    """Square cells in the contour plane; ``(v, u)`` arrays of values at cell centres.

    Parameters
    ----------
    corner_mm : tuple of float
        (u, v) of the outer corner of cell [0, 0].
    step_mm : float
        Side of a cell.
    shape : tuple of int
        (nv, nu).
    """

    corner_mm: tuple[float, float]
    step_mm: float
    shape: tuple[int, int]

    @property
    def u_mm(self) -> Float:
        """Centres along u, shape (nu,)."""
        return self.corner_mm[0] + (np.arange(self.shape[1], dtype=np.float64) + 0.5) * self.step_mm

    @property
    def v_mm(self) -> Float:
        """Centres along v, shape (nv,)."""
        return self.corner_mm[1] + (np.arange(self.shape[0], dtype=np.float64) + 0.5) * self.step_mm


@dataclass(frozen=True)
class Outline:
    """All rings of one plane as flat arrays.

    Parameters
    ----------
    points : ndarray, shape (n, 2)
        Vertices (u, v), mm, ring after ring.
    start, length : ndarray, shape (n,)
        First vertex and number of vertices of the ring that a vertex belongs to.
    radius : ndarray, shape (n,)
        Radius of the circle of equal area of that ring, mm.
    """

    points: Float
    start: Index
    length: Index
    radius: Float

    @classmethod
    def of(cls, rings: Sequence[Float], radii: Sequence[float] = ()) -> Outline:
        """Make an outline of closed rings, each of shape (n, 2), without a repeated first point."""
        counts = np.array([len(ring) for ring in rings], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        radii = radii or [equal_radius(ring) for ring in rings]
        return cls(
            np.concatenate(list(rings)),
            np.repeat(starts, counts),
            np.repeat(counts, counts),
            np.repeat(np.asarray(radii, np.float64), counts),
        )

    def neighbour(self, vertex: Index, by: int) -> Index:
        """Return the vertex that lies ``by`` places on along the ring."""
        start, length = self.start[vertex], self.length[vertex]
        moved: Index = start + (vertex - start + by) % length
        return moved

    def split(self, longest_mm: float) -> Outline:
        """Return the outline with edges longer than this cut into equal parts (same polygons)."""
        following = self.neighbour(np.arange(len(self.points)), 1)
        edge = self.points[following] - self.points
        parts = np.maximum(np.ceil(np.hypot(edge[:, 0], edge[:, 1]) / longest_mm), 1).astype(np.int64)
        if parts.max(initial=1) == 1:
            return self
        which = np.repeat(np.arange(len(parts)), parts)
        begin = np.concatenate([[0], np.cumsum(parts)[:-1]])
        share = (np.arange(len(which)) - begin[which]) / parts[which]
        points = self.points[which] + share[:, None] * edge[which]
        ring_starts = np.unique(self.start)
        new_start = begin[ring_starts]
        new_length = np.diff(np.concatenate([new_start, [len(points)]]))
        ring = np.searchsorted(ring_starts, self.start)[which]
        return Outline(points, new_start[ring], new_length[ring], self.radius[which])


def area(ring: Float) -> float:
    """Return the signed area of a ring of shape (n, 2), mm² (shoelace formula)."""
    u, v = ring[:, 0] - ring[0, 0], ring[:, 1] - ring[0, 1]
    return float(0.5 * (u[:-1] @ v[1:] - v[:-1] @ u[1:]))


def equal_radius(ring: Float) -> float:
    """Return the radius of the circle of a ring's area, mm."""
    return float(np.sqrt(abs(area(ring)) / np.pi))


def to_segments(points: Float, begin: Float, end: Float) -> Float:
    """Return the squared distance of points to segments, all of shape (..., 2), broadcast."""
    edge_u, edge_v = end[..., 0] - begin[..., 0], end[..., 1] - begin[..., 1]
    away_u, away_v = points[..., 0] - begin[..., 0], points[..., 1] - begin[..., 1]
    length = edge_u * edge_u + edge_v * edge_v
    share = (away_u * edge_u + away_v * edge_v) / np.where(length > 0, length, 1.0)
    share = np.minimum(np.maximum(share, 0.0), 1.0)
    squared: Float = (away_u - share * edge_u) ** 2 + (away_v - share * edge_v) ** 2
    return squared


def inside(points: Float, outline: Outline) -> NDArray[np.bool_]:
    """Whether points of shape (n, 2) lie inside, by exclusive or over all rings (even-odd rule)."""
    begin = outline.points
    end = begin[outline.neighbour(np.arange(len(begin)), 1)]
    u, v = points[:, :1], points[:, 1:]
    crosses = (begin[:, 1] > v) != (end[:, 1] > v)
    rise = np.where(end[:, 1] == begin[:, 1], 1.0, end[:, 1] - begin[:, 1])
    at = begin[:, 0] + (v - begin[:, 1]) * (end[:, 0] - begin[:, 0]) / rise
    odd: NDArray[np.bool_] = ((crosses & (at > u)).sum(axis=1) & 1).astype(bool)
    return odd


def signed_at(points: Float, outline: Outline) -> tuple[Float, Float]:
    """Return the signed distance, mm, of points (n, 2) and the radius of the nearest ring, by brute force."""
    begin = outline.points
    end = begin[outline.neighbour(np.arange(len(begin)), 1)]
    squared = to_segments(points[:, None, :], begin[None], end[None])
    nearest = squared.argmin(axis=1)
    distance = np.sqrt(squared[np.arange(len(points)), nearest])
    return np.where(inside(points, outline), -distance, distance), outline.radius[nearest]


def inside_lattice(lattice: Lattice, outline: Outline) -> NDArray[np.bool_]:
    """Whether each cell centre lies inside (even-odd), shape (nv, nu), by one sweep over the edges."""
    begin = outline.points
    end = begin[outline.neighbour(np.arange(len(begin)), 1)]
    rows, columns = lattice.shape
    low = np.minimum(begin[:, 1], end[:, 1])
    high = np.maximum(begin[:, 1], end[:, 1])
    first = np.ceil((low - lattice.corner_mm[1]) / lattice.step_mm - 0.5).astype(np.int64).clip(0, rows)
    last = np.ceil((high - lattice.corner_mm[1]) / lattice.step_mm - 0.5).astype(np.int64).clip(0, rows)
    count = last - first
    edge = np.repeat(np.arange(len(begin)), count)
    offset = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    row = first[edge] + offset
    v = lattice.corner_mm[1] + (row + 0.5) * lattice.step_mm
    slope = (end[edge, 0] - begin[edge, 0]) / (end[edge, 1] - begin[edge, 1])
    u = begin[edge, 0] + (v - begin[edge, 1]) * slope
    column = np.ceil((u - lattice.corner_mm[0]) / lattice.step_mm - 0.5).astype(np.int64).clip(0, columns)
    flips = np.bincount(row * (columns + 1) + column, minlength=rows * (columns + 1))
    odd: NDArray[np.bool_] = (flips.reshape(rows, columns + 1).cumsum(axis=1)[:, :-1] & 1).astype(bool)
    return odd


def signed_lattice(
    lattice: Lattice, outlines: Sequence[Outline], reach: int = 2, whole: Sequence[bool] = ()
) -> tuple[Float, Float]:
    """Return signed distances, mm, and ring radii at all cell centres of a stack of planes.

    Parameters
    ----------
    lattice : Lattice
        The same for all planes.
    outlines : sequence of Outline
        One per plane.
    reach : int
        Distances are refined in cells within three cells of an outline of this plane or of one up to
        ``reach`` planes away, and where planes differ: exact there but for about one cell in a hundred, at
        sharp inner corners and jagged rings, where they may be a fifth of a cell too large. Elsewhere they
        are within one cell.
    whole : sequence of bool
        Planes in which all of the inside is wanted exactly.

    Returns
    -------
    distance, radius : ndarray, shape (planes, nv, nu)
    """
    fine = [outline.split(0.5 * lattice.step_mm) for outline in outlines]
    odd = np.stack([inside_lattice(lattice, outline) for outline in outlines])
    nearest, rough = _nearest_vertex(lattice, fine)
    offsets = np.cumsum([0, *(len(outline.points) for outline in fine)])
    near = rough < 3.0 * lattice.step_mm
    ends = [k for k, wanted in enumerate(whole) if wanted]
    for k in ends:
        near[k] |= odd[k]
    near[1:] |= odd[1:] != odd[:-1]
    near[:-1] |= odd[1:] != odd[:-1]
    need = ndimage.maximum_filter1d(near.view(np.uint8), 2 * reach + 1, axis=0, mode="nearest").astype(bool)
    for k in ends:
        need[max(k - 3, 0) : k + 4] |= near[k]
    joined = Outline(
        np.concatenate([outline.points for outline in fine]),
        np.concatenate([outline.start + o for outline, o in zip(fine, offsets, strict=False)]),
        np.concatenate([outline.length for outline in fine]),
        np.concatenate([outline.radius for outline in fine]),
    )
    plane, row, column = np.nonzero(need)
    points = np.stack([lattice.u_mm[column], lattice.v_mm[row]], axis=1)
    seeds = _best_seed(points, nearest, (plane, row, column), joined)
    vertex, exact = _refine(points, seeds, joined, lattice.step_mm)
    distance = rough
    distance[need] = exact
    radius = joined.radius[nearest]
    radius[need] = joined.radius[vertex]
    return np.where(odd, -distance, distance), radius


def _nearest_vertex(lattice: Lattice, fine: Sequence[Outline]) -> tuple[Index, Float]:
    """Return about the nearest vertex (index over all planes) of each cell and about its distance."""
    rows, columns = lattice.shape
    seed = np.full((len(fine), rows, columns), -1, dtype=np.int64)
    base = 0
    for k, outline in enumerate(fine):
        at = np.floor((outline.points - lattice.corner_mm) / lattice.step_mm).astype(np.int64)
        seed[k, at[:, 1].clip(0, rows - 1), at[:, 0].clip(0, columns - 1)] = base + np.arange(len(at))
        base += len(at)
    away, place = np.empty(seed.shape), np.empty((2, *seed.shape), dtype=np.int32)
    for k in range(len(fine)):
        away[k], place[:, k] = ndimage.distance_transform_edt(seed[k] < 0, return_indices=True)
    planes = np.arange(len(fine))[:, None, None]
    return seed[planes, place[0], place[1]], away * lattice.step_mm


def _best_seed(points: Float, nearest: Index, cells: tuple[NDArray[np.intp], ...], outline: Outline) -> Index:
    """Return the nearest of the vertices that a cell and its neighbours found, per cell."""
    plane, row, column = cells
    _, rows, columns = nearest.shape
    vertex = nearest[cells]
    best = _squared(points, outline.points[vertex])
    for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1), (2, 2), (2, -2), (-2, 2), (-2, -2)):
        at = (plane, np.clip(row + down, 0, rows - 1), np.clip(column + right, 0, columns - 1))
        other = nearest[at]
        away = _squared(points, outline.points[other])
        better = away < best
        vertex, best = np.where(better, other, vertex), np.where(better, away, best)
    return vertex


def _refine(points: Float, vertex: Index, outline: Outline, step_mm: float) -> tuple[Index, Float]:
    """Walk along each ring to the nearest vertex; return it and the exact distance to its two edges."""
    spacing = np.maximum(2.0 * np.pi * outline.radius / outline.length, 1e-6 * step_mm)
    levels = np.clip(np.ceil(np.log2(step_mm / spacing)), 0, 8).astype(np.int64)[vertex]
    best = _squared(points, outline.points[vertex])
    for level in range(int(levels.max(initial=0)), -1, -1):
        rows = np.nonzero(levels >= level)[0]
        for by in (-(1 << level), 1 << level):
            other = outline.neighbour(vertex[rows], by)
            away = _squared(points[rows], outline.points[other])
            better = away < best[rows]
            vertex[rows] = np.where(better, other, vertex[rows])
            best[rows] = np.minimum(away, best[rows])
    before, after = outline.neighbour(vertex, -1), outline.neighbour(vertex, 1)
    here = outline.points[vertex]
    squared = np.minimum(
        to_segments(points, here, outline.points[after]), to_segments(points, outline.points[before], here)
    )
    return vertex, np.sqrt(squared)


def _squared(a: Float, b: Float) -> Float:
    away = a - b
    squared: Float = away[:, 0] ** 2 + away[:, 1] ** 2
    return squared
