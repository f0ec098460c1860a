"""The level function of a solid on layers of a lattice: between planes, and in the caps of every policy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rtplan.dosimetry.cells import (
    CORE,
    FLAT,
    LOWER,
    LOWER_REST,
    ROUND,
    ROUND_LOWER,
    ROUND_UPPER,
    UPPER,
    UPPER_REST,
)
from rtplan.dosimetry.closing import apex, closing
from rtplan.dosimetry.distance import Lattice, Outline, inside, signed_lattice
from rtplan.dosimetry.solid import Plane, Solid
from rtplan.errors import StructureError

Float = NDArray[np.float64]
Face = tuple[Float, float, int, float]

#: Height of a layer of cells in sides of a cell: a dose along the normal sees whole layers at once.
THINNER = 0.7
#: The same for a flat cap.
THINNER_CAP = 1.3
#: A rounded end is flat where it would narrow by less than this part of its area in a gap.
FLAT_PART = 0.01
#: Below this part its rim is that of the plane.
STRAIGHT = 1e-9
_WAYS = ("up", "not up", "down", "not down")


@dataclass(frozen=True, eq=False)
class Layers:
    """Level function g and its derivatives along the normal on layers of cells; the solid is where g <= 0.

    Parameters
    ----------
    height_mm, thick_mm : ndarray, shape (L,)
        Middle and thickness.
    label, sign : ndarray, shape (L,)
        Part of the structure; 1, or -1 for a hole.
    value, slope, bend : ndarray, shape (L, nv, nu)
        g, dg/dn and d²g/dn².
    faces : tuple of (ndarray of shape (m, 2), float, int, float)
        Points (u, v) on flat ends, their height and part, and the doubt about the height, mm.
    """

    height_mm: Float
    thick_mm: Float
    label: NDArray[np.int8]
    sign: NDArray[np.int8]
    value: Float
    slope: Float
    bend: Float
    faces: tuple[Face, ...] = ()

    @classmethod
    def of(cls, solid: Solid, lattice: Lattice, *, single_slice_mm: float | None = None) -> Layers:
        """Build the layers of a solid for all cap policies.

        Raises
        ------
        StructureError
            If there is one plane only and no thickness is given.
        """
        gap = typical_gap(solid, single_slice_mm)
        pieces: list[Layers] = []
        for depth, planes in enumerate(solid.levels):
            sign = -1 if depth % 2 else 1
            fields = _Fields.of(planes, lattice)
            if fields.gaps:
                pieces.append(_between(fields, lattice, sign))
            pieces += [
                _end(fields, lattice, (k, way), (gap, sign), solid.levels[depth + 1 :])
                for k, plane in enumerate(planes)
                for way in (1, -1)
                if not all(plane.up if way > 0 else plane.down)
            ]
        return _joined(pieces)


def _joined(pieces: list[Layers]) -> Layers:
    return Layers(
        np.concatenate([piece.height_mm for piece in pieces]),
        np.concatenate([piece.thick_mm for piece in pieces]),
        np.concatenate([piece.label for piece in pieces]),
        np.concatenate([piece.sign for piece in pieces]),
        np.concatenate([piece.value for piece in pieces]),
        np.concatenate([piece.slope for piece in pieces]),
        np.concatenate([piece.bend for piece in pieces]),
        tuple(face for piece in pieces for face in piece.faces),
    )


def typical_gap(solid: Solid, single_slice_mm: float | None) -> float:
    """Return the median distance of the planes, or the thickness of a single one, mm."""
    gaps = np.diff(solid.heights_mm)
    if len(gaps):
        return float(np.median(gaps))
    if single_slice_mm is None:
        raise StructureError("The structure has contours in one plane only, and no slice thickness is known.")
    return single_slice_mm


@dataclass(frozen=True, eq=False)
class _Fields:
    """Power functions of the rings of the planes of one level, and the gaps that are bridged.

    ``gaps`` lists the planes from which some ring goes on up; ``rise`` and ``bend`` are, for each of them,
    the divided difference and the limited second derivative of the power function.
    """

    planes: tuple[Plane, ...]
    power: Float
    rows: dict[tuple[int, str], int]
    gaps: list[int]
    rise: Float
    bend: Float

    @classmethod
    def of(cls, planes: tuple[Plane, ...], lattice: Lattice) -> _Fields:
        power, rows = _powers(planes, lattice)
        gaps = [k for k in range(len(planes) - 1) if any(planes[k].up)]
        low = power[[rows[k, "up"] for k in gaps]]
        high = power[[rows[k + 1, "down"] for k in gaps]]
        height = np.array([plane.height_mm for plane in planes])
        width = np.diff(height)[gaps]
        rise = (high - low) / width[:, None, None]
        return cls(planes, power, rows, gaps, rise, _bends(gaps, width, rise))

    def at(self, k: int, which: str) -> Float:
        """Return the power function of those rings of plane k that go up or down, or end there."""
        field: Float = self.power[self.rows[k, which]]
        return field

    def width_mm(self, k: int) -> float:
        """Return the height of the gap above plane k."""
        return self.planes[k + 1].height_mm - self.planes[k].height_mm


def _powers(planes: tuple[Plane, ...], lattice: Lattice) -> tuple[Float, dict[tuple[int, str], int]]:
    keys: list[tuple[int, str]] = []
    rings: list[Float] = []
    radii: list[float] = []
    owner: list[int] = []
    for k, plane in enumerate(planes):
        mixed = [way for way in _WAYS if _mixed(plane, way)] if len(plane.rings) > 1 else []
        for which in ("all", *mixed):
            chosen = plane.chosen(which)
            rings += [plane.rings[i] for i in chosen]
            radii += [plane.radii_mm[i] for i in chosen]
            owner += [len(keys)] * len(chosen)
            keys.append((k, which))
    whole = [not (all(planes[k].up) and all(planes[k].down)) for k, _ in keys]
    reach = 2 if len(keys) == len(planes) else 6
    outline = Outline.of(rings, radii, owner)
    distance, radius = signed_lattice(lattice, outline, len(keys), reach, whole)
    radius *= 2.0
    radius += distance
    radius *= distance
    rows = {key: row for row, key in enumerate(keys)}
    return radius, {(k, which): rows.get((k, which), rows[k, "all"]) for k, _ in keys for which in _WAYS}


def _mixed(plane: Plane, way: str) -> bool:
    """Whether some of a plane's rings go on (that way) and others do not."""
    flags = plane.up if way.endswith("up") else plane.down
    return any(flags) and not all(flags)


def _bends(gaps: list[int], width: Float, rise: Float) -> Float:
    """Return for each gap the smaller of the second divided differences around it, 0 where signs differ."""
    limited = np.zeros_like(rise)
    second = np.array([i for i in range(1, len(gaps)) if gaps[i] == gaps[i - 1] + 1], dtype=np.int64)
    row = {gaps[i]: n for n, i in enumerate(second.tolist())}
    pairs = []
    for i, k in enumerate(gaps):
        around = (k, k + 1) if k in row and k + 1 in row else ((k + 1, k + 2), (k, k - 1))[k in row]
        found = [row[j] for j in around if j in row]
        if found:
            pairs.append((i, found[0], found[-1]))
    if pairs:
        apart = 0.5 * (width[second] + width[second - 1])
        bends = (rise[second] - rise[second - 1]) / apart[:, None, None]
        of, first, last = np.array(pairs).T
        a, b = bends[first], bends[last]
        limited[of] = np.maximum(np.minimum(a, b), 0.0) + np.minimum(np.maximum(a, b), 0.0)
    return limited


def _count(height: float, lattice: Lattice, thinner: float = THINNER) -> int:
    return max(int(np.ceil(height / (thinner * lattice.step_mm) - 1e-9)), 1)


def _between(fields: _Fields, lattice: Lattice, sign: int) -> Layers:
    widths = np.array([fields.width_mm(k) for k in fields.gaps])
    counts = np.array([_count(width, lattice) for width in widths])
    of = np.repeat(np.arange(len(counts)), counts)
    level = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    width = widths[of]
    z = (level + 0.5) * width / counts[of]
    base = np.array([fields.planes[k].height_mm for k in fields.gaps])
    low = fields.power[[fields.rows[k, "up"] for k in fields.gaps]][of]
    rise, bend = fields.rise[of], fields.bend[of]
    columns = (slice(None), None, None)
    low += rise * z[columns]
    low += bend * (0.5 * z * (z - width))[columns]
    rise += bend * (z - 0.5 * width)[columns]
    label = np.full(len(of), CORE, np.int8)
    return Layers(base[of] + z, width / counts[of], label, np.full(len(of), sign, np.int8), low, rise, bend)


def _end(
    fields: _Fields,
    lattice: Lattice,
    place: tuple[int, int],
    kind: tuple[float, int],
    holes: tuple[tuple[Plane, ...], ...],
) -> Layers:
    """Return the caps of the rings that end at a plane, up (way 1) or down (-1), and their flat faces."""
    (k, way), (typical_gap, sign) = place, kind
    ending = "not up" if way > 0 else "not down"
    value, height = fields.at(k, ending), fields.planes[k].height_mm
    gap, slope, bend = _outward(fields, k, way, typical_gap)
    flat = np.zeros_like(value)
    within = _inside(lattice, value) if sign > 0 else np.zeros((0, 2))
    within = _outside(within, holes, height)
    faces = [(within, height, CORE, 0.0)]
    plane = fields.planes[k]
    rim = np.concatenate([*(plane.rings[i] for i in plane.chosen(ending)), within])
    pieces = []
    for number, part in enumerate((UPPER, UPPER_REST) if way > 0 else (LOWER, LOWER_REST)):
        start = height + way * 0.5 * gap * number
        pieces.append(_cap((start, way * 0.5 * gap, part), lattice, (value, flat, flat), sign))
        faces.append((rim, start + way * 0.5 * gap, part, 0.0))
    rise, narrows = closing(fields.planes, k, way, gap)
    form = (ROUND_UPPER if way > 0 else ROUND_LOWER) if narrows > FLAT_PART else FLAT
    pieces.append(_cap((height, way * rise, form), lattice, (value, slope, bend), sign))
    top = value + slope * rise + 0.5 * bend * rise * rise
    if sign > 0:
        face, left_mm = _outside(_inside(lattice, top), holes, height), 0.0
        if not len(face):
            row, column, rise, left_mm = apex(value, slope, bend, rise)
            face = lattice.at(row, column)
        faces.append((rim if abs(narrows) < STRAIGHT else face, height + way * rise, form, left_mm))
    return replace(_joined(pieces), faces=tuple(faces))


def _outward(fields: _Fields, k: int, way: int, typical_gap: float) -> tuple[float, Float, Float]:
    """Return the gap to the plane that is not there, and the slope and bend of the level function into it."""
    value = fields.at(k, "not up" if way > 0 else "not down")
    inner = k - 1 if way > 0 else k
    if inner not in fields.gaps:
        return typical_gap, np.zeros_like(value), np.zeros_like(value)
    gap = fields.width_mm(inner)
    bend = fields.bend[fields.gaps.index(inner)]
    other = fields.at(k - way, "up" if way > 0 else "down")
    slope = np.maximum((value - other) / gap + 0.5 * bend * gap, 0.0)
    return gap, slope, np.maximum(bend, 0.0)


def _cap(
    place: tuple[float, float, int], lattice: Lattice, shape: tuple[Float, Float, Float], sign: int
) -> Layers:
    """Return the layers from a height on, over a signed height, of one part of the structure."""
    (start, rise, label), (value, slope, bend) = place, shape
    count = _count(abs(rise), lattice, THINNER if label in ROUND else THINNER_CAP)
    z = ((np.arange(count) + 0.5) * abs(rise) / count)[:, None, None]
    way = np.sign(rise)
    return Layers(
        start + way * z.ravel(),
        np.full(count, abs(rise) / count),
        np.full(count, label, np.int8),
        np.full(count, sign, np.int8),
        value + slope * z + 0.5 * bend * (z * z),
        way * (slope + bend * z),
        np.broadcast_to(bend, (count, *bend.shape)),
    )


def _outside(points: Float, holes: tuple[tuple[Plane, ...], ...], height: float) -> Float:
    """Return those points of a plane at a height that lie in none of its holes."""
    rings = [ring for level in holes for plane in level if plane.height_mm == height for ring in plane.rings]
    return points[~inside(points, Outline.of(rings))] if rings and len(points) else points


def _inside(lattice: Lattice, value: Float) -> Float:
    row, column = np.nonzero(value < 0)
    return np.stack([lattice.u_mm[column], lattice.v_mm[row]], axis=1)
