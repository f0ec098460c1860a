"""Limits of agreement (Bland–Altman) of paired differences, with confidence intervals and sample sizes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rtplan.errors import FormatError

Float = NDArray[np.float64]
Interval = tuple[float, float]

#: Standard normal quantile of 95 % limits.
Z95 = float(stats.norm.ppf(0.975))
#: Fewest differences that have limits of agreement.
FEWEST = 3
#: Rows that are resampled at once, so that memory stays small.
_AT_ONCE = 64


@dataclass(frozen=True)
class Bootstrap:
    """How confidence intervals of the limits are drawn: BCa, number of resamples, seed."""

    resamples: int = 4999
    seed: int = 1

    @property
    def method(self) -> str:
        """The method in words, as it stands beside each interval."""
        return f"BCa bootstrap over patients, {self.resamples} resamples, seed {self.seed}"


@dataclass(frozen=True)
class Limits:
    """Mean, standard deviation and 95 % limits of agreement; None where they are not evaluable.

    Parameters
    ----------
    mean, sd : float or None
        Of the differences (n - 1 in the denominator).
    lower, upper : float or None
        mean ∓ 1.96 sd.
    lower_ci95, upper_ci95 : tuple of float or None
        Of each limit.
    reason : str or None
        Why limits or intervals are missing.
    """

    mean: float | None = None
    sd: float | None = None
    lower: float | None = None
    upper: float | None = None
    lower_ci95: Interval | None = None
    upper_ci95: Interval | None = None
    reason: str | None = None


def limits_of_agreement(samples: Sequence[Float], bootstrap: Bootstrap | None = None) -> list[Limits]:
    """Return mean, SD and limits of agreement of each sample, with BCa confidence intervals.

    Parameters
    ----------
    samples : sequence of ndarray, shape (n,)
        Differences of the patients, finite; each its own length. Samples of one length share their
        resamples, so that a patient is drawn with all his differences.
    bootstrap : Bootstrap, optional
        Number of resamples, seed.

    Returns
    -------
    list of Limits
        One per sample.

    Raises
    ------
    FormatError
        If a difference is not finite.

    Notes
    -----
    Below three differences there are no limits. Equal differences have limits, but no interval: there is
    no spread to resample, and a width of zero would be a claim that the data do not make.

    References
    ----------
    Bland JM, Altman DG. Statistical methods for assessing agreement between two methods of clinical
    measurement. Lancet 1986;327:307-310.
    Efron B. Better bootstrap confidence intervals. J Am Stat Assoc 1987;82:171-185 (BCa).
    """
    if any(not np.isfinite(sample).all() for sample in samples):
        raise FormatError("Limits of agreement need finite differences.")
    bootstrap = bootstrap or Bootstrap()
    found = [_plain(sample) for sample in samples]
    by_length: dict[int, list[int]] = {}
    for number, (sample, made) in enumerate(zip(samples, found, strict=True)):
        if made.lower is not None and made.reason is None:
            by_length.setdefault(len(sample), []).append(number)
    for numbers in by_length.values():
        for start in range(0, len(numbers), _AT_ONCE):
            part = numbers[start : start + _AT_ONCE]
            low, high = _bca(np.stack([samples[n] for n in part]), bootstrap)
            for k, n in enumerate(part):
                found[n] = _with_intervals(found[n], low[:, k], high[:, k])
    return found


def _plain(sample: Float) -> Limits:
    n = len(sample)
    if n < FEWEST:
        mean = float(sample.mean()) if n else None
        return Limits(mean, reason=f"limits of agreement need {FEWEST} evaluable patients, there are {n}")
    mean, sd = float(sample.mean()), float(sample.std(ddof=1))
    reason = None
    if float(np.ptp(sample)) == 0.0:
        sd, reason = 0.0, "all differences are equal: there is no spread to resample"
    return Limits(mean, sd, mean - Z95 * sd, mean + Z95 * sd, reason=reason)


def _both(sample: Float, axis: int = -1) -> Float:
    mean = sample.mean(axis)
    half = Z95 * sample.std(axis, ddof=1)
    return np.stack([mean - half, mean + half])


def _bca(rows: Float, bootstrap: Bootstrap) -> tuple[Float, Float]:
    """Return low and high ends of both limits' intervals, each shape (2, rows)."""
    # A common scale: BCa is equivariant to it, and tiny risks keep their digits.
    scale = rows.std(axis=1, ddof=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        made = stats.bootstrap(
            (rows / scale[:, None],),
            _both,
            n_resamples=bootstrap.resamples,
            method="BCa",
            axis=-1,
            vectorized=True,
            rng=np.random.default_rng(bootstrap.seed),
        )
    return made.confidence_interval.low * scale, made.confidence_interval.high * scale


def _with_intervals(made: Limits, low: Float, high: Float) -> Limits:
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return Limits(
            made.mean, made.sd, made.lower, made.upper, reason="the bootstrap is degenerate: too few values"
        )
    ends = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    return Limits(made.mean, made.sd, made.lower, made.upper, ends[0], ends[1])


def standard_error(sd: float, n: int) -> float:
    """Return the standard error of a limit of agreement of normal differences.

    ``sd √(1/n + z²/(2 (n - 1)))`` with z = 1.96; Bland and Altman round it to ``√(3 sd²/n)``.

    References
    ----------
    Bland JM, Altman DG. Measuring agreement in method comparison studies. Stat Methods Med Res
    1999;8:135-160.

    Examples
    --------
    >>> round(standard_error(1.0, 100), 3)  # √(3/100) = 0.173
    0.171
    """
    return sd * math.sqrt(1.0 / n + Z95**2 / (2.0 * (n - 1)))


def closed_interval(limit: float, sd: float, n: int) -> Interval:
    """Return the 95 % confidence interval of a limit of normal differences: limit ± t SE."""
    half = float(stats.t.ppf(0.975, n - 1)) * standard_error(sd, n)
    return limit - half, limit + half


def patients_for(half_width: float, sd: float) -> int:
    """Return the fewest patients with whom each limit's 95 % interval is no wider than ± a half width.

    Raises
    ------
    FormatError
        If the half width is not positive.

    Examples
    --------
    >>> patients_for(0.5, 1.0)
    48
    """
    if not half_width > 0.0:
        raise FormatError("A precision is above 0.")
    return _fewest(lambda n: closed_interval(0.0, sd, n)[1] <= half_width)


def patients_to_show(margin: float, mean: float, sd: float) -> int | None:
    """Return the fewest patients with whom these limits' outer ends would lie inside ± a margin.

    None where the limits themselves do not: no number of patients would show it.
    """
    reach = abs(mean) + Z95 * sd
    if reach >= margin:
        return None
    return _fewest(lambda n: closed_interval(reach, sd, n)[1] < margin)


def _fewest(holds: Callable[[int], bool]) -> int:
    """Return the smallest n >= FEWEST for which a monotone condition holds, by doubling and halving."""
    high = FEWEST
    while not holds(high):
        high *= 2
        if high > 2**40:
            raise FormatError("More patients than there are people would be needed.")
    low = max(high // 2, FEWEST)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return high
