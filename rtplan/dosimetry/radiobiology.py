"""BED, EQD2 and gEUD, written once on the array API: numpy arrays and torch tensors alike.

References
----------
.. [1] Fowler JF. The linear-quadratic formula and progress in fractionated radiotherapy.
   Br J Radiol 1989;62:679-694.
.. [2] Niemierko A. A generalized concept of equivalent uniform dose (EUD). Med Phys 1999;26:1100.
"""

from __future__ import annotations

import math
import sys
from types import ModuleType
from typing import Any

import numpy as np

from rtplan.errors import DoseError

#: Above this dose per fraction, Gy, the linear-quadratic model is an extrapolation (6-8 Gy in papers).
LQ_CAUTION_GY = 6.0
#: Exponents of gEUD nearer to 0 than this are computed from logarithms.
NEAR_NOUGHT = 0.05
#: Nearer than this they are 0: their inverse leaves the range of numbers.
LEAST_EXPONENT = 1e-290


def namespace(array: Any) -> ModuleType:
    """Return the array library of a value (numpy, torch), without importing any."""
    module = type(array).__module__.partition(".")[0]
    return sys.modules[module] if module in ("torch", "cupy") else np


def _demand(fractions: float, alpha_beta_gy: Any) -> None:
    if not fractions >= 1:
        raise DoseError(f"A course has at least one fraction, got {fractions}.")
    if not np.all(np.asarray(alpha_beta_gy) > 0):
        raise DoseError(f"alpha/beta is above 0 Gy, got {alpha_beta_gy}.")


def bed(dose_gy: Any, fractions: float, alpha_beta_gy: Any) -> Any:
    """Return the biologically effective dose per voxel, with d = D/N of that voxel.

    Parameters
    ----------
    dose_gy : array
        Physical dose D of the whole course, Gy, any shape.
    fractions : int
        N, in which each voxel's dose is given in equal parts.
    alpha_beta_gy : float
        Gy.

    Returns
    -------
    array
        ``D (1 + (D/N)/(alpha/beta))``, Gy, same shape.

    Raises
    ------
    DoseError
        For fewer than one fraction, or alpha/beta not above 0.
    """
    _demand(fractions, alpha_beta_gy)
    return dose_gy * (1.0 + dose_gy / fractions / alpha_beta_gy)


def eqd2(dose_gy: Any, fractions: float, alpha_beta_gy: Any) -> Any:
    """Return the dose in 2 Gy fractions of the same effect, per voxel with d = D/N (see `bed`).

    Examples
    --------
    >>> round(float(eqd2(35.0, 5, 3.0)), 6)
    70.0
    """
    return bed(dose_gy, fractions, alpha_beta_gy) / (1.0 + 2.0 / alpha_beta_gy)


def physical(eqd2_gy: Any, fractions: float, alpha_beta_gy: Any) -> Any:
    """Return the physical dose of the course whose EQD2 is given (the inverse of `eqd2`), Gy."""
    _demand(fractions, alpha_beta_gy)
    half = fractions * alpha_beta_gy / 2.0
    root = half * half + eqd2_gy * (2.0 + alpha_beta_gy) * fractions
    return root**0.5 - half


def geud(dose_gy: Any, volume: Any, a: Any) -> Any:
    """Return the generalised equivalent uniform dose, stable for any exponent.

    Parameters
    ----------
    dose_gy : array, shape (n,)
        Dose of each part, Gy, >= 0.
    volume : array, shape (n,)
        Volume of each part in any unit; need not sum to 1.
    a : float
        1/n of the LKB model; 1 is the mean, large is the maximum, below 0 for targets.

    Returns
    -------
    array
        ``(sum v_i d_i^a)^(1/a)``, Gy, scalar.

    Raises
    ------
    DoseError
        If a dose is negative or not a number, no part has a volume, or ``a`` is not finite.

    Notes
    -----
    Doses are scaled by their maximum (a > 0) or minimum (a < 0) before the power, so a = 1000 does not
    overflow. With a < 0 and a part at 0 Gy the value is 0. At a = 0 the limit is the geometric mean; near
    it the power is taken by `expm1` and `log1p`, since ``sum^(1/a)`` would lose every digit there.

    Examples
    --------
    >>> doses, volumes = np.array([10.0, 30, 50, 65, 75]), np.array([0.35, 0.25, 0.2, 0.12, 0.08])
    >>> round(float(geud(doses, volumes, 1 / 0.09)), 6)
    61.318658
    """
    xp, exponent = namespace(dose_gy), float(a)
    exponent = 0.0 if abs(exponent) < LEAST_EXPONENT else exponent
    total = xp.sum(volume)
    if not (math.isfinite(exponent) and bool(total > 0) and bool(xp.min(volume) >= 0)):
        raise DoseError("gEUD needs a finite exponent, and volumes >= 0 that are not all 0.")
    held, share = dose_gy[volume > 0], volume[volume > 0] / total
    least, most = xp.min(held), xp.max(held)
    if not bool(least >= 0):
        raise DoseError("gEUD needs doses >= 0 Gy.")
    scale = most if exponent > 0 else least
    if bool(scale == 0.0):
        return xp.sum(held * 0.0)
    if abs(exponent) < NEAR_NOUGHT:
        return _near_geometric(xp, held / scale, share, exponent) * scale
    return scale * xp.sum(share * (held / scale) ** a) ** (1.0 / a)


def _near_geometric(xp: ModuleType, ratio: Any, share: Any, a: float) -> Any:
    """Return the generalised mean for an exponent near 0: parts at 0 count as ``-share`` in the sum."""
    some = ratio > 0
    logarithm = xp.log(ratio[some])
    nought = 1.0 - xp.sum(share[some])
    if not bool(some.all()):  # a > 0 here: with a < 0 the least dose is above 0
        return xp.exp(xp.log1p(xp.sum(share[some] * xp.expm1(a * logarithm)) - nought) / a)
    if a == 0.0:
        return xp.exp(xp.sum(share * logarithm))
    return xp.exp(xp.log1p(xp.sum(share * xp.expm1(a * logarithm))) / a)
