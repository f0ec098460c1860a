"""Cortex, marrow and cartilage of every bone on the canvas, and the bones' masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtplan.phantom.canvas import Canvas
from rtplan.phantom.draws import table
from rtplan.phantom.field import Array, Box, ellipsoid, smooth_noise, tube
from rtplan.phantom.skeleton import JOINT_MM, Bone

Float = NDArray[np.float64]


def paint_bones(canvas: Canvas) -> None:
    """Paint joints and bones; store Bone_Pelvic (hip bones), Sacrum (with coccyx) and the femoral heads."""
    for side in ("left", "right"):
        head = canvas.skeleton.head(side)
        box = canvas.axes.box(head[:3] - 30, head[:3] + 30)
        canvas.add("cartilage", _ball(canvas, head, box, 1.5 * JOINT_MM), box)
    _symphysis(canvas)
    pelvic = np.zeros(canvas.axes.shape, bool)
    for bone in canvas.skeleton.bones(canvas.axes):
        distance = np.maximum(bone.distance, canvas.skin[bone.box] + 3.0)
        canvas.bone[bone.box] = np.minimum(canvas.bone[bone.box], distance)
        canvas.add("cortex", distance, bone.box)
        if bone.name.startswith("femur"):
            _femur(canvas, bone, distance)
            pelvic[bone.box] &= distance >= 0
            continue
        _marrow(canvas, bone, distance)
        if bone.name == "sacrum":
            canvas.mask("Sacrum", distance < 0, bone.box)
        elif bone.name.startswith("hip"):
            pelvic[bone.box] |= distance < 0
    canvas.masks["Bone_Pelvic"] = pelvic & ~canvas.masks["Sacrum"]
    _disc(canvas)


def _marrow(canvas: Canvas, bone: Bone, distance: Array) -> None:
    """Spongy bone inside the cortex, here and there richer in fat."""
    facts = table("models/anatomy", "layout")["bone"]
    thick = canvas.draws["cortex_hip_mm"] * facts["cortex"].get(bone.name, 1.0)
    fatty = facts["fatty_mean"] + facts["fatty_spread"] * smooth_noise(
        canvas.draws.stream(bone.name), canvas.axes.cut(bone.box), facts["fatty_mm"]
    )
    canvas.add("spongiosa", distance + thick, bone.box)
    canvas.add("femoral_spongiosa", distance + thick, bone.box, strength=np.clip(fatty, 0.0, 1.0))


def _femur(canvas: Canvas, bone: Bone, distance: Array) -> None:
    """Spongy bone in head and neck, a thick cortex and yellow marrow in the shaft."""
    facts = table("models/anatomy", "layout")["bone"]
    side = bone.name.removeprefix("femur_")
    head = canvas.skeleton.head(side)
    thin, thick = canvas.draws["cortex_hip_mm"] * facts["cortex"]["femur"], canvas.draws["cortex_shaft_mm"]
    below = head[2] - canvas.axes.cut(bone.box).open()[0]
    first, last = facts["shaft_below_head"]
    down = np.clip((below - first) / (last - first), 0.0, 1.0)
    inner = distance + thin + (thick - thin) * down
    canvas.add("femoral_spongiosa", inner, bone.box)
    canvas.add(
        "yellow_marrow", inner, bone.box, strength=np.broadcast_to(np.clip(1.6 * down, 0, 1), inner.shape)
    )
    inside = (distance < 0) & (_ball(canvas, head, bone.box, 1.0) < 0)
    canvas.mask("Femur_Head_L" if side == "left" else "Femur_Head_R", inside, bone.box)


def _symphysis(canvas: Canvas) -> None:
    """Paint the disc between the pubic bones (before them)."""
    marks, facts = canvas.skeleton.landmarks, table("models/anatomy", "layout")["bone"]
    ends = [0.5 * (marks["symphysis_front"] + marks[f"symphysis_back_{k}"]) for k in ("upper", "lower")]
    line = np.array([[*end, radius] for end, radius in zip(ends, facts["symphysis_radii"], strict=True)])
    box = canvas.axes.box(line[:, :3].min(0) - 14, line[:, :3].max(0) + 14)
    local = canvas.axes.cut(box)
    beside = np.abs(local.open()[2] - line[:, 0].mean()) - facts["symphysis_half_width"]
    canvas.add("cartilage", np.maximum(tube(local.points(), line), beside), box)


def _disc(canvas: Canvas) -> None:
    """Paint the disc above the sacrum, where no bone is."""
    disc = canvas.skeleton.landmarks["disc"]
    radii = np.array(table("models/anatomy", "template")["lumbar"]["disc_radii"], float)
    box = canvas.axes.box(disc - radii - 4, disc + radii + 4)
    local = canvas.axes.cut(box)
    if min(local.shape) > 1:
        canvas.add("cartilage", np.maximum(ellipsoid(local, disc, radii, 3.0), 1.0 - canvas.bone[box]), box)


def _ball(canvas: Canvas, sphere: Float, box: Box, grow_mm: float) -> Array:
    z, y, x = canvas.axes.cut(box).open()
    r = np.sqrt((x - sphere[0]) ** 2 + (y - sphere[1]) ** 2 + (z - sphere[2]) ** 2)
    return np.asarray(r - sphere[3] - grow_mm, np.float32)
