"""A virtual hydrogel spacer: it opens between prostate and rectum, the rectum gives way, nothing tears."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.domain import Displacement, Grid, Mask, Registration, Volume
from rtplan.errors import RtplanError, StructureError
from rtplan.imaging.flow import Flow, Room, entered_cc, flow_of
from rtplan.imaging.perirectal import POSTERIOR, Scene
from rtplan.imaging.resample import resample

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

#: Half axes of the gel's footprint on the prostate, left-right and along the patient, before scaling, mm.
FOOTPRINT_MM = (24.0, 19.0)
#: The gel starts from surface that looks back at least so much (cosine), wholly from the second.
FACING = (0.1, 0.5)
#: So much more easily than what is round it moves the rectum: it goes back as a whole and is less flattened.
EASE = 4.0
#: Fat within this of the rectum keeps its volume; further away it gives way less and less.
RIM_MM, REACH_MM = 3.0, 15.0
#: Fat less than this behind the prostate does not give way: the gel comes there.
BEHIND_MM = 10.0
#: The fat in reach must hold so many times the gel.
LEAST_FAT = 2.5
VOLUMES_CC = (2.0, 25.0)
THICKNESSES_MM = (4.0, 20.0)


@dataclass(frozen=True)
class Gel:
    """What is to be inserted.

    Parameters
    ----------
    volume_cc : float
        2 to 25.
    thickness_mm : float
        Behind the middle of the gland, 4 to 20; the gel's footprint follows from both.
    shift_mm : tuple of float
        Of the footprint's centre from the middle of the gland: to the left, and up.
    cell_mm : float
        Side of the cells of the flow.
    steps : int
        Times with a velocity of their own.
    """

    volume_cc: float = 10.0
    thickness_mm: float = 12.0
    shift_mm: tuple[float, float] = (0.0, 0.0)
    cell_mm: float = 2.5
    steps: int = 12

    def __post_init__(self) -> None:
        for value, (low, high), what, unit in (
            (self.volume_cc, VOLUMES_CC, "volume", "cc"),
            (self.thickness_mm, THICKNESSES_MM, "thickness", "mm"),
        ):
            if not low <= value <= high:
                raise StructureError(
                    f"A spacer's {what} lies between {low:g} and {high:g} {unit}, got {value:g}.",
                    where="Spacer",
                    action="about 10 cc and 10 to 13 mm are usual.",
                )


@dataclass(frozen=True, eq=False)
class Inserted:
    """A gel, and how the tissue gave way.

    Parameters
    ----------
    registration : Registration
        Deformable, of the image's frame to itself: where a point with the gel was before.
    spacer : Mask
        On the image's grid.
    flow : Flow
        The displacement by its velocities.
    scene : Scene
        What was before.
    scale : float
        The footprint's, that gives the thickness.
    thickness_mm : float
        Behind the middle of the gland, as measured.
    jacobian : ndarray
        Determinants of the backward displacement in the tissue that moves, outside the gel.
    """

    registration: Registration
    spacer: Mask
    flow: Flow
    scene: Scene
    scale: float
    thickness_mm: float
    jacobian: Float

    @property
    def volume_cc(self) -> float:
        """Of the gel's voxels."""
        return float(self.spacer.array.sum()) * self.spacer.grid.voxel_cc


def insert(scene: Scene, whole: Grid, gel: Gel | None = None) -> Inserted:
    """Return a gel between prostate and rectum, and the displacement that makes room for it.

    Parameters
    ----------
    scene : Scene
        From `scene_of`.
    whole : Grid
        The image's grid.
    gel : Gel, optional
        10 cc of 12 mm by default.

    Raises
    ------
    StructureError
        If the fat about the rectum is too little to give way, or no footprint gives the thickness.

    Notes
    -----
    The gel enters through the back of the prostate's surface (`rtplan.imaging.flow`). All tissue keeps its
    volume but the fat beside and behind the rectum, which loses what the gel takes; prostate, vesicles,
    bladder, bone and skin stay. Tissue may slide along them.
    """
    gel = gel or Gel()
    scale = _scale(scene, gel)
    room = room_of(scene, gel, scale)
    flow = flow_of(room, gel.steps)
    spacer, vectors = _traced(scene, flow)
    start = np.rint(whole.to_index(scene.grid.origin_mm)).astype(int)
    array = np.zeros(whole.shape, np.bool_)
    array[tuple(slice(a, a + n) for a, n in zip(start, spacer.shape, strict=True))] = spacer
    frame = whole.frame_of_reference
    moved = Displacement(scene.grid, vectors)
    registration = Registration(frame, frame, np.eye(4), "deformable", displacement=moved)
    jacobian = _jacobian(scene, spacer, vectors)
    return Inserted(registration, Mask(whole, array), flow, scene, scale, thickness_of(scene, flow), jacobian)


def room_of(scene: Scene, gel: Gel, scale: float) -> Room:
    """Return the room of a gel whose footprint is scaled, its inflow such that the volume is right.

    Raises
    ------
    StructureError
        If the fat about the rectum is too little.
    """
    lattice = scene.grid.with_spacing((gel.cell_mm, gel.cell_mm, gel.cell_mm))
    solid, fixed, rectum, fat = (
        _on(Volume(scene.grid, values), lattice, outside)
        for values, outside in (
            (scene.solid_mm, 50.0),
            (scene.fixed_mm, -1.0),
            (scene.rectum_mm, 50.0),
            (scene.fat, 0.0),
        )
    )
    points = lattice.to_patient(np.stack(np.meshgrid(*map(np.arange, lattice.shape), indexing="ij"), axis=-1))
    inflow = _footprint(scene, lattice, (points, solid), gel, scale)
    back = (points - scene.middle_mm) @ POSTERIOR - scene.half_depth_mm - BEHIND_MM
    sink = fat * _rise(rectum / RIM_MM - 1.0) * np.exp(-np.maximum(rectum, 0.0) / REACH_MM)
    sink *= _rise(back / 10.0) * np.clip(0.5 + np.minimum(solid, fixed) / gel.cell_mm, 0.0, 1.0)
    ease = 1.0 + (EASE - 1.0) * _rise(0.5 - rectum / (2.0 * gel.cell_mm))
    room = Room(lattice, solid, fixed, inflow, sink, ease)
    there = float(sink.sum()) * lattice.voxel_cc
    if there < LEAST_FAT * gel.volume_cc:
        raise StructureError(
            f"The fat about the rectum that could give way is worth {there:.1f} cc, and {gel.volume_cc:g} cc "
            f"of gel need {LEAST_FAT * gel.volume_cc:g}.",
            where="Rectum",
            action="ask for less gel, or supply an image that shows more behind the prostate.",
        )
    entered = entered_cc(room)
    if not entered > 0.0:
        raise StructureError("No surface of the prostate looks back at the rectum.", where="Prostate")
    return replace(room, inflow_mm=inflow * (gel.volume_cc / entered))


def thickness_of(scene: Scene, flow: Flow) -> float:
    """Return how thick the gel is behind the middle of the gland, mm."""
    step = 0.25
    line = scene.middle_mm + np.arange(0.0, 70.0, step)[:, None] * POSTERIOR
    outside = scene.at(scene.solid_mm, line) >= 0.0
    came_in = scene.at(scene.solid_mm, flow.back(line)) < 0.0
    return float(np.count_nonzero(outside & came_in)) * step


def _footprint(scene: Scene, lattice: Grid, at: tuple[Float, Float], gel: Gel, scale: float) -> Float:
    """Return the relative thickness that enters: half an ellipsoid where the surface looks back."""
    points, solid = at
    normal = np.stack(list(np.gradient(solid, gel.cell_mm)), axis=-1) @ lattice.direction.T
    looking = (normal @ POSTERIOR) / np.maximum(np.linalg.norm(normal, axis=-1), 1e-9)
    across = (points[..., 0] - scene.middle_mm[0] - gel.shift_mm[0]) / (scale * FOOTPRINT_MM[0])
    along = (points[..., 2] - scene.middle_mm[2] - gel.shift_mm[1]) / (scale * FOOTPRINT_MM[1])
    high = np.sqrt(np.maximum(1.0 - across**2 - along**2, 0.0))
    found: Float = high * np.clip((looking - FACING[0]) / (FACING[1] - FACING[0]), 0.0, 1.0)
    return found


def _scale(scene: Scene, gel: Gel) -> float:
    """Return the footprint's scale at which the gel is as thick as wanted (a larger one is thinner)."""
    coarse = replace(gel, cell_mm=max(4.0, gel.cell_mm), steps=8)
    scale, tried = float(np.sqrt(gel.volume_cc * 12.0 / (10.0 * gel.thickness_mm))), []
    for _ in range(6):
        thickness = thickness_of(scene, flow_of(room_of(scene, coarse, scale), coarse.steps))
        tried.append((abs(thickness - gel.thickness_mm), scale))
        if tried[-1][0] <= 0.3:
            break
        scale = float(np.clip(scale * (max(thickness, 1.0) / gel.thickness_mm) ** 0.6, 0.35, 2.5))
    off, best = min(tried)
    if off > 2.5:
        raise StructureError(
            f"No footprint gives {gel.volume_cc:g} cc a thickness of {gel.thickness_mm:g} mm: the nearest is "
            f"{off:.1f} mm off.",
            where="Spacer",
            action="ask for another thickness or volume.",
        )
    return best


def _traced(scene: Scene, flow: Flow) -> tuple[Bool, NDArray[np.float32]]:
    """Return the gel's voxels and the displacement, mm, on the scene's grid."""
    shape = scene.grid.shape
    free = (scene.solid_mm >= 0.0) & (scene.fixed_mm > 0.0) & ~scene.prostate
    points = scene.grid.to_patient(np.argwhere(free))
    before = flow.back(points)
    vectors = np.zeros((*shape, 3), np.float32)
    vectors[free] = before - points
    came_in = np.zeros(shape, np.bool_)
    came_in[free] = scene.at(scene.solid_mm, before) < 0.0
    label, count = ndimage.label(came_in)
    if count == 0:
        raise RtplanError("The gel is thinner than a voxel.", action="supply a finer image.")
    spacer: Bool = label == 1 + int(np.argmax(np.bincount(label[label > 0])[1:]))
    vectors[came_in & ~spacer] = 0.0
    return spacer, vectors


def _jacobian(scene: Scene, spacer: Bool, vectors: NDArray[np.float32]) -> Float:
    """Return determinants where all neighbours are tissue that moves, outside the gel."""
    tissue = (scene.solid_mm > 0.0) & (scene.fixed_mm > 0.0) & ~spacer
    tissue = ndimage.binary_erosion(tissue, np.ones((3, 3, 3)))
    axes = np.linalg.inv(scene.grid.affine[:3, :3])
    slopes = np.stack(
        [np.stack(np.gradient(vectors[..., c].astype(float)), axis=-1) for c in range(3)], axis=-2
    )
    gradient = slopes[tissue] @ axes
    found: Float = np.linalg.det(np.eye(3) + gradient)
    return found


def _on(volume: Volume, grid: Grid, outside: float) -> Float:
    return np.asarray(resample(volume, grid, outside=outside).array, np.float64)


def _rise(values: Float) -> Float:
    """Return 0 below 0, 1 above 1, smooth between."""
    x = np.clip(values, 0.0, 1.0)
    found: Float = x * x * (3.0 - 2.0 * x)
    return found
