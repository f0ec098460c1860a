"""The rings of a structure sorted into parallel planes: their slabs, areas and volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Contours
from rtplan.errors import StructureError
from rtplan.imaging.raster import depths

Float = NDArray[np.float64]

#: Planes nearer than this are one plane.
PLANE_TOLERANCE_MM = 0.02
#: Neighbouring planes further apart than this many nominal spacings leave a gap between their slabs.
GAP_SPACINGS = 1.75


@dataclass(frozen=True, eq=False)
class Planes:
    """The contours of a structure sorted into parallel planes.

    Parameters
    ----------
    normal : ndarray, shape (3,)
        Unit normal of the planes, LPS.
    at_mm : ndarray, shape (n,)
        Distance of each plane along the normal, rising, mm.
    rings : tuple of tuple of ndarray, each shape (m, 3)
        The rings of each plane, LPS mm.
    """

    normal: Float
    at_mm: Float
    rings: tuple[tuple[Float, ...], ...]

    def slabs_mm(self, single_mm: float) -> Float:
        """Return lower and upper end of each plane's slab along the normal, shape (n, 2), mm.

        A slab ends half-way to its neighbour, at the ends (and at gaps) half the nominal spacing away; the
        nominal spacing is the median, or ``single_mm`` where there is one plane alone.
        """
        gaps = np.diff(self.at_mm)
        nominal = float(np.median(gaps)) if gaps.size else single_mm
        half = np.where(gaps > GAP_SPACINGS * nominal, nominal, gaps) / 2.0
        below = np.concatenate([[nominal / 2.0], half])
        above = np.concatenate([half, [nominal / 2.0]])
        return np.stack([self.at_mm - below, self.at_mm + above], axis=1)


def planes_of(contours: Contours) -> Planes:
    """Sort contours into parallel planes.

    Raises
    ------
    StructureError
        If no ring encloses an area, or the rings are not flat and parallel.
    """
    rings = [ring for ring in contours.rings if len(ring) >= 3]
    normals = area_vectors(rings)
    areas = np.linalg.norm(normals, axis=1)
    rings = [ring for ring, area in zip(rings, areas, strict=True) if area > 1e-9]
    if not rings:
        raise StructureError("A structure has no contour that encloses an area.")
    normal = normals[int(np.argmax(areas))] / areas.max()
    normal = normal * np.sign(normal[np.argmax(np.abs(normal))])
    lengths = np.array([len(ring) for ring in rings])
    first = np.cumsum(lengths) - lengths
    heights = np.concatenate(rings) @ normal
    spread = float((np.maximum.reduceat(heights, first) - np.minimum.reduceat(heights, first)).max())
    if spread > 1.0:
        raise StructureError(
            f"The contours are not flat and parallel: one leaves its plane by {spread:.1f} mm.",
            action="export the structure as closed planar contours of one orientation.",
        )
    at = np.add.reduceat(heights, first) / lengths
    order = np.argsort(at, kind="stable")
    starts = np.flatnonzero(np.diff(at[order], prepend=-np.inf) > PLANE_TOLERANCE_MM)
    groups = np.split(order, starts[1:])
    means = np.add.reduceat(at[order], starts) / np.array([len(group) for group in groups])
    return Planes(normal, means, tuple(tuple(rings[i] for i in group) for group in groups))


def volume_cc(contours: Contours, thick_mm: float, *, fixed: bool = False) -> float:
    """Return the volume of contours, each plane standing for its slab (holes taken off), cc.

    Parameters
    ----------
    contours : Contours
        Rings of one plane combine by exclusive or.
    thick_mm : float
        Thickness of a slab where there is one plane alone.
    fixed : bool
        Whether each slab is of this thickness (else it ends half-way to its neighbours).

    Raises
    ------
    StructureError
        If no ring encloses an area, or the rings are not flat and parallel.
    """
    planes = planes_of(contours)
    u = np.cross(planes.normal, np.eye(3)[int(np.argmin(np.abs(planes.normal)))])
    axes = np.stack([u, np.cross(planes.normal, u)], axis=1) / np.linalg.norm(u)
    thickness = np.full(len(planes.rings), thick_mm) if fixed else np.ptp(planes.slabs_mm(thick_mm), axis=1)
    areas = np.abs(area_vectors([ring for rings in planes.rings for ring in rings]) @ planes.normal)
    signs: list[float] = []
    for rings in planes.rings:
        depth = depths([ring @ axes for ring in rings]) if len(rings) > 1 else None
        signs += [1.0] * len(rings) if depth is None else [(-1.0) ** d for d in depth]
    counts = [len(rings) for rings in planes.rings]
    return float(np.repeat(thickness, counts) @ (areas * np.array(signs))) / 1000.0


def area_vectors(rings: list[Float]) -> Float:
    """Return the area of each ring times its unit normal (Newell), shape (n, 3), mm²."""
    if not rings:
        return np.zeros((0, 3))
    lengths = np.array([len(ring) for ring in rings])
    first = np.cumsum(lengths) - lengths
    points = np.concatenate(rings)
    points = points - np.repeat(points[first], lengths, axis=0)
    following = np.arange(1, len(points) + 1)
    following[first + lengths - 1] = first
    x, y, z = np.ascontiguousarray(points.T)
    u, v = x[following], y[following]
    vectors = np.zeros((len(rings), 3))
    vectors[:, 2] = np.add.reduceat(x * v - y * u, first)
    if z.any():
        w = z[following]
        vectors[:, 0] = np.add.reduceat(y * w - z * v, first)
        vectors[:, 1] = np.add.reduceat(z * u - x * w, first)
    return 0.5 * vectors
