"""How sure an outcome is: seeded Sobol draws of its parameters; differences keep the same draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from rtplan.dosimetry.outcome import effective_dose, form_of, histogram
from rtplan.dosimetry.parameters import Parameter, ParameterSet
from rtplan.dosimetry.shares import pair_of_designs

Float = NDArray[np.float64]

NO_INTERVAL = "no published interval"
#: α/β of the sensitivity row, Gy.
ALPHA_BETA_GY = (1.5, 2.0, 3.0, 4.0, 5.0, 6.0)
#: Half-width of a 95 % interval in standard deviations.
Z95 = 1.959964


@dataclass(frozen=True)
class Draws:
    """Random parameter values, the same for every arm.

    Parameters
    ----------
    values : mapping of str to ndarray, shape (k,)
        By parameter; those without an interval stay at their value.
    method : str
        How they were drawn, for the finding.
    """

    values: Mapping[str, Float]
    method: str

    def rows(self) -> list[dict[str, float]]:
        """Return the parameters of each draw by name."""
        table = np.stack([self.values[name] for name in self.values], axis=1).tolist()
        return [dict(zip(self.values, row, strict=True)) for row in table]


@dataclass(frozen=True)
class Lots:
    """Two independent lots of draws, and the places of every other source of uncertainty.

    Parameters
    ----------
    first, second : Draws or None
        Of the parameters; None where no interval was published.
    places : ndarray, shape (2, 2, k)
        By lot: uniform numbers that choose the sample of the dose (0) and of the contours (1).
    """

    first: Draws | None
    second: Draws | None
    places: Float


def free_parameters(parameters: ParameterSet) -> tuple[str, ...]:
    """Return the parameters with a published 95 % interval."""
    return tuple(
        name for name, p in parameters.parameters.items() if p.ci95 is not None and p.ci95[1] > p.ci95[0]
    )


def draw(parameters: ParameterSet, samples: int = 2000, seed: int = 1) -> Draws | None:
    """Draw parameters from their 95 % intervals; None where no interval was published.

    Notes
    -----
    Each parameter with an interval is a two-piece normal (median at the value, σ = half-width / 1.96 on
    each side) and independent of the others; one that is above 0 is truncated to above 0. n and TD50 are
    correlated in the fits, so independence makes the interval wider than it is: conservative.
    """
    return lots(parameters, samples, seed).first


def lots(parameters: ParameterSet, samples: int = 2000, seed: int = 1) -> Lots:
    """Draw two lots (see `draw`); the first is that of `draw`."""
    free = free_parameters(parameters)
    designs = pair_of_designs(len(free) + 2, samples, seed)
    method = f"parameters as independent two-piece normals, {samples} Sobol, seed {seed}"
    fixed = [name for name in parameters.parameters if name not in free]
    said = "conservative, since correlations are not published"
    method += f" ({said}; {', '.join(fixed)} fixed: {NO_INTERVAL})" if fixed else f" ({said})"
    made = [Draws(_values(parameters, free, design), method) if free else None for design in designs]
    return Lots(made[0], made[1], np.stack([design[:, -2:].T for design in designs]))


def _values(parameters: ParameterSet, free: tuple[str, ...], design: Float) -> dict[str, Float]:
    values = {name: np.full(len(design), p.value) for name, p in parameters.parameters.items()}
    for column, name in enumerate(free):
        values[name] = _two_piece(parameters.parameters[name], design[:, column])
    return values


def _two_piece(parameter: Parameter, uniform: Float) -> Float:
    assert parameter.ci95 is not None
    low = (parameter.value - parameter.ci95[0]) / Z95
    high = (parameter.ci95[1] - parameter.value) / Z95
    smallest = special.ndtr(-parameter.value / low) if low > 0 and parameter.value > 0 else 0.0
    normal = special.ndtri(np.clip(smallest + uniform * (1.0 - smallest), 1e-12, 1 - 1e-12))
    drawn: Float = parameter.value + np.where(normal < 0, low, high) * normal
    return np.maximum(drawn, 1e-9) if parameter.value > 0 else drawn


def probabilities(
    parameters: ParameterSet, dose: object, fractions: int | None, draws: Draws, *, use_eqd2: bool = True
) -> Float:
    """Return the outcome for every draw, shape (k,)."""
    form = form_of(parameters)
    doses, volumes = condensed(*histogram(dose))
    kind = getattr(dose, "kind", "physical")
    seen = effective_dose(parameters, doses, fractions, use_eqd2=use_eqd2, kind=kind)
    return np.array([float(form(seen, volumes, row)) for row in draws.rows()])


def alpha_beta_row(
    parameters: ParameterSet, dose: object, fractions: int | None, *, use_eqd2: bool = True
) -> list[dict[str, float]]:
    """Return the outcome at other α/β: apart from the interval, because α/β has no interval of its own.

    Returns
    -------
    list of dict
        ``{"alpha_beta_gy": …, "value": …}`` for each of ``ALPHA_BETA_GY``; empty where no α/β enters: a
        set of physical dose, EQD2 switched off, or a dose that is EQD2 already.
    """
    kind = getattr(dose, "kind", "physical")
    if parameters.dose.kind != "EQD2" or not use_eqd2 or kind != "physical":
        return []
    form = form_of(parameters)
    doses, volumes = condensed(*histogram(dose))
    found = []
    for ratio in ALPHA_BETA_GY:
        seen = effective_dose(parameters, doses, fractions, alpha_beta_gy=ratio)
        values = parameters.values
        if "alpha_beta_gy" in values:
            values = values | {"alpha_beta_gy": ratio}
        found.append({"alpha_beta_gy": ratio, "value": float(form(seen, volumes, values))})
    return found


def condensed(doses_gy: Float, volumes: Float, bins: int = 512) -> tuple[Float, Float]:
    """Return a DVH in at most this many equal bins of dose, each at the mean dose of what it holds."""
    if len(doses_gy) <= bins:
        return doses_gy, volumes
    span = float(doses_gy.max() - doses_gy.min()) or 1.0
    which = np.minimum(((doses_gy - doses_gy.min()) / span * bins).astype(np.int64), bins - 1)
    volume = np.asarray(np.bincount(which, volumes, minlength=bins), np.float64)
    dose = np.asarray(np.bincount(which, volumes * doses_gy, minlength=bins), np.float64)
    held = volume > 0
    return dose[held] / volume[held], volume[held]


def interval95(values: Float) -> tuple[float, float]:
    """Return the 2.5th and the 97.5th percentile.

    Of the kind that holds 95 % of further values on average (Weibull's places k/(n+1)), from 39 values on;
    the common kind would hold 90 % with 40 values.
    """
    low, high = np.percentile(values, [2.5, 97.5], method="weibull")
    return float(low), float(high)
