"""The wall of a tubular organ as a regular net of points: along its centroid line and round it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Contours, Grid, Mask, Structure
from rtplan.errors import GeometryMismatch, StructureError
from rtplan.imaging.contour import contours_of, planes_of
from rtplan.imaging.margin import expand, subtract

Float = NDArray[np.float64]

ANTERIOR = np.array([0.0, -1.0, 0.0])
#: The planes of the contours must be axial to this cosine: the organ's slices are cut by axial planes.
AXIAL_COSINE = 0.996


@dataclass(frozen=True, eq=False)
class Net:
    """Points on the wall of a tube.

    Parameters
    ----------
    points : ndarray, shape (n_s + 1, n_theta + 1, 3)
        Corners of the cells, LPS mm; first row at the inferior end, first and last column at the posterior
        cut.
    s_mm : ndarray, shape (n_s + 1,)
        Length along the centroid line from the inferior end, mm.
    theta_deg : ndarray, shape (n_theta + 1,)
        -180 to 180; 0 is anterior, positive to the patient's left.
    """

    points: Float
    s_mm: Float
    theta_deg: Float

    def areas_mm2(self) -> Float:
        """Return the area of each cell, the mean over both ways to cut it, shape (n_s, n_theta)."""
        a, b = self.points[:-1, :-1], self.points[:-1, 1:]
        c, d = self.points[1:, :-1], self.points[1:, 1:]
        return (_triangle(a, b, d) + _triangle(a, d, c) + _triangle(a, b, c) + _triangle(b, d, c)) / 2

    def centres(self) -> Float:
        """Return the centre of each cell, shape (n_s, n_theta, 3), LPS mm."""
        p = self.points
        return (p[:-1, :-1] + p[:-1, 1:] + p[1:, :-1] + p[1:, 1:]) / 4

    def widths_mm(self) -> Float:
        """Return the length of each cell round the tube, shape (n_s, n_theta), mm."""
        round_mm: Float = np.linalg.norm(np.diff(self.points, axis=1), axis=-1)
        return (round_mm[:-1] + round_mm[1:]) / 2


def unwrap(structure: Structure, step_mm: float, n_theta: int) -> Net:
    """Lay a net over the wall of a tubular organ.

    Parameters
    ----------
    structure : Structure
        Axial contours, or a mask. In each plane the largest ring is the outer wall.
    step_mm : float
        Wanted cell length along the centroid line, mm.
    n_theta : int
        Cells round the tube; even.

    Returns
    -------
    Net
        Its first row lies in the most inferior plane, its last row in the most superior one: the ends of
        the tube are open.

    Raises
    ------
    StructureError
        If there are fewer than two planes, they are not axial, or the settings make no net.

    Notes
    -----
    In each plane the wall is cut at its outermost point straight behind the centroid of the enclosed
    area. Each half, from the outermost point straight before the centroid to the cut, is divided into
    equal lengths of wall; theta is the share of the half, times 180 degrees. For a circle that is the
    polar angle. Equal lengths rather than equal polar angles keep the net defined on folded walls and let
    no part of the wall be lost. Between planes, points of equal theta are joined by straight lines.
    """
    if not step_mm > 0 or n_theta < 4 or n_theta % 2:
        raise StructureError(f"A net needs a positive step and an even n_theta >= 4: {step_mm}, {n_theta}.")
    rings = _outer_rings(structure)
    centroids = np.array([_centroid(ring) for ring in rings])
    share = np.linspace(-1.0, 1.0, n_theta + 1)
    walls = np.array([_divided(r, c, share, structure.name) for r, c in zip(rings, centroids, strict=True)])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(centroids, axis=0), axis=1))])
    s_mm = np.linspace(0.0, along[-1], max(int(np.ceil(along[-1] / step_mm - 1e-9)), 1) + 1)
    before = np.clip(np.searchsorted(along, s_mm, side="right") - 1, 0, len(along) - 2)
    weight = ((s_mm - along[before]) / (along[before + 1] - along[before]))[:, None, None]
    return Net(walls[before] * (1 - weight) + walls[before + 1] * weight, s_mm, share * 180.0)


def wall(structure: Structure, grid: Grid, thickness_mm: float, *, name: str = "Rectal_Wall") -> Structure:
    """Return the wall of a hollow organ from its outer contour: an inner shell of a stated thickness.

    The shell is taken in axial planes (the ends stay open), on the voxels of ``grid``: choose one whose
    in-plane spacing is well below the thickness.

    Raises
    ------
    StructureError
        If the thickness is not positive or below the in-plane spacing.
    """
    coarsest = max(grid.spacing_zyx_mm[1:])
    if not thickness_mm >= coarsest:
        raise StructureError(
            f"A wall of {thickness_mm} mm cannot be drawn on voxels of {coarsest:.2f} mm.",
            where=structure.name,
            action="use a finer grid or a thicker wall.",
        )
    margin = {"L": -thickness_mm, "R": -thickness_mm, "A": -thickness_mm, "P": -thickness_mm, "S": 0, "I": 0}
    return subtract(name, structure, expand(structure, grid, margin), grid)


def _outer_rings(structure: Structure) -> list[Float]:
    region = structure.region
    contours: Contours = contours_of(region, style="midpoints") if isinstance(region, Mask) else region
    planes = planes_of(contours)
    if len(planes.rings) < 2:
        raise StructureError("A surface map needs contours in at least two planes.", where=structure.name)
    upwards = float(planes.normal[2])
    if abs(upwards) < AXIAL_COSINE:
        raise StructureError("A surface map needs axial contours.", where=structure.name)
    rings = [max(plane, key=_area) for plane in planes.rings]
    return rings if upwards > 0 else rings[::-1]


def _area(ring: Float) -> float:
    return abs(_signed(ring))


def _centroid(ring: Float) -> Float:
    middle = ring.mean(axis=0)
    (x, y), (x1, y1) = (ring - middle)[:, :2].T, (np.roll(ring, -1, axis=0) - middle)[:, :2].T
    cross = x * y1 - x1 * y
    centre = np.array([np.sum((x + x1) * cross), np.sum((y + y1) * cross)]) / (3 * np.sum(cross))
    centroid: Float = middle + np.array([centre[0], centre[1], 0.0])
    return centroid


def _divided(ring: Float, centroid: Float, share: Float, name: str) -> Float:
    """Return the points of a ring at shares -1 (posterior) over 0 (anterior) to 1 (posterior again)."""
    if _signed(ring) < 0:  # let it run from anterior over the left to posterior
        ring = ring[::-1]
    closed = np.vstack([ring, ring[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    front = _crossing(closed, length, centroid, ANTERIOR, name)
    back = _crossing(closed, length, centroid, -ANTERIOR, name)
    total = length[-1]
    left = (back - front) % total
    at = front + np.where(share >= 0, share * left, share * (total - left))
    return np.stack([np.interp(at % total, length, closed[:, axis]) for axis in range(3)], axis=1)


def _signed(ring: Float) -> float:
    """Signed area in (x, y): positive when the ring runs from x (left) to y (posterior)."""
    x, y = (ring - ring.mean(axis=0))[:, :2].T
    return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) / 2)


def _crossing(closed: Float, length: Float, centroid: Float, direction: Float, name: str) -> float:
    """Return the length at which a ring is crossed by a ray from its centroid, the outermost crossing."""
    side = closed[:, 0] - centroid[0]
    hit = np.flatnonzero((side[:-1] <= 0) != (side[1:] <= 0))
    part = side[hit] / (side[hit] - side[hit + 1])
    y = closed[hit, 1] + part * (closed[hit + 1, 1] - closed[hit, 1]) - centroid[1]
    outwards = y * direction[1]
    if not len(hit) or outwards.max() <= 0:
        raise StructureError("The centroid of a contour lies outside it: the wall has no front.", where=name)
    best = int(np.argmax(outwards))
    start = length[hit[best]]
    return float(start + part[best] * (length[hit[best] + 1] - start))


def _triangle(a: Float, b: Float, c: Float) -> Float:
    area: Float = np.linalg.norm(np.cross(b - a, c - a), axis=-1) / 2
    return area


def demand_frame(structure: Structure, grid: Grid) -> None:
    """Raise GeometryMismatch unless structure and grid lie in one frame of reference (or none is said)."""
    region = structure.region
    frame = region.grid.frame_of_reference if isinstance(region, Mask) else region.frame_of_reference
    if frame and grid.frame_of_reference and frame != grid.frame_of_reference:
        raise GeometryMismatch(
            "Structure and dose lie in different frames of reference.",
            where=structure.name,
            action="bring the structure over by a registration, by name.",
        )
