"""Dose cases: contours, CT and dose of one patient as compact arrays, and the channels made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from rtplan.domain import Grid, Mask, Patient
from rtplan.errors import ModelError, StructureError
from rtplan.learning.card import Limits, Triple
from rtplan.learning.plates import beam_plates

#: Targets that the network knows, with the dose (Gy in 35 fractions) it has seen them prescribed.
TARGETS = {"PTV_5600": 56.0, "PTV_6300": 63.0, "PTV_7000": 70.0}
FRACTIONS = 35
#: Organs that the network knows, in the order of its channels.
ORGANS = ("Brainstem", "SpinalCord", "Parotid_R", "Parotid_L", "Esophagus", "Larynx", "Bone_Mandible")
#: Mask of the voxels that can receive dose.
FEASIBLE = "PossibleDose"
#: The network speaks of dose / 70 Gy.
SCALE_GY = 70.0
#: Nine equidistant coplanar beams, as all plans of the data set have; checked on the doses (docs).
GANTRY_DEG = tuple(40.0 * k for k in range(9))
#: Distances to the targets are cut here, mm.
REACH_MM = 50.0
#: Fewer known organs than this are another site, or one that cannot be told from it.
ORGANS_MIN = 1
#: Largest share of a target outside the possible dose (0.007 in the data set).
OUTSIDE_MAX = 0.05

_NAMES = (*ORGANS, *TARGETS, FEASIBLE)
_CT_LOW, _CT_HIGH = -1024.0, 1500.0
#: Channels in order; the features are those that are computed once and kept.
FEATURES = (
    *(f"distance_{level:.0f}" for level in TARGETS.values()),
    *(f"plate_{level:.0f}" for level in TARGETS.values()),
    "plate_open",
)
CHANNELS = ("level", *TARGETS, *ORGANS, "ct", "possible_dose", *FEATURES)
_SWAPPED = [
    CHANNELS.index({"Parotid_R": "Parotid_L", "Parotid_L": "Parotid_R"}.get(name, name)) for name in CHANNELS
]


@dataclass(frozen=True, eq=False)
class DoseCase:
    """One patient, cut to the box of the possible dose; all arrays [z, y, x] (superior, posterior, left).

    Parameters
    ----------
    name : str
        Case.
    labels : ndarray
        uint16; bit k says whether the voxel is in the k-th of `ORGANS`, `TARGETS`, `FEASIBLE`.
    ct : ndarray or None
        int16 HU.
    dose : ndarray or None
        float32 Gy; what is learned.
    features : ndarray, shape (features, z, y, x)
        uint8, `FEATURES`: distance −50 mm to 50 mm and plates 0 to 1 as 0 to 255.
    start : tuple of int
        First voxel of the box on the patient's grid.
    """

    name: str
    labels: NDArray[np.uint16]
    ct: NDArray[np.int16] | None
    dose: NDArray[np.float32] | None
    features: NDArray[np.uint8]
    start: tuple[int, int, int]

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Return one structure's mask."""
        inside: NDArray[np.bool_] = (self.labels >> _NAMES.index(name)) & 1 == 1
        return inside


def dose_case_of(patient: Patient) -> DoseCase:
    """Return a patient's case.

    Raises
    ------
    ModelError
        If the anatomy is not the head and neck that the network has seen, a target has a prescription it
        has not seen, or the grid is not axial.
    StructureError
        If there is no target or no mask of the possible dose, or a target lies outside it.
    """
    masks = demand_known(patient)
    feasible = masks[FEASIBLE]
    grid = patient.structures[FEASIBLE].region
    assert isinstance(grid, Mask)
    spacing = grid.grid.spacing_zyx_mm
    box = _box(feasible)
    part = {name: mask[box] for name, mask in masks.items()}
    ct = patient.images["CT"].array[box] if "CT" in patient.images else None
    density = part[FEASIBLE].astype(np.float32)
    if ct is not None:
        density = np.clip(ct / 1000.0 + 1.0, 0.0, 2.0).astype(np.float32)
    labels = np.zeros(part[FEASIBLE].shape, np.uint16)
    for bit, name in enumerate(_NAMES):
        if name in part:
            labels |= part[name].astype(np.uint16) << np.uint16(bit)
    return DoseCase(
        patient.key,
        labels,
        None if ct is None else np.clip(ct, _CT_LOW, _CT_HIGH).astype(np.int16),
        patient.doses["CT"].array[box].astype(np.float32) if "CT" in patient.doses else None,
        _features(part, density, spacing),
        (box[0].start, box[1].start, box[2].start),
    )


def demand_known(patient: Patient) -> dict[str, NDArray[np.bool_]]:
    """Return the masks that the network reads; raise where it must not be asked (see `dose_case_of`)."""
    masks: dict[str, NDArray[np.bool_]] = {}
    grid: Grid | None = None
    for name in _NAMES:
        region = patient.structures[name].region if name in patient.structures else None
        if isinstance(region, Mask):
            masks[name] = region.array
            grid = grid or region.grid
            if not (region.grid.same_as(grid) and grid.is_axial):
                raise ModelError("The structures do not lie on one axial grid.", where=name)
    if FEASIBLE not in masks or not masks[FEASIBLE].any():
        raise StructureError("There is no mask of the possible dose.", where=FEASIBLE)
    if not any(masks[name].any() for name in TARGETS if name in masks):
        raise StructureError(f"There is none of the targets {', '.join(TARGETS)}.")
    if sum(name in masks and bool(masks[name].any()) for name in ORGANS) < ORGANS_MIN:
        raise ModelError(
            f"Fewer than {ORGANS_MIN} of the organs {', '.join(ORGANS)} are there: this is not the head and "
            "neck that the network has learned, or it cannot be told."
        )
    _demand_prescription(patient, masks)
    return masks


def _demand_prescription(patient: Patient, masks: Mapping[str, NDArray[np.bool_]]) -> None:
    plan = None if patient.plan is None else patient.plan.prescription
    prescribed = {} if plan is None or plan.fractions != FRACTIONS else plan.targets
    for name, level in TARGETS.items():
        if name not in masks:
            continue
        if name not in prescribed or abs(prescribed[name] - level) > 0.02 * level:
            raise ModelError(
                f"The network has seen this target with {level:.0f} Gy in {FRACTIONS} fractions only.",
                where=name,
            )
        outside = float((masks[name] & ~masks[FEASIBLE]).sum() / max(1, masks[name].sum()))
        if outside > OUTSIDE_MAX:
            raise StructureError(
                f"{100 * outside:.0f} % of the target lie where the mask says that no dose is possible.",
                where=name,
                action="correct the target, or the mask of the possible dose.",
            )


def demand_spacing(grid: Grid, limits: Limits) -> None:
    """Raise ModelError when the voxels are coarser or finer than those that the network has seen."""
    low, high = limits.spacing_zyx_mm_min, limits.spacing_zyx_mm_max
    if any(not a - 1e-6 <= mm <= b + 1e-6 for mm, a, b in zip(grid.spacing_zyx_mm, low, high, strict=True)):
        raise ModelError(
            f"The network has seen voxels from {low} to {high} mm [z, y, x]; here is {grid}.",
            action="bring the structures onto a grid of such voxels.",
        )


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    ends = []
    for axis in range(3):
        where = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        ends.append(slice(int(where[0]), int(where[-1]) + 1))
    return ends[0], ends[1], ends[2]


def _features(
    part: Mapping[str, NDArray[np.bool_]], density: NDArray[np.float32], spacing: Triple
) -> NDArray[np.uint8]:
    nothing = np.zeros(density.shape, bool)
    at_least = []
    for level in TARGETS.values():
        union = nothing.copy()
        for name, dose in TARGETS.items():
            if dose >= level and name in part:
                union |= part[name]
        at_least.append(union)
    distances = [_distance(union, spacing) / (2 * REACH_MM) + 0.5 for union in at_least]
    plates = beam_plates(at_least, density, spacing, GANTRY_DEG)
    stored: NDArray[np.uint8] = np.round(np.clip([*distances, *plates], 0.0, 1.0) * 255.0).astype(np.uint8)
    return stored


def _distance(mask: NDArray[np.bool_], spacing: Triple) -> NDArray[np.float32]:
    if not mask.any():
        return np.full(mask.shape, REACH_MM, np.float32)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    inside = ndimage.distance_transform_edt(mask, sampling=spacing)
    signed: NDArray[np.float32] = np.clip(outside - inside, -REACH_MM, REACH_MM).astype(np.float32)
    return signed


def dose_channels(case: DoseCase, *, with_ct: bool = True) -> Tensor:
    """Return a case's input channels, shape (channels, z, y, x), in the order of `CHANNELS`."""
    masks = {name: torch.from_numpy(case.mask(name)).float() for name in _NAMES}
    level = torch.zeros(case.labels.shape)
    for name, dose in TARGETS.items():
        level = torch.maximum(level, masks[name] * (dose / SCALE_GY))
    ct = torch.zeros(case.labels.shape)
    if with_ct and case.ct is not None:
        ct = torch.from_numpy(case.ct.astype(np.float32)) / 1000.0
    features = torch.from_numpy(case.features).float() / 255.0
    features[: len(TARGETS)] = features[: len(TARGETS)] * 2.0 - 1.0
    planes = [level, *(masks[name] for name in (*TARGETS, *ORGANS)), ct, masks[FEASIBLE]]
    return torch.cat([torch.stack(planes), features])


def mirrored(channels: Tensor) -> Tensor:
    """Mirror left and right, so that the right parotid becomes the left one. Its own inverse."""
    return channels.flip(-1)[..., _SWAPPED, :, :, :]
