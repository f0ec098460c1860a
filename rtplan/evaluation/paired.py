"""Tests of paired differences: t and Wilcoxon, equivalence of the mean (TOST), Holm's correction."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rtplan.errors import FormatError

Float = NDArray[np.float64]


def t_test(sample: Float) -> float | None:
    """Return the two-sided p of Student's paired t-test; None without spread or below two differences."""
    if not _spread(sample):
        return None
    return float(stats.ttest_1samp(sample, 0.0).pvalue)


def wilcoxon(sample: Float) -> float | None:
    """Return the two-sided p of Wilcoxon's signed-rank test; None where every difference is zero."""
    if len(sample) < 2 or not sample.any():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        p = float(stats.wilcoxon(sample).pvalue)
    return p if np.isfinite(p) else None


def tost(sample: Float, margin: float) -> float | None:
    """Return the p of two one-sided t-tests that the mean lies inside ± a margin.

    The larger p of "the mean is above −margin" and "the mean is below +margin"; below 0.05 the 90 %
    interval of the mean lies inside the margin.

    Raises
    ------
    FormatError
        If the margin is not positive.

    References
    ----------
    Schuirmann DJ. A comparison of the two one-sided tests procedure and the power approach for assessing
    the equivalence of average bioavailability. J Pharmacokinet Biopharm 1987;15:657-680.
    """
    if not margin > 0.0:
        raise FormatError("A margin of equivalence is above 0.")
    if not _spread(sample):
        return None
    above = stats.ttest_1samp(sample, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(sample, margin, alternative="less").pvalue
    return float(max(above, below))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for their number by Holm's step-down rule; None stays None, uncounted.

    References
    ----------
    Holm S. A simple sequentially rejective multiple test procedure. Scand J Stat 1979;6:65-70.

    Examples
    --------
    >>> holm([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    there = sorted((p, number) for number, p in enumerate(p_values) if p is not None)
    made: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, number) in enumerate(there):
        highest = max(highest, min((len(there) - rank) * p, 1.0))
        made[number] = highest
    return made


def _spread(sample: Float) -> bool:
    return len(sample) >= 2 and float(np.ptp(sample)) > 0.0
