"""Muscles with their fat planes, vessels, nerves, erectile tissue, the body's cavity and the skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.phantom.bones import warp
from rtplan.phantom.draws import Draws, table
from rtplan.phantom.field import (
    FAR_MM,
    Array,
    Axes,
    even_axes,
    signed_distance,
    smooth_max,
    smooth_min,
    smooth_noise,
    tube,
    upsample,
)
from rtplan.phantom.skeleton import Skeleton

Float = NDArray[np.float64]
#: Step of the grid on which slowly varying distances are worked out, mm.
COARSE_MM = 4.0
#: Step of the grid on which the warp to the mean pelvis is worked out, mm.
WARP_MM = 12.0
#: Gaps of the lean body up to twice this width are closed before it is wrapped, mm.
CLOSING_MM = 30.0


@dataclass(frozen=True, eq=False)
class SoftTissue:
    """Signed distances on coarse axes, mm, negative inside.

    Parameters
    ----------
    axes : Axes
        The coarse axes.
    parts : dict of str to ndarray
        One field per muscle and per other course, ``kind/name``.
    cavity : ndarray
        The inside of the abdomen and pelvis, where bowel may lie.
    skin : ndarray
        The body's outline.
    template : ndarray, shape (z, y, x, 3)
        Each point in the mean pelvis.
    """

    axes: Axes
    parts: dict[str, Array]
    cavity: Array
    skin: Array
    template: Array


def grow_soft_tissue(skeleton: Skeleton, draws: Draws, z_low_mm: float, z_high_mm: float) -> SoftTissue:
    """Lay muscles and other courses round a skeleton and wrap them in fat and skin."""
    fat, size = 1.8 * draws["subcutaneous_mm"], draws["size"]
    low = np.array([-195.0 * size - fat, -155.0 * size - draws["belly_mm"] - fat, z_low_mm - 5 * COARSE_MM])
    high = np.array([195.0 * size + fat, 115.0 * size + fat, z_high_mm + 5 * COARSE_MM])
    axes = even_axes(low, high, COARSE_MM)
    template = _template(skeleton, draws, axes, low, high)
    parts = _courses(template, draws)
    bone = skeleton.union(axes)
    muscle = np.minimum.reduce([d for name, d in parts.items() if name.startswith("muscle/")])
    fillers = np.minimum.reduce([d for name, d in parts.items() if name.startswith("filler/")])
    lean = _lean(np.minimum(np.minimum(muscle, bone), fillers), axes)
    parts["muscle/wall"] = _wall(lean, template)
    cavity = _cavity(lean, np.minimum(muscle, parts["muscle/wall"]), bone, template, axes)
    skin = _skin(lean, parts, template, draws, axes)
    return SoftTissue(axes, parts, cavity, skin, template)


def _template(skeleton: Skeleton, draws: Draws, axes: Axes, low: Float, high: Float) -> Array:
    knots = even_axes(low - WARP_MM, high + WARP_MM, WARP_MM)
    mapped = warp(skeleton.pelvis, to_template=True)(knots.points().reshape(-1, 3).astype(float))
    mapped = mapped.reshape(*knots.shape, 3).astype(np.float32)
    rng, wander = draws.stream("wander"), 2.0 * draws["organ_wander_mm"]
    fields = [
        upsample(mapped[..., a], knots, axes) + wander * smooth_noise(rng, axes, 60.0) for a in range(3)
    ]
    x, y, z = fields
    # the belly pushes the front wall forward, most at the top and in the middle
    front = (
        np.clip((-60.0 - y) / 40.0, 0, 1) * np.clip((z + 70.0) / 90.0, 0, 1.2) * np.exp(-((x / 110.0) ** 2))
    )
    fields[1] = y + np.float32(draws["belly_mm"]) * front
    return np.stack(fields, axis=-1)


def _courses(template: Array, draws: Draws) -> dict[str, Array]:
    """Signed distances of all courses of the template file, both sides."""
    folded = template.copy()
    folded[..., 0] = np.abs(folded[..., 0])
    extent = _Extent(folded)
    rng, bulk = draws.stream("muscles"), draws["muscle_bulk_mm"]
    atlas, out = table("models/anatomy", "template"), {}
    fill = float(table("models/anatomy", "layout")["body"]["muscle_fill"])
    for kind in ("muscle", "filler", "corpus", "cord", "vessel", "nerve"):
        for name, lines in atlas[kind].items():
            swells = kind == "muscle" and name not in atlas["thin"]
            extra = rng.normal(0.0, 0.6) + bulk if swells else rng.normal(0.0, 0.25)
            field = np.full(template.shape[:-1], FAR_MM, np.float32)
            for line in lines:
                chain = np.array(line, float)
                chain[:, 3] += extra * np.minimum(chain[:, 3] / 10.0, 1.4)
                for box in extent.boxes(chain):
                    field[box] = smooth_min(field[box], tube(folded[box], chain), 7.0 if swells else 1.0)
            out[f"{kind}/{name}"] = np.maximum(field - fill, 1.0 - folded[..., 0]) if swells else field
    return out


class _Extent:
    """Which slabs of the coarse grid can hold points of a box of the template."""

    def __init__(self, points: Array) -> None:
        self.low, self.high = [], []
        for axis, component in zip(range(3), (2, 1, 0), strict=True):  # z, y, x of the array
            others = tuple(a for a in range(3) if a != axis)
            self.low.append(points[..., component].min(others))
            self.high.append(points[..., component].max(others))

    def boxes(self, chain: Float) -> list[tuple[slice, slice, slice]]:
        """Return the boxes, right and left of the midline, that hold all points near a chain."""
        reach = chain[:, 3].max() + 22.0
        near = []
        for axis, component in zip(range(3), (2, 1, 0), strict=True):
            low, high = chain[:, component].min() - reach, chain[:, component].max() + reach
            near.append(np.flatnonzero((self.high[axis] > low) & (self.low[axis] < high)))
        middle = len(self.low[2]) // 2
        halves = (near[2][near[2] < middle], near[2][near[2] >= middle])
        return [
            (_span(near[0]), _span(near[1]), _span(half))
            for half in halves
            if min(len(near[0]), len(near[1]), len(half))
        ]


def _span(hits: NDArray[np.intp]) -> slice:
    return slice(int(hits[0]), int(hits[-1]) + 1)


def _lean(solid: Array, axes: Axes) -> Array:
    """Close the lean body to one smooth solid; return its signed distance, mm."""
    step = axes.spacing_mm
    grown = ndimage.distance_transform_edt(solid > 0, sampling=step) < CLOSING_MM
    filled = np.stack([ndimage.binary_fill_holes(s) for s in grown])
    closed = ndimage.distance_transform_edt(filled, sampling=step) > CLOSING_MM
    return np.asarray(ndimage.gaussian_filter(signed_distance(closed, step), 10.0 / COARSE_MM), np.float32)


def _wall(lean: Array, template: Array) -> Array:
    """Muscles of the belly's wall: a shell under the front of the lean body, mm."""
    facts = table("models/anatomy", "template")["wall"]
    x, y, z = np.abs(template[..., 0]), template[..., 1], template[..., 2]
    half = np.where(x < facts["rectus_edge"], facts["rectus_half"], facts["oblique_half"])
    shell = np.abs(lean + facts["depth"]) - half
    low, start, slope = facts["groin"]
    place = np.maximum(y - facts["lateral_y"], low + slope * np.maximum(x - start, 0.0) - z)
    seams = np.maximum(facts["seam"] - x, 0.6 * facts["seam"] - np.abs(x - facts["rectus_edge"]))
    return np.asarray(np.maximum(np.maximum(shell, place), seams), np.float32)


def _cavity(lean: Array, muscle: Array, bone: Array, template: Array, axes: Axes) -> Array:
    """Return the signed distance of the room inside the belly and pelvis, mm."""
    x, y, z = template[..., 0], template[..., 1], template[..., 2]
    inlet = np.sqrt((x / 112.0) ** 2 + ((y + 30.0) / 105.0) ** 2 + ((z - 65.0) / 112.0) ** 2)
    free = (muscle > 2.0) & (bone > 4.0) & (lean < -11.0) & (inlet < 1.0)
    free = ndimage.binary_opening(free, iterations=2)
    return np.asarray(ndimage.gaussian_filter(signed_distance(free, axes.spacing_mm), 0.8), np.float32)


def _skin(lean: Array, parts: dict[str, Array], template: Array, draws: Draws, axes: Axes) -> Array:
    """Wrap the lean body in subcutaneous fat of uneven thickness."""
    x, y, z = template[..., 0], template[..., 1], template[..., 2]
    behind = _ramp(y, 20.0, 70.0) * _ramp(z, 60.0, -10.0) * _ramp(z, -190.0, -120.0)
    front = _ramp(y, -50.0, -90.0) * _ramp(z, -90.0, 0.0)
    thigh = _ramp(z, -90.0, -150.0) * _ramp(np.abs(x), 110.0, 60.0)
    mound = np.exp(-((x / 45.0) ** 2) - ((z + 75.0) / 30.0) ** 2) * _ramp(y, -50.0, -80.0)
    factor = 1.0 + draws["gluteal_fat"] * behind + draws["abdominal_fat"] * front - 0.15 * thigh + 0.5 * mound
    factor = factor + 0.12 * smooth_noise(draws.stream("skin"), axes, 80.0)
    skin = lean - np.float32(draws["subcutaneous_mm"]) * factor
    cleft = np.exp(-((x / 7.0) ** 2)) * _ramp(y, 30.0, 75.0) * _ramp(z, 10.0, -60.0)
    skin = skin + 22.0 * cleft
    inside = skin < 0
    back = float(axes.y[inside.any((0, 2))][-1]) - float(
        table("models/anatomy", "layout")["body"]["lying_flat"]
    )
    skin = smooth_max(skin, np.broadcast_to(axes.open()[1] - back, skin.shape), 18.0)
    outer = np.minimum(parts["corpus/penis"] - 4.0, parts["corpus/testis"] - 6.0)
    h = np.clip(0.5 + 0.5 * (outer - skin) / 12.0, 0, 1)
    return np.asarray(outer * (1 - h) + skin * h - 12.0 * h * (1 - h), np.float32)


def _ramp(value: Array, start: float, stop: float) -> Array:
    t = np.clip((value - start) / (stop - start), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)


def nearest_two(soft: SoftTissue, kind: str, axes: Axes) -> tuple[Array, Array]:
    """Return the distances, mm, to the nearest and the second nearest course of a kind on finer axes."""
    first = np.full(axes.shape, FAR_MM, np.float32)
    second = np.full(axes.shape, FAR_MM, np.float32)
    for name, field in soft.parts.items():
        if not name.startswith(kind + "/"):
            continue
        for half in (soft.axes.x > -12.0, soft.axes.x < 12.0):
            _merge(first, second, field, half, soft.axes, axes)
    return first, second


def _merge(first: Array, second: Array, field: Array, half: NDArray[np.bool_], old: Axes, new: Axes) -> None:
    """Take one side of a course into the running nearest two (its own working arrays are written)."""
    close = (field < 12.0) & half
    if not close.any():
        return
    low, high = [], []
    for axis, line in enumerate((old.z, old.y, old.x)):
        hits = line[close.any(axis=tuple(a for a in range(3) if a != axis))]
        low.append(float(hits[0]))
        high.append(float(hits[-1]))
    box = new.box(np.array(low[::-1]), np.array(high[::-1]))
    local = new.cut(box)
    if min(local.shape) < 1:
        return
    around = old.box(np.array(low[::-1]) - 2 * COARSE_MM, np.array(high[::-1]) + 2 * COARSE_MM)
    fine = upsample(field[around], old.cut(around), local)
    # courses that cross the midline come twice: the same distance must not count as two
    same = np.abs(fine - first[box]) < 1e-4
    other = np.where(same, FAR_MM, np.maximum(first[box], fine))
    second[box] = np.minimum(second[box], other)
    first[box] = np.minimum(first[box], fine)
