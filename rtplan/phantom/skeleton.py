"""The skeleton on a grid: drawn hips and sacrum, and coccyx, femora and the last vertebra in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtplan.phantom.bones import Pelvis, bone_distance, draw_pelvis, warp
from rtplan.phantom.draws import Draws, table
from rtplan.phantom.field import FAR_MM, Array, Axes, Box, capsule, ellipsoid, smooth_min

Float = NDArray[np.float64]
#: Gap between the acetabulum and the femoral head that cartilage fills, mm.
JOINT_MM = 1.8
#: Room kept round each bone, mm.
MARGIN_MM = 14.0


@dataclass(frozen=True, eq=False)
class Bone:
    """One bone on the grid.

    Parameters
    ----------
    name : str
        ``hip_left``, ``femur_right``, ``sacrum`` …
    box : tuple of slice
        Where its array lies in the grid.
    distance : ndarray, shape of the box
        Signed distance, mm, negative inside.
    """

    name: str
    box: Box
    distance: Array


@dataclass(frozen=True, eq=False)
class Skeleton:
    """All bones of a patient, their points of reference, and the map from the mean pelvis.

    Parameters
    ----------
    pelvis : Pelvis
        The drawn shape.
    landmarks : mapping of str to ndarray, shape (3,)
        Points that organs refer to, LPS mm.
    coccyx : ndarray, shape (n, 4)
        Centre line of the coccyx with its half thickness, mm.
    """

    pelvis: Pelvis
    landmarks: Mapping[str, Float]
    coccyx: Float

    def bones(self, axes: Axes) -> tuple[Bone, ...]:
        """Return every bone's signed distance on a grid."""
        out = []
        for name in ("hip_left", "hip_right"):
            out.append(Bone(name, *bone_distance(*self.pelvis.part(name), axes, MARGIN_MM)))
        out.append(self._sacrum(axes))
        out.append(self._vertebra(axes))
        for side, head in zip(("left", "right"), self.pelvis.heads, strict=True):
            out.append(_femur(f"femur_{side}", head, axes))
        return tuple(bone for bone in out if min(bone.distance.shape) > 0)

    def union(self, axes: Axes) -> Array:
        """Return the signed distance to the nearest bone, mm (about 14 mm where far off or more)."""
        out = np.full(axes.shape, FAR_MM, np.float32)
        for bone in self.bones(axes):
            out[bone.box] = np.minimum(out[bone.box], bone.distance)
        return out

    def head(self, side: str) -> Float:
        """Return centre and radius (x, y, z, r) of a femoral head, ``left`` or ``right``, mm."""
        head: Float = self.pelvis.heads[0 if side == "left" else 1].copy()
        head[3] -= JOINT_MM
        return head

    def _sacrum(self, axes: Axes) -> Bone:
        box, upper = bone_distance(*self.pelvis.part("sacrum"), axes, MARGIN_MM)
        half_width = np.array(table("models/anatomy", "template")["coccyx"]["half_width"], float)
        low = np.min(self.coccyx[:, :3], 0) - half_width.max() - MARGIN_MM
        high = np.max(self.coccyx[:, :3], 0) + half_width.max() + MARGIN_MM
        both = axes.box(np.minimum(low, self._low("sacrum")), np.maximum(high, self._high("sacrum")))
        local = axes.cut(both)
        lower = flat_tube(local.points(), self.coccyx, half_width)
        whole = np.full(local.shape, FAR_MM, np.float32)
        inner = tuple(slice(b.start - o.start, b.stop - o.start) for b, o in zip(box, both, strict=True))
        whole[inner] = upper
        return Bone("sacrum", both, smooth_min(whole, lower, 5.0))

    def _low(self, part: str) -> Float:
        return np.asarray(self.pelvis.part(part)[0].min(0) - MARGIN_MM)

    def _high(self, part: str) -> Float:
        return np.asarray(self.pelvis.part(part)[0].max(0) + MARGIN_MM)

    def _vertebra(self, axes: Axes) -> Bone:
        facts = table("models/anatomy", "template")["lumbar"]
        centre, radii = self.landmarks["lumbar"], np.array(facts["radii"], float)
        box = axes.box(centre - radii - MARGIN_MM, centre + radii + MARGIN_MM + np.array([0, 25.0, 0]))
        local = axes.cut(box)
        if min(local.shape) < 2:
            return Bone("vertebra", box, np.full(local.shape, FAR_MM, np.float32))
        body = ellipsoid(local, centre, radii, power=5.0)
        z = local.open()[0]
        waist = 2.5 * (1.0 - np.abs((z - centre[2]) / radii[2]) ** 2)
        return Bone("vertebra", box, np.asarray(body + waist, np.float32))


def draw_skeleton(draws: Draws) -> Skeleton:
    """Draw a skeleton: a male-like pelvis of the shape model and what the model lacks."""
    pelvis = draw_pelvis(draws.stream("pelvis"), draws["bone_spread"], draws["size"], limit=2.0)
    template = table("models/anatomy", "template")
    onto = warp(pelvis, to_template=False)
    points: dict[str, Any] = dict(template["landmark"])
    points |= {"lumbar": template["lumbar"]["centre"], "disc": template["lumbar"]["disc_centre"]}
    places = onto(np.array(list(points.values()), float))
    line = np.array(template["coccyx"]["line"], float)
    line[:, :3] = onto(line[:, :3])
    return Skeleton(pelvis, dict(zip(points, places, strict=True)), line)


def flat_tube(points: Array, line: Float, half_width: Float) -> Array:
    """Return about the signed distance, mm, to a chain in the midline that is wider (x) than thick."""
    out = np.full(points.shape[:-1], FAR_MM, np.float32)
    for (a, b), (wide_a, wide_b) in zip(pairwise(line), pairwise(half_width), strict=True):
        squash = (a[3] + b[3]) / (wide_a + wide_b)
        flat = points.copy()
        flat[..., 0] = a[0] + squash * (points[..., 0] - a[0])
        out = smooth_min(out, capsule(flat, a[:3], b[:3], a[3], b[3]), 4.0)
    return out


def _femur(name: str, cup: Float, axes: Axes) -> Bone:
    """Head, neck, trochanters and shaft, placed on the acetabulum."""
    facts = table("models/anatomy", "template")["femur"]
    mirror = np.array([1.0 if name.endswith("left") else -1.0, 1.0, 1.0, 1.0])
    head = np.array([*cup[:3], cup[3] - JOINT_MM])
    chains = {k: np.array(v, float) * mirror for k, v in facts.items() if k != "fillet"}
    for chain in chains.values():
        chain[:, :3] += head[:3]
    corners = np.concatenate(list(chains.values()))[:, :3]
    box = axes.box(
        np.minimum(corners.min(0), head[:3] - 25) - 30, np.maximum(corners.max(0), head[:3] + 25) + 30
    )
    local = axes.cut(box)
    points = local.points()
    out = capsule(points, head[:3], head[:3] + 1e-3, head[3], head[3])
    for key in ("neck", "shaft", "greater_trochanter", "lesser_trochanter"):
        chain = chains[key]
        for a, b in pairwise(chain):
            rod = capsule(points, a[:3], b[:3], a[3], b[3])
            out = smooth_min(out, rod, facts["fillet"] if key != "neck" else 3.0)
    return Bone(name, box, out)
