"""One contour against another: overlap, distance of the surfaces, volume, what is too much or too little."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from rtplan.domain import Finding, Grid, Mask, Structure
from rtplan.errors import StructureError
from rtplan.imaging.contour import mask_on, planes_of

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

#: Surfaces nearer than this agree (surface Dice), mm; a choice, as no one value is agreed on.
TOLERANCE_MM = 2.0
#: Pixels of the grid that two sets of contours are compared on, mm.
PIXEL_MM = 1.0
#: Unit of each figure.
UNITS: Mapping[str, str] = {
    "Dice": "1",
    "surface Dice": "1",
    "HD95": "mm",
    "mean surface distance": "mm",
    "volume": "cc",
    "reference volume": "cc",
    "volume error": "%",
    "FP fraction": "1",
    "FN fraction": "1",
    "AUC": "1",
}
#: What has no value when one of the two is empty.
_DISTANCES = ("surface Dice", "HD95", "mean surface distance")


@dataclass(frozen=True)
class Compared:
    """Figures of one structure by name (`UNITS`); None where there is none."""

    name: str
    figures: Mapping[str, float | None]

    def findings(self, tolerance_mm: float = TOLERANCE_MM) -> tuple[Finding, ...]:
        """Return the figures as findings."""
        return tuple(
            Finding(
                metric=name,
                value=value,
                unit=UNITS[name],
                step="evaluate",
                structure=self.name,
                verdict="none" if value is not None else "not_evaluable",
                reason=None if value is not None else "The new structure is empty: it has no surface.",
                detail={"tolerance_mm": tolerance_mm} if name == "surface Dice" else {},
            )
            for name, value in self.figures.items()
        )


def compare(
    reference: Structure, new: Structure, *, tolerance_mm: float = TOLERANCE_MM, pixel_mm: float = PIXEL_MM
) -> Compared:
    """Compare a structure with its reference.

    Parameters
    ----------
    reference, new : Structure
        Contours or masks in one frame of reference.
    tolerance_mm : float
        Of the surface Dice.
    pixel_mm : float
        Pixels where both are contours; else they are compared on the mask's own voxels.

    Returns
    -------
    Compared
        With TP, FP, FN in voxels: ``Dice`` 2 TP / (2 TP + FP + FN); ``FP fraction`` FP / (TP + FN), which
        can exceed 1 and is no false-positive rate of a ROC; ``FN fraction`` FN / (TP + FN); ``volume error``
        (new − reference) / reference in %. ``HD95``: the larger of the two directed 95th percentiles of
        the distances from surface voxel to nearest surface voxel; ``mean surface distance``: the mean over
        the surface voxels of both; ``surface Dice``: the share of the surface voxels of both that lie
        within the tolerance of the other surface. None of these weighs voxels by the area they stand for.

    Raises
    ------
    StructureError
        If the reference is empty: nothing can be compared with it.
    GeometryMismatch
        If the frames of reference differ.

    References
    ----------
    Nikolov S et al. Clinically applicable segmentation of head and neck anatomy for radiotherapy. J Med
    Internet Res 2021;23:e26151 (surface Dice; weighted by area there).
    """
    grid = common_grid(reference, new, pixel_mm)
    a, b = mask_on(reference, grid), mask_on(new, grid)
    if not a.array.any():
        raise StructureError("The reference structure is empty.", where=reference.name)
    return Compared(reference.name, overlap(a, b) | distances(a, b, tolerance_mm))


def overlap(reference: Mask, new: Mask) -> dict[str, float | None]:
    """Return Dice, volumes, and the fractions of too much and too little; see `compare`."""
    reference.demand_same_grid(new)
    a, b = reference.array, new.array
    true, much, little = (int(np.count_nonzero(part)) for part in (a & b, b & ~a, a & ~b))
    size = true + little
    return {
        "Dice": 2.0 * true / (2.0 * true + much + little),
        "volume": (true + much) * new.grid.voxel_cc,
        "reference volume": size * new.grid.voxel_cc,
        "volume error": 100.0 * (much - little) / size,
        "FP fraction": much / size,
        "FN fraction": little / size,
    }


def distances(reference: Mask, new: Mask, tolerance_mm: float = TOLERANCE_MM) -> dict[str, float | None]:
    """Return surface Dice, HD95 and mean surface distance; None each where one of the two is empty."""
    reference.demand_same_grid(new)
    if not (reference.array.any() and new.array.any()):
        return dict.fromkeys(_DISTANCES)
    spacing = reference.grid.spacing_zyx_mm
    a, b = surface(reference.array), surface(new.array)
    ab = ndimage.distance_transform_edt(~b, sampling=spacing)[a]
    ba = ndimage.distance_transform_edt(~a, sampling=spacing)[b]
    both = np.concatenate([ab, ba])
    return {
        "surface Dice": float((both <= tolerance_mm).mean()),
        "HD95": float(max(np.percentile(ab, 95), np.percentile(ba, 95))),
        "mean surface distance": float(both.mean()),
    }


def surface(mask: Bool) -> Bool:
    """Return the voxels of a mask that have a face in common with what is outside, the border included."""
    edge: Bool = mask & ~ndimage.binary_erosion(mask)
    return edge


def auc(reference: Bool, probability: Float) -> float:
    """Return the area under the ROC curve: the chance that a voxel inside is given more than one outside.

    Parameters
    ----------
    reference : ndarray
        bool.
    probability : ndarray
        Any rising score, of the same shape; ties count half.

    Raises
    ------
    StructureError
        If all voxels are inside, or none.
    """
    inside = int(np.count_nonzero(reference))
    outside = reference.size - inside
    if not inside or not outside:
        raise StructureError("An AUC needs voxels inside and outside the reference.")
    ranks = stats.rankdata(probability).reshape(probability.shape)
    return float((ranks[reference].sum() - inside * (inside + 1) / 2.0) / (inside * float(outside)))


def common_grid(reference: Structure, new: Structure, pixel_mm: float = PIXEL_MM) -> Grid:
    """Return a grid that holds both structures with a voxel to spare.

    Its voxels are those of the mask where one of the two is a mask (of the reference's where both are);
    for two sets of contours the slices of the reference and pixels of ``pixel_mm``.
    """
    masks = [one.region.grid for one in (reference, new) if isinstance(one.region, Mask)]
    base = masks[0] if masks else _along(reference, pixel_mm)
    points = [base.to_index(_extent(one, base)) for one in (reference, new)]
    low = np.floor(np.concatenate(points).min(axis=0) - 1.0).astype(int)
    high = np.ceil(np.concatenate(points).max(axis=0) + 2.0).astype(int)
    start, stop = (tuple(int(n) for n in ends) for ends in (low, high))
    return base.crop((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _extent(structure: Structure, base: Grid) -> Float:
    """Return points in patient coordinates that the structure lies between."""
    region = structure.region
    if isinstance(region, Mask):
        hit = np.argwhere(region.array)
        if not hit.size:
            return np.empty((0, 3))
        ends = np.stack([hit.min(axis=0) - 0.5, hit.max(axis=0) + 0.5])
        corners = np.stack(np.meshgrid(*ends.T, indexing="ij"), axis=-1).reshape(-1, 3)
        return np.asarray(region.grid.to_patient(corners))
    rings = [ring for ring in region.rings if len(ring) >= 3]
    if not rings:
        return np.empty((0, 3))
    planes = planes_of(region)
    slabs = planes.slabs_mm(min(base.spacing_zyx_mm))
    reach = planes.normal * float((slabs[:, 1] - slabs[:, 0]).max())
    points = np.concatenate(rings)
    return np.concatenate([points - reach, points + reach])


def _along(structure: Structure, pixel_mm: float) -> Grid:
    """Return a grid of one voxel along the planes of contours, spaced as they are.

    Pixels begin at the outermost points: contours along voxel edges then part the pixels without ties.
    """
    region = structure.region
    if isinstance(region, Mask) or not any(len(ring) >= 3 for ring in region.rings):
        raise StructureError("The reference structure is empty.", where=structure.name)
    planes = planes_of(region)
    gaps = np.diff(planes.at_mm)
    thick = float(np.median(gaps)) if gaps.size else pixel_mm
    u = np.cross(planes.normal, np.eye(3)[int(np.argmin(np.abs(planes.normal)))])
    u /= np.linalg.norm(u)
    v = np.cross(planes.normal, u)
    points = np.concatenate([ring for plane in planes.rings for ring in plane])
    affine = np.eye(4)
    affine[:3, :3] = np.stack([planes.normal * thick, u * pixel_mm, v * pixel_mm], axis=1)
    corner = [(points @ axis).min() + pixel_mm / 2.0 for axis in (u, v)]
    affine[:3, 3] = planes.normal * planes.at_mm[0] + u * corner[0] + v * corner[1]
    return Grid((1, 1, 1), affine, region.frame_of_reference)
