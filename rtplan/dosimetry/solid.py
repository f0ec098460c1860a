"""The solid that contours define: planes, nesting of rings, which rings go on into the next plane.

Contours say nothing of what lies between and beyond their planes; this file and `cells` say what rtplan
takes. Between two planes the shape is interpolated (Notes of `Solid`); a ring without a partner in the next
plane ends by the cap policy, as do the first and the last plane. Rings of one plane combine by exclusive
or: rings are sorted by nesting depth, each depth is a solid of its own, and the odd ones are taken away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from statistics import median

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Contours
from rtplan.dosimetry.distance import Outline, inside
from rtplan.errors import StructureError

Float = NDArray[np.float64]

#: Contours whose offsets along the normal differ by less lie in one plane, mm.
SAME_PLANE_MM = 0.02
#: A gap wider than this many median gaps is not bridged: the structure ends and begins again.
BRIDGED_GAPS = 4.0
#: Odd numbers that mix a point's places and its ring's number into one.
_PRIMES = np.array([73856093, 19349663, 83492791, 2654435761], dtype=np.int64)


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

    def chosen(self, which: str = "all") -> list[int]:
        """Return the numbers of some rings.

        All of them, those that go on (``up``, ``down``), or those that end (``not up``, ``not down``).
        """
        if which == "all":
            return list(range(len(self.rings)))
        flags = self.up if which.endswith("up") else self.down
        wanted = not which.startswith("not")
        return [i for i, flag in enumerate(flags) if flag == wanted]


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

    @cached_property
    def box_mm(self) -> tuple[Float, Float]:
        """Lowest and highest u, v and n of the contours, mm, shape (3,) each."""
        u, v = np.concatenate([ring for plane in self.levels[0] for ring in plane.rings]).T
        low, high = self.heights_mm[[0, -1]]
        return np.array([u.min(), v.min(), low]), np.array([u.max(), v.max(), high])

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
        points, counts, left_out = _cleaned(contours.rings)
        if not len(counts):
            raise StructureError("The structure has no closed contour.", where=name)
        notes = (f"{left_out} contours of 1 or 2 points left out",) if left_out else ()
        normals = _newell(points, counts)
        axes = _frame(normals, name)
        levels: list[list[Plane]] = []
        planes = _planes(points @ axes.T, counts, 0.5 * np.abs(normals @ axes[2]), name)
        for height, members in planes:
            for depth, group in enumerate(_by_depth(members)):
                if depth == len(levels):
                    levels.append([])
                if group:
                    rings, radii = zip(*group, strict=True)
                    levels[depth].append(Plane(height, rings, radii))
        heights = np.array([height for height, _ in planes])
        return cls(axes, tuple(_linked(level, heights) for level in levels if level), notes)


#: A ring in its plane and the radius of the circle of its area.
Member = tuple[Float, float]


def _cleaned(rings: Sequence[Float]) -> tuple[Float, NDArray[np.int64], int]:
    """Return rings without repeated points (the closing one is one): points, and their number in each ring.

    The last of the three is how many rings had fewer than three points.
    """
    counts = np.array([len(ring) for ring in rings], dtype=np.int64)
    counts = counts[counts >= 3]
    if not len(counts):
        return np.zeros((0, 3)), counts, len(rings)
    points = np.concatenate([ring for ring in rings if len(ring) >= 3])
    stops = np.cumsum(counts)
    before = np.arange(-1, len(points) - 1)
    before[stops - counts] = stops - 1
    step = points - points.take(before, axis=0)
    keep = step[:, 0] ** 2 + step[:, 1] ** 2 + step[:, 2] ** 2 > 1e-12
    left = np.add.reduceat(keep, stops - counts, dtype=np.int64)
    points = points if keep.all() else points[keep]
    twice = _maybe_twice(points, left)
    left_out = len(rings) - len(counts)
    if left.min() >= 3 and not twice.any():
        return points, left, left_out
    kept = []
    for part, doubtful in zip(_split(points, left), twice.tolist(), strict=True):
        loops = [loop for loop in (_loops(part) if doubtful else [part]) if len(loop) >= 3]
        kept += loops
        left_out += not loops
    lengths = np.array([len(ring) for ring in kept], dtype=np.int64)
    return np.concatenate([points[:0], *kept]), lengths, left_out


def _split(points: Float, counts: NDArray[np.int64]) -> list[Float]:
    """Return the points ring by ring."""
    stops = np.cumsum(counts)
    return [points[a:b] for a, b in zip((stops - counts).tolist(), stops.tolist(), strict=True)]


def _maybe_twice(points: Float, counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each ring may come to one of its points twice: true wherever it does, and hardly elsewhere."""
    places = np.rint(points * 1e6).astype(np.int64)
    owner = np.repeat(np.arange(len(counts)), counts)
    x, y, z = (places * _PRIMES[:3]).T
    mixed = x + y + z + owner * _PRIMES[3]
    held = np.zeros(len(counts), np.bool_)
    again = np.sort(mixed)
    again = again[1:][again[1:] == again[:-1]]
    if len(again):
        held[owner[np.isin(mixed, again)]] = True
    return held


def _loops(ring: Float) -> list[Float]:
    """Cut a ring where it comes back to one of its points (a keyhole to a hole, a figure of eight)."""
    places: dict[bytes, int] = {}
    rounded = np.round(ring, 6) + 0.0
    for k, point in enumerate(rounded):
        before = places.setdefault(point.tobytes(), k)
        if before < k:
            return [*_loops(ring[before:k]), *_loops(np.concatenate([ring[:before], ring[k:]]))]
    return [ring]


def _newell(points: Float, counts: NDArray[np.int64]) -> Float:
    """Return twice the vector area of each ring, mm², shape (rings, 3)."""
    start = np.cumsum(counts) - counts
    centred = points - np.repeat(np.add.reduceat(points, start) / counts[:, None], counts, axis=0)
    after = np.arange(1, len(points) + 1)
    after[start + counts - 1] = start
    following = centred.take(after, axis=0)
    turned = centred[:, (1, 2, 0)] * following[:, (2, 0, 1)] - centred[:, (2, 0, 1)] * following[:, (1, 2, 0)]
    vector: Float = np.add.reduceat(turned, start)
    return vector


def _frame(normals: Float, name: str) -> Float:
    """Return u, v, n as rows: n the common normal (to the head), u near the patient's left."""
    largest = normals[np.linalg.norm(normals, axis=1).argmax()]
    if np.linalg.norm(largest) < 1e-6:
        raise StructureError("All contours are lines: the structure has no area.", where=name)
    largest = largest * (np.sign(largest[np.abs(largest).argmax()]) or 1.0)
    signs = np.sign(normals @ largest)
    mean = (normals * signs[:, None]).sum(axis=0)
    n = mean / np.linalg.norm(mean)
    n = np.round(n) if np.abs(n - np.round(n)).max() < 1e-6 else n
    along = np.array([1.0, 0.0, 0.0] if abs(n[0]) < 0.9 else [0.0, 1.0, 0.0])
    u = along - (along @ n) * n
    u /= np.linalg.norm(u)
    (a, b, c), (d, e, f) = n, u
    return np.array([u, [b * f - c * e, c * d - a * f, a * e - b * d], n])


def _planes(
    points: Float, counts: NDArray[np.int64], areas: Float, name: str
) -> list[tuple[float, list[Member]]]:
    """Sort rings (points along u, v and n) into planes; rings without area are left out."""
    start = np.cumsum(counts) - counts
    heights = points[:, 2]
    if (np.maximum.reduceat(heights, start) - np.minimum.reduceat(heights, start)).max() > 0.2:
        raise StructureError("A contour does not lie in one plane parallel to the others.", where=name)
    middle = np.add.reduceat(heights, start) / counts
    rings = _split(np.ascontiguousarray(points[:, :2]), counts)
    order = np.argsort(middle, kind="stable")
    radii = np.sqrt(np.maximum(areas, 0.0) / np.pi).tolist()
    planes: list[tuple[float, list[Member]]] = []
    for k, height in zip(order.tolist(), middle[order].tolist(), strict=True):
        if not planes or height - planes[-1][0] > SAME_PLANE_MM:
            planes.append((height, []))
        if areas[k] > 1e-9:
            planes[-1][1].append((rings[k], radii[k]))
    return planes


def _by_depth(members: list[Member]) -> list[list[Member]]:
    """Sort rings by how many others hold them; rings that cross stay together at depth 0."""
    if len(members) < 2:
        return [members]
    depth = [0] * len(members)
    for i, (ring, _) in enumerate(members):
        for j, (other, _) in enumerate(members):
            if i == j or not _boxes_meet(ring, other):
                continue
            within = inside(ring, Outline.of([other]))
            if within.all():
                depth[i] += 1
            elif within.any():
                return [members]
    return [[m for m, d in zip(members, depth, strict=True) if d == level] for level in range(max(depth) + 1)]


def _boxes_meet(a: Float, b: Float) -> bool:
    return bool((a.min(axis=0) <= b.max(axis=0)).all() and (b.min(axis=0) <= a.max(axis=0)).all())


def meet(a: Float, b: Float) -> bool:
    """Whether two rings overlap, seen along the normal (a vertex of one in the other)."""
    if not _boxes_meet(a, b):
        return False
    one, other = a[:: max(len(a) // 64, 1)], b[:: max(len(b) // 64, 1)]
    return bool(inside(one, Outline.of([b])).any() or inside(other, Outline.of([a])).any())


def _plainly_meet(pairs: Sequence[tuple[Float, Float]]) -> NDArray[np.bool_]:
    """Whether the first or the middle vertex of the first ring of each pair lies in its second ring."""
    counts = np.array([len(outer) for _, outer in pairs])
    start = np.cumsum(counts) - counts
    begin = np.concatenate([outer for _, outer in pairs])
    after = np.arange(1, len(begin) + 1)
    after[start + counts - 1] = start
    begin_u, begin_v = np.ascontiguousarray(begin.T)
    end_v = begin_v.take(after)
    rise = end_v - begin_v
    slope = (begin_u.take(after) - begin_u) / np.where(rise == 0.0, 1.0, rise)
    held = np.zeros(len(pairs), bool)
    for place in (0.0, 0.5):
        points = np.array([inner[int(place * len(inner))] for inner, _ in pairs])
        u, v = np.repeat(points[:, 0], counts), np.repeat(points[:, 1], counts)
        crosses = (begin_v > v) != (end_v > v)
        crosses &= begin_u + (v - begin_v) * slope > u
        held |= np.add.reduceat(crosses, start, dtype=np.int64) % 2 == 1
    return held


def _linked(planes: list[Plane], heights: Float) -> tuple[Plane, ...]:
    """Say for every ring whether it goes on into the next plane up and down."""
    gaps = np.diff(heights)
    widest = BRIDGED_GAPS * median(gaps.tolist()) if len(gaps) else 0.0
    up = [[False] * len(plane.rings) for plane in planes]
    down = [[False] * len(plane.rings) for plane in planes]
    order = np.searchsorted(heights, [plane.height_mm - 1e-9 for plane in planes]).tolist()
    chosen: list[tuple[int, int, int]] = []
    pairs = []
    for k, (lower, upper) in enumerate(pairwise(planes)):
        if order[k + 1] - order[k] > 1 or upper.height_mm - lower.height_mm > widest:
            continue
        for i, ring in enumerate(lower.rings):
            for j, other in enumerate(upper.rings):
                chosen.append((k, i, j))
                pairs.append((ring, other) if lower.radii_mm[i] < upper.radii_mm[j] else (other, ring))
    plain = _plainly_meet(pairs) if pairs else ()
    for (k, i, j), pair, sure in zip(chosen, pairs, plain, strict=True):
        if sure or (not (up[k][i] and down[k + 1][j]) and meet(*pair)):
            up[k][i] = down[k + 1][j] = True
    return tuple(
        Plane(plane.height_mm, plane.rings, plane.radii_mm, tuple(u), tuple(d))
        for plane, u, d in zip(planes, up, down, strict=True)
    )
