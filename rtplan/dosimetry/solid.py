"""The solid that contours define: planes, nesting of rings, which rings go on into the next plane.

Contours say nothing of what lies between and beyond their planes; this file and `cells` say what rtplan
takes. Between two planes the shape is interpolated (Notes of `Solid`); a ring without a partner in the next
plane ends by the cap policy, as do the first and the last plane. Rings of one plane combine by exclusive
or: rings are sorted by nesting depth, each depth is a solid of its own, and the odd ones are taken away.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Contours
from rtplan.dosimetry.distance import Outline, area, equal_radius, inside
from rtplan.errors import StructureError

Float = NDArray[np.float64]

#: Contours whose offsets along the normal differ by less lie in one plane, mm.
SAME_PLANE_MM = 0.02
#: A gap wider than this many median gaps is not bridged: the structure ends and begins again.
BRIDGED_GAPS = 4.0


@dataclass(frozen=True)
class Plane:
    """The rings of one plane at one nesting depth, and which of them go on up and down.

    Parameters
    ----------
    height_mm : float
        Along the normal.
    rings : tuple of ndarray, each shape (n, 2)
        (u, v), mm.
    radii_mm : tuple of float
        Radius of the circle of equal area of each ring.
    up, down : tuple of bool
        Whether each ring has a partner in the next plane up, down.
    """

    height_mm: float
    rings: tuple[Float, ...]
    radii_mm: tuple[float, ...]
    up: tuple[bool, ...] = ()
    down: tuple[bool, ...] = ()

    def outline(self, which: str = "all") -> Outline | None:
        """Return the outline of some rings, None when there is none.

        All of them, those that go on (``up``, ``down``), or those that end (``not up``, ``not down``).
        """
        if which == "all":
            return Outline.of(self.rings, self.radii_mm)
        flags = self.up if which.endswith("up") else self.down
        wanted = not which.startswith("not")
        held = [i for i, flag in enumerate(flags) if flag == wanted]
        return Outline.of([self.rings[i] for i in held], [self.radii_mm[i] for i in held]) if held else None


@dataclass(frozen=True)
class Solid:
    """A stack of planes with their frame.

    Parameters
    ----------
    axes : ndarray, shape (3, 3)
        Rows are the unit vectors u, v and the normal n, LPS.
    levels : tuple of tuple of Plane
        ``levels[depth]``: planes by rising height; depth 0 is the outside of the structure, depth 1 its
        holes, and so on.
    notes : tuple of str
        What had to be decided.

    Notes
    -----
    In a plane let s be the signed distance to the rings (negative inside) and R the radius of the circle
    of equal area of the nearest ring; ``g = s² + 2 R s`` is the power function (r² − R² for a circle).
    Between planes k and k+1 the solid is ``g_k (1−t) + g_{k+1} t + D (z−z_k)(z−z_{k+1})/2 <= 0``, where D
    is the smaller of the two second divided differences of g around the gap, and 0 where their signs
    differ. A sphere, a cylinder and a cone with circular contours are met exactly.
    """

    axes: Float
    levels: tuple[tuple[Plane, ...], ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def heights_mm(self) -> Float:
        """Heights of the planes of the outermost level, rising."""
        return np.array([plane.height_mm for plane in self.levels[0]])

    @classmethod
    def of(cls, contours: Contours, name: str = "") -> Solid:
        """Sort contours into planes, depths and runs.

        Raises
        ------
        StructureError
            If there is no ring of at least three points, or rings are not planar and parallel.
        """
        rings = [_cleaned(ring) for ring in contours.rings]
        kept = [ring for ring in rings if len(ring) >= 3]
        if not kept:
            raise StructureError("The structure has no closed contour.", where=name)
        axes = _frame(kept, name)
        flat = [ring @ axes.T for ring in kept]
        notes = (
            []
            if len(kept) == len(rings)
            else [f"{len(rings) - len(kept)} contours of 1 or 2 points left out"]
        )
        planes = _planes(flat, name)
        levels: list[list[Plane]] = []
        for height, members in planes:
            for depth, group in enumerate(_by_depth(members)):
                if depth == len(levels):
                    levels.append([])
                if group:
                    radii = tuple(equal_radius(ring) for ring in group)
                    levels[depth].append(Plane(height, tuple(group), radii))
        heights = np.array([height for height, _ in planes])
        return cls(axes, tuple(_linked(level, heights) for level in levels if level), tuple(notes))


def _cleaned(ring: Float) -> Float:
    """Drop repeated points, the closing one included."""
    if len(ring) < 3:
        return ring
    keep = np.linalg.norm(ring - np.roll(ring, 1, axis=0), axis=1) > 1e-6
    return ring[keep] if keep.any() else ring[:1]


def _normal(ring: Float) -> Float:
    centred = ring - ring.mean(axis=0)
    vector: Float = np.cross(centred, np.roll(centred, -1, axis=0)).sum(axis=0)
    return vector


def _frame(rings: list[Float], name: str) -> Float:
    """Return u, v, n as rows: n the common normal (to the head), u near the patient's left."""
    normals = np.array([_normal(ring) for ring in rings])
    largest = normals[np.linalg.norm(normals, axis=1).argmax()]
    if np.linalg.norm(largest) < 1e-6:
        raise StructureError("All contours are lines: the structure has no area.", where=name)
    largest = largest * (np.sign(largest[np.abs(largest).argmax()]) or 1.0)
    signs = np.sign(normals @ largest)
    mean = (normals * signs[:, None]).sum(axis=0)
    n = mean / np.linalg.norm(mean)
    n = np.round(n) if np.abs(n - np.round(n)).max() < 1e-6 else n
    along = np.eye(3)[0] if abs(n[0]) < 0.9 else np.eye(3)[1]
    u = along - (along @ n) * n
    u /= np.linalg.norm(u)
    return np.stack([u, np.cross(n, u), n])


def _planes(rings: list[Float], name: str) -> list[tuple[float, list[Float]]]:
    for ring in rings:
        if np.ptp(ring[:, 2]) > 0.2:
            raise StructureError("A contour does not lie in one plane parallel to the others.", where=name)
    order = sorted(rings, key=lambda ring: float(ring[:, 2].mean()))
    planes: list[tuple[float, list[Float]]] = []
    for ring in order:
        height = float(ring[:, 2].mean())
        if not planes or height - planes[-1][0] > SAME_PLANE_MM:
            planes.append((height, []))
        planes[-1][1].append(np.ascontiguousarray(ring[:, :2]))
    return planes


def _by_depth(rings: list[Float]) -> list[list[Float]]:
    """Sort rings by how many others hold them; rings that cross stay together at depth 0."""
    rings = [ring for ring in rings if abs(area(ring)) > 1e-9]
    if len(rings) < 2:
        return [rings]
    depth = [0] * len(rings)
    for i, ring in enumerate(rings):
        for j, other in enumerate(rings):
            if i == j or not _boxes_meet(ring, other):
                continue
            within = inside(ring, Outline.of([other]))
            if within.all():
                depth[i] += 1
            elif within.any():
                return [rings]
    return [[r for r, d in zip(rings, depth, strict=True) if d == level] for level in range(max(depth) + 1)]


def _boxes_meet(a: Float, b: Float) -> bool:
    return bool((a.min(axis=0) <= b.max(axis=0)).all() and (b.min(axis=0) <= a.max(axis=0)).all())


def _meet(a: Float, b: Float) -> bool:
    """Whether two rings overlap, seen along the normal (a vertex of one in the other)."""
    if not _boxes_meet(a, b):
        return False
    one, other = a[:: max(len(a) // 64, 1)], b[:: max(len(b) // 64, 1)]
    return bool(inside(one, Outline.of([b])).any() or inside(other, Outline.of([a])).any())


def _linked(planes: list[Plane], heights: Float) -> tuple[Plane, ...]:
    """Say for every ring whether it goes on into the next plane up and down."""
    gaps = np.diff(heights)
    widest = BRIDGED_GAPS * float(np.median(gaps)) if len(gaps) else 0.0
    up = [[False] * len(plane.rings) for plane in planes]
    down = [[False] * len(plane.rings) for plane in planes]
    for k, (lower, upper) in enumerate(pairwise(planes)):
        between = int(((heights > lower.height_mm + 1e-9) & (heights < upper.height_mm - 1e-9)).sum())
        if between or upper.height_mm - lower.height_mm > widest:
            continue
        for i, ring in enumerate(lower.rings):
            for j, other in enumerate(upper.rings):
                if not (up[k][i] and down[k + 1][j]) and _meet(ring, other):
                    up[k][i] = down[k + 1][j] = True
    return tuple(
        Plane(plane.height_mm, plane.rings, plane.radii_mm, tuple(u), tuple(d))
        for plane, u, d in zip(planes, up, down, strict=True)
    )
