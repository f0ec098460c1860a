"""An arc as control points: from fields at coarse angles to leaves that move while the gantry turns."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtplan.domain import Beam, Fluence
from rtplan.planning.machine import Machine
from rtplan.planning.refine import LEAF_MM, like, taken
from rtplan.planning.sequence import sweep, with_gaps
from rtplan.planning.shapes import PIXEL_MM, Frame, frame_around, strips_of, swept

Float = NDArray[np.float64]
#: Least MU of a stretch, as a part of the mean: the beam stays on.
LEAST = 0.02


@dataclass(frozen=True, eq=False)
class Arc:
    """One arc: states at control points, monitor units of the stretches between them.

    Parameters
    ----------
    frame : Frame
        Pairs, jaws, pixels; common to all control points.
    angles_deg : ndarray, shape (points,)
        Gantry angles, rising without a turn back (may pass 360).
    left, right : ndarray, shape (points, pairs)
        Ends of the leaves, mm.
    mu : ndarray, shape (points - 1,)
        Of the whole course.
    machine : Machine
        Its limits.
    """

    frame: Frame
    angles_deg: Float
    left: Float
    right: Float
    mu: Float
    machine: Machine

    @property
    def beams(self) -> tuple[Beam, ...]:
        """One for each stretch, at its middle angle, with the common raster."""
        middle = 0.5 * (self.angles_deg[:-1] + self.angles_deg[1:]) % 360.0
        return tuple(
            replace(self.frame.beam, name=f"S{n}", gantry_deg=float(angle)) for n, angle in enumerate(middle)
        )

    @property
    def reach_mm(self) -> float:
        """How far a leaf goes from one control point to the next while the gantry turns at full speed."""
        step = float(np.diff(self.angles_deg).min())
        return self.machine.leaves.speed_mm_per_s * step / self.machine.gantry.speed_deg_per_s

    @property
    def _unit_mu(self) -> float:
        return float(self.mu.mean())

    def start(self) -> Float:
        """Return left ends, widths, MU."""
        width = self.right - self.left
        return np.concatenate([self.left.ravel() / LEAF_MM, width.ravel() / LEAF_MM, self.mu / self._unit_mu])

    def bounds(self) -> tuple[Float, Float]:
        """Return bounds: between the jaws, not nearer than the gap, the beam always on."""
        (x1, x2), n, gap = self.frame.jaws_x_mm, self.left.size, self.machine.leaves.min_gap_mm
        low = [np.full(n, x1 / LEAF_MM), np.full(n, gap / LEAF_MM), np.full(len(self.mu), LEAST)]
        high = [np.full(n, x2 / LEAF_MM), np.full(n, (x2 - x1) / LEAF_MM), np.full(len(self.mu), np.inf)]
        return np.concatenate(low), np.concatenate(high)

    def rasters(self, x: Tensor) -> list[Tensor]:
        """Return the fluence of each stretch, its leaves moving linearly."""
        left, width, mu, _ = taken(x, 0, self.left.shape, len(self.mu))
        right, left = LEAF_MM * (left + width), LEAF_MM * left
        columns = like(self.frame.columns_mm, x)
        open_ = swept((left[:-1], left[1:]), (right[:-1], right[1:]), columns)
        lit = open_ * (mu * self._unit_mu)[:, None, None]
        return list((like(self.frame.shares(), x) @ lit).unbind())

    def repaired(self, x: Float) -> Float:
        """Return the vector with leaves that keep their speed while the gantry turns at its own."""
        moved = self.moved(x)
        ends = moved.left.ravel(), (moved.right - moved.left).ravel()
        return np.concatenate([ends[0] / LEAF_MM, ends[1] / LEAF_MM, moved.mu / self._unit_mu])

    def moved(self, x: Float) -> Arc:
        """Return the arc with the vector's leaf ends, slowed down to the leaves' speed, and MU."""
        left, width, mu, _ = taken(torch.as_tensor(x), 0, self.left.shape, len(self.mu))
        ends = LEAF_MM * left.numpy(), LEAF_MM * (left + width).numpy()
        slow = [slowed(end, self.reach_mm) for end in ends]
        opened = with_gaps(slow[0], slow[1], self.machine.leaves)
        return replace(self, left=opened[0], right=opened[1], mu=mu.numpy() * self._unit_mu)

    def scaled(self, factor: float) -> Arc:
        """Return the arc with all MU multiplied."""
        return replace(self, mu=self.mu * factor)


def slowed(ends_mm: Float, reach_mm: float) -> Float:
    """Return positions, shape (points, pairs), that never move further than the reach between two points.

    The mean of the lowest and the highest course that touches the given one and keeps the reach. The order
    of two leaves stays: what is never nearer than a gap before is not afterwards.

    Examples
    --------
    >>> slowed(np.array([[0.0], [0.0], [10.0]]), 4.0).ravel()
    array([1., 3., 7.])
    """
    steps = reach_mm * np.abs(np.subtract.outer(np.arange(len(ends_mm)), np.arange(len(ends_mm))))
    above = (ends_mm[None] - steps[..., None]).max(axis=1)
    below = (ends_mm[None] + steps[..., None]).min(axis=1)
    middle: Float = 0.5 * (above + below)
    return middle


def arc_from(beams: tuple[Beam, ...], machine: Machine) -> Arc:
    """Return an arc that begins where fluence maps at coarse angles leave off.

    Each field's map becomes as many sweeping openings as control points lie nearest to it; every other
    field is swept the other way, so that leaves need not jump.

    Parameters
    ----------
    beams : tuple of Beam
        Equally spaced fields with fluence maps, in the order of the gantry's turn.
    machine : Machine
        Where the arc begins, how far it turns and in which steps.
    """
    shape = machine.shape
    count = round(shape.arc_turn_deg / shape.arc_step_deg) + 1
    angles: Float = shape.arc_start_deg + shape.arc_turn_deg / (count - 1) * np.arange(
        count, dtype=np.float64
    )
    frame = _joined(beams, machine)
    nearest = [int(np.argmin(_apart([b.gantry_deg for b in beams], angle))) for angle in angles]
    left = np.zeros((count, frame.pairs))
    right, mu = left.copy(), np.zeros(count)
    for turn, field in enumerate(dict.fromkeys(nearest)):
        at = [n for n, found in enumerate(nearest) if found == field]
        lefts, rights, total = _openings(beams[field], frame, len(at))
        order = at if turn % 2 == 0 else at[::-1]
        for n, place in enumerate(order):
            left[place], right[place], mu[place] = lefts[n], rights[n], total / len(at)
    arc = Arc(frame, angles, left, right, 0.5 * (mu[:-1] + mu[1:]), machine)
    return arc.moved(arc.start())


def _openings(beam: Beam, frame: Frame, count: int) -> tuple[Float, Float, float]:
    """Return so many openings of a map, and the MU of them all together."""
    strips = strips_of(beam, frame)
    fluence = beam.fluence
    edges = fluence.corner_mm[0] + fluence.spacing_mm * (np.arange(fluence.mu.shape[1] + 1) - 0.5)
    top = max(float(strips.max()), 1e-9)
    for levels in range(count, 0, -1):
        left, right = sweep(np.rint(strips * levels / top).astype(np.int64), edges)
        if len(left) <= count:
            break
    left, right = left[:count], right[:count]
    if len(left) < count:
        more = [len(left) - 1] * (count - len(left))
        left, right = (np.concatenate([ends, ends[more]]) for ends in (left, right))
    return left, right, top * count / levels


def _joined(beams: tuple[Beam, ...], machine: Machine) -> Frame:
    """Return a frame that encloses the frames of all fields."""
    frames = [frame_around(beam, machine.leaves.boundaries_mm) for beam in beams]
    x1, x2 = min(f.jaws_x_mm[0] for f in frames), max(f.jaws_x_mm[1] for f in frames)
    first = min(frame.first for frame in frames)
    last = max(frame.first + frame.pairs for frame in frames)
    edges = machine.leaves.boundaries_mm[first : last + 1]
    low = np.floor(x1 / PIXEL_MM + 1e-9), np.floor(edges[0] / PIXEL_MM + 1e-9)
    high = np.ceil(x2 / PIXEL_MM - 1e-9), np.ceil(edges[-1] / PIXEL_MM - 1e-9)
    raster = Fluence(
        np.zeros((int(high[1] - low[1]), int(high[0] - low[0])), np.float32),
        PIXEL_MM,
        (float((low[0] + 0.5) * PIXEL_MM), float((low[1] + 0.5) * PIXEL_MM)),
    )
    beam = replace(beams[0], name="arc", fluence=raster)
    return Frame(beam, edges, first, (x1, x2), (float(edges[0]), float(edges[-1])))


def _apart(angles: list[float], angle: float) -> Float:
    apart: Float = np.abs((np.asarray(angles) - angle + 180.0) % 360.0 - 180.0)
    return apart
