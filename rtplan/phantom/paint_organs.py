"""The organs on the canvas, laid so that no two of them overlap, and their masks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rtplan.phantom.bladder import bladder, bowel_loops
from rtplan.phantom.canvas import Canvas, within
from rtplan.phantom.draws import table
from rtplan.phantom.field import FAR_MM, Array, Axes, Box, ellipsoid, fraction, true_distance, upsample
from rtplan.phantom.prostate import Gland, bulb, draw_gland, put_in, vesicles, zones
from rtplan.phantom.rectum import Course, LargeBowel, draw_course, large_bowel
from rtplan.phantom.shapes import Shape

#: Half side of the cube round the prostate in which it is worked out, mm.
ROOM_MM = 50.0


@dataclass(frozen=True, eq=False)
class _Laid:
    """Signed distances of the organs in one box, mm."""

    box: Box
    axes: Axes
    prostate: Array
    vesicle: Array
    bowel: LargeBowel
    urinary: Array


def paint_organs(canvas: Canvas, *, spacer: bool, shape: Shape | None = None) -> tuple[Gland, Course]:
    """Paint prostate, vesicles, rectum, bladder, bulb, bowel and spacer; return what was drawn."""
    draws = canvas.draws
    gland = draw_gland(canvas.skeleton, draws)
    gland = _clear_of_bone(canvas, gland if shape is None else put_in(gland, shape))
    course = draw_course(canvas.skeleton, gland, draws, draws["spacer_mm"] if spacer else 0.0)
    laid = _lay(canvas, gland, course)
    _paint_loops(canvas, laid)
    _paint_large_bowel(canvas, laid)
    _paint_urinary(canvas, laid)
    _paint_gland(canvas, gland, laid)
    _paint_bulb(canvas, gland, laid)
    if spacer:
        _paint_spacer(canvas, gland, laid)
    return gland, course


def _clear_of_bone(canvas: Canvas, gland: Gland) -> Gland:
    """Move the gland back from the pubic bones until they are as far as stated."""
    gap = table("models/anatomy", "layout")["prostate"]["bone_gap"]
    for _ in range(12):
        box = canvas.axes.box(gland.centre - ROOM_MM, gland.centre + ROOM_MM)
        axes = canvas.axes.cut(box)
        solid = gland.distance(axes) if gland.shape is None else gland.surface(axes, canvas.draws)
        near = canvas.bone[box][solid < 0.5 * canvas.edge]
        short = gap - float(near.min(initial=FAR_MM))
        if short <= 0.0:
            break
        gland = replace(gland, centre=gland.centre + np.array([0.0, 0.7 * short + 0.3, 0.1 * short]))
    return gland


def _lay(canvas: Canvas, gland: Gland, course: Course) -> _Laid:
    """Work out the organs one after the other, each keeping off those before it."""
    layout, draws = table("models/anatomy", "layout"), canvas.draws
    low = np.array([-82.0, gland.centre[1] - 75.0, canvas.skeleton.landmarks["tuberosity"][2] - 20.0])
    box = canvas.axes.box(low, np.array([110.0, canvas.skeleton.coccyx[:, 1].max() + 12.0, np.inf]))
    axes = canvas.axes.cut(box)
    inner = axes.box(gland.centre - ROOM_MM, gland.centre + ROOM_MM)
    near = axes.cut(inner)
    prostate, vesicle = (np.full(axes.shape, FAR_MM, np.float32) for _ in range(2))
    prostate[inner] = gland.surface(near, draws)
    vesicle[inner] = np.maximum(vesicles(gland, near, draws), 0.6 - prostate[inner])
    away = prostate.copy()
    away[inner] = true_distance(prostate[inner], axes.spacing_mm)
    off = np.minimum(away - 0.6 * layout["prostate"]["rectum_gap"], vesicle - layout["rectum"]["organ_gap"])
    off = np.minimum(off, canvas.bone[box] - layout["rectum"]["bone_gap"])
    bowel = large_bowel(course, axes, draws, off)
    facts = layout["bladder"]
    off = np.minimum(away - facts["prostate_gap"], vesicle - facts["organ_gap"])
    off = np.minimum(off, np.minimum(bowel.rectum, bowel.sigmoid) - facts["rectum_gap"])
    urinary = bladder(gland, axes, draws, off, canvas.bone[box])
    return _Laid(box, axes, prostate, vesicle, bowel, urinary)


def _paint_loops(canvas: Canvas, laid: _Laid) -> None:
    room = canvas.axes.box(np.array([-112.0, -190.0, -60.0]), np.array([112.0, 60.0, np.inf]))
    local = canvas.axes.cut(room)
    other = np.full(canvas.axes.shape, FAR_MM, np.float32)
    organs = (laid.prostate, laid.vesicle, laid.bowel.rectum, laid.bowel.sigmoid, laid.urinary)
    other[laid.box] = np.minimum.reduce(organs)
    cavity = upsample(canvas.soft.cavity, canvas.soft.axes, local)
    gap = table("models/anatomy", "layout")["bowel"]["organ_gap"]
    loops = bowel_loops(
        local, canvas.draws, np.maximum(np.maximum(cavity, gap - other[room]), gap - canvas.bone[room])
    )
    canvas.add("rectal_wall", loops.outer, room)
    canvas.add("stool", loops.lumen, room)
    canvas.add("bowel_fluid", loops.fluid, room)
    canvas.add("gas", loops.gas, room)
    canvas.mask("Bowel_Small", loops.outer < 0, room)
    canvas.mask("zGas", loops.gas < 0, room)


def _paint_large_bowel(canvas: Canvas, laid: _Laid) -> None:
    bowel, box, body = laid.bowel, laid.box, canvas.skin[laid.box] + 3.0
    canvas.add("rectal_wall", np.maximum(np.minimum(bowel.rectum, bowel.sigmoid), body), box)
    canvas.add("stool", bowel.lumen, box)
    canvas.add("gas", bowel.gas, box)
    rectum = (bowel.rectum < 0) & (body < 0)
    canvas.mask("Rectum", rectum, box)
    canvas.mask("Rectal_Wall", rectum & (bowel.lumen >= 0), box)
    canvas.mask("Colon_Sigmoid", (bowel.sigmoid < 0) & ~rectum & (body < 0), box)
    canvas.masks["zGas"][box] |= bowel.gas < 0


def _paint_urinary(canvas: Canvas, laid: _Laid) -> None:
    outer, inner = laid.urinary, laid.urinary + canvas.draws["bladder_wall_mm"]
    canvas.add("bladder_wall", outer, laid.box)
    canvas.add("urine", inner, laid.box)
    canvas.add("seminal_vesicle", laid.vesicle, laid.box)
    canvas.mask("Bladder", outer < 0, laid.box)
    canvas.mask("Bladder_Wall", (outer < 0) & (inner >= 0), laid.box)
    canvas.mask("SeminalVes", (laid.vesicle < 0) & (outer >= 0), laid.box)


def _paint_gland(canvas: Canvas, gland: Gland, laid: _Laid) -> None:
    inner = laid.axes.box(gland.centre - ROOM_MM, gland.centre + ROOM_MM)
    box, outline = within(laid.box, inner), laid.prostate[inner]
    parts = zones(gland, outline, laid.axes.cut(inner), canvas.draws)
    capsule = table("models/anatomy", "layout")["prostate"]["capsule"]
    for tissue, distance, strength in (
        ("stroma", outline, 1.0),
        ("peripheral_zone", outline + capsule, 1.0),
        ("stroma", parts["transition_zone"], 0.6),
        ("transition_zone", parts["transition_zone"] + 1.0, 1.0),
        ("stroma", parts["stroma"], 1.0),
        ("lesion", parts["lesion"], 1.0),
        ("corpus", parts["urethra"], 0.6),
    ):
        canvas.add(tissue, distance, box, strength=strength)
    inside, middle = outline < 0, parts["transition_zone"] < 0
    canvas.mask("Prostate", inside, box)
    canvas.mask("Prostate_PZ", inside & ~middle & (parts["stroma"] >= 0), box)
    canvas.mask("Prostate_TZ", middle, box)
    canvas.mask("GTVp", parts["lesion"] < 0, box)
    canvas.mask("Urethra", (parts["urethra"] < 0) & inside, box)


def _paint_bulb(canvas: Canvas, gland: Gland, laid: _Laid) -> None:
    distance, _ = bulb(gland, canvas.skeleton, laid.axes, canvas.draws)
    off = np.minimum(np.minimum(laid.bowel.rectum, laid.prostate), canvas.bone[laid.box])
    distance = np.maximum(distance, 1.0 - off)
    canvas.add("corpus", distance, laid.box)
    canvas.mask("PenileBulb", distance < 0, laid.box)


def _paint_spacer(canvas: Canvas, gland: Gland, laid: _Laid) -> None:
    """Paint a cushion of gel of the drawn volume between prostate and rectum."""
    thick, wanted = canvas.draws["spacer_mm"], canvas.draws["spacer_cc"]
    radii = np.array(table("models/anatomy", "layout")["spacer"]["radii"], float)
    radii[1] = 0.5 * thick + 2.0
    off = np.minimum.reduce([laid.prostate, laid.bowel.rectum, laid.vesicle, laid.urinary])
    centre = gland.at(0.0, 1.0, 0.0) + np.array([0.0, 0.5 * thick + 0.8, 0.0])
    for _ in range(5):
        distance = np.maximum(ellipsoid(laid.axes, centre, radii, 2.6), 0.6 - off)
        volume = float(fraction(distance, 1.5).sum()) * laid.axes.voxel_cc
        radii[[0, 2]] *= float(np.clip((wanted / max(volume, 0.1)) ** 0.5, 0.7, 1.4))
    canvas.add("gel", distance, laid.box)
    canvas.mask("Spacer", distance < 0, laid.box)
