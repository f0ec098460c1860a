"""How near an organ lies to the targets: its volume by distance from them, before any plan is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.domain import Grid, Mask, Structure
from rtplan.errors import StructureError
from rtplan.imaging.contour import mask_on
from rtplan.imaging.perirectal import signed_distance

Float = NDArray[np.float64]

#: Distances from a target's surface at which the organ's volume is read, mm; below 0 inside the target.
DISTANCES_MM: tuple[float, ...] = tuple(float(d) for d in range(-8, 41))
#: Around the organ and the targets so much is looked at, mm.
AROUND_MM = 45.0


@dataclass(frozen=True, eq=False)
class Nearness:
    """Where an organ lies to two targets, the planning target and the lesion.

    Parameters
    ----------
    within : mapping of str to ndarray, shape (distances,)
        By target: share of the organ's volume within each of ``DISTANCES_MM`` of the target.
    nearest_mm : mapping of str to float
        By target: the organ's least distance, below 0 where they overlap.
    volumes_cc : mapping of str to float
        Of the organ and the targets.

    References
    ----------
    Wu B, Ricchetti F, Sanguineti G, et al. Patient geometry-driven information retrieval for IMRT treatment
    plan quality control. Med Phys 36:5497 (2009).
    """

    within: Mapping[str, Float]
    nearest_mm: Mapping[str, float]
    volumes_cc: Mapping[str, float]

    def share(self, target: str, distance_mm: float) -> float:
        """Return the share of the organ within a distance of a target, 0 to 1."""
        return float(np.interp(distance_mm, DISTANCES_MM, self.within[target]))


def nearness(
    structures: Mapping[str, Structure], grid: Grid, targets: Sequence[str], organ: str = "Rectum"
) -> Nearness:
    """Return how near an organ lies to some targets.

    Parameters
    ----------
    structures : mapping
        With the organ and the targets.
    grid : Grid
        Of the image.
    targets : sequence of str
        Names.
    organ : str
        Name.

    Raises
    ------
    StructureError
        If one of them is missing or has no voxel.
    """
    masks = {name: _mask(structures, name, grid) for name in (organ, *targets)}
    start, stop = _box([masks[name] for name in targets], grid)
    part = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    box = grid.crop(start, stop)
    inside = masks[organ].array[part]
    total = float(masks[organ].array.sum())
    within, nearest = {}, {}
    for name in targets:
        away = np.sort(signed_distance(masks[name].array[part], box)[inside])
        counts = np.searchsorted(away, DISTANCES_MM, side="right")
        within[name] = counts / total
        nearest[name] = float(away[0]) if len(away) else AROUND_MM
    volumes = {name: float(mask.array.sum()) * grid.voxel_cc for name, mask in masks.items()}
    return Nearness(within, nearest, volumes)


def _mask(structures: Mapping[str, Structure], name: str, grid: Grid) -> Mask:
    if name not in structures:
        raise StructureError(f"There is no structure {name}.", where=name)
    mask = mask_on(structures[name], grid)
    if not mask.array.any():
        raise StructureError(f"The structure {name} has no voxel in the image.", where=name)
    return mask


def _box(masks: Sequence[Mask], grid: Grid) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    boxes = [ndimage.find_objects(mask.array.astype(np.uint8))[0] for mask in masks]
    reach = [int(np.ceil(AROUND_MM / step)) for step in grid.spacing_zyx_mm]
    start = [max(min(b[a].start for b in boxes) - reach[a], 0) for a in range(3)]
    stop = [min(max(b[a].stop for b in boxes) + reach[a], grid.shape[a]) for a in range(3)]
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])
