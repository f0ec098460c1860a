"""What anatomy demands of found organs: one piece, and not next to nothing; each rule says when it acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.domain import Grid, Notice
from rtplan.learning.segments import LABELS

Bool = NDArray[np.bool_]

#: Smallest volume of an organ that counts as found, cc: a choice, well below what men have.
LEAST_CC: Mapping[str, float] = {
    "Prostate": 4.0,
    "SeminalVes": 0.5,
    "Bladder": 5.0,
    "Rectum": 5.0,
    "Femur_Head_L": 5.0,
    "Femur_Head_R": 5.0,
}
#: Vesicles may be two pieces: those with at least this share of the largest one stay.
_SECOND = 0.2


@dataclass(frozen=True, eq=False)
class Tidied:
    """Masks by TG-263 name of what was found, the names of what was not, and what the rules did."""

    masks: Mapping[str, Bool]
    missing: tuple[str, ...]
    notices: tuple[Notice, ...]


def tidy(labels: NDArray[np.uint8], grid: Grid) -> Tidied:
    """Return the organs of a label map (places in `segments.LABELS`) as anatomy allows them.

    Parameters
    ----------
    labels : ndarray, shape (z, y, x)
        On ``grid``.

    Notes
    -----
    The gland (both zones), bladder and rectum keep their largest piece, the vesicles pieces of at least a
    fifth of the largest, a femoral head its largest piece on each side of the field's middle. Pieces that go
    are told, and so is an organ at the border of the field of view. Below `LEAST_CC` an organ is not found.
    """
    raw = {name: labels == place for place, name in enumerate(LABELS) if place}
    zones = {name: raw.pop(name) for name in ("Prostate_TZ", "Prostate_PZ")}
    raw = {"Prostate": zones["Prostate_TZ"] | zones["Prostate_PZ"], **raw}
    heads = raw.pop("Femur_Heads")
    raw["Femur_Head_L"], raw["Femur_Head_R"] = _sides(heads, grid)
    masks: dict[str, Bool] = {}
    missing, notices = [], []
    for name, mask in raw.items():
        kept = _pieces(mask, _SECOND if name == "SeminalVes" else 1.0)
        if float(kept.sum()) * grid.voxel_cc < LEAST_CC[name]:
            missing.append(name)
            continue
        masks[name] = kept
        lost = float((mask & ~kept).sum()) * grid.voxel_cc
        if lost > 0.0:
            message = f"{lost:.2g} cc of {name} lay apart from the rest and were taken away."
            notices.append(Notice("PIECES_REMOVED", "info", message, "look at the contour.", structure=name))
        if _at_border(kept):
            message = f"{name} reaches the border of the field of view: its volume is that of the part seen."
            notices.append(Notice("FOV_TRUNCATED", "info", message, "use a larger series.", structure=name))
    if "Prostate" in masks:
        masks |= {name: part for name, zone in zones.items() if (part := zone & masks["Prostate"]).any()}
    return Tidied(masks, tuple(missing), tuple(notices))


def _sides(mask: Bool, grid: Grid) -> tuple[Bool, Bool]:
    """Part a mask by the middle of the field of view: the patient's left and right."""
    middle = grid.to_patient((np.array(grid.shape) - 1) / 2.0)
    index = np.indices(mask.shape, sparse=True)
    along = grid.affine[0, :3]
    x = sum(along[axis] * index[axis] for axis in range(3)) + grid.affine[0, 3]
    left: Bool = np.broadcast_to(np.asarray(x) >= middle[0], mask.shape)
    return mask & left, mask & ~left


def _pieces(mask: Bool, share: float) -> Bool:
    """Return the pieces (face to face) with at least this share of the largest one's voxels."""
    marked, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(marked.ravel())[1:]
    keep = np.zeros(count + 1, bool)
    keep[1:] = sizes >= share * sizes.max()
    if share >= 1.0:
        keep[:] = False
        keep[1 + int(sizes.argmax())] = True
    kept: Bool = keep[marked]
    return kept


def _at_border(mask: Bool) -> bool:
    return any(bool(np.take(mask, end, axis=axis).any()) for axis in range(3) for end in (0, -1))
