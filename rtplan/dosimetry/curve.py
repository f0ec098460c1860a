"""A cumulative dose-volume curve, and what is read from it by interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rtplan.errors import DoseError

Float = NDArray[np.float64]

#: Nodes of a curve between the lowest and the highest dose.
NODES = 2048


@dataclass(frozen=True, eq=False)
class Curve:
    """Volume that receives at least a dose.

    Parameters
    ----------
    dose_gy : ndarray, shape (n,)
        Rising from the minimum to the maximum dose.
    volume_cc : ndarray, shape (n,)
        Volume with at least that dose; falls from the whole volume to 0 and is linear between nodes.
    mean_gy : float
        Mean dose.
    """

    dose_gy: Float
    volume_cc: Float
    mean_gy: float

    @cached_property
    def _rising(self) -> Float:
        return -self.volume_cc

    @property
    def total_cc(self) -> float:
        """Volume of the structure, cc."""
        return float(self.volume_cc[0])

    @property
    def min_gy(self) -> float:
        """Lowest dose, Gy."""
        return float(self.dose_gy[0])

    @property
    def max_gy(self) -> float:
        """Highest dose, Gy."""
        return float(self.dose_gy[-1])

    def volume_at(self, dose_gy: float) -> float:
        """Return the volume, cc, with at least a dose, Gy."""
        if dose_gy <= self.min_gy:
            return self.total_cc
        if dose_gy > self.max_gy:
            return 0.0
        return float(np.interp(dose_gy, self.dose_gy, self.volume_cc))

    def dose_at(self, volume_cc: float) -> float:
        """Return the dose, Gy, that the hottest ``volume_cc`` receives at least (maximum at 0 cc)."""
        if volume_cc >= self.total_cc:
            return self.min_gy
        return float(np.interp(-volume_cc, self._rising, self.dose_gy))

    def doses_at(self, shares: Float) -> Float:
        """Return the doses, Gy, that these hottest parts of the volume (0 to 1) receive at least."""
        doses: Float = np.interp(-shares * self.total_cc, self._rising, self.dose_gy)
        return doses

    def differential(self) -> tuple[Float, Float]:
        """Return mid-doses, Gy, and volumes, cc, of the pieces between nodes, shape (n - 1,) each."""
        if len(self.dose_gy) == 1:
            return self.dose_gy, self.volume_cc
        return 0.5 * (self.dose_gy[1:] + self.dose_gy[:-1]), -np.diff(self.volume_cc)

    def on_dose(self, dose_gy: Float) -> Curve:
        """Return the curve with its dose axis replaced by a rising function of it (EQD2 per voxel)."""
        middle = 0.5 * (dose_gy[1:] + dose_gy[:-1]) if len(dose_gy) > 1 else dose_gy
        _, volume = self.differential()
        return Curve(dose_gy, self.volume_cc, float((middle * volume).sum() / volume.sum()))


def accumulate(
    spans: tuple[Float, Float], volume_cc: Float, row: NDArray[np.int64], extremes_gy: Float
) -> Ramps:
    """Return the volumes of parts whose dose is uniform over an interval, on one dose axis for all rows.

    Parameters
    ----------
    spans : tuple of ndarray, shape (n,)
        Middle and width of the dose in each part, Gy.
    volume_cc : ndarray, shape (n,)
        Negative for what is taken away.
    row : ndarray, shape (n,)
        Label, plus any multiple of the number of labels.
    extremes_gy : ndarray, shape (labels, 2)
        Exact minimum and maximum by label; not finite where there is none.
    """
    dose, spread = spans
    low, high = float(np.fmin.reduce(extremes_gy, axis=None)), float(np.fmax.reduce(extremes_gy, axis=None))
    bin_gy = max((high - low) / (NODES - 1), 1e-12)
    half = spread * (0.5 / bin_gy)
    middle = (dose - low) / bin_gy
    at = np.empty((2, len(middle)))
    np.minimum(np.maximum(middle - half, 0.0), NODES - 2.0, out=at[0])
    np.minimum(np.maximum(middle + half, at[0] + 1.0), NODES - 1.0, out=at[1])
    rate = np.empty_like(at)
    np.divide(volume_cc, at[1] - at[0], out=rate[0])
    np.negative(rate[0], out=rate[1])
    count = (int(row.max(initial=0)) // len(extremes_gy) + 1) * len(extremes_gy)
    node = np.ceil(at).astype(np.int64)
    node += row * NODES
    place = node.ravel()
    weight = np.bincount(place, rate.ravel(), count * NODES).reshape(count, NODES).cumsum(axis=1)
    rate *= at
    moment = np.bincount(place, rate.ravel(), count * NODES).reshape(count, NODES).cumsum(axis=1)
    nodes = np.arange(NODES, dtype=np.float64)
    return Ramps(
        low + bin_gy * nodes,
        nodes * weight - moment,
        np.bincount(row, volume_cc, count).astype(np.float64),
        np.bincount(row, volume_cc * dose, count).astype(np.float64),
        extremes_gy,
    )


@dataclass(frozen=True, eq=False)
class Ramps:
    """Volumes below each dose, by row: the label, plus the number of labels for cut cells.

    Parameters
    ----------
    dose_gy : ndarray, shape (NODES,)
        Evenly from the lowest to the highest dose of any label.
    below_cc : ndarray, shape (rows, NODES)
        Volume of each row with less dose.
    total_cc, moment : ndarray, shape (rows,)
        Volume, cc, and integral dose, Gy cc.
    extremes_gy : ndarray, shape (labels, 2)
        Minimum and maximum by label.
    """

    dose_gy: Float
    below_cc: Float
    total_cc: Float
    moment: Float
    extremes_gy: Float

    def rows(self, labels: Sequence[int]) -> NDArray[np.int64]:
        """Return the rows of some labels."""
        parts = range(0, len(self.total_cc), len(self.extremes_gy))
        chosen = sorted(labels)
        return np.array([part + label for part in parts for label in chosen], dtype=np.int64)

    def curve(self, labels: Sequence[int]) -> Curve:
        """Return the curve of the union of some labels.

        Raises
        ------
        DoseError
            If there is no volume.
        """
        chosen = list(labels)
        rows = self.rows(labels)
        total = float(self.total_cc[rows].sum())
        if not total > 0:
            raise DoseError("The structure has no volume.")
        low = float(np.fmin.reduce(self.extremes_gy[chosen, 0]))
        high = float(np.fmax.reduce(self.extremes_gy[chosen, 1]))
        mean = min(max(float(self.moment[rows].sum()) / total, low), high)
        if high - low <= 1e-9 * max(abs(high), 1.0):
            return Curve(np.array([low, high]), np.array([total, 0.0]), mean)
        first = int(np.searchsorted(self.dose_gy, low, "right"))
        last = max(int(np.searchsorted(self.dose_gy, high, "left")), first)
        dose = np.concatenate([[low], self.dose_gy[first:last], [high]])
        falling = total - self.below_cc[rows, first:last].sum(axis=0)
        falling = np.minimum.accumulate(np.minimum(np.maximum(falling, 0.0), total))
        return Curve(dose, np.concatenate([[total], falling, [0.0]]), mean)
