"""How sure an outcome is: seeded Sobol draws of its parameters; differences keep the same draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.stats import qmc

from rtplan.dosimetry.outcome import effective_dose, form_of, histogram
from rtplan.dosimetry.parameters import Parameter, ParameterSet

Float = NDArray[np.float64]

NO_INTERVAL = "no published interval"


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


def draw(parameters: ParameterSet, samples: int = 2000, seed: int = 1) -> Draws | None:
    """Draw parameters from their 95 % intervals; None where no interval was published.

    Notes
    -----
    Each parameter with an interval is a two-piece normal (median at the value, σ = half-width / 1.96 on
    each side), truncated to above 0 and independent of the others. n and TD50 are correlated in the
    fits, so independence makes the interval wider than it is: conservative.
    """
    free = [name for name, parameter in parameters.parameters.items() if parameter.ci95 is not None]
    if not free:
        return None
    power = int(np.ceil(np.log2(samples)))
    points = qmc.Sobol(len(free), seed=seed).random_base2(power)[:samples]
    values = {name: np.full(samples, parameter.value) for name, parameter in parameters.parameters.items()}
    for column, name in enumerate(free):
        values[name] = _two_piece(parameters.parameters[name], points[:, column])
    method = f"parameters as independent two-piece normals, {samples} Sobol, seed {seed}"
    return Draws(values, method)


def _two_piece(parameter: Parameter, uniform: Float) -> Float:
    assert parameter.ci95 is not None
    low = (parameter.value - parameter.ci95[0]) / 1.959964
    high = (parameter.ci95[1] - parameter.value) / 1.959964
    smallest = special.ndtr(-parameter.value / low) if low > 0 else 0.0
    normal = special.ndtri(np.clip(smallest + uniform * (1.0 - smallest), 1e-12, 1 - 1e-12))
    drawn: Float = parameter.value + np.where(normal < 0, low, high) * normal
    return np.maximum(drawn, 1e-9)


def probabilities(
    parameters: ParameterSet, dose: object, fractions: int | None, draws: Draws, *, use_eqd2: bool = True
) -> Float:
    """Return the outcome for every draw, shape (k,)."""
    form = form_of(parameters)
    doses, volumes = condensed(*histogram(dose))
    kind = getattr(dose, "kind", "physical")
    seen = effective_dose(parameters, doses, fractions, use_eqd2=use_eqd2, kind=kind)
    names = list(draws.values)
    rows = np.stack([draws.values[name] for name in names], axis=1)
    return np.array([float(form(seen, volumes, dict(zip(names, row, strict=True)))) for row in rows])


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
    """Return the 2.5th and the 97.5th percentile."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
