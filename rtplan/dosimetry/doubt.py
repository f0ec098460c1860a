"""How much of a DVH the sampling leaves in doubt: volumes at the surface, and where they lie in dose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.dosimetry.cells import LABELS, ROUND, Cells
from rtplan.dosimetry.curve import Ramps

Float = NDArray[np.float64]

#: Part of the area between polygons and smooth curves, and of a rounded end, that is in doubt.
FACET_PART, ROUND_PART = 2.0, 0.01
#: Part of the volume that cut cells may be off each for itself, where the surface is slanted: a solid that is
#: the same in all planes has none. It moves a mean even where symmetry hides what they have alike.
APART_PART = 3e-4
#: Times the noise of sharp corners (`Facets`) that the volume is in doubt.
NOISE_PART = 2.5


@dataclass(frozen=True, eq=False)
class Doubt:
    """Bounds on what errors of the partial volumes do.

    Parameters
    ----------
    dose_gy, volume_cc : ndarray, shape (n,)
        Bound on the error of the volume below each dose, for the whole volume kept.
    total_cc, mean_gy : float
        Bounds on the error of the whole volume and of the mean dose.
    extremes_gy : tuple of float
        Bounds on the error of the minimum and of the maximum.
    """

    dose_gy: Float
    volume_cc: Float
    total_cc: float
    mean_gy: float
    extremes_gy: tuple[float, float]


def doubt_of(cells: Cells, ramps: Ramps, labels: Sequence[int], extremes_gy: tuple[float, float]) -> Doubt:
    """Return the doubts about a policy's curve.

    An error that all cut cells, or all of one rounded end, have alike moves volume towards the doses that
    these have: nothing where they lie as the whole structure does, by symmetry say.

    Parameters
    ----------
    cells : Cells
    ramps : Ramps
    labels : sequence of int
        Parts of the policy.
    extremes_gy : tuple of float
        Bounds on the error of the minimum and of the maximum (`sampled.Read.left_open`).
    """
    rows = ramps.rows(labels)
    below, total = ramps.below_cc[rows].sum(axis=0), float(ramps.total_cc[rows].sum())
    mean = float(ramps.moment[rows].sum()) / total
    cut = np.array([row for row in rows if row >= LABELS], dtype=np.int64)
    ends = [ramps.rows([part]) for part in ROUND if part in labels]
    volume, shift, whole = np.zeros_like(below), 0.0, 0.0
    facet = FACET_PART * cells.facets.area * total / max(float(np.abs(ramps.total_cc[cut]).sum()), 1e-12)
    for part, of in ((facet, cut), *((ROUND_PART, end) for end in ends)):
        held = float(ramps.total_cc[of].sum())
        volume += part * np.abs(ramps.below_cc[of].sum(axis=0) - held * below / total)
        shift += part * abs(float(ramps.moment[of].sum()) - held * mean) / total
        whole += part * abs(held)
    if len(cut) and len(cells.surface.normal):
        slant = float(np.abs(cells.surface.normal[:, 2]).mean()) / np.sqrt(len(cells.surface.normal))
        share = np.clip(ramps.below_cc[cut].sum(axis=0) / float(ramps.total_cc[cut].sum()), 0.0, 1.0)
        shift += APART_PART * slant * _spread(ramps.dose_gy, share)
    noise = NOISE_PART * cells.facets.noise
    if noise > 0.0:
        held = float(ramps.total_cc[cut].sum())
        share = np.clip(ramps.below_cc[cut].sum(axis=0) / held, 0.0, 1.0)
        volume += noise * total * np.sqrt(share * (1.0 - share))
        shift += noise * _spread(ramps.dose_gy, share)
        whole += noise * total
    return Doubt(ramps.dose_gy, volume, whole, shift, extremes_gy)


def _spread(dose_gy: Float, below: Float) -> float:
    """Return the standard deviation of doses with this share below each."""
    middle, weight = 0.5 * (dose_gy[1:] + dose_gy[:-1]), np.diff(below)
    held = max(float(weight.sum()), 1e-12)
    mean = float((middle * weight).sum()) / held
    return float(np.sqrt(max(float(((middle - mean) ** 2 * weight).sum()) / held, 0.0)))
