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


def moved_volume_cc(mask: Mask, inserted: Inserted) -> float:
    """Return the volume of a structure after the push, by the parts of its voxels that lie in it."""
    return float(_moved_part(mask, inserted).sum(dtype=np.float64)) * mask.grid.voxel_cc


def _moved_part(mask: Mask, inserted: Inserted) -> NDArray[np.float32]:
    """Return which part of each voxel belongs to a structure after the push; none of the gel's."""
    part = Volume(mask.grid, mask.array.astype(np.float32))
    after = resample(part, mask.grid, registration=inserted.registration).array
    found: NDArray[np.float32] = np.where(inserted.spacer.array, np.float32(0.0), after)
    return found
