"""The simplest synthetic CT there is: each MR signal becomes the median HU that other patients have there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Image, Mask
from rtplan.errors import GeometryMismatch
from rtplan.learning.channels import AIR_HU, CUT, unit_scale

#: Edges of the signal's bins, in units of the body's range (0: 0.5th, 1: 99.5th percentile).
EDGES = np.linspace(-0.1, CUT, 71)
#: HU of a signal that no other patient has.
UNKNOWN_HU = 40.0
#: Whole HU are counted from AIR_HU up to here.
TOP_HU = 3071


@dataclass(frozen=True, eq=False)
class Counts:
    """How often a patient has each HU at each signal: shape (bins, HU), counts."""

    table: NDArray[np.int64]


def counts(mr: Image, ct: Image, mr_body: Mask, both: Mask) -> Counts:
    """Count HU by signal where both bodies are.

    Parameters
    ----------
    mr, ct : Image
        On one grid.
    mr_body : Mask
        The body as the MR shows it; its percentiles scale the signal.
    both : Mask
        Where CT and MR show body.

    Raises
    ------
    GeometryMismatch
        If they do not lie on one grid.
    """
    for other in (ct, mr_body, both):
        mr.demand_same_grid(other)
    bins = _bins(mr, mr_body)[both.array]
    hu = np.clip(np.rint(ct.array[both.array]), AIR_HU, TOP_HU).astype(np.int64) - int(AIR_HU)
    width = TOP_HU - int(AIR_HU) + 1
    flat = np.bincount(bins * width + hu, minlength=(len(EDGES) + 1) * width)
    return Counts(flat.reshape(len(EDGES) + 1, width))


def lookup(others: Sequence[Counts]) -> NDArray[np.float32]:
    """Return the median HU of each bin over the voxels of other patients.

    Raises
    ------
    GeometryMismatch
        If there are no others.
    """
    if not others:
        raise GeometryMismatch("A lookup needs other patients to learn from.")
    total = np.sum([one.table for one in others], axis=0)
    below = np.cumsum(total, axis=1)
    half = below[:, -1:] / 2.0
    median = (below >= np.maximum(half, 0.5)).argmax(axis=1) + AIR_HU
    return np.where(below[:, -1] > 0, median, UNKNOWN_HU).astype(np.float32)


def looked_up(mr: Image, mr_body: Mask, table: NDArray[np.float32]) -> Image:
    """Return the synthetic CT that the lookup makes; -1024 HU outside the MR's body."""
    array = np.where(mr_body.array, table[_bins(mr, mr_body)], np.float32(AIR_HU))
    return Image(mr.grid, array.astype(np.float32), modality="CT")


def _bins(mr: Image, body: Mask) -> NDArray[np.int64]:
    return np.digitize(unit_scale(mr.array, body.array), EDGES)
