"""The 480 cases of the DVH benchmark, and their answers by integrations that share no code with rtplan's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rtplan.domain import Contours, Dose, Grid, Structure

SIGMA_MM, PEAK_GY = 20.0, 60.0
HEIGHT_MM = 60.0
#: Where the peak of the curved dose lies from the shape's centre, mm.
PEAK_AT_MM = np.array([3.0, -2.0, 4.0])


@dataclass(frozen=True)
class Case:
    """A sphere or a cylinder along z with its contours and a dose."""

    shape: str
    radius_mm: float
    slice_mm: float
    gradient: str  # x, z or curved
    centre_mm: np.ndarray
    vertices: int = 360

    @property
    def half_mm(self) -> float:
        """Half the height of the shape, mm."""
        return self.radius_mm if self.shape == "sphere" else HEIGHT_MM / 2

    def planes(self) -> np.ndarray:
        """Heights of the contours, mm, from the centre: those multiples of the slice that cut the shape."""
        z = np.arange(-40, 41) * self.slice_mm - self.centre_mm[2]
        return z[np.abs(z) < self.half_mm]

    def radius_at(self, z: np.ndarray) -> np.ndarray:
        """Radius of the true shape at a height from the centre, mm."""
        if self.shape == "sphere":
            return np.sqrt(np.maximum(self.radius_mm**2 - z**2, 0.0))
        return np.full_like(z, self.radius_mm)

    def structure(self) -> Structure:
        """Return the contours."""
        t = np.arange(self.vertices) * 2 * np.pi / self.vertices
        rings = []
        for z in self.planes():
            rho = float(self.radius_at(np.array(z)))
            ring = np.stack([rho * np.cos(t), rho * np.sin(t), np.full_like(t, z)], axis=1)
            rings.append(ring + self.centre_mm)
        return Structure(self.shape, "GTV", Contours(tuple(rings)))

    def dose(self, spacing_mm: float = 2.5) -> Dose:
        """Return the dose on its grid."""
        count = int(np.ceil(2 * 40.0 / spacing_mm)) + 1
        grid = Grid.axial((count,) * 3, (spacing_mm,) * 3, (-40.0, -40.0, -40.0))
        index = np.stack(np.meshgrid(*[np.arange(count)] * 3, indexing="ij"), axis=-1)
        return Dose(grid, self.dose_at(grid.to_patient(index) - self.centre_mm))

    def dose_at(self, points: np.ndarray) -> np.ndarray:
        """Return the true dose, Gy, at points (…, 3) from the centre."""
        if self.gradient == "curved":
            square = ((points - PEAK_AT_MM) ** 2).sum(axis=-1)
            return PEAK_GY * np.exp(-0.5 * square / SIGMA_MM**2)
        return 50.0 + points[..., "xyz".index(self.gradient)]


def all_cases(gradients: tuple[str, ...] = ("x", "z"), seed: int = 20261121) -> list[Case]:
    """Return {sphere, cylinder} × 5 radii × 3 slices × gradients × 8 seeded shifts."""
    draw = np.random.default_rng(seed)
    shifts = draw.uniform(-2.5, 2.5, (8, 3))
    return [
        Case(shape, r, dz, gradient, shift)
        for shape in ("sphere", "cylinder")
        for r in (5.0, 10.0, 15.0, 20.0, 30.0)
        for dz in (1.0, 2.0, 3.0)
        for gradient in gradients
        for shift in shifts
    ]


def defined_radius(case: Case, caps: str, count: int = 24001) -> tuple[np.ndarray, np.ndarray]:
    """Return heights and radii of the solid that contours and cap policy define (Notes of rtplan's Solid).

    For circles the definition is one line for the squared radius, integrated here without cells.
    """
    z = case.planes()
    factor = np.sin(2 * np.pi / case.vertices) / (2 * np.pi / case.vertices)
    square = case.radius_at(z) ** 2 * factor
    gap = np.diff(z)[0]
    second = np.zeros(len(z))
    second[1:-1] = (square[2:] - 2 * square[1:-1] + square[:-2]) / gap**2
    bends = [_limited(second, k, len(z)) for k in range(len(z) - 1)]
    low, high = _ends(z, square, bends, gap, caps)
    height = np.linspace(low, high, count)
    k = np.clip(np.searchsorted(z, height) - 1, 0, len(z) - 2)
    t = height - z[k]
    inner = square[k] * (1 - t / gap) + square[k + 1] * t / gap + 0.5 * np.array(bends)[k] * t * (t - gap)
    below, above = z[0] - height, height - z[-1]
    if caps == "rounded":
        inner = np.where(below > 0, _beyond(square[0], square[1], bends[0], gap, below), inner)
        inner = np.where(above > 0, _beyond(square[-1], square[-2], bends[-1], gap, above), inner)
    else:
        inner = np.where(below > 0, square[0], np.where(above > 0, square[-1], inner))
    return height, np.sqrt(np.maximum(inner, 0.0))


def widest(case: Case) -> float:
    """Return how far the defined solid reaches along x from the centre, mm: on the ray through its corners.

    The contours are polygons and the level function takes the distance from these, so the solid has edges
    there, farther out than the circles of equal area (by 0.8 µm of 30 mm, with 360 vertices). Bisection on
    whether the parabola between some two planes is anywhere below 0.
    """
    corner = case.radius_at(case.planes())
    turn = 2 * np.pi / case.vertices
    equal = corner * np.sqrt(np.sin(turn) / turn)
    gap = np.diff(case.planes())[0]
    low, high = 0.5 * corner.max(), 1.5 * corner.max() + gap
    for _ in range(60):
        x = 0.5 * (low + high)
        away = np.where(x < corner, (x - corner) * np.cos(turn / 2), x - corner)
        level = away * (away + 2 * equal)
        second = np.zeros(len(level))
        second[1:-1] = (level[2:] - 2 * level[1:-1] + level[:-2]) / gap**2
        bend = np.array([_limited(second, k, len(level)) for k in range(len(level) - 1)])
        slope = np.diff(level) / gap - 0.5 * bend * gap
        t = np.clip(-slope / np.where(bend > 0, bend, np.inf), 0.0, gap)
        least = min(float((level[:-1] + t * (slope + 0.5 * bend * t)).min()), float(level.min()))
        low, high = (x, high) if least <= 0 else (low, x)
    return 0.5 * (low + high)


def _limited(second: np.ndarray, k: int, count: int) -> float:
    pair = [j for j in (k, k + 1) if 1 <= j <= count - 2]
    if k == 0:
        pair = [j for j in (1, 2) if j <= count - 2]
    elif k == count - 2:
        pair = [j for j in (count - 2, count - 3) if j >= 1]
    if not pair:
        return 0.0
    a, b = second[pair[0]], second[pair[-1]]
    return (a if abs(a) < abs(b) else b) if a * b > 0 else 0.0


def _slope(end: float, inner: float, bend: float, gap: float) -> float:
    return max((inner - end) / gap - 0.5 * bend * gap, 0.0)


def _beyond(end: float, inner: float, bend: float, gap: float, away: np.ndarray) -> np.ndarray:
    return end - _slope(end, inner, bend, gap) * away - 0.5 * max(-bend, 0.0) * away**2


def _ends(
    z: np.ndarray, square: np.ndarray, bends: list[float], gap: float, caps: str
) -> tuple[float, float]:
    if caps == "none":
        return z[0], z[-1]
    if caps == "half_slice":
        return z[0] - gap / 2, z[-1] + gap / 2
    heights = []
    for end, inner, bend in ((square[0], square[1], bends[0]), (square[-1], square[-2], bends[-1])):
        s, b = _slope(end, inner, bend, gap), max(-bend, 0.0)
        root = s + np.sqrt(s * s + 2 * b * end)
        closes = 2 * end / root if root > 0 else np.inf
        heights.append(closes if closes <= gap else 0.5 * gap * (1 + gap / closes))
    return z[0] - heights[0], z[-1] + heights[1]


def true_radius(case: Case, count: int = 24001) -> tuple[np.ndarray, np.ndarray]:
    """Return heights and radii of the true shape."""
    z = np.linspace(-case.half_mm, case.half_mm, count)
    return z, case.radius_at(z)


def answers(
    case: Case, height: np.ndarray, radius: np.ndarray, widest_mm: float | None = None
) -> dict[str, float]:
    """Return volume (cc), D98, D50, D2, mean, min, max (Gy) of a body of revolution, by 1-D integration.

    ``widest_mm`` stands for the largest radius in minimum and maximum across, where the body has edges.
    """
    step = height[1] - height[0]
    weight = np.full(len(height), step)
    weight[[0, -1]] *= 0.5
    disc = np.pi * radius**2
    volume = float((disc * weight).sum())
    if case.gradient == "curved":
        return _curved(case, height, radius, volume)
    if case.gradient == "z":
        cumulative = np.concatenate([[0.0], np.cumsum(0.5 * (disc[1:] + disc[:-1]) * step)])
        quantile = {p: float(np.interp(p * volume, cumulative, height)) for p in (0.02, 0.5, 0.98)}
        mean, low, high = float((disc * height * weight).sum()) / volume, height[0], height[-1]
    else:
        quantile = {p: _across(p * volume, radius, weight) for p in (0.02, 0.5, 0.98)}
        high = radius.max() if widest_mm is None else widest_mm
        mean, low = 0.0, -high
    return {
        "V": volume / 1000,
        "D98": 50 + quantile[0.02],
        "D50": 50 + quantile[0.5],
        "D2": 50 + quantile[0.98],
        "mean": 50 + mean,
        "min": 50 + low,
        "max": 50 + high,
    }


def _across(wanted: float, radius: np.ndarray, weight: np.ndarray) -> float:
    """Return x such that the volume at lower x is as wanted, by bisection on exact circular segments."""
    low, high = -radius.max(), radius.max()
    for _ in range(50):
        x = 0.5 * (low + high)
        share = np.clip(x / np.maximum(radius, 1e-12), -1, 1)
        segment = radius**2 * (np.pi / 2 + np.arcsin(share) + share * np.sqrt(1 - share**2))
        low, high = (x, high) if (segment * weight).sum() < wanted else (low, x)
    return 0.5 * (low + high)


def _curved(case: Case, height: np.ndarray, radius: np.ndarray, volume: float) -> dict[str, float]:
    """Return the answers for the Gaussian: 600 000 points of an additive recurrence (Kronecker)."""
    steps = np.array([0.8191725133961645, 0.6710436067037893, 0.5497004779019703])
    a, b, c = np.mod(0.5 + np.outer(steps, np.arange(1, 600_001)), 1.0)
    z = height[0] + (height[-1] - height[0]) * a
    rho = np.interp(z, height, radius)
    away, angle = rho * np.sqrt(b), 2 * np.pi * c
    dose = case.dose_at(np.stack([away * np.cos(angle), away * np.sin(angle), z], axis=-1))
    weight = rho**2
    order = np.argsort(dose)
    share = (np.cumsum(weight[order]) - 0.5 * weight[order]) / weight.sum()
    at = {p: float(np.interp(p, share, dose[order])) for p in (0.02, 0.5, 0.98)}
    return {
        "V": volume / 1000,
        "D98": at[0.02],
        "D50": at[0.5],
        "D2": at[0.98],
        "mean": float((dose * weight).sum() / weight.sum()),
    }


def quick_curved(case: Case, low: float, high: float) -> list[float]:
    """Return D98, D50, D2 and mean, Gy, of a cylinder between two heights: 138 240 points."""
    edges = np.linspace(low, high, 121)
    ring = case.radius_mm * np.sqrt((np.arange(24) + 0.5) / 24)
    angle = (np.arange(48) + 0.5) * 2 * np.pi / 48
    z, r, a = np.meshgrid(0.5 * (edges[1:] + edges[:-1]), ring, angle, indexing="ij")
    dose = np.sort(case.dose_at(np.stack([r * np.cos(a), r * np.sin(a), z], axis=-1)).ravel())
    place = (np.arange(len(dose)) + 0.5) / len(dose)
    return [*(float(np.interp(p, place, dose)) for p in (0.02, 0.5, 0.98)), float(dose.mean())]
