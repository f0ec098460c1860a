"""Organs on a voxel grid with contours along the voxels' edges, and their answers by dense sampling.

The level function of the solid that the contours define (Notes of rtplan's `Solid`, caps `rounded`) is
evaluated here without any of rtplan's lattices: contours run along voxel edges, so on a lattice that divides
the voxels the distance to the outline is a distance between lattice points, exact by a Euclidean transform.
Along the normal the function is a parabola, solved in closed form. Only the bookkeeping of rings (planes,
depths, which rings go on) is rtplan's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from rtplan.domain import Contours, Dose, Grid, Mask, Structure
from rtplan.dosimetry.solid import Plane, Solid, meet
from rtplan.imaging.contour import contours_of

#: Voxels of the organs, mm: (z, y, x).
VOXEL_MM = (2.5, 1.5, 1.5)
#: Parts of a voxel's side in plane, and of a gap along the normal, in the dense sampling.
DIVIDE, LAYERS = 10, 14
#: Places about which the extremes are looked for more closely.
PLACES = 40
#: Steps of the additive recurrence that shifts the samples.
PHI = np.array([0.8191725133961645, 0.6710436067037893, 0.5497004779019703])
SIGMA_MM, PEAK_GY = 20.0, 60.0
SHAPES = ("ellipsoid", "crescent", "two lobes", "bent tube", "wall", "loops")
DOSES: dict[str, tuple[float, float, float]] = {
    "x": (1.0, 0.0, 0.0),
    "z": (0.0, 0.0, 1.0),
    "oblique": (0.48, -0.36, 0.8),
    "curved": (0.0, 0.0, 0.0),
}


@dataclass(frozen=True, eq=False)
class Organ:
    """A shape on voxels, its contours and the fields that they define.

    Parameters
    ----------
    shape : str
        One of `SHAPES`.
    mask : Mask
        Its voxels.
    """

    shape: str
    mask: Mask

    @cached_property
    def contours(self) -> Contours:
        """Rings along the edges of the voxels."""
        return contours_of(self.mask)

    @property
    def structure(self) -> Structure:
        """The organ."""
        return Structure(self.shape, "ORGAN", self.contours)

    @cached_property
    def truth(self) -> Truth:
        """The defined solid, sampled densely."""
        return Truth(Solid.of(self.contours), self.mask.grid)


def organ(shape: str, draw: np.random.Generator) -> Organ:
    """Return one organ with drawn sizes, tilt and shift."""
    grid = Grid.axial((28, 44, 44), VOXEL_MM, tuple(-34.0 + draw.uniform(-1.5, 1.5, 3)))
    z, y, x = (grid.to_patient(np.indices(grid.shape).transpose(1, 2, 3, 0)))[..., ::-1].transpose(3, 0, 1, 2)
    turn, _ = np.linalg.qr(np.eye(3) + 0.35 * draw.normal(size=(3, 3)))
    turn = turn * np.sign(np.diag(turn))
    p = np.stack([x, y, z], axis=-1) @ turn

    def ball(centre, half):
        return (((p - np.asarray(centre)) / np.asarray(half)) ** 2).sum(axis=-1)

    a = draw.uniform(0.85, 1.15, 3)
    if shape == "ellipsoid":
        held = ball((0, 0, 0), a * (13, 9, 16)) < 1
    elif shape == "crescent":
        held = (ball((0, 0, 0), a * (22, 15, 17)) < 1) & (ball((0, -6, 2), a * (17, 13, 15)) >= 1)
    elif shape == "two lobes":
        held = (ball((-9, 0, 1), a * (12, 5, 9)) < 1) | (ball((9, 2, -2), a * (13, 6, 8)) < 1)
    elif shape == "bent tube":
        s = np.linspace(-1, 1, 41)[:, None]
        line = np.concatenate([9 * a[0] * s**2, 6 * a[1] * s**3, 24 * a[2] * s], axis=1)
        held = np.min([((p - point) ** 2).sum(axis=-1) for point in line], axis=0) < (4.2 * a[0]) ** 2
    elif shape == "wall":
        held = (ball((0, 0, 0), a * (17, 14, 16)) < 1) & (ball((0.5, 0, 1), a * (12, 9.5, 11)) >= 1)
    else:
        t = np.linspace(0, 1, 60)
        line = np.stack(
            [22 * np.sin(5 * t * a[0]), 20 * np.cos(9 * t * a[1]), 20 * np.sin(7 * t * a[2] + 1)], axis=1
        )
        held = np.min([((p - point) ** 2).sum(axis=-1) for point in line], axis=0) < 5.0**2
    return Organ(shape, Mask(grid, np.ascontiguousarray(held)))


def organs(seed: int, shifts: int) -> list[Organ]:
    """Return ``shifts`` organs of every shape."""
    draw = np.random.default_rng(seed)
    return [organ(shape, draw) for shape in SHAPES for _ in range(shifts)]


def dose_at(kind: str, points: np.ndarray) -> np.ndarray:
    """Return the dose, Gy, at points (…, 3), mm."""
    if kind == "curved":
        square = ((points - np.array([5.0, -4.0, 6.0])) ** 2).sum(axis=-1)
        return PEAK_GY * np.exp(-0.5 * square / SIGMA_MM**2)
    return 60.0 + points @ np.array(DOSES[kind])


def dose(kind: str) -> Dose:
    """Return the dose on a grid: 2.5 mm where it is linear, 1 mm where it is curved."""
    spacing = 1.0 if kind == "curved" else 2.5
    count = int(88 / spacing) + 1
    grid = Grid.axial((count,) * 3, (spacing,) * 3, (-44.0,) * 3)
    index = np.stack(np.meshgrid(*[np.arange(count)] * 3, indexing="ij"), axis=-1)
    return Dose(grid, dose_at(kind, grid.to_patient(index)))


@dataclass(frozen=True, eq=False)
class Slab:
    """A piece of the solid: ``value + slope t + bend t²/2 <= 0`` for t from 0 to ``height`` above ``start``.

    ``rings`` are what the fields come from: (plane's rings, weight of g in value, slope and bend).
    """

    start: float
    way: int
    height: float
    value: np.ndarray
    slope: np.ndarray
    bend: np.ndarray

    def at(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the level function and its slope at heights from the start."""
        return self.value + self.slope * t + 0.5 * self.bend * t * t, self.slope + self.bend * t

    def rises(self, step: float, part: float) -> list[np.ndarray]:
        """Return the derivatives of the level function along v and u at a part of the height."""
        return np.gradient(self.at(np.array(part * self.height))[0], step)


class OnNodes:
    """g = s² + 2Rs on the nodes of a lattice that divides the voxels."""

    def __init__(self, solid: Solid, grid: Grid) -> None:
        side = grid.spacing_zyx_mm[2]
        self.step = side / DIVIDE
        low, high = (end[:2] for end in solid.box_mm)
        edge = np.array(grid.origin_mm)[:2] - 0.5 * side
        first = np.round((low - edge) / side).astype(int) - 1
        self.origin = edge + first * side
        self.count = (np.round((high - edge) / side).astype(int) + 1 - first) * DIVIDE + 1
        self.made: dict[tuple[int, ...], np.ndarray] = {}

    def __call__(self, plane: Plane, which: str) -> np.ndarray:
        """Return g of chosen rings of a plane."""
        chosen = plane.chosen(which) or plane.chosen("all")
        key = (id(plane), *chosen)
        if key not in self.made:
            self.made[key] = self._power(plane, chosen)
        return self.made[key]

    def _power(self, plane: Plane, chosen: list[int]) -> np.ndarray:
        owner = np.full(self.count[::-1], -1)
        odd = np.zeros(owner.shape, bool)
        for i in chosen:
            at = np.round((plane.rings[i] - self.origin) / self.step).astype(int)
            if np.abs(self.origin + at * self.step - plane.rings[i]).max() > 1e-6:
                raise ValueError("a contour does not run along the voxels' edges")
            for a, b in zip(at, np.roll(at, -1, axis=0), strict=True):
                low, high = np.minimum(a, b), np.maximum(a, b)
                owner[low[1] : high[1] + 1, low[0] : high[0] + 1] = i
                if a[0] == b[0]:
                    odd[low[1] : high[1], : a[0]] ^= True
        away, place = ndimage.distance_transform_edt(owner < 0, return_indices=True)
        s = away * self.step * np.where(odd, -1, 1)
        return s * (s + 2 * np.array(plane.radii_mm)[owner[tuple(place)]])

    def columns(self) -> np.ndarray:
        """Return (u, v) of all nodes, shape (nodes, 2)."""
        u, v = (self.origin[a] + self.step * np.arange(self.count[a]) for a in (0, 1))
        return np.stack([a.ravel() for a in np.meshgrid(u, v)], axis=1)


class AtPoints:
    """g = s² + 2Rs at some points (u, v), from all edges one by one."""

    def __init__(self, points: np.ndarray) -> None:
        self.points = points

    def __call__(self, plane: Plane, which: str) -> np.ndarray:
        """Return g of chosen rings of a plane."""
        best = np.full(len(self.points), np.inf)
        radius, odd = np.zeros(len(best)), np.zeros(len(best), bool)
        u, v = self.points[:, :1], self.points[:, 1:]
        for i in plane.chosen(which) or plane.chosen("all"):
            a, b = plane.rings[i], np.roll(plane.rings[i], -1, axis=0)
            low, high = np.minimum(a, b), np.maximum(a, b)  # edges run along u or v
            du = np.maximum(np.maximum(low[:, 0] - u, u - high[:, 0]), 0)
            dv = np.maximum(np.maximum(low[:, 1] - v, v - high[:, 1]), 0)
            away = np.sqrt((du * du + dv * dv).min(axis=1))
            radius = np.where(away < best, plane.radii_mm[i], radius)
            best = np.minimum(best, away)
            odd ^= (((v >= low[:, 1]) & (v < high[:, 1]) & (u < a[:, 0])).sum(axis=1) % 2).astype(bool)
        s = np.where(odd, -best, best)
        return s * (s + 2 * radius)


class Pieces(dict):
    """Limited second differences and first ones of the planes of one depth, made when asked for."""

    def __init__(self, planes: tuple[Plane, ...], field) -> None:
        super().__init__()
        self.planes, self.field, self.rises = planes, field, {}
        self.gaps = [k for k in range(len(planes) - 1) if any(planes[k].up)]

    def width(self, k: int) -> float:
        """Return the height of a gap."""
        return self.planes[k + 1].height_mm - self.planes[k].height_mm

    def rise(self, k: int) -> np.ndarray:
        """Return the divided difference over a gap."""
        if k not in self.rises:
            low, high = self.field(self.planes[k], "up"), self.field(self.planes[k + 1], "down")
            self.rises[k] = (high - low) / self.width(k)
        return self.rises[k]

    def second(self, k: int) -> np.ndarray:
        """Return the second difference at a plane."""
        return (self.rise(k) - self.rise(k - 1)) / (0.5 * (self.width(k) + self.width(k - 1)))

    def __missing__(self, k: int) -> np.ndarray:
        known = [j for j in range(k - 1, k + 3) if j in self.gaps and j - 1 in self.gaps]
        around = (k, k + 1) if k in known and k + 1 in known else ((k + 1, k + 2), (k, k - 1))[k in known]
        pair = [self.second(j) for j in around if j in known] or [0 * self.rise(k)]
        a, b = pair[0], pair[-1]
        self[k] = np.where(a * b > 0, np.where(np.abs(a) < np.abs(b), a, b), 0.0)
        return self[k]


def slabs(planes: tuple[Plane, ...], field, typical: float, near: float | None = None) -> list[Slab]:
    """Return the pieces of the solid that the planes of one depth define (only those near a height)."""
    z = [plane.height_mm for plane in planes]
    pieces = Pieces(planes, field)
    found = []
    for k in pieces.gaps:
        gap = z[k + 1] - z[k]
        if near is None or z[k] - 0.5 < near < z[k + 1] + 0.5:
            bend = pieces[k]
            slope = pieces.rise(k) - 0.5 * bend * gap
            found.append(Slab(z[k], 1, gap, field(planes[k], "up"), slope, bend))
    for k, plane in enumerate(planes):
        for way in (1, -1):
            beside = near is None or abs(near - z[k]) < typical + 0.5
            if beside and not all(plane.up if way > 0 else plane.down):
                found.append(end(planes, field, (k, way), pieces, typical))
    return found


def end(planes, field, place, bends, typical) -> Slab:
    """Return the rounded cap of the rings that end at a plane."""
    k, way = place
    value = field(planes[k], "not up" if way > 0 else "not down")
    slope, bend, gap = 0 * value, 0 * value, typical
    inner = k - 1 if way > 0 else k
    if inner in bends.gaps:
        gap = planes[inner + 1].height_mm - planes[inner].height_mm
        other = field(planes[k - way], "up" if way > 0 else "down")
        slope = np.maximum((value - other) / gap + 0.5 * bends[inner] * gap, 0.0)
        bend = np.maximum(bends[inner], 0.0)
    return Slab(planes[k].height_mm, way, cap_height(planes, k, way, gap), value, slope, bend)


def cap_height(planes: tuple[Plane, ...], k: int, way: int, gap: float) -> float:
    """Return the height of a rounded end from the areas of the last planes (rtplan's docs/dvh.md)."""
    ahead, behind = ("up", "down") if way > 0 else ("down", "up")
    rings = [i for i in range(len(planes[k].rings)) if not getattr(planes[k], ahead)[i]]
    area, at = [sum(planes[k].radii_mm[i] ** 2 for i in rings)], [0.0]
    here = k
    while len(area) < 4 and 0 <= here - way < len(planes):
        inner = planes[here - way]
        held = np.zeros(len(inner.rings), bool)
        for i in rings:
            for j in range(len(inner.rings)):
                if getattr(planes[here], behind)[i] and getattr(inner, ahead)[j]:
                    held[j] |= meet(planes[here].rings[i], inner.rings[j])
        rings = np.flatnonzero(held).tolist()
        if not rings:
            break
        area.append(sum(inner.radii_mm[j] ** 2 for j in rings))
        at.append(abs(inner.height_mm - planes[k].height_mm))
        here -= way
    bend, slope = 0.0, 0.0
    if len(area) > 2:
        curves = [2 * np.polyfit(at[i : i + 3], area[i : i + 3], 2)[0] for i in range(len(area) - 2)]
        if curves[0] * curves[-1] > 0:
            bend = -min(curves, key=abs)
    if len(area) > 1:
        slope = max((area[1] - area[0]) / at[1] + 0.5 * bend * at[1], 0.0)
    bend = max(bend, 0.0)
    roots = [t.real for t in np.roots([-0.5 * bend, -slope, area[0]]) if abs(t.imag) < 1e-9 and t.real > 0]
    closes = min(roots, default=np.inf)
    return closes if closes <= gap else 0.5 * gap * (1 + gap / closes)


class Truth:
    """The defined solid of contours along the edges of a grid, sampled densely."""

    def __init__(self, solid: Solid, grid: Grid) -> None:
        self.solid = solid
        self.typical = float(np.median(np.diff(solid.heights_mm)))
        self.nodes = OnNodes(solid, grid)
        self.columns = self.nodes.columns()
        self.levels = self.made(self.nodes)

    def made(self, field, near: float | None = None) -> list[list[Slab]]:
        """Return the pieces of all depths with these fields."""
        return [slabs(planes, field, self.typical, near) for planes in self.solid.levels]

    def samples(self) -> tuple[np.ndarray, np.ndarray]:
        """Return points (n, 3) and volumes, mm³, (n,); those of holes are negative."""
        jitter = np.mod(np.outer(np.arange(len(self.columns)) + 1, PHI), 1.0)
        points, volumes = [], []
        for depth, pieces in enumerate(self.levels):
            for number, piece in enumerate(pieces):
                for layer in range(LAYERS):
                    part = np.mod(jitter[:, 2] + number * PHI[0] + layer * PHI[1], 1.0)
                    t = piece.height * (layer + part) / LAYERS
                    g, along = piece.at(t.reshape(piece.value.shape))
                    across = sum(np.abs(a) for a in piece.rises(self.nodes.step, layer / LAYERS))
                    reach = across * self.nodes.step + np.abs(along) * piece.height / LAYERS + 1e-9
                    share = np.clip(0.5 - g / reach, 0.0, 1.0).ravel()
                    held = np.flatnonzero(share)
                    offset = self.nodes.step * (jitter[held, :2] - 0.5)
                    z = piece.start + piece.way * t[held]
                    points.append(np.column_stack([self.columns[held] + offset, z]))
                    volume = self.nodes.step**2 * piece.height / LAYERS
                    volumes.append(share[held] * volume * (-1) ** depth)
        return np.concatenate(points), np.concatenate(volumes)

    def ends(self, levels: list[list[Slab]], columns: np.ndarray, near: tuple = ()) -> np.ndarray:
        """Return u, v, z where columns enter and leave the solid and between; column; and room beside, mm."""
        found = []
        for pieces in levels:
            for piece in pieces:
                steep = np.hypot(*piece.rises(self.nodes.step, 0.5)) if levels is self.levels else None
                a, b, c = 0.5 * piece.bend.ravel(), piece.slope.ravel(), piece.value.ravel()
                root = np.sqrt(np.maximum(b * b - 4 * a * c, 0.0))
                q = -0.5 * (b + np.where(b < 0, -1, 1) * root)
                with np.errstate(divide="ignore", invalid="ignore"):
                    ts = [q / a, c / q]
                ts += [np.full(len(c), piece.height * part) for part in np.linspace(0, 1, 6)]
                ts += [np.full(len(c), piece.way * (height - piece.start)) for height in near]
                for t in ts:
                    ok = np.isfinite(t) & (t >= 0) & (t <= piece.height)
                    t = np.where(ok, t, 0.0)
                    sides = [np.clip(t + by, 0, piece.height) for by in (-1e-3, 1e-3)]
                    ok &= np.minimum(*(c + b * s + a * s * s for s in sides)) < -1e-7
                    held = np.flatnonzero(ok)
                    more = np.zeros(len(held))
                    if steep is not None:
                        more = -(c + b * t + a * t * t)[held] / np.maximum(steep.ravel()[held], 1e-3)
                    z = piece.start + piece.way * t[held]
                    found.append(
                        np.column_stack([columns[held], z, held, np.clip(more, 0, 2 * self.nodes.step)])
                    )
        every = np.concatenate(found)
        if len(levels) > 1:
            every = every[~self.in_hole(levels, every)]
        return every

    def in_hole(self, levels: list[list[Slab]], points: np.ndarray) -> np.ndarray:
        """Whether points (u, v, z, column) lie inside a hole, not on its surface."""
        column = points[:, 3].astype(int)
        lost = np.zeros((2, len(points)), bool)
        for piece in levels[1]:
            value, slope, bend = (part.ravel()[column] for part in (piece.value, piece.slope, piece.bend))
            for side, by in enumerate((-1e-4, 1e-4)):
                t = piece.way * (points[:, 2] + by - piece.start)
                lost[side] |= (
                    (t >= 0) & (t <= piece.height) & (value + slope * t + 0.5 * bend * t * t < -1e-6)
                )
        return lost.all(axis=0)

    @cached_property
    def _ends(self) -> np.ndarray:
        return self.ends(self.levels, self.columns)

    def extreme(self, kind: str, sign: int) -> float:
        """Return the highest (1) or lowest (-1) dose: of the columns, then closer about the best."""
        rings = [
            np.column_stack([ring, np.full(len(ring), plane.height_mm)])
            for level in self.solid.levels
            for plane in level
            for ring in plane.rings
        ]
        known = float((sign * dose_at(kind, np.concatenate(rings))).max())
        score = sign * dose_at(kind, self._ends[:, :3])
        sides = self._ends[:, :3] + 0.1 * np.array([[[1, 0, 0]], [[-1, 0, 0]], [[0, 1, 0]], [[0, -1, 0]]])
        around = dose_at(kind, sides)
        hoped = score + self._ends[:, 4] * np.hypot(around[0] - around[1], around[2] - around[3]) / 0.2
        best, places = max(known, float(score.max())), []
        for row in np.argsort(-hoped)[:20000]:
            point = self._ends[row, :3]
            if all(np.abs(point - other).max() > 1.0 for other in places):
                places.append(point)
            if len(places) == PLACES:
                break
        reach = self.nodes.step
        spread = np.stack(np.meshgrid(*[np.linspace(-1, 1, 9)] * 2), axis=-1).reshape(-1, 2)
        for number in range(5):
            for i, place in enumerate(places):
                columns = place[:2] + reach * spread
                heights = tuple(place[2] + reach * np.linspace(-3, 3, 7))
                found = self.ends(self.made(AtPoints(columns), float(place[2])), columns, heights)
                if len(found):
                    value = sign * dose_at(kind, found[:, :3])
                    best, places[i] = max(best, float(value.max())), found[value.argmax(), :3]
            if number == 1:
                places.sort(key=lambda place: -sign * dose_at(kind, place))
                places = places[: PLACES // 4]
            reach *= 0.3
        return sign * best

    def answers(self, kinds) -> dict[str, dict[str, float]]:
        """Return volume (cc), D98, D50, D2, mean, min, max (Gy) under each dose."""
        points, volumes = self.samples()
        found = {}
        for kind in kinds:
            doses = dose_at(kind, points)
            order = np.argsort(doses)
            share = np.cumsum(volumes[order]) - 0.5 * volumes[order]
            share /= volumes.sum()
            d98, d50, d2 = np.interp([0.02, 0.5, 0.98], share, doses[order])
            found[kind] = {
                "V": volumes.sum() / 1000,
                "D98": d98,
                "D50": d50,
                "D2": d2,
                "mean": float(doses @ volumes / volumes.sum()),
                "min": self.extreme(kind, -1),
                "max": self.extreme(kind, 1),
            }
        return found
