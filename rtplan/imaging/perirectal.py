"""Prostate, rectum and what lies round them, on one box of the image: where a spacer could go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.domain import Grid, Image, Mask, Structure
from rtplan.errors import StructureError
from rtplan.imaging.contour import mask_on

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

#: Structures that stay where they are, beside the prostate, all targets, bone and what is outside the body.
FIXED = ("Bladder", "SeminalVes", "PenileBulb", "Femur_Head_L", "Femur_Head_R", "Bone_Pelvic", "Sacrum")
#: The patient's directions, LPS.
POSTERIOR = np.array([0.0, 1.0, 0.0])
#: HU between which tissue turns from fat (gives way) to muscle and water (does not).
FAT_HU = (-60.0, -20.0)
#: Tissue of this HU and more is bone, and fixed.
BONE_HU = 200.0
#: Around the prostate the tissue may move so far away, mm: left and right, anterior, posterior, up and down.
ROOM_MM = {"side": 45.0, "front": 10.0, "back": 70.0, "along": 30.0}
#: So much image must be there behind the prostate, mm.
LEAST_BACK_MM = 35.0
#: Prostate and rectum are neighbours when so near, mm.
ADJACENT_MM = 12.0


@dataclass(frozen=True, eq=False)
class Scene:
    """Prostate, rectum and their surroundings on one box of the image's voxels.

    Parameters
    ----------
    grid : Grid
        The box.
    solid_mm, fixed_mm, rectum_mm : ndarray, shape (z, y, x)
        Signed distances of the prostate, of all else that is fixed, and of the rectum, mm, below 0 inside.
    prostate : ndarray of bool, shape (z, y, x)
        Its voxels.
    fat : ndarray, shape (z, y, x)
        How much of a voxel is fat, 0 to 1.
    middle_mm : ndarray, shape (3,)
        Middle of the prostate, LPS mm.
    """

    grid: Grid
    solid_mm: Float
    fixed_mm: Float
    rectum_mm: Float
    prostate: Bool
    fat: Float
    middle_mm: Float

    def at(self, values: Float, points: Float) -> Float:
        """Return values of the box at points (x, y, z), shape (n, 3), LPS mm; at its border beyond it."""
        index = self.grid.to_index(points)
        found: Float = ndimage.map_coordinates(values, index.T, order=1, mode="nearest")
        return found

    @property
    def half_depth_mm(self) -> float:
        """How far the prostate reaches back from its middle along the middle line, mm."""
        line = np.arange(0.0, 70.0, 0.5)
        inside = self.at(self.solid_mm, self.middle_mm + line[:, None] * POSTERIOR) < 0.0
        return float(line[inside].max(initial=0.0))


def scene_of(density: Image, structures: Mapping[str, Structure], body: Mask) -> Scene:
    """Return prostate, rectum and what is round them.

    Parameters
    ----------
    density : Image
        HU.
    structures : mapping
        With ``Prostate`` and ``Rectum``.
    body : Mask
        On the image's grid.

    Raises
    ------
    StructureError
        If prostate or rectum is missing or empty, they are not neighbours, a spacer is there already, or the
        image ends too near behind the prostate.
    """
    if "Spacer" in structures and mask_on(structures["Spacer"], density.grid).array.any():
        raise StructureError(
            "There is a spacer already.", where="Spacer", action="nothing is to be inserted."
        )
    prostate, rectum = (_wanted(structures, name, density.grid) for name in ("Prostate", "Rectum"))
    box = _box(prostate, body)
    grid = density.grid.crop(box[0], box[1])
    part = tuple(slice(a, b) for a, b in zip(*box, strict=True))
    fixed = _fixed(density, structures, body)[part]
    inside = prostate.array[part]
    solid = signed_distance(inside, grid)
    behind = signed_distance(rectum.array[part] & ~inside, grid)
    hu = ndimage.gaussian_filter(density.array[part].astype(np.float64), 0.7)
    fat = np.clip((FAT_HU[1] - hu) / (FAT_HU[1] - FAT_HU[0]), 0.0, 1.0) * (hu > -300.0) * body.array[part]
    middle = density.grid.to_patient(np.argwhere(prostate.array).mean(axis=0))
    scene = Scene(grid, solid, signed_distance(fixed & ~inside, grid), behind, inside, fat, middle)
    _demand_neighbours(scene)
    return scene


def signed_distance(inside: Bool, grid: Grid) -> Float:
    """Return the distance of every voxel's centre from a mask's surface, mm, below 0 inside; smoothed."""
    if not inside.any():
        return np.full(grid.shape, 50.0)
    spacing = grid.spacing_zyx_mm
    half = 0.5 * float(np.prod(spacing)) ** (1.0 / 3.0)
    outer = ndimage.distance_transform_edt(~inside, sampling=spacing)
    inner = ndimage.distance_transform_edt(inside, sampling=spacing)
    signed = np.where(inside, half - inner, outer - half)
    smooth: Float = ndimage.gaussian_filter(signed, [2.0 * half / s for s in spacing], mode="nearest")
    return smooth


def _wanted(structures: Mapping[str, Structure], name: str, grid: Grid) -> Mask:
    if name not in structures:
        raise StructureError(
            f"There is no structure {name}, and a spacer lies between prostate and rectum.",
            where=name,
            action="supply it by --structures FILE.dcm, or map its name by --names.",
        )
    mask = mask_on(structures[name], grid)
    if not mask.array.any():
        raise StructureError(f"The structure {name} has no voxel in the image.", where=name)
    return mask


def _box(prostate: Mask, body: Mask) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return the first and last-plus-one voxel of the room about the prostate."""
    grid = prostate.grid
    points = grid.to_patient(np.argwhere(prostate.array))
    low = points.min(axis=0) - np.array([ROOM_MM["side"], ROOM_MM["front"], ROOM_MM["along"]])
    high = points.max(axis=0) + np.array([ROOM_MM["side"], ROOM_MM["back"], ROOM_MM["along"]])
    corners = grid.to_index(list(product(*zip(low, high, strict=True))))
    start = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, grid.shape)
    stop = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 1, 0, grid.shape)
    middle = points.mean(axis=0)
    probe = middle + (points[:, 1].max() - middle[1] + LEAST_BACK_MM) * POSTERIOR
    index = np.rint(grid.to_index(probe)).astype(int)
    if (index < 0).any() or (index >= grid.shape).any() or not body.array[tuple(index)]:
        raise StructureError(
            f"The body ends less than {LEAST_BACK_MM:g} mm behind the prostate: no room for a spacer.",
            where="External",
            action="check that structures and images belong together, or supply a larger image.",
        )
    return (int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2]))


def _fixed(density: Image, structures: Mapping[str, Structure], body: Mask) -> Bool:
    bone = ndimage.binary_opening(density.array >= BONE_HU)
    fixed = ~body.array | bone
    for name in FIXED:
        if name in structures:
            fixed |= mask_on(structures[name], density.grid).array
    rectum = mask_on(structures["Rectum"], density.grid).array
    found: Bool = fixed & ~rectum
    return found


def _demand_neighbours(scene: Scene) -> None:
    back = scene.at(scene.rectum_mm, scene.middle_mm + np.arange(0.0, 80.0, 0.5)[:, None] * POSTERIOR)
    surface = scene.half_depth_mm
    gap = float(scene.rectum_mm[np.abs(scene.solid_mm) < 3.0].min(initial=99.0))
    if gap > ADJACENT_MM or not (back[int(2 * surface) :] < ADJACENT_MM).any():
        raise StructureError(
            f"The rectum does not lie behind the prostate: it is {gap:.0f} mm away.",
            where="Rectum",
            action="check the structures' names and that they belong to this image.",
        )
