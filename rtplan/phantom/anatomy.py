"""One anatomy on a grid: painted layers of tissue from back to front, and the masks of the structures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Grid
from rtplan.phantom.bladder import Loops, bladder, bowel_loops
from rtplan.phantom.draws import Draws, table
from rtplan.phantom.field import FAR_MM, Array, Axes, Box, ellipsoid, fraction, smooth_noise, tube, upsample
from rtplan.phantom.prostate import Gland, bulb, draw_gland, vesicles, zones
from rtplan.phantom.rectum import Course, LargeBowel, draw_course, large_bowel
from rtplan.phantom.skeleton import Skeleton, draw_skeleton
from rtplan.phantom.soft import SoftTissue, grow_soft_tissue, nearest_two

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Layer:
    """A tissue painted over what lies behind it.

    Parameters
    ----------
    tissue : str
        Name in ``models/tissue``.
    box : tuple of slice
        Where the fraction lies in the grid.
    fraction : ndarray, shape of the box
        Share of each voxel that is covered, 0..1.
    """

    tissue: str
    box: Box
    fraction: Array


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A digital patient before any scanner has seen him.

    Parameters
    ----------
    grid : Grid
        Axial grid of all arrays.
    layers : tuple of Layer
        From back (air) to front.
    masks : mapping of str to ndarray of bool, shape (z, y, x)
        Structures by TG-263 name.
    skeleton, gland, course
        What was drawn, in closed form.
    """

    grid: Grid
    layers: tuple[Layer, ...]
    masks: Mapping[str, NDArray[np.bool_]]
    skeleton: Skeleton
    gland: Gland
    course: Course

    def paint(self, values: Mapping[str, float], texture: Mapping[str, float], grain: Array) -> Array:
        """Return the image of one value per tissue, mixed by partial volume, with grain, shape (z, y, x)."""
        out = np.full(self.grid.shape, np.float32(values["air"]))
        for layer in self.layers:
            value, rough = np.float32(values[layer.tissue]), np.float32(texture[layer.tissue])
            part = out[layer.box]
            part += layer.fraction * (value + rough * grain[layer.box] - part)
        return out


def build_anatomy(
    draws: Draws, spacing_zyx_mm: tuple[float, float, float], frame: str, *, spacer: bool
) -> Anatomy:
    """Draw a patient and lay him on a grid that shows his skin all round."""
    facts = table("models/anatomy", "layout")["body"]
    skeleton = draw_skeleton(draws)
    low = float(skeleton.landmarks["tuberosity"][2] - facts["field_below_tuberosity"])
    soft = grow_soft_tissue(skeleton, draws, low, low + facts["field_height"])
    grid = _grid(soft, low, spacing_zyx_mm, frame)
    painter = _Painter(grid, Axes.of(grid), skeleton, soft, draws)
    painter.body()
    painter.bones()
    return painter.organs(spacer=spacer)


def _grid(soft: SoftTissue, low: float, spacing: tuple[float, float, float], frame: str) -> Grid:
    facts = table("models/anatomy", "layout")["body"]
    margin, dz, dy, dx = facts["air_margin"], *spacing
    inside = (soft.skin < 0) & (
        np.abs(soft.axes.z - low - 0.5 * facts["field_height"])[:, None, None] < 0.5 * facts["field_height"]
    )
    y, x = soft.axes.y[inside.any((0, 2))], soft.axes.x[inside.any((0, 1))]
    nx = int(np.ceil((x[-1] - x[0] + 2 * margin) / dx / 4.0)) * 4
    ny = int(np.ceil((y[-1] - y[0] + 2 * margin) / dy / 4.0)) * 4
    nz = max(int(round(facts["field_height"] / dz)), 2)
    origin = (
        0.5 * float(x[0] + x[-1]) - 0.5 * (nx - 1) * dx,
        0.5 * float(y[0] + y[-1]) - 0.5 * (ny - 1) * dy,
        low,
    )
    return Grid.axial((nz, ny, nx), spacing, origin, frame)


class _Painter:
    """Collects layers and masks of one patient; local to build_anatomy."""

    def __init__(self, grid: Grid, axes: Axes, skeleton: Skeleton, soft: SoftTissue, draws: Draws) -> None:
        self.grid, self.axes, self.skeleton, self.soft, self.draws = grid, axes, skeleton, soft, draws
        self.layout = table("models/anatomy", "layout")
        self.edge = 1.15 * float(np.sqrt(axes.spacing_mm[1] * axes.spacing_mm[2]))
        self.layers: list[Layer] = []
        self.masks: dict[str, NDArray[np.bool_]] = {}
        self.bone = np.full(axes.shape, FAR_MM, np.float32)
        self.skin = upsample(soft.skin, soft.axes, axes)

    def add(
        self, tissue: str, distance: Array, box: Box | None = None, strength: float | Array = 1.0
    ) -> None:
        """Paint a tissue where a signed distance is negative; trims the box to what is painted."""
        part = fraction(distance, self.edge)
        if not (np.isscalar(strength) and strength == 1.0):
            part = part * np.asarray(strength, np.float32)
        if box is None:
            self.layers.append(Layer(tissue, (slice(None), slice(None), slice(None)), part))
            return
        trimmed = _trim(part)
        if trimmed is not None:
            self.layers.append(Layer(tissue, within(box, trimmed), np.ascontiguousarray(part[trimmed])))

    def mask(self, name: str, inside: NDArray[np.bool_], box: Box | None = None) -> None:
        """Store a structure's mask."""
        if box is None:
            self.masks[name] = inside
            return
        whole = np.zeros(self.axes.shape, bool)
        whole[box] = inside
        self.masks[name] = whole

    def body(self) -> None:
        """Skin, fat, muscles with seams and streaks of fat, vessels, nerves."""
        facts, axes, skin = self.layout["body"], self.axes, self.skin
        self.mask("External", skin < 0)
        self.add("skin", skin)
        self.add("fat", skin + facts["skin"])
        rng = self.draws.stream("septa")
        self._threads(rng)
        first, second = nearest_two(self.soft, "muscle", axes)
        self.muscle = np.maximum(np.maximum(first, facts["fascia_gap"] - 0.5 * (second - first)), skin + 4.5)
        self.add("muscle", self.muscle)
        self._streaks(rng)
        for kind, tissue in (
            ("corpus", "corpus"),
            ("cord", "fascia"),
            ("nerve", "nerve"),
            ("vessel", "blood"),
        ):
            self.add(tissue, np.maximum(nearest_two(self.soft, kind, axes)[0], skin + 2.5))

    def _threads(self, rng: np.random.Generator) -> None:
        """Septa and small vessels in the fat: where one or two smooth fields vanish."""
        one, two = smooth_noise(rng, self.axes, 12.0), smooth_noise(rng, self.axes, 9.0)
        sheet = np.clip(1.0 - np.abs(one) / 0.16, 0.0, 1.0)
        line = np.clip(1.6 * (1.0 - np.sqrt(one * one + two * two) / 0.34), 0.0, 1.0)
        share = np.maximum(0.22 * sheet, 0.65 * line)
        self.add("fascia", self.skin + 4.0, strength=share)

    def _streaks(self, rng: np.random.Generator) -> None:
        """Fat between the fibres of the muscles: patches of fine streaks."""
        patch = np.clip(0.5 + 0.7 * smooth_noise(rng, self.axes, 26.0), 0.0, 1.6)
        fine = np.clip(smooth_noise(rng, self.axes, 4.5) - 0.35, 0.0, 2.0)
        share = np.float32(3.2 * self.draws["muscle_fat"]) * patch * fine
        self.add("fat", self.muscle, strength=np.clip(share, 0.0, 0.85))

    def bones(self) -> None:
        """Cortex, marrow and cartilage of every bone."""
        hip, shaft = self.draws["cortex_hip_mm"], self.draws["cortex_shaft_mm"]
        pelvic = np.zeros(self.axes.shape, bool)
        for side in ("left", "right"):
            centre = self.skeleton.head(side)
            box = self.axes.box(centre[:3] - 30, centre[:3] + 30)
            self.add("cartilage", self._ball(centre, box, 2.6), box)
        self._symphysis()
        for bone in self.skeleton.bones(self.axes):
            distance = np.maximum(bone.distance, self.skin[bone.box] + 3.0)
            self.bone[bone.box] = np.minimum(self.bone[bone.box], distance)
            self.add("cortex", distance, bone.box)
            if bone.name.startswith("femur"):
                self._femur(bone.name.removeprefix("femur_"), bone.box, distance, hip, shaft)
                continue
            thick = hip * (1.0 if bone.name.startswith("hip") else 0.75)
            self.add("spongiosa", distance + thick, bone.box)
            fatty = 0.35 + 0.3 * smooth_noise(self.draws.stream(bone.name), self.axes.cut(bone.box), 14.0)
            self.add("femoral_spongiosa", distance + thick, bone.box, strength=0.6 * np.clip(fatty, 0, 1))
            if bone.name == "sacrum":
                self.mask("Sacrum", distance < 0, bone.box)
            elif bone.name.startswith("hip"):
                pelvic[bone.box] |= distance < 0
        self.masks["Bone_Pelvic"] = pelvic
        disc = self.skeleton.landmarks["disc"]
        radii = np.array(table("models/anatomy", "template")["lumbar"]["disc_radii"], float)
        box = self.axes.box(disc - radii - 4, disc + radii + 4)
        if min(self.axes.cut(box).shape) > 1:
            gap = np.maximum(ellipsoid(self.axes.cut(box), disc, radii, 3.0), 1.0 - self.bone[box])
            self.add("cartilage", gap, box)

    def _symphysis(self) -> None:
        """The disc between the pubic bones (painted before them)."""
        marks = self.skeleton.landmarks
        ends = [0.5 * (marks["symphysis_front"] + marks[f"symphysis_back_{k}"]) for k in ("upper", "lower")]
        line = np.array([[*ends[0], 9.0], [*ends[1], 7.0]])
        box = self.axes.box(line[:, :3].min(0) - 14, line[:, :3].max(0) + 14)
        x = self.axes.cut(box).open()[2] - 0.5 * (ends[0][0] + ends[1][0])
        self.add("cartilage", np.maximum(tube(self.axes.cut(box).points(), line), np.abs(x) - 5.0), box)

    def _ball(self, sphere: Float, box: Box, grow_mm: float) -> Array:
        z, y, x = self.axes.cut(box).open()
        r = np.sqrt((x - sphere[0]) ** 2 + (y - sphere[1]) ** 2 + (z - sphere[2]) ** 2)
        return np.asarray(r - sphere[3] - grow_mm, np.float32)

    def _femur(self, side: str, box: Box, distance: Array, hip: float, shaft: float) -> None:
        head = self.skeleton.head(side)
        z = self.axes.cut(box).open()[0]
        down = np.clip((head[2] - 45.0 - z) / 45.0, 0.0, 1.0)
        inner = distance + 0.8 * hip + (shaft - 0.8 * hip) * down
        self.add("femoral_spongiosa", inner, box)
        self.add(
            "yellow_marrow",
            inner,
            box,
            strength=np.clip((head[2] - 30.0 - z) / 40.0, 0.0, 1.0) * np.ones_like(inner),
        )
        ball = self._ball(head, box, 1.0)
        self.mask("Femur_Head_L" if side == "left" else "Femur_Head_R", (distance < 0) & (ball < 0), box)

    def organs(self, *, spacer: bool) -> Anatomy:
        """Prostate, vesicles, rectum, bladder, bulb, bowel and spacer; no two of them overlap."""
        draws, layout = self.draws, self.layout
        gland = draw_gland(self.skeleton, draws)
        thick = draws["spacer_mm"] if spacer else 0.0
        course = draw_course(self.skeleton, gland, draws, thick)
        tuber = self.skeleton.landmarks["tuberosity"]
        box = self.axes.box(
            np.array([-82.0, gland.centre[1] - 75.0, tuber[2] - 20.0]),
            np.array([110.0, self.skeleton.coccyx[:, 1].max() + 12.0, 1e3]),
        )
        axes = self.axes.cut(box)
        inner = axes.box(gland.centre - 50.0, gland.centre + 50.0)
        whole = np.full(axes.shape, FAR_MM, np.float32)
        prostate = whole.copy()
        bumps = 0.7 * smooth_noise(draws.stream("gland_surface"), axes.cut(inner), 16.0)
        prostate[inner] = gland.distance(axes.cut(inner)) + bumps
        vesicle = whole.copy()
        vesicle[inner] = np.maximum(vesicles(gland, axes.cut(inner), draws), 0.6 - prostate[inner])
        gap = layout["prostate"]["rectum_gap"]
        body = self.skin[box] + 3.0
        bowel = large_bowel(course, axes, draws, np.minimum(prostate - 0.6 * gap, vesicle - 1.2))
        off = np.minimum(
            np.minimum(prostate - 0.3, vesicle - layout["bladder"]["organ_gap"]),
            np.minimum(bowel.rectum, bowel.sigmoid) - layout["bladder"]["rectum_gap"],
        )
        urinary = bladder(gland, axes, draws, off, self.bone[box])
        self._loops(box, axes, np.minimum(np.minimum(off, urinary), body * 0 + FAR_MM))
        self._large_bowel(bowel, box, body)
        self._urinary(urinary, vesicle, box)
        self._gland(gland, prostate, box, axes)
        self._bulb(gland, box, axes, np.minimum(bowel.rectum, prostate))
        if spacer:
            self._spacer(
                gland, np.minimum(np.minimum(prostate, bowel.rectum), np.minimum(vesicle, urinary)), box, axes
            )
        return Anatomy(self.grid, tuple(self.layers), self.masks, self.skeleton, gland, course)

    def _loops(self, box: Box, axes: Axes, keep_off: Array) -> None:
        room = self.axes.box(np.array([-112.0, -170.0, -60.0]), np.array([112.0, 60.0, 1e3]))
        local = self.axes.cut(room)
        cavity = upsample(self.soft.cavity, self.soft.axes, local)
        other = np.full(self.axes.shape, FAR_MM, np.float32)
        other[box] = keep_off
        cavity = np.maximum(cavity, self.layout["bowel"]["organ_gap"] - other[room])
        loops: Loops = bowel_loops(local, self.draws, cavity)
        self.add("rectal_wall", loops.outer, room)
        self.add("stool", loops.lumen, room)
        self.add("bowel_fluid", loops.fluid, room)
        self.add("gas", loops.gas, room)
        self.mask("Bowel_Small", loops.outer < 0, room)
        self.mask("zGas", loops.gas < 0, room)

    def _large_bowel(self, bowel: LargeBowel, box: Box, body: Array) -> None:
        tube = np.maximum(np.minimum(bowel.rectum, bowel.sigmoid), body)
        self.add("rectal_wall", tube, box)
        self.add("stool", bowel.lumen, box)
        self.add("gas", bowel.gas, box)
        rectum = (bowel.rectum < 0) & (body < 0)
        self.mask("Rectum", rectum, box)
        self.mask("Rectal_Wall", rectum & (bowel.lumen >= 0), box)
        self.mask("Colon_Sigmoid", (bowel.sigmoid < 0) & ~rectum & (body < 0), box)
        self.masks["zGas"][box] |= bowel.gas < 0
        self.masks["Bowel_Small"][box] &= (bowel.rectum >= 0) & (bowel.sigmoid >= 0)

    def _urinary(self, urinary: Array, vesicle: Array, box: Box) -> None:
        wall = self.draws["bladder_wall_mm"]
        self.add("bladder_wall", urinary, box)
        self.add("urine", urinary + wall, box)
        self.mask("Bladder", urinary < 0, box)
        self.mask("Bladder_Wall", (urinary < 0) & (urinary + wall >= 0), box)
        self.masks["Bowel_Small"][box] &= urinary >= 0
        self.add("seminal_vesicle", vesicle, box)
        self.mask("SeminalVes", (vesicle < 0) & (urinary >= 0), box)

    def _gland(self, gland: Gland, prostate: Array, box: Box, axes: Axes) -> None:
        inner = axes.box(gland.centre - 50.0, gland.centre + 50.0)
        place = within(box, inner)
        outline = prostate[inner]
        parts = zones(gland, outline, axes.cut(inner), self.draws)
        self.add("stroma", outline, place)
        self.add("peripheral_zone", outline + self.layout["prostate"]["capsule"], place)
        self.add("stroma", parts["transition_zone"], place, strength=0.6)
        self.add("transition_zone", parts["transition_zone"] + 1.0, place)
        self.add("stroma", parts["stroma"], place)
        self.add("lesion", parts["lesion"], place)
        self.add("corpus", parts["urethra"], place, strength=0.6)
        self.mask("Prostate", outline < 0, place)
        self.mask(
            "Prostate_PZ", (outline < 0) & (parts["transition_zone"] >= 0) & (parts["stroma"] >= 0), place
        )
        self.mask("Prostate_TZ", parts["transition_zone"] < 0, place)
        self.mask("GTVp", parts["lesion"] < 0, place)
        self.mask("Urethra", (parts["urethra"] < 0) & (outline < 0), place)

    def _bulb(self, gland: Gland, box: Box, axes: Axes, keep_off: Array) -> None:
        distance, _ = bulb(gland, self.skeleton, axes, self.draws)
        distance = np.maximum(np.maximum(distance, 1.0 - keep_off), 1.0 - self.bone[box])
        self.add("corpus", distance, box)
        self.mask("PenileBulb", distance < 0, box)

    def _spacer(self, gland: Gland, keep_off: Array, box: Box, axes: Axes) -> None:
        radii = np.array(self.layout["spacer"]["radii"], float)
        radii[1] = 0.5 * self.draws["spacer_mm"] + 2.0
        centre = gland.at(0.0, 1.0, 0.0) + np.array([0.0, 0.5 * self.draws["spacer_mm"] + 0.8, 0.0])
        scale = np.array([1.0, 1.0, 1.0])
        for _ in range(5):
            distance = np.maximum(ellipsoid(axes, centre, radii * scale, 2.6), 0.6 - keep_off)
            volume = float(fraction(distance, 1.5).sum()) * axes.voxel_cc
            scale[[0, 2]] *= float(np.clip((self.draws["spacer_cc"] / max(volume, 0.1)) ** 0.5, 0.7, 1.4))
        self.add("gel", distance, box)
        self.mask("Spacer", distance < 0, box)


def within(outer: Box, inner: Box) -> Box:
    """Return a box given inside another one in the coordinates of the whole grid."""
    z, y, x = (slice(o.start + i.start, o.start + i.stop) for o, i in zip(outer, inner, strict=True))
    return z, y, x


def _trim(part: Array) -> Box | None:
    """Smallest box that holds everything above zero."""
    some = part > 0
    cuts = []
    for axis in range(3):
        hits = np.flatnonzero(some.any(axis=tuple(a for a in range(3) if a != axis)))
        if len(hits) == 0:
            return None
        cuts.append(slice(int(hits[0]), int(hits[-1]) + 1))
    return cuts[0], cuts[1], cuts[2]
