"""Around the targets: the dose grid, the isocentre, and whether a beam enters through a cropped image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from rtplan.domain import Beam, Grid, Mask
from rtplan.errors import StructureError
from rtplan.planning.geometry import frame_of
from rtplan.planning.raytrace import sampled
from rtplan.planning.scene import mask_at

#: A dose grid ends so far above and below the targets (along the patient) …
BEYOND_MM = 45.0
#: … or where an organ that reaches into this range ends, at most so far from the targets.
ORGAN_BEYOND_MM = 150.0
#: At most so many target voxels are looked at from each beam.
LOOKS = 400


def dose_grid(body: Mask, targets: Sequence[Mask], spacing_mm: float, organs: Sequence[Mask] = ()) -> Grid:
    """Return an isotropic grid over the body, cut along the patient to the targets and 45 mm.

    An organ that reaches into this range is covered whole (to 150 mm from the targets): the DVH of half an
    organ is not evaluable.

    Parameters
    ----------
    body : Mask
        The external contour on the image's grid.
    targets : sequence of Mask
        On the same grid.
    spacing_mm : float
        Spacing along all axes; the axes are the image's.
    organs : sequence of Mask
        On the same grid; empty ones do not count.

    Raises
    ------
    StructureError
        If the body or all targets are empty.
    """
    together = np.any([target.array for target in targets], axis=0) if targets else np.zeros(1, bool)
    if not together.any() or not body.array.any():
        raise StructureError("A dose grid needs a body and a target with voxels.")
    grid = body.grid
    start, stop = _box(body.array)
    first, last = _box(together)
    axis = int(np.argmax(np.abs(grid.direction[2])))
    beyond = int(np.ceil(BEYOND_MM / grid.spacing_zyx_mm[axis]))
    near = (first[axis] - beyond, last[axis] + beyond)
    far = int(np.ceil(ORGAN_BEYOND_MM / grid.spacing_zyx_mm[axis]))
    spans = [(low[axis], high[axis]) for low, high in (_box(o.array) for o in organs if o.array.any())]
    spans = [span for span in spans if span[1] > near[0] and span[0] < near[1]]
    lowest = min([near[0], *(low - 1 for low, _ in spans)])
    highest = max([near[1], *(high + 1 for _, high in spans)])
    start[axis] = max(start[axis], lowest, first[axis] - far)
    stop[axis] = min(stop[axis], highest, last[axis] + far)
    small = grid.crop((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    return small.with_spacing((spacing_mm, spacing_mm, spacing_mm))


def centre_of(target: Mask) -> tuple[float, float, float]:
    """Return the centre of a target's voxels, LPS, mm, to 0.1 mm (an isocentre)."""
    if not target.array.any():
        raise StructureError("A target without voxels has no centre.")
    centre = target.grid.to_patient(np.argwhere(target.array).mean(axis=0))
    x, y, z = (round(float(c), 1) for c in centre)
    return x, y, z


def holds(body: Mask, point_mm: tuple[float, float, float]) -> bool:
    """Whether a point, LPS mm, lies in a body."""
    affine = np.eye(4)
    affine[:3, 3] = point_mm
    return bool(mask_at(body, Grid((1, 1, 1), affine, body.grid.frame_of_reference)).all())


def through_crop(beams: Sequence[Beam], body: Mask, target: Mask, sad_mm: float) -> tuple[str, ...]:
    """Return the names of the beams that enter the body where the image ends.

    From voxels of the target one walks to the source; where the last voxel of the body lies at the
    image's border, tissue may be missing before it.

    Parameters
    ----------
    beams : sequence of Beam
        Any fluence.
    body, target : Mask
        Each on its own grid; the body's is the image's.
    sad_mm : float
        Distance from source to isocentre.
    """
    points = target.grid.to_patient(np.argwhere(target.array))
    points = points[:: max(1, len(points) // LOOKS)]
    step = min(body.grid.spacing_zyx_mm)
    reach = float(np.ptp(body.grid.corners(), axis=0).max()) * 1.8
    return tuple(b.name for b in beams if _crossed(b, body, points, sad_mm, np.arange(0.0, reach, step)))


def _crossed(
    beam: Beam, body: Mask, points: NDArray[np.float64], sad_mm: float, walk_mm: NDArray[np.float64]
) -> bool:
    towards = frame_of(beam, sad_mm).source_mm - points
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    index = body.grid.to_index(points[:, None, :] + towards[:, None, :] * walk_mm[None, :, None])
    shape = np.array(body.grid.shape)
    place = torch.as_tensor((2.0 * index[..., ::-1] + 1.0) / shape[::-1] - 1.0).float().view(-1, 3)
    values = torch.tensor(body.array[None], dtype=torch.float32)
    within = (sampled(values, place, 1).view(index.shape[:2]) >= 0.25).numpy()
    last = within.shape[1] - 1 - np.argmax(within[:, ::-1], axis=1)
    ends = index[np.arange(len(points)), last][within.any(axis=1)]
    at_border = ((ends < 1.0) | (ends > shape - 2.0)).any(axis=1)
    return bool(at_border.mean() > 0.01) if len(ends) else False


def _box(array: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    places = np.nonzero(array)
    return [int(p.min()) for p in places], [int(p.max()) + 1 for p in places]
