"""Extremes on contours with sharp corners: from places found on the lattice, a search on the solid."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from rtplan.dosimetry.distance import Outline, inside, to_segments
from rtplan.dosimetry.pieces import Key, Piece, Power, Shape

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

#: Columns along each side of the square that is searched, how much smaller the next square is, and the last.
COLUMNS, SHRINK, LAST_MM = 7, 0.5, 0.002
#: Places that the search starts from, for each extreme, and how many are kept after one step, and after two.
STARTS, KEPT = 48, (12, 4)
#: Vertices of an end are looked at this far inside it, mm.
NUDGE_MM = 2e-4
#: A point is in the solid when the level function just beside it is below this, mm².
BELOW, BESIDE_MM = -1e-7, 1e-3
#: The dose's slope and bend are taken over at least this, mm.
LEAST_MM = 0.3


class Near:
    """Level functions of single planes near one point, from those edges only that count there."""

    def __init__(self, shape: Shape, centre: Float, reach_mm: float) -> None:
        self.shape, self.centre, self.reach_mm = shape, centre, reach_mm
        self.edges: dict[Key, tuple[Float, ...]] = {}
        self.points, self.made = np.zeros((0, 2)), dict[Key, Float]()

    def at(self, points: Float) -> Near:
        """Go to other points, shape (n, 2), within the reach."""
        self.points, self.made = points, {}
        return self

    def __call__(self, key: Key) -> Float:
        """Return g = s² + 2Rs of a plane's rings at the points, shape (n,)."""
        if key not in self.made:
            self.made[key] = self._power(key)
        return self.made[key]

    def _power(self, key: Key) -> Float:
        if key not in self.edges:
            self.edges[key] = self._cut(key)
        begin, end, radius, low, high, start, rise, slope = self.edges[key]
        squared = to_segments(self.points[:, None, :], begin, end)
        nearest = squared.argmin(axis=1)
        away = np.sqrt(squared[np.arange(len(nearest)), nearest])
        u, v = self.points[:, :1], self.points[:, 1:]
        crosses = (low > v) != (high > v)
        crosses &= start + (v - rise) * slope > u
        away = np.where(crosses.sum(axis=1) & 1, -away, away)
        power: Float = away * (away + 2.0 * radius[nearest])
        return power

    def _cut(self, key: Key) -> tuple[Float, ...]:
        """Return the edges that may be nearest, and those that lie to the right of the points."""
        outline = self.shape.outline(key)
        begin, end = outline.points, outline.ends()
        away = np.sqrt(to_segments(self.centre, begin, end))
        near = away <= away.min() + 3.0 * self.reach_mm
        low, high = np.minimum(begin[:, 1], end[:, 1]), np.maximum(begin[:, 1], end[:, 1])
        beside = (low <= self.centre[1] + self.reach_mm) & (high >= self.centre[1] - self.reach_mm)
        beside &= np.maximum(begin[:, 0], end[:, 0]) >= self.centre[0] - self.reach_mm
        a, b = begin[beside], end[beside]
        fall = b[:, 1] - a[:, 1]
        slope = (b[:, 0] - a[:, 0]) / np.where(fall == 0.0, 1.0, fall)
        return begin[near], end[near], outline.radius[near], a[:, 1], b[:, 1], a[:, 0], a[:, 1], slope


def _columns(
    shape: Shape, piece: Piece, holes: Sequence[Piece], power: Power, more: Sequence[float] | Float = ()
) -> tuple[Float, Bool]:
    """Return heights where columns enter and leave the solid in a piece, and more; which do; shape (m, n)."""
    value, slope, bend = shape.parabola(piece, power)
    depths = [np.zeros_like(value), np.full_like(value, piece.height_mm), *_roots(value, slope, bend)]
    others = []
    for hole in holes:
        parabola = shape.parabola(hole, power)
        others.append((hole, parabola))
        ends = [np.zeros_like(value), np.full_like(value, hole.height_mm), *_roots(*parabola)]
        inner = [np.where((t >= 0) & (t <= hole.height_mm), t, np.nan) for t in ends]
        depths += [piece.way * (hole.start_mm + hole.way * t - piece.start_mm) for t in inner]
    depths += [np.full_like(value, piece.way * (height - piece.start_mm)) for height in more]
    t = np.stack(depths)
    held = (t >= 0.0) & (t <= piece.height_mm)
    t = np.where(held, t, 0.0)
    beside = [np.clip(t + by, 0.0, piece.height_mm) for by in (-BESIDE_MM, BESIDE_MM)]
    held &= np.minimum(*(value + s * (slope + 0.5 * bend * s) for s in beside)) < BELOW
    height = piece.start_mm + piece.way * t
    lost = np.zeros((2, *held.shape), np.bool_)
    for hole, (value, slope, bend) in others:
        for side, by in enumerate((-BESIDE_MM, BESIDE_MM)):
            s = hole.way * (height + by - hole.start_mm)
            lost[side] |= (s >= 0.0) & (s <= hole.height_mm) & (value + s * (slope + 0.5 * bend * s) < BELOW)
    held &= ~lost.all(axis=0)
    return height, held


def _roots(value: Float, slope: Float, bend: Float) -> tuple[Float, Float]:
    """Return the heights where a parabola is 0; not finite where it is nowhere."""
    square = slope * slope - 2.0 * bend * value
    q = -(slope + np.where(slope < 0, -1.0, 1.0) * np.sqrt(np.where(square < 0, np.nan, square)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return q / bend, 2.0 * value / q


def rims(shape: Shape) -> tuple[Float, list[Piece]]:
    """Return where vertices of ends, seen from just inside, meet the caps, shape (n, 3), and their pieces."""
    found, pieces = [np.zeros((0, 3))], []
    for piece in shape.pieces:
        if not piece.cap or piece.depth % 2:
            continue
        points = _nudged(shape.outline((piece.depth, piece.plane, "not up" if piece.way > 0 else "not down")))
        power = Near(shape, points.mean(axis=0), float(np.ptp(points, axis=0).sum())).at(points)
        height, held = _columns(shape, piece, (), power)
        column = np.nonzero(held)[1]
        found.append(np.column_stack([points[column], height[held]]))
        pieces += [piece] * len(column)
    return np.concatenate(found), pieces


def within(shape: Shape, point: Float) -> bool:
    """Whether a point (u, v, n) lies in the solid."""
    near = Near(shape, point[:2], 0.0).at(point[None, :2])
    held = [False] * len(shape.solid.levels)
    for piece in shape.pieces:
        if piece.holds(point[2]):
            value, slope, bend = (float(part[0]) for part in shape.parabola(piece, near))
            t = piece.way * (point[2] - piece.start_mm)
            held[piece.depth] |= value + t * (slope + 0.5 * bend * t) <= 0.0
    return sum(held) % 2 == 1


def apart(points: Float, score: Float, least_mm: float) -> Float:
    """Return up to `STARTS` of the points with the highest scores, none nearer to another than this."""
    chosen: list[Float] = []
    for row in np.argsort(-score):
        if all(((points[row] - other) ** 2).sum() > least_mm**2 for other in chosen):
            chosen.append(points[row])
            if len(chosen) == STARTS:
                break
    return np.stack(chosen)


def _nudged(outline: Outline) -> Float:
    """Return the vertices moved a little to the inside (of both edges)."""
    along = outline.ends() - outline.points
    back = np.empty_like(along)
    back[outline.following()] = -along
    along = along / np.hypot(*along.T)[:, None]
    back /= np.hypot(*back.T)[:, None]
    middle = along + back
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    straight = (np.abs(middle) < 1e-6).all(axis=1)
    middle[straight] = across[straight]
    middle *= NUDGE_MM / np.maximum(np.hypot(*middle.T), 1e-9)[:, None]
    both = np.concatenate([outline.points + middle, outline.points - middle])
    held = inside(both, outline)
    return both[held]


def climb(
    shape: Shape, starts: Float, sign: float, reach_mm: float, dose: Callable[[Float], Float]
) -> tuple[Float, list[Piece]]:
    """Return the points of the solid with the highest (lowest) doses near some starts, and their pieces.

    Parameters
    ----------
    shape : Shape
    starts : ndarray, shape (n, 3)
        Along u, v and n, mm; they need not lie in the solid.
    sign : float
        1 for the highest dose, -1 for the lowest.
    reach_mm : float
        Half the side of the first square that is searched.
    dose : callable
        Dose, Gy, at points along u, v and n.
    """
    # the second round of squares finds what a first one that shrinks too soon passes by
    climbers = [
        _Climber(shape, piece, start, 3.0 * reach_mm)
        for start in starts
        for piece in shape.pieces
        if piece.depth % 2 == 0 and piece.holds(start[2])
    ]
    reaches = [reach_mm * SHRINK**k for k in range(12) if reach_mm * SHRINK**k > LAST_MM]
    for step, reach in enumerate(reaches + reaches[1:]):
        if not climbers:
            break
        here = np.stack([climber.place for climber in climbers])
        far = max(reach, LEAST_MM)
        steps = far * np.concatenate([np.eye(3), -np.eye(3), np.zeros((1, 3))])
        around = sign * dose((here[:, None, :] + steps).reshape(-1, 3)).reshape(len(here), 7)
        slopes = (around[:, :3] - around[:, 3:6]) / (2.0 * far)
        bends = (around[:, :3] + around[:, 3:6] - 2.0 * around[:, 6:]) / far**2
        found = [
            climber.look(reach, slope, bend)
            for climber, slope, bend in zip(climbers, slopes, bends, strict=True)
        ]
        level = sign * dose(np.stack(found))
        for climber, place, score in zip(climbers, found, level, strict=True):
            climber.take(place, float(score))
        if step < len(KEPT):
            climbers = sorted(climbers, key=lambda climber: -climber.score)[: KEPT[step]]
    climbers = [climber for climber in climbers if np.isfinite(climber.score)]
    places = np.array([climber.place for climber in climbers]).reshape(-1, 3)
    return places, [climber.piece for climber in climbers]


class _Climber:
    """One place that goes to where the dose is higher, in one piece of the solid."""

    def __init__(self, shape: Shape, piece: Piece, start: Float, room_mm: float) -> None:
        self.shape, self.piece, self.place = shape, piece, start
        self.score, self.fresh, self.room_mm = -np.inf, False, room_mm
        self.near = Near(shape, start[:2], room_mm)
        low, high = sorted((piece.start_mm, piece.start_mm + piece.way * piece.height_mm))
        self.holes = [
            other
            for other in shape.pieces
            if other.depth == piece.depth + 1
            and min(other.start_mm, other.start_mm + other.way * other.height_mm) < high
            and max(other.start_mm, other.start_mm + other.way * other.height_mm) > low
        ]

    def look(self, reach: float, slope: Float, bend: Float) -> Float:
        """Return the best place around, by the dose's slopes and bends along the axes."""
        side = np.linspace(-reach, reach, COLUMNS)
        square = np.stack([part.ravel() for part in np.meshgrid(side, side)], axis=1)
        middle = np.clip(
            self.place[:2], self.near.centre - self.room_mm + reach, self.near.centre + self.room_mm - reach
        )
        columns = middle + square
        more = self.place[2] + reach * np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
        if bend[2] < -1e-3:
            more = np.append(more, self.place[2] - slope[2] / bend[2])
        height, held = _columns(self.shape, self.piece, self.holes, self.near.at(columns), more)
        self.fresh = bool(held.any())
        if not self.fresh:
            return self.place
        away = columns - self.place[:2]
        score = away @ slope[:2] + 0.5 * (away * away) @ bend[:2]
        up = height - self.place[2]
        score = np.where(held, score + up * (slope[2] + 0.5 * bend[2] * up), -np.inf)
        row, column = np.unravel_index(int(score.argmax()), score.shape)
        return np.append(columns[column], height[row, column])

    def take(self, place: Float, score: float) -> None:
        """Go to a place in the solid if the dose is higher there than at the last one."""
        if self.fresh and score > self.score:
            self.place, self.score = place, score
