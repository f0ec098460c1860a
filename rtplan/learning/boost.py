"""Cases of a prostate boost: contours, density, beam plates and dose as compact arrays, and channels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from rtplan.errors import FormatError
from rtplan.learning.card import Shape, Triple

#: Organs in the order of their channels; both heads of the femurs share one.
ORGANS = ("Rectum", "Bladder", "Urethra", "Femur_Heads")
BODY = "Body"
_BITS = (*ORGANS, BODY)
#: Signed distances are cut here, mm.
REACH_MM = 60.0
#: Part of a voxel from which on it counts to the gland's target and to the boost (a lesion may be small).
INSIDE = {"ptv": 0.5, "gtv": 0.3}
#: Part of a voxel from which on the planner boosts it (`rtplan.planning.prepare.TOUCHED`).
TOUCHED = 0.02
#: Densities are kept up to this one, relative to water.
DENSITY_MAX = 2.0
#: Distances in the order of their channels.
DISTANCES = ("ptv", "gtv", "rectum")
CHANNELS = (
    "ptv",
    "gtv",
    "level",
    *ORGANS,
    BODY,
    "density",
    *(f"distance_{name}" for name in DISTANCES),
    "plate_ptv",
    "plate_gtv",
    "boost_level",
    "few_fractions",
)
#: The channel ``boost_level`` is so many times what the boost has beyond the gland's dose.
RATIO_SCALE = 5.0
_FORM = "rtplan boost case 1"


@dataclass(frozen=True, eq=False)
class BoostCase:
    """One patient on the grid of the dose; all arrays [z, y, x] (superior, posterior, left).

    Parameters
    ----------
    name : str
        Case.
    labels : ndarray
        uint8; bit k says whether the voxel is in the k-th of `ORGANS`, and at last the body.
    parts : ndarray, shape (2, z, y, x)
        uint8; part of the voxel in the gland's target and in the boost, 0 to 1 as 0 to 255.
    density : ndarray
        uint8; relative to water, 0 to 2 as 0 to 255.
    distances : ndarray, shape (3, z, y, x)
        uint8; `DISTANCES`, −60 mm to 60 mm as 0 to 255.
    plates : ndarray, shape (2, z, y, x)
        float16; open fields on the gland's target and on the boost, relative to their mean there.
    gland_gy, boost_gy : float
        Prescribed for the course.
    fractions : int
        Of the course.
    spacing_zyx_mm : tuple of float
        Of the voxels.
    dose : ndarray or None
        float16; relative to ``gland_gy``; what is learned.
    """

    name: str
    labels: NDArray[np.uint8]
    parts: NDArray[np.uint8]
    density: NDArray[np.uint8]
    distances: NDArray[np.uint8]
    plates: NDArray[np.float16]
    gland_gy: float
    boost_gy: float
    fractions: int
    spacing_zyx_mm: Triple
    dose: NDArray[np.float16] | None = None

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Return the voxels of an organ, of the ``Body``, of ``ptv`` or ``gtv``."""
        if name in INSIDE:
            part = self.parts[list(INSIDE).index(name)] / np.float32(255.0)
            return _counted(part, INSIDE[name])
        inside: NDArray[np.bool_] = (self.labels >> _BITS.index(name)) & 1 == 1
        return inside


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What a case is made of, on one grid, shape (z, y, x).

    Parameters
    ----------
    ptv, gtv : ndarray
        float32; part of each voxel in the gland's target and in the boost.
    organs : mapping of str to ndarray of bool
        Of `ORGANS`, those that are there, and the body.
    density : ndarray
        float32, relative to water; 0 outside the body.
    plates : ndarray, shape (2, z, y, x)
        Open fields on the gland's target and on the boost.
    """

    ptv: NDArray[np.float32]
    gtv: NDArray[np.float32]
    organs: Mapping[str, NDArray[np.bool_]]
    density: NDArray[np.float32]
    plates: NDArray[np.float32]


@dataclass(frozen=True)
class Levels:
    """What is prescribed: gland and boost, Gy for the course, in so many fractions."""

    gland_gy: float
    boost_gy: float
    fractions: int


def boost_case_of(
    name: str,
    anatomy: Anatomy,
    levels: Levels,
    spacing_zyx_mm: Triple,
    dose_gy: NDArray[np.float32] | None = None,
) -> BoostCase:
    """Return the compact case of an anatomy; with a dose, Gy on the same grid, it can be learned from."""
    labels = np.zeros(anatomy.ptv.shape, np.uint8)
    for bit, organ in enumerate(_BITS):
        if organ in anatomy.organs:
            labels |= anatomy.organs[organ].astype(np.uint8) << np.uint8(bit)
    near = {
        "ptv": _counted(anatomy.ptv, INSIDE["ptv"]),
        "gtv": _counted(anatomy.gtv, INSIDE["gtv"]),
        "rectum": anatomy.organs.get("Rectum", np.zeros(labels.shape, bool)),
    }
    distances = [signed_distance(near[key], spacing_zyx_mm) / (2 * REACH_MM) + 0.5 for key in DISTANCES]
    relative = None if dose_gy is None else (dose_gy / np.float32(levels.gland_gy)).astype(np.float16)
    return BoostCase(
        name,
        labels,
        _bytes(np.stack([anatomy.ptv, anatomy.gtv])),
        _bytes(anatomy.density / DENSITY_MAX),
        _bytes(np.stack(distances)),
        anatomy.plates.astype(np.float16),
        levels.gland_gy,
        levels.boost_gy,
        levels.fractions,
        spacing_zyx_mm,
        relative,
    )


def start_of(case: BoostCase, window_zyx: Shape, shift_zyx: Shape = (0, 0, 0)) -> Shape:
    """Return the first voxel, perhaps beyond the grid, of a window about the middle of the gland's target."""
    places = np.argwhere(case.mask("ptv"))
    middle = places.mean(axis=0) if len(places) else np.array(case.labels.shape) / 2.0
    first = np.rint(middle - np.array(window_zyx) / 2.0).astype(int) + np.array(shift_zyx)
    return int(first[0]), int(first[1]), int(first[2])


def windowed(case: BoostCase, start_zyx: Shape, window_zyx: Shape) -> BoostCase:
    """Return the part of a case in a window; beyond the grid there is air, far from everything."""
    shape = case.labels.shape
    inner = tuple(
        slice(max(a, 0), min(a + n, size)) for a, n, size in zip(start_zyx, window_zyx, shape, strict=True)
    )
    pads = [
        (part.start - a, a + n - part.stop) for part, a, n in zip(inner, start_zyx, window_zyx, strict=True)
    ]

    def cut(array: NDArray[Any], fill: int = 0) -> NDArray[Any]:
        z, y, x = inner
        part = array[..., z, y, x]
        return np.pad(part, [(0, 0)] * (part.ndim - 3) + pads, constant_values=fill)

    return replace(
        case,
        labels=cut(case.labels),
        parts=cut(case.parts),
        density=cut(case.density),
        distances=cut(case.distances, 255),
        plates=cut(case.plates),
        dose=None if case.dose is None else cut(case.dose),
    )


def boost_channels(case: BoostCase) -> Tensor:
    """Return a case's input channels, shape (channels, z, y, x), float32, in the order of `CHANNELS`.

    The gland's prescription is 1 everywhere: the network speaks of dose relative to it.
    """
    ptv, gtv = (torch.from_numpy(part.astype(np.float32)) / 255.0 for part in case.parts)
    boost = case.boost_gy / case.gland_gy
    ones = torch.ones(case.labels.shape)
    planes = [
        ptv,
        gtv,
        torch.maximum(ptv * (1.0 - gtv) + gtv * boost, gtv * boost),
        *(torch.from_numpy(case.mask(name)).float() for name in _BITS),
        torch.from_numpy(case.density.astype(np.float32)) / 255.0 * DENSITY_MAX - 1.0,
        *(torch.from_numpy(case.distances.astype(np.float32)) / 127.5 - 1.0),
        *torch.from_numpy(case.plates.astype(np.float32)),
        ones * (boost - 1.0) * RATIO_SCALE,
        ones * float(case.fractions < 20),
    ]
    return torch.stack(planes)


def signed_distance(mask: NDArray[np.bool_], spacing: Triple) -> NDArray[np.float32]:
    """Return the distance of each voxel to a mask, mm, below 0 inside, cut at `REACH_MM`."""
    if not mask.any():
        return np.full(mask.shape, REACH_MM, np.float32)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    inside = ndimage.distance_transform_edt(mask, sampling=spacing)
    signed: NDArray[np.float32] = np.clip(outside - inside, -REACH_MM, REACH_MM).astype(np.float32)
    return signed


def save_boost(case: BoostCase, path: Path) -> None:
    """Write a case as npz, whole or not at all."""
    facts = {
        "form": _FORM,
        "name": case.name,
        "gland_gy": case.gland_gy,
        "boost_gy": case.boost_gy,
        "fractions": case.fractions,
        "spacing_zyx_mm": list(case.spacing_zyx_mm),
    }
    arrays = {key: getattr(case, key) for key in ("labels", "parts", "density", "distances", "plates")}
    if case.dose is not None:
        arrays["dose"] = case.dose
    text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    partial = path.with_suffix(".partial.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(partial, facts=text, **arrays)
    partial.replace(path)


def load_boost(path: Path) -> BoostCase:
    """Read a case; raise FormatError where the file is none."""
    try:
        with np.load(path, allow_pickle=False) as found:
            facts = json.loads(bytes(found["facts"]))
            arrays = {key: found[key] for key in found.files if key != "facts"}
    except (OSError, ValueError, KeyError) as broken:
        raise FormatError("The file is no boost case.", where=path.name) from broken
    if facts.pop("form", "") != _FORM:
        raise FormatError("The boost case is of another form.", where=path.name)
    return BoostCase(**arrays, **{**facts, "spacing_zyx_mm": tuple(facts["spacing_zyx_mm"])})


def _counted(part: NDArray[np.float32], least: float) -> NDArray[np.bool_]:
    """Return the voxels that count; of a target smaller than a voxel the fullest."""
    top = float(part.max()) if part.size else 0.0
    inside: NDArray[np.bool_] = part >= min(least, max(top, 1e-3) - 1e-6)
    return inside


def _bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = np.round(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)
    return found
