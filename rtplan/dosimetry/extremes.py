"""Where the dose is highest and lowest: local search from the best cells, on the surface and inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Labels = NDArray[np.int8]

#: Surface cells and inner cells per part of the structure and per extreme from which the search starts.
SURFACE_STARTS, INNER_STARTS = 24, 2
#: How far a search may leave its surface cell, in sides.
FARTHEST = 0.75
#: Places along each side of an inner cell, in sides from its centre.
_SIDE = np.linspace(-0.5, 0.5, 5)
_PLACES = np.stack(np.meshgrid(_SIDE, _SIDE, _SIDE, indexing="ij"), axis=-1).reshape(-1, 3)


@dataclass(frozen=True, eq=False)
class Patches:
    """Pieces of a curved surface, one per surface cell, as quadrics in the structure's frame (u, v, n).

    Parameters
    ----------
    points : ndarray, shape (m, 3)
        On the surface, mm.
    normal : ndarray, shape (m, 3)
        Outward unit normals.
    second : ndarray, shape (m, 6)
        Second derivatives (uu, vv, nn, uv, un, vn) of the level function over its gradient's length, 1/mm.
    width_mm : ndarray, shape (m, 3)
        Sides of the cells.
    low_mm, high_mm : ndarray, shape (m,)
        Heights between which the piece lies.
    label : ndarray of int8, shape (m,)
        Part of the structure.
    """

    points: Float
    normal: Float
    second: Float
    width_mm: Float
    low_mm: Float
    high_mm: Float
    label: Labels

    def farther(self, rows: NDArray[np.intp], gradient: Float) -> Float:
        """Return points of some patches, within their heights, where a dose of this gradient is highest."""
        normal = self.normal[rows]
        a, b, c, d, e, f = self.second[rows].T
        bend = np.stack([np.stack([a, d, e], -1), np.stack([d, b, f], -1), np.stack([e, f, c], -1)], -2)
        basis = _tangents(normal)
        shape = np.einsum("nai,nij,nbj->nab", basis, bend, basis)
        along = np.einsum("nai,ni->na", basis, gradient)
        outward = np.einsum("ni,ni->n", normal, gradient)
        curve, turn = np.linalg.eigh(shape * outward[:, None, None])
        pull = np.einsum("nab,na->nb", turn, along)
        held = curve > 1e-9
        move = np.where(held, pull / np.where(held, curve, 1.0), 0.0)
        most = FARTHEST * self.width_mm[rows].max(axis=1, keepdims=True)
        move = np.clip(move, -most, most)
        outward = np.where(outward != 0, outward, 1.0)

        def moved(part: Float) -> Float:
            to = part[:, None] * move
            drop = 0.5 * (to**2 * curve).sum(axis=1) / outward
            there: Float = np.einsum("nb,nab,nai->ni", to, turn, basis) - drop[:, None] * normal
            return there

        whole = moved(np.ones(len(rows)))
        start = self.points[rows]
        room = np.where(whole[:, 2] > 0, self.high_mm[rows] - start[:, 2], start[:, 2] - self.low_mm[rows])
        part = np.clip(room / np.maximum(np.abs(whole[:, 2]), 1e-9), 0.0, 1.0)
        found = start + moved(part)
        return found[(found[:, 2] > self.low_mm[rows] - 1e-3) & (found[:, 2] < self.high_mm[rows] + 1e-3)]


def _tangents(normal: Float) -> Float:
    """Return two unit vectors across each normal, shape (n, 2, 3)."""
    least = np.eye(3)[np.abs(normal).argmin(axis=1)]
    first = np.cross(normal, least)
    first /= np.linalg.norm(first, axis=1)[:, None]
    return np.stack([first, np.cross(normal, first)], axis=1)


def surface_search(patches: Patches, dose: Float, gradient: Float) -> tuple[Float, Labels]:
    """Return points on the surface where the dose may be highest or lowest, and their parts.

    Parameters
    ----------
    patches : Patches
    dose : ndarray, shape (m,)
        At the patches' points, Gy.
    gradient : ndarray, shape (m, 3)
        In the structure's frame, Gy/mm.

    Returns
    -------
    points : ndarray, shape (k, 3)
        In the structure's frame, mm.
    labels : ndarray of int8, shape (k,)
    """
    across = gradient - np.einsum("ij,ij->i", gradient, patches.normal)[:, None] * patches.normal
    gain = np.linalg.norm(across, axis=1) * patches.width_mm.max(axis=1)
    found, labels = [np.zeros((0, 3))], [np.zeros(0, np.int8)]
    for label in np.unique(patches.label):
        here = np.nonzero(patches.label == label)[0]
        for sign in (1.0, -1.0):
            rows = here[_largest(sign * dose[here] + 0.5 * gain[here], SURFACE_STARTS)]
            ends = patches.farther(rows, sign * gradient[rows])
            found.append(ends)
            labels.append(np.full(len(ends), label, np.int8))
    return np.concatenate(found), np.concatenate(labels)


def inner_search(centre: Float, width_mm: Float, label: Labels, dose: Float) -> tuple[Float, Labels]:
    """Return points in the hottest and the coldest of the cells that lie wholly inside, and their parts."""
    rows = [np.zeros(0, np.intp)]
    for part in np.unique(label):
        here = np.nonzero(label == part)[0]
        rows += [here[_largest(sign * dose[here], INNER_STARTS)] for sign in (1.0, -1.0)]
    chosen = np.unique(np.concatenate(rows))
    points = (centre[chosen, None, :] + _PLACES * width_mm[chosen, None, :]).reshape(-1, 3)
    return points, np.repeat(label[chosen], len(_PLACES))


def _largest(values: Float, count: int) -> NDArray[np.intp]:
    if len(values) <= count:
        return np.arange(len(values))
    return np.argpartition(values, -count)[-count:]
