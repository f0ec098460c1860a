"""The bladder on top of the prostate, and the loops of bowel above it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.phantom.draws import Draws, table
from rtplan.phantom.field import FAR_MM, Array, Axes, capsule, ellipsoid, fraction, smooth_max, smooth_noise
from rtplan.phantom.prostate import Gland

Float = NDArray[np.float64]


def bladder(gland: Gland, axes: Axes, draws: Draws, keep_off: Array, bone: Array) -> Array:
    """Return the signed distance of the bladder's outer contour, mm; its volume is the drawn one.

    Parameters
    ----------
    gland : Gland
        The prostate on whose base it rests.
    axes : Axes
        A box large enough for it.
    draws : Draws
        The patient's draws.
    keep_off : ndarray, shape (z, y, x)
        Signed distance, mm, that must stay positive (prostate, vesicles, rectum, grown by their gaps).
    bone : ndarray, shape (z, y, x)
        Signed distance to bone, mm.
    """
    facts = table("models/anatomy", "layout")["bladder"]
    base, back = gland.at(0.0, -0.1, 0.92), gland.at(0.0, facts["back"], 0.95)
    ratio = np.array([draws["bladder_wide"], 1.0, draws["bladder_flat"]])
    ratio /= np.cbrt(ratio.prod())
    bumps = 1.6 * smooth_noise(draws.stream("bladder"), axes, 28.0)
    walls = smooth_max(-keep_off, facts["bone_gap"] - bone, 3.0)
    z, y, _ = axes.open()
    behind = y - back[1] - facts["lean_back"] * np.maximum(z - back[2] - facts["vesicle_height"], 0.0)
    walls = smooth_max(walls, np.broadcast_to(behind, walls.shape), 4.0)
    wanted, scale = draws["bladder_cc"], (draws["bladder_cc"] * 250.0) ** (1 / 3)
    out = walls
    for _ in range(5):
        radii = scale * ratio
        forward = max(facts["bulge_forward"], base[1] - back[1] + facts["overhang"] * radii[1])
        centre = base + np.array([0.0, -forward, 0.86 * radii[2]])
        out = smooth_max(ellipsoid(axes, centre, radii, facts["power"]) + bumps, walls, 4.0)
        volume = float(fraction(out, 2.0).sum()) * axes.voxel_cc
        scale *= float(np.clip((wanted / max(volume, 1.0)) ** (1 / 3), 0.85, 1.2))
    return np.asarray(out, np.float32)


@dataclass(frozen=True, eq=False)
class Loops:
    """Signed distances of the bowel loops in a box, mm: outer contour, lumen, gas, and fluid lumen."""

    outer: Array
    lumen: Array
    gas: Array
    fluid: Array


def bowel_loops(axes: Axes, draws: Draws, cavity: Array) -> Loops:
    """Fill the cavity with loops of bowel.

    Parameters
    ----------
    axes : Axes
        The box.
    draws : Draws
        The patient's draws.
    cavity : ndarray, shape (z, y, x)
        Signed distance, mm, of the room that is left for bowel, negative inside.
    """
    facts, rng = table("models/anatomy", "layout")["bowel"], draws.stream("bowel")
    seeds = _scatter(rng, axes, cavity, facts["distance"], int(facts["tries"]))
    first, second = np.full(axes.shape, FAR_MM, np.float32), np.full(axes.shape, FAR_MM, np.float32)
    kind = np.zeros(axes.shape, np.int8)
    height = np.zeros(axes.shape, np.float32)
    for seed, end in _pairs(rng, seeds):
        radius = draws["bowel_mm"] * rng.uniform(0.75, 1.2)
        content = 1 if rng.random() < draws["bowel_gas"] else (2 if rng.random() < 0.55 else 0)
        box = axes.box(np.minimum(seed, end) - radius - 9.0, np.maximum(seed, end) + radius + 9.0)
        local = axes.cut(box)
        if min(local.shape) < 1:
            continue
        field = capsule(local.points(), seed, end, radius, 0.85 * radius)
        better = field < first[box]
        second[box] = np.minimum(second[box], np.where(better, first[box], field))
        first[box] = np.where(better, field, first[box])
        kind[box] = np.where(better, content, kind[box])
        height[box] = np.where(better, np.float32(0.5 * (seed[1] + end[1]) - 0.1 * radius), height[box])
    outer = np.maximum(
        np.maximum(first + 1.5 * smooth_noise(rng, axes, 13.0), cavity + 0.5), 0.5 - 0.5 * (second - first)
    )
    lumen = outer + facts["wall"]
    y = axes.open()[1]
    gas = np.maximum(lumen + 0.4, np.where(kind == 1, y - height, FAR_MM))
    fluid = np.where(kind == 2, lumen, FAR_MM)
    return Loops(*(np.asarray(a, np.float32) for a in (outer, lumen, gas, fluid)))


def _pairs(rng: np.random.Generator, seeds: Float) -> list[tuple[Float, Float]]:
    """Join seeds two by two to their nearest free neighbour; one left over gets a short piece of its own."""
    free, out = list(range(len(seeds))), []
    while free:
        one = free.pop(0)
        gaps = np.array([np.linalg.norm(seeds[k] - seeds[one]) for k in free])
        if len(gaps) and gaps.min() < 42.0:
            out.append((seeds[one], seeds[free.pop(int(gaps.argmin()))]))
        else:
            out.append((seeds[one], seeds[one] + rng.normal(0.0, 6.0, 3)))
    return out


def _scatter(rng: np.random.Generator, axes: Axes, cavity: Array, distance_mm: float, tries: int) -> Float:
    """Points inside the cavity that keep a distance from each other, shape (n, 3), LPS mm."""
    inside = np.argwhere(cavity < -6.0)
    if len(inside) == 0:
        return np.zeros((0, 3))
    k, j, i = inside[rng.integers(0, len(inside), tries)].T
    points = np.stack([axes.x[i], axes.y[j], axes.z[k]], axis=1).astype(float)
    free = np.ones(len(points), bool)
    for n in range(len(points)):
        if free[n]:  # a point that is chosen bars all later ones near it
            free[n + 1 :] &= np.linalg.norm(points[n + 1 :] - points[n], axis=1) > distance_mm
    return points[free]
