"""Judge a synthetic CT by the true one: masks, tissues, and the challenges' own figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.domain import Image, Mask
from rtplan.errors import GeometryMismatch
from rtplan.evaluation.image import dice
from rtplan.evaluation.similarity import ms_ssim, ssim
from rtplan.imaging.body import body_mask
from rtplan.learning.channels import BONE_HU

#: Cases whose CT body and MR body agree less than this (Dice) are shown apart.
OVERLAP = 0.94
#: Separate parts of bone smaller than this do not count, cc.
BONE_CC = 1.0
#: Tissues of the true CT by name: from (included), to (excluded), HU.
TISSUES: Mapping[str, tuple[float, float]] = {
    "gas": (-np.inf, -300.0),
    "fat": (-300.0, -20.0),
    "soft": (-20.0, BONE_HU),
    "bone": (BONE_HU, np.inf),
}


@dataclass(frozen=True)
class Style:
    """What a style scores: in which mask, in which range of HU, by which structural similarity."""

    mask: Literal["own", "intersection"]
    limits: tuple[float, float]
    similarity: Literal["SSIM", "MS-SSIM as SynthRAD", "MS-SSIM"]
    source: str


#: Styles by name. ``own`` is the set's mask; where it has none, the body in the CT.
STYLES: Mapping[str, Style] = {
    "synthrad2023": Style("own", (-1024.0, 3000.0), "SSIM", "SynthRAD2023/metrics, image_metrics.py"),
    "synthrad2025-metrics": Style(
        "own", (-1024.0, 3000.0), "MS-SSIM as SynthRAD", "SynthRAD2025/metrics, image_metrics.py"
    ),
    "synthrad2025-evaluation": Style(
        "own", (-1024.0, 3071.0), "MS-SSIM as SynthRAD", "SynthRAD2025/evaluation, image_metrics.py"
    ),
    "clean": Style("intersection", (-1024.0, 3071.0), "MS-SSIM", "Wang 2003, eq. 7; rtplan"),
}


@dataclass(frozen=True, eq=False)
class Bodies:
    """Where a case is scored, on one grid: body in the CT and in the MR, and the set's own mask if any."""

    ct: Mask
    mr: Mask
    own: Mask | None = None

    @property
    def masks(self) -> dict[str, Mask]:
        """The masks by name, the main one first."""
        grid, a, b = self.ct.grid, self.ct.array, self.mr.array
        found = {
            "intersection": Mask(grid, a & b),
            "ct_body": self.ct,
            "union": Mask(grid, a | b),
        }
        return found | ({"own": self.own} if self.own is not None else {})

    @property
    def overlap(self) -> float:
        """Dice of the two bodies."""
        return dice(self.ct, self.mr)


@dataclass(frozen=True)
class CaseScore:
    """Figures of one case by name; ``lookup`` are the same MAEs of the baseline, empty where it has none."""

    key: str
    overlap: float
    figures: Mapping[str, float]
    lookup: Mapping[str, float] = field(default_factory=dict)

    @property
    def apart(self) -> bool:
        """Whether MR and CT agree too little for the case to count with the others."""
        return self.overlap < OVERLAP


def bodies_of(mr: Image, ct: Image, own: Mask | None = None) -> Bodies:
    """Return the bodies that CT (HU > -300, closed) and MR show; see `imaging.body.body_mask`."""
    return Bodies(body_mask(ct), body_mask(mr), own)


def score_case(key: str, made: Image, ct: Image, bodies: Bodies, style: Style) -> CaseScore:
    """Return the figures of one synthetic CT.

    Parameters
    ----------
    made, ct : Image
        Synthetic and true CT, HU, on one grid.

    Returns
    -------
    CaseScore
        ``MAE <mask>`` for every mask; in the style's mask ``ME``, ``MAE <tissue>``, ``ME <tissue>`` (the true
        CT's tissue; left out where there is none), ``PSNR``, the similarity (NaN in a mask that a scale
        misses); ``Dice bone``, NaN when neither image has bone.

    Raises
    ------
    GeometryMismatch
        If the grids differ, or the mask is empty.

    Notes
    -----
    MAE as SynthRAD computes it is the mean of |difference| in the mask, nothing cut; PSNR and similarity cut
    both images to the style's range. All in float64.
    """
    for other in (made, bodies.ct, bodies.mr):
        ct.demand_same_grid(other)
    masks = bodies.masks
    main = masks.get(style.mask, bodies.ct)
    if not main.array.any():
        raise GeometryMismatch("The mask in which the synthetic CT is scored is empty.", where=key)
    a, b = ct.array.astype(np.float64), made.array.astype(np.float64)
    change = b - a
    figures = {
        f"MAE {name}": float(np.abs(change[mask.array]).mean())
        for name, mask in masks.items()
        if mask.array.any()
    }
    figures["MAE"], figures["ME"] = _errors(change[main.array])
    for name, (low, high) in TISSUES.items():
        inside = change[main.array & (a >= low) & (a < high)]
        if inside.size:
            figures[f"MAE {name}"], figures[f"ME {name}"] = _errors(inside)
    figures["PSNR"] = _psnr(a[main.array], b[main.array], style.limits)
    figures[style.similarity] = _similarity(a, b, main.array, style)
    figures["Dice bone"] = dice(bone_of(made, main), bone_of(ct, main))
    return CaseScore(key, bodies.overlap, figures)


def bone_of(image: Image, within: Mask) -> Mask:
    """Return bone inside a mask: HU 200 or more, in parts of 1 cc or more."""
    labels, _ = ndimage.label((image.array >= BONE_HU) & within.array)
    sizes = np.bincount(labels.ravel()) * image.grid.voxel_cc
    sizes[0] = 0.0
    return Mask(image.grid, sizes[labels] >= BONE_CC)


def _errors(change: NDArray[np.float64]) -> tuple[float, float]:
    return float(np.abs(change).mean()), float(change.mean())


def _psnr(a: NDArray[np.float64], b: NDArray[np.float64], limits: tuple[float, float]) -> float:
    squared = float(((np.clip(a, *limits) - np.clip(b, *limits)) ** 2).mean())
    width = limits[1] - limits[0]
    return float("inf") if squared == 0.0 else float(10.0 * np.log10(width**2 / squared))


def _similarity(
    a: NDArray[np.float64], b: NDArray[np.float64], mask: NDArray[np.bool_], style: Style
) -> float:
    try:
        if style.similarity == "SSIM":
            return ssim(a, b, mask, style.limits)
        return ms_ssim(a, b, mask, style.limits, as_synthrad=style.similarity == "MS-SSIM as SynthRAD")
    except GeometryMismatch:  # a mask so small that a scale has none of it: NaN, as SynthRAD's code says
        return float("nan")
