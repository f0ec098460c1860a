"""A cumulative dose-volume curve, and what is read from it by interpolation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.errors import DoseError

Float = NDArray[np.float64]

#: Nodes of a curve between the lowest and the highest dose.
NODES = 4096


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
        return float(np.interp(-volume_cc, -self.volume_cc, self.dose_gy))

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


def accumulate(dose_gy: Float, spread_gy: Float, volume_cc: Float, extremes_gy: tuple[float, float]) -> Curve:
    """Return the curve of parts whose dose is uniform over an interval.

    Parameters
    ----------
    dose_gy, spread_gy : ndarray, shape (n,)
        Middle and width of the dose in each part, Gy.
    volume_cc : ndarray, shape (n,)
        Negative for what is taken away.
    extremes_gy : tuple of float
        Exact minimum and maximum; no part passes beyond them.

    Raises
    ------
    DoseError
        If there is no volume.
    """
    total = float(volume_cc.sum())
    if not total > 0:
        raise DoseError("The structure has no volume.")
    low, high = extremes_gy
    mean = float(np.clip((dose_gy * volume_cc).sum() / total, low, high))
    if high - low <= 1e-9 * max(abs(high), 1.0):
        return Curve(np.array([low, high]), np.array([total, 0.0]), mean)
    bin_gy = (high - low) / (NODES - 1)
    begin = np.clip((dose_gy - 0.5 * spread_gy - low) / bin_gy, 0.0, NODES - 2.0)
    end = np.clip((dose_gy + 0.5 * spread_gy - low) / bin_gy, begin + 1.0, NODES - 1.0)
    rate = volume_cc / (end - begin)
    below = _ramps(begin, rate) - _ramps(end, rate)
    falling = np.minimum.accumulate(np.clip(total - below, 0.0, total))
    falling[0], falling[-1] = total, 0.0
    return Curve(np.linspace(low, high, NODES), falling, mean)


def _ramps(start: Float, rate: Float) -> Float:
    """Return the sum of ``rate (x - start)`` for x above start, at the nodes 0 … NODES-1, exactly."""
    node = np.ceil(start).astype(np.int64)
    weight = np.cumsum(np.bincount(node, rate, minlength=NODES)[:NODES])
    moment = np.cumsum(np.bincount(node, rate * start, minlength=NODES)[:NODES])
    ramps: Float = np.arange(NODES, dtype=np.float64) * weight - moment
    return ramps
