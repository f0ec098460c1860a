"""Training pairs: MR contrasts and CT of one patient on the network's spacing, kept compactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Patient
from rtplan.errors import ModelError
from rtplan.imaging.body import body_mask
from rtplan.imaging.resample import resample
from rtplan.learning.card import InputSpec, Triple
from rtplan.learning.channels import AIR_HU, BONE_HU, CUT, at_spacing, normalised, unit_scale

#: Stored value of signal 0, and stored steps from 0 to 1.
NOTHING, STEPS = 4000.0, 40000.0


@dataclass(frozen=True, eq=False)
class Pair:
    """One patient for training; all arrays [z, y, x] on one grid of the network's spacing.

    Parameters
    ----------
    name, source : str
        Case and where it came from.
    mr : mapping of str to ndarray
        By contrast, uint16: body percentiles 0.5 and 99.5 are 4000 and 44000; 4000 outside.
    ct : ndarray
        int16 HU.
    body : ndarray
        bool: the body as the MR shows it.
    both : ndarray
        bool: body in the MR and in the CT; what is learned and scored.
    """

    name: str
    source: str
    mr: Mapping[str, NDArray[np.uint16]]
    ct: NDArray[np.int16]
    body: NDArray[np.bool_]
    both: NDArray[np.bool_]

    @property
    def bone(self) -> NDArray[np.bool_]:
        """Voxels of bone (HU 200 or more) in both bodies."""
        return self.both & (self.ct >= BONE_HU)

    def unit(self, contrast: str) -> NDArray[np.float32]:
        """Return a contrast as `channels.unit_scale` gives it, float32."""
        return unit(self.mr[contrast])


def unit(stored: NDArray[Any]) -> NDArray[np.float32]:
    """Take stored signal to signal in units of the body's range."""
    return (stored.astype(np.float32) - np.float32(NOTHING)) / np.float32(STEPS)


def pair_of(patient: Patient, spacing_zyx_mm: Triple, roles: Iterable[str], source: str = "") -> Pair:
    """Return the training pair of a patient whose MR and CT lie on each other.

    Parameters
    ----------
    patient : Patient
        With a CT and one or more MR images in one frame of reference.
    roles : iterable of str
        MR roles to keep, where they are there; the first one shows the body.

    Raises
    ------
    ModelError
        If there is no CT, or none of the roles.
    """
    there = [role for role in roles if role in patient.images]
    if "CT" not in patient.images or not there:
        raise ModelError("A training pair needs a CT and an MR.", where=patient.key)
    first = at_spacing(patient.images[there[0]], spacing_zyx_mm)
    body = resample(body_mask(patient.images[there[0]]), first.grid).array
    ct = patient.images["CT"]
    ct_coarse = resample(at_spacing(ct, spacing_zyx_mm), first.grid, outside=AIR_HU).array
    both = body & resample(body_mask(ct), first.grid).array
    mr = {}
    for role in there:
        image = resample(at_spacing(patient.images[role], spacing_zyx_mm), first.grid)
        scaled = unit_scale(image.array, body)
        mr[role] = np.round(np.clip(scaled, -0.1, CUT) * STEPS + NOTHING).astype(np.uint16)
    start, stop = _box(body, margin=4)
    cut = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    return Pair(
        patient.key,
        source,
        {role: array[cut].copy() for role, array in mr.items()},
        np.round(ct_coarse[cut]).astype(np.int16),
        body[cut].copy(),
        both[cut].copy(),
    )


def _box(mask: NDArray[np.bool_], margin: int) -> tuple[list[int], list[int]]:
    start, stop = [], []
    for axis, size in enumerate(mask.shape):
        seen = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        low, high = (int(seen[0]), int(seen[-1])) if seen.size else (0, size - 1)
        start.append(max(0, low - margin))
        stop.append(min(size, high + 1 + margin))
    return start, stop


def inputs_of(pair: Pair, contrast: str, inputs: Iterable[InputSpec]) -> NDArray[np.float32]:
    """Return a network's input channels of a pair in one contrast, shape (channels, z, y, x)."""
    return np.stack(
        [
            pair.body.astype(np.float32)
            if spec.kind == "body"
            else normalised(spec.normalise, pair.unit(contrast), pair.body)
            for spec in inputs
        ]
    )


def save_pair(pair: Pair, path: Path) -> None:
    """Write a pair as a compressed npz without pickles."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(
        partial,
        allow_pickle=False,
        text=np.array([pair.name, pair.source]),
        ct=pair.ct,
        body=pair.body,
        both=pair.both,
        **{f"mr_{role}": array for role, array in pair.mr.items()},
    )
    partial.replace(path)


def load_pair(path: Path) -> Pair:
    """Read a pair that `save_pair` wrote."""
    with np.load(path, allow_pickle=False) as file:
        name, source = (str(text) for text in file["text"])
        mr = {key.removeprefix("mr_"): file[key] for key in file.files if key.startswith("mr_")}
        return Pair(name, source, mr, file["ct"], file["body"], file["both"])
