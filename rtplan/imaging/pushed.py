"""Images and structures as a spacer moves them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Grid, Image, Mask, Structure, Volume
from rtplan.imaging.contour import mask_on
from rtplan.imaging.displace import Inserted
from rtplan.imaging.perirectal import FIXED
from rtplan.imaging.resample import resample

#: Structures of these kinds and names stay as they are.
KEPT_KINDS = ("GTV", "CTV", "PTV", "EXTERNAL", "SUPPORT", "BOLUS", "MARKER")
KEPT_NAMES = (*FIXED, "Prostate", "Urethra", "Urethra_PRV02", "Bladder_Wall", "zSupport")

#: Sides of the cells in which a change of volume is measured, and the distance of what lies beyond them, mm.
FINE_MM, FAR_MM = 1.5, 99.0


def moved_structure(structure: Structure, inserted: Inserted, grid: Grid) -> Structure:
    """Return a structure as the gel moves it, on the image's grid; what stays comes back as it is.

    The voxels taken are those with the largest part in it, as many as its volume after the push.
    """
    if structure.kind in KEPT_KINDS or structure.name in KEPT_NAMES or structure.name.startswith("Prostate_"):
        return structure
    part = _moved_part(mask_on(structure, grid), inserted)
    wanted = round(float(part.sum(dtype=np.float64)))
    if not wanted:
        return Structure(structure.name, structure.kind, Mask(grid, np.zeros(grid.shape, np.bool_)))
    level = float(np.partition(part.ravel(), part.size - wanted)[part.size - wanted])
    return Structure(structure.name, structure.kind, Mask(grid, part >= max(level, 1e-3)))


def moved_image(image: Image, inserted: Inserted, gel_value: float) -> Image:
    """Return an image as the gel moves it, with one value in the gel."""
    moved = resample(image, image.grid, registration=inserted.registration, outside=float(image.array.min()))
    spacer = mask_on(Structure("Spacer", "AVOIDANCE", inserted.spacer), image.grid).array
    return replace(moved, array=np.where(spacer, np.float32(gel_value), moved.array))


def rectum_change_percent(inserted: Inserted, wall_mm: float | None = None) -> float:
    """Return by how much the push changes the volume of the rectum, or of its outer wall, %.

    Parameters
    ----------
    inserted : Inserted
        The gel.
    wall_mm : float, optional
        Thickness of the wall; None: the whole rectum.

    Notes
    -----
    Measured by the distance from the rectum's surface in cells of 1.5 mm, before and after the push. Counted
    in an image's own voxels the error of counting is larger than the change: -1.9 % instead of -0.1 % of a
    wall of 3 mm in voxels of 4 x 3 x 3 mm.
    """
    scene = inserted.scene
    z, y, x = scene.grid.spacing_zyx_mm
    fine = scene.grid.with_spacing((min(z, FINE_MM), min(y, FINE_MM), min(x, FINE_MM)))
    distance = Volume(scene.grid, scene.rectum_mm)
    was, is_now = (
        _part_cc(resample(distance, fine, registration=moved, outside=FAR_MM), wall_mm)
        for moved in (None, inserted.registration)
    )
    return 100.0 * (is_now / was - 1.0)


def _part_cc(distance: Volume, wall_mm: float | None) -> float:
    """Return the volume inside a surface, or of the layer under it, from the distances of cells."""
    blur = float(np.mean(distance.grid.spacing_zyx_mm))
    part = np.clip(0.5 - distance.array / blur, 0.0, 1.0)
    if wall_mm is not None:
        part -= np.clip(0.5 - (distance.array + wall_mm) / blur, 0.0, 1.0)
    return float(part.sum(dtype=np.float64)) * distance.grid.voxel_cc


def _moved_part(mask: Mask, inserted: Inserted) -> NDArray[np.float32]:
    """Return which part of each voxel belongs to a structure after the push; none of the gel's."""
    part = Volume(mask.grid, mask.array.astype(np.float32))
    after = resample(part, mask.grid, registration=inserted.registration).array
    found: NDArray[np.float32] = np.where(inserted.spacer.array, np.float32(0.0), after)
    return found
