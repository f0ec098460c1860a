"""The rectum from the anal verge to the rectosigmoid turn, the sigmoid beyond it, their wall and contents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.spatial import cKDTree

from rtplan.phantom.draws import Draws, table
from rtplan.phantom.field import FAR_MM, Array, Axes, smooth_noise
from rtplan.phantom.prostate import Gland
from rtplan.phantom.skeleton import Skeleton

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Course:
    """The centre line of the large bowel.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
        LPS mm, about 1 mm apart, from the anal verge upward.
    radius : ndarray, shape (n,)
        Front-back radius of the outer contour, mm.
    length : ndarray, shape (n,)
        Distance from the anal verge along the line, mm.
    turn_mm, canal_mm : float
        Where the rectum ends above, and where the anal canal ends.
    """

    points: Float
    radius: Float
    length: Float
    turn_mm: float
    canal_mm: float


@dataclass(frozen=True, eq=False)
class LargeBowel:
    """Signed distances, mm, on one box: rectum, sigmoid, lumen, gas, and the wall's thickness."""

    rectum: Array
    sigmoid: Array
    lumen: Array
    gas: Array


def draw_course(skeleton: Skeleton, gland: Gland, draws: Draws, spacer_mm: float) -> Course:
    """Lay the centre line behind the prostate and along the sacral curve, about as long as drawn."""
    facts = table("models/anatomy", "layout")["rectum"]
    highest, lowest, step = facts["turn_above_s3"]
    for lift in np.arange(highest, lowest, step):
        course = _course(skeleton, gland, draws, spacer_mm, float(lift))
        if course.turn_mm <= draws["rectum_length_mm"]:
            break
    return course


def _course(skeleton: Skeleton, gland: Gland, draws: Draws, spacer_mm: float, lift_mm: float) -> Course:
    """Return the centre line whose turn lies this far above S3."""
    facts, rng = table("models/anatomy", "layout")["rectum"], draws.stream("rectum")
    base_r, side = draws["rectum_mm"], draws["rectum_side_mm"]
    knots = _lower(skeleton, gland, draws, spacer_mm, rng)
    coccyx, s3 = skeleton.coccyx, skeleton.landmarks["sacrum_front_s3"]
    turn_z = max(s3[2] + lift_mm, knots[4][2] + facts["least_rise"])
    for share, bend in ((0.45, 0.9), (0.8, -0.5)):
        z, r = knots[4][2] * (1 - share) + turn_z * share, base_r * rng.uniform(0.95, 1.15)
        front = np.interp(z, coccyx[::-1, 2], coccyx[::-1, 1] - coccyx[::-1, 3])
        y = max(front - facts["sacral_gap"] - r, knots[-1][1] + 1.0)
        if share < 0.5:  # half way between the prostate and the sacral hollow
            y = 0.5 * (y + knots[-1][1])
        knots.append([side * bend, y, z, r])
    r = base_r * 0.85
    knots.append([-0.3 * side, min(s3[1] - facts["sacral_gap"] - r - 4.0, knots[-1][1]), turn_z, r])
    turn, end = len(knots) - 1, np.array(knots[-1])
    for x, y, z, share in facts["sigmoid"]:
        wander = rng.normal(0.0, 4.0, 3)
        knots.append(
            [end[0] + x + wander[0], end[1] + y + wander[1], end[2] + z - 6.0 + wander[2], r * share]
        )
    return _spline(np.array(knots), turn, draws)


def _lower(
    skeleton: Skeleton, gland: Gland, draws: Draws, spacer_mm: float, rng: np.random.Generator
) -> list[list[float]]:
    """Knots (x, y, z, radius) of the anal canal and of the part behind the prostate."""
    facts = table("models/anatomy", "layout")["rectum"]
    gap = table("models/anatomy", "layout")["prostate"]["rectum_gap"]
    tuber, apex, canal = skeleton.landmarks["tuberosity"], gland.at(0, 0, -1.0), facts["canal_radius"]
    behind = tuber[1] + facts["verge_behind_tuberosity"]
    below = max(tuber[2] - facts["verge_below_tuberosity"], apex[2] - facts["canal_length"])
    top = [float(apex[0]), gland.at(0, 0.75, -0.9)[1] + canal + 1.5 + 0.3 * spacer_mm, apex[2] - 3.0]
    knots = [[0.0, behind, below, canal * 0.95]]
    knots.append([0.4 * top[0], 0.55 * behind + 0.45 * top[1], 0.5 * (below + top[2]), canal])
    knots.append([*top, canal * 1.08])
    mid_r = draws["rectum_mm"] * rng.uniform(0.92, 1.05)
    for w, share in ((-0.35, 0.9), (0.35, 1.0)):
        y = gland.at(0, 1.0, w)[1] + gap - facts["press"] + spacer_mm + mid_r * share
        knots.append([0.25 * draws["rectum_side_mm"] * (w + 0.4), y, gland.at(0, 0, w)[2], mid_r * share])
    return knots


def _spline(knots: Float, turn: int, draws: Draws) -> Course:
    chord = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(knots[:, :3], axis=0), axis=1))]
    t = np.arange(0.0, chord[-1], 1.0)
    points = CubicSpline(chord, knots[:, :3])(t)
    length = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    phase = draws.stream("bumps").uniform(0, 2 * np.pi, 2)
    bumps = np.sin(2 * np.pi * t / 43.0 + phase[0]) + 0.6 * np.sin(2 * np.pi * t / 24.0 + phase[1])
    grown = np.clip((t - chord[3]) / 25.0, 0.0, 1.0)
    radius = PchipInterpolator(chord, knots[:, 3])(t) * (1.0 + 0.6 * draws["rectum_bumps"] * bumps * grown)
    canal = float(np.interp(chord[2], t, length))
    return Course(points, radius, length, float(np.interp(chord[turn], t, length)), canal)


def large_bowel(course: Course, axes: Axes, draws: Draws, keep_off: Array) -> LargeBowel:
    """Return the rectum and sigmoid in a box.

    Parameters
    ----------
    course : Course
        The centre line.
    axes : Axes
        The box.
    draws : Draws
        The patient's draws.
    keep_off : ndarray, shape (z, y, x)
        Signed distance, mm, that must stay positive (prostate and vesicles, grown by their gap).
    """
    facts, rng = table("models/anatomy", "layout")["rectum"], draws.stream("contents")
    points = axes.points().reshape(-1, 3)
    reach = float(course.radius.max()) * facts["wide"] + 12.0
    gap, index = cKDTree(course.points).query(points, distance_upper_bound=reach)
    near = np.isfinite(gap)
    index = np.where(near, index, 0)
    offset = points - course.points[index].astype(np.float32)
    a = (course.radius * facts["wide"])[index].astype(np.float32)
    b = course.radius[index].astype(np.float32)
    across = offset[:, 0]
    along = np.sqrt(np.maximum(np.where(near, gap, 0.0) ** 2 - across**2, 0.0))
    size = np.sqrt((across / a) ** 2 + (along / b) ** 2)
    slope = np.sqrt((across / a**2) ** 2 + (along / b**2) ** 2)
    distance = np.where(near, (size - 1.0) * size / np.maximum(slope, 1e-2 * size + 1e-6), FAR_MM)
    place = course.length[index].astype(np.float32)
    at_verge = np.where(near & (index == 0), np.linalg.norm(offset, axis=1) - b * 0.4, -FAR_MM)
    distance = np.maximum(distance, at_verge)
    shape = axes.shape
    tube = distance.reshape(shape) + 0.9 * smooth_noise(rng, axes, 11.0)
    tube = np.asarray(np.maximum(tube, -keep_off), np.float32)
    place3, front = place.reshape(shape), (offset[:, 1] / b).reshape(shape)
    over = place3 - course.turn_mm
    canal = np.clip((course.canal_mm + 6.0 - place3) / 12.0, 0.0, 1.0)
    wall = facts["wall"] + (facts["canal_wall"] - facts["wall"]) * canal
    lumen = np.maximum(tube + wall, course.canal_mm + 4.0 - place3)
    level = draws["rectum_gas"] + 0.9 * np.sin(place3 / 19.0 + rng.uniform(0, 6.28)) + facts["gas_level"]
    gas = np.maximum(lumen + 0.4, (front - level + 0.15 * smooth_noise(rng, axes, 9.0)) * 10.0)
    return LargeBowel(
        rectum=np.asarray(np.maximum(tube, over), np.float32),
        sigmoid=np.asarray(np.maximum(tube, -over), np.float32),
        lumen=np.asarray(lumen, np.float32),
        gas=np.asarray(gas, np.float32),
    )
