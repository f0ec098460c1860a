"""Intervals from errors that were measured on patients that a network has not learned from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def factor(ratios: Sequence[Array], level: float) -> float:
    """Return the factor on the predicted scale whose interval holds a share of the voxels.

    Parameters
    ----------
    ratios : sequence of ndarray, shape (voxels,)
        By patient, |error| / scale. Each patient counts alike; one without voxels does not.
    level : float
        Share of the voxels, 0 to 1: the mean over the patients.

    Examples
    --------
    >>> round(factor([np.linspace(0.0, 1.0, 101), np.linspace(0.0, 3.0, 101)], 0.5), 2)
    0.75
    """
    ordered = [np.sort(one) for one in ratios if one.size]
    low, high = 0.0, max(float(one[-1]) for one in ordered)
    for _ in range(60):
        middle = 0.5 * (low + high)
        share = np.mean([np.searchsorted(one, middle, side="right") / one.size for one in ordered])
        low, high = (middle, high) if share < level else (low, middle)
    return high


def signed_band(residuals: Array, coverage: float) -> tuple[float, float] | None:
    """Return between which residuals (true − predicted) a further patient's lies with a given chance.

    Parameters
    ----------
    residuals : ndarray, shape (n,)
        Of patients that are exchangeable with the further one.
    coverage : float
        The chance is at least this, over all draws of such patients; each side misses half of the rest.

    Returns
    -------
    tuple of float or None
        Order statistics; None where there are too few patients for so high a chance.

    References
    ----------
    Lei J et al. Distribution-free predictive inference for regression. J Am Stat Assoc 2018;113:1094–1111.

    Examples
    --------
    >>> signed_band(np.arange(19.0), 0.9), signed_band(np.arange(18.0), 0.9)
    ((0.0, 18.0), None)
    """
    n = residuals.size
    rank = math.floor((n + 1) * (1.0 - coverage) / 2.0 + 1e-9)
    if rank < 1:
        return None
    ordered = np.sort(residuals)
    return float(ordered[rank - 1]), float(ordered[n - rank])
