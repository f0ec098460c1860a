"""Potential flow past fixed bodies: a volume enters through a surface, all else gives way and keeps its own.

What enters pushes: outside a sink the velocity has no divergence, so every piece of tissue keeps its volume;
it is zero in what is fixed. The displacement is the flow of that velocity in small steps, hence invertible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg

from rtplan.domain import Grid
from rtplan.errors import RtplanError

Float = NDArray[np.float64]
#: Velocities on the faces of the cells along k, j and i, mm per unit of time.
Faces = tuple[Float, Float, Float]

#: The flow's residual, of its right side.
TOLERANCE = 1e-6
#: A face counts as open from this part on; below, its velocity is that of its neighbours.
OPEN = 0.05
#: So many layers of closed faces behind the surface go on with the velocity before it.
LAYERS = 4


@dataclass(frozen=True, eq=False)
class Room:
    """Where something enters, what is fixed, and where what is pushed away ends.

    Parameters
    ----------
    grid : Grid
        Cubic cells.
    solid_mm : ndarray, shape (z, y, x)
        Signed distance of the body through whose surface the volume enters, mm, below 0 inside. Fixed.
    fixed_mm : ndarray, shape (z, y, x)
        Signed distance of all else that is fixed, mm, below 0 inside.
    inflow_mm : ndarray, shape (z, y, x)
        How thick a layer enters at the surface in the whole, mm; read near the surface only.
    sink : ndarray, shape (z, y, x)
        Where volume is lost, relative, >= 0; it moves with the tissue.
    ease : ndarray, shape (z, y, x), optional
        How easily the tissue moves, relative, > 0; it moves with the tissue. What moves more easily than its
        surroundings goes as a whole rather than being squeezed. 1 everywhere by default.
    """

    grid: Grid
    solid_mm: Float
    fixed_mm: Float
    inflow_mm: Float
    sink: Float
    ease: Float | None = None

    @property
    def step_mm(self) -> float:
        """Side of a cell, mm."""
        return float(self.grid.spacing_zyx_mm[0])


@dataclass(frozen=True, eq=False)
class Flow:
    """A displacement as the flow of velocities that are constant over each of some equal times.

    Parameters
    ----------
    grid : Grid
        Cubic cells of the velocities.
    velocities : tuple of Faces
        In the order of time, which goes from 0 to 1.
    entered_cc : float
        Volume that came in.
    sunk : float
        Share of its volume that the tissue of weight 1 in the sink has lost.
    """

    grid: Grid
    velocities: tuple[Faces, ...]
    entered_cc: float
    sunk: float

    def back(self, points: Float) -> Float:
        """Return where points (x, y, z), shape (n, 3), LPS mm, come from, same shape."""
        index = self.grid.to_index(points)
        step = 1.0 / (len(self.velocities) * float(self.grid.spacing_zyx_mm[0]))
        for faces in reversed(self.velocities):
            index = _moved(index, faces, -step)
        origin: Float = self.grid.to_patient(index)
        return origin

    def forth(self, points: Float) -> Float:
        """Return where points (x, y, z), shape (n, 3), LPS mm, go to, same shape."""
        index = self.grid.to_index(points)
        step = 1.0 / (len(self.velocities) * float(self.grid.spacing_zyx_mm[0]))
        for faces in self.velocities:
            index = _moved(index, faces, step)
        end: Float = self.grid.to_patient(index)
        return end


def flow_of(room: Room, steps: int = 12) -> Flow:
    """Return the flow of what enters a room.

    Parameters
    ----------
    room : Room
        See there.
    steps : int
        Number of equal times with a velocity of their own.

    Raises
    ------
    RtplanError
        If nothing enters, there is no sink, or the equations are not solved.

    Notes
    -----
    Velocity v = -ease grad p with div v = 0 in the tissue, v·n = inflow at the solid's surface, v·n = 0 at
    what is fixed and at the room's border, and a divergence below 0 where the sink lies; in finite volumes,
    each face counted with the part of it that is open [1]_. Closed forms: before a plane everything moves by
    the same; around a sphere of radius r0, ``r'^3 = r^3 + 3 V / (4 pi)``.

    References
    ----------
    .. [1] Batty C, Bertails F, Bridson R. A fast variational framework for accurate solid-fluid coupling.
       ACM Trans Graph 26:100 (2007).
    """
    apertures = _apertures(np.minimum(room.solid_mm, room.fixed_mm), room.step_mm)
    entering = _entering(room)
    total, available = float(entering.sum()), float(room.sink.sum())
    if not total > 0.0:
        raise RtplanError("Nothing enters: the inflow at the surface is 0.")
    if not available > 0.0:
        raise RtplanError("There is no tissue that could give way: the sink is empty.")
    behind = [_closed_by(room, axis) for axis in range(3)]
    cells = np.stack(np.meshgrid(*map(np.arange, room.grid.shape), indexing="ij"), axis=-1).astype(float)
    origin, pressure, velocities = cells, np.zeros(room.grid.shape), []
    for _ in range(steps):
        sink = _looked_up(room.sink, origin)
        ease = _on_faces(np.ones(room.grid.shape) if room.ease is None else _looked_up(room.ease, origin))
        gain = entering - sink * (total / max(float(sink.sum()), 1e-12))
        weights = tuple(a * e for a, e in zip(apertures, ease, strict=True))
        pressure = _solved(weights, room.step_mm, gain, pressure)
        faces = _velocities(pressure, (apertures, ease), behind, room.step_mm)
        velocities.append(faces)
        before = _moved(cells.reshape(-1, 3), faces, -1.0 / (steps * room.step_mm)).reshape(cells.shape)
        origin = np.stack([_looked_up(origin[..., axis], before) for axis in range(3)], axis=-1)
    cc = total * room.grid.voxel_cc
    return Flow(room.grid, tuple(velocities), cc, 1.0 - float(np.exp(-total / available)))


def entered_cc(room: Room) -> float:
    """Return the volume that enters a room, cc."""
    return float(_entering(room).sum()) * room.grid.voxel_cc


def _entering(room: Room) -> Float:
    """Return the volume that enters each cell, in its volume."""
    solid = _apertures(room.solid_mm, room.step_mm)
    normal = np.stack(list(np.gradient(room.solid_mm, room.step_mm)), axis=-1)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    free = np.clip(0.5 + room.fixed_mm / room.step_mm, 0.0, 1.0)
    found = np.zeros(room.grid.shape)
    for axis, part in enumerate(solid):
        found += np.diff(part, axis=axis) * normal[..., axis]
    entering: Float = np.maximum(found, 0.0) * room.inflow_mm * free / room.step_mm
    return entering


def _apertures(distance_mm: Float, step_mm: float) -> Faces:
    """Return the open part of every face along k, j and i; the border's faces are closed."""
    parts = []
    for axis in range(3):
        first, second = _pair(distance_mm, axis)
        inner = np.clip(0.5 + 0.5 * (first + second) / step_mm, 0.0, 1.0)
        parts.append(np.pad(inner, [(1, 1) if a == axis else (0, 0) for a in range(3)]))
    return parts[0], parts[1], parts[2]


def _pair(values: NDArray[Any], axis: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the values before and behind every inner face along an axis."""
    before = [slice(None, -1) if a == axis else slice(None) for a in range(3)]
    behind = [slice(1, None) if a == axis else slice(None) for a in range(3)]
    return values[tuple(before)], values[tuple(behind)]


def _inner(faces: Float, axis: int) -> Float:
    return faces[tuple(slice(1, -1) if a == axis else slice(None) for a in range(3))]


def _on_faces(values: Float) -> Faces:
    """Return the mean of the two cells at every inner face; 1 on the border."""
    found = []
    for axis in range(3):
        first, second = _pair(values, axis)
        pad = [(1, 1) if a == axis else (0, 0) for a in range(3)]
        found.append(np.pad(0.5 * (first + second), pad, constant_values=1.0))
    return found[0], found[1], found[2]


def _solved(weights: Sequence[Float], step_mm: float, gain: Float, guess: Float) -> Float:
    """Return the pressure at which every cell passes on what it gains; raise RtplanError if there is none."""
    number = np.arange(gain.size).reshape(gain.shape)
    rows, columns = [number.ravel()], [number.ravel()]
    values: list[Float] = []
    diagonal = np.zeros(gain.size)
    for axis in range(3):
        first, second = (part.ravel() for part in _pair(number, axis))
        weight = _inner(weights[axis], axis).ravel() / step_mm**2
        rows += [first, second]
        columns += [second, first]
        values += [-weight, -weight]
        diagonal += np.bincount(first, weight, gain.size) + np.bincount(second, weight, gain.size)
    used = diagonal > 1e-9 / step_mm**2
    diagonal = np.where(used, diagonal * (1.0 + 1e-9), 1.0)
    data = np.concatenate([diagonal, *values])
    places = np.concatenate(rows), np.concatenate(columns)
    matrix = sparse.csr_matrix((data, places), (gain.size, gain.size))
    wanted = np.where(used, gain.ravel(), 0.0)
    wanted -= used * (wanted.sum() / used.sum())
    found, fault = cg(
        matrix, wanted, guess.ravel(), rtol=TOLERANCE, maxiter=4000, M=sparse.diags(1.0 / diagonal)
    )
    if fault:
        raise RtplanError("The flow's equations are not solved.", action="choose a coarser lattice.")
    pressure: Float = found.reshape(gain.shape)
    return pressure


def _closed_by(room: Room, axis: int) -> NDArray[np.bool_]:
    """Return the faces that the solid closes and nothing else does."""
    solid, fixed = (0.5 * sum(_pair(part, axis)) for part in (room.solid_mm, room.fixed_mm))
    inner = (solid < 0.0) & (fixed > 0.0)
    return np.pad(inner, [(1, 1) if a == axis else (0, 0) for a in range(3)])


def _velocities(
    pressure: Float, parts: tuple[Faces, Faces], behind: list[NDArray[np.bool_]], step_mm: float
) -> Faces:
    """Return the velocities on all faces; those that the solid closes go on with what is before them."""
    found = []
    for axis, (part, ease) in enumerate(zip(*parts, strict=True)):
        first, second = _pair(pressure, axis)
        slope = _inner(ease, axis) * (first - second) / step_mm
        inner = np.where(_inner(part, axis) > OPEN, slope, 0.0)
        faces = np.pad(inner, [(1, 1) if a == axis else (0, 0) for a in range(3)])
        found.append(_spread(faces, part > OPEN, behind[axis]))
    return found[0], found[1], found[2]


def _spread(faces: Float, known: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> Float:
    """Return the faces with the mean of known neighbours where they are wanted, layer by layer."""
    wanted = wanted & ~known
    for _ in range(LAYERS):
        count = ndimage.uniform_filter(known.astype(float), 3, mode="constant")
        total = ndimage.uniform_filter(np.where(known, faces, 0.0), 3, mode="constant")
        new = wanted & ~known & (count > 1e-6)
        faces = np.where(new, total / np.maximum(count, 1e-6), faces)
        known = known | new
    return faces


def _moved(index: Float, faces: Faces, time: float) -> Float:
    """Return indices after a time (in units of the cell's side per mm) in velocities; Heun's rule."""
    first = _at(faces, index)
    second = _at(faces, index + time * first)
    return index + 0.5 * time * (first + second)


def _at(faces: Faces, index: Float) -> Float:
    """Return the velocities at indices (k, j, i), shape (n, 3); 0 outside the room."""
    columns = []
    for axis, part in enumerate(faces):
        shifted = index.T.copy()
        shifted[axis] += 0.5
        columns.append(ndimage.map_coordinates(part, shifted, order=1, mode="grid-constant"))
    return np.stack(columns, axis=-1)


def _looked_up(values: Float, index: Float) -> Float:
    """Return values at indices, shape (z, y, x, 3)."""
    found: Float = ndimage.map_coordinates(values, np.moveaxis(index, -1, 0), order=1, mode="nearest")
    return found
