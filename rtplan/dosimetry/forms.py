"""Forms of outcome models: doses and volumes to a probability; each formula once, for numpy and torch.

References
----------
.. [1] Lyman JT. Complication probability as assessed from dose-volume histograms. Radiat Res Suppl
   1985;8:S13-S19. Kutcher GJ, Burman C. Int J Radiat Oncol Biol Phys 1989;16:1623-1630.
.. [2] Niemierko A. Reporting and analyzing dose distributions. Med Phys 1997;24:103-110.
.. [3] Källman P, Ågren A, Brahme A. Tumour and normal tissue responses to fractionated non-uniform dose
   delivery. Int J Radiat Biol 1992;62:249-262.
.. [4] Appelt AL et al. Towards individualized dose constraints: adjusting the QUANTEC radiation pneumonitis
   model for clinical risk factors. Acta Oncol 2014;53:605-612.
.. [5] Niemierko A, Goitein M. Modeling of normal tissue response to radiation: the critical volume model.
   Int J Radiat Oncol Biol Phys 1993;25:135-145.
.. [6] Cox DR. Regression models and life-tables. J R Stat Soc B 1972;34:187-220.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from rtplan.dosimetry.radiobiology import geud, namespace
from rtplan.errors import ModelError

#: Doses in Gy and volumes to a probability, for parameters by name.
Formula = Callable[[Any, Any, Mapping[str, float]], Any]
#: Parameters and the logarithm of an odds ratio to the parameters of those who have it.
Odds = Callable[[Mapping[str, float], float], Mapping[str, float]]

#: gamma50 of the LKB model is 1/(m sqrt(2 pi)).
_PROBIT = 1.0 / math.sqrt(2.0 * math.pi)
#: Steps of the normal distribution of alpha, in standard deviations.
_ALPHAS = np.linspace(-6.0, 6.0, 241)
_LEAST = 1e-300


def _special(x: Any) -> Any:
    xp = namespace(x)
    return special if xp is np else xp.special


def lkb_probit(dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
    """Lyman-Kutcher-Burman [1]_: ``Phi((gEUD - TD50)/(m TD50))``, a = 1/n."""
    t = (geud(dose_gy, volume, 1.0 / p["n"]) - p["td50_gy"]) / (p["m"] * p["td50_gy"])
    return _special(t).ndtr(t)


def log_logit(dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
    """Log-logistic of gEUD [2]_: ``1/(1 + (TD50/gEUD)^(4 gamma50))``, a = 1/n."""
    power = (geud(dose_gy, volume, 1.0 / p["n"]) / p["td50_gy"]) ** (4.0 * p["gamma50"])
    return power / (1.0 + power)


def logistic_geud(dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
    """Logistic of gEUD [4]_: ``1/(1 + exp(4 gamma50 (1 - gEUD/TD50)))``, a = 1/n."""
    t = 4.0 * p["gamma50"] * (geud(dose_gy, volume, 1.0 / p["n"]) / p["td50_gy"] - 1.0)
    return _special(t).expit(t)


def _log_poisson(dose_gy: Any, d50_gy: float, gamma: float) -> Any:
    return -math.log(2.0) * namespace(dose_gy).exp(math.e * gamma * (1.0 - dose_gy / d50_gy))


def relative_seriality(dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
    """Relative seriality [3]_: ``(1 - prod (1 - P(D_i)^s)^v_i)^(1/s)``."""
    xp = namespace(dose_gy)
    share = volume / xp.sum(volume)
    spared = _log_of_rest(-p["s"] * _log_poisson(dose_gy, p["d50_gy"], p["gamma"]))
    harmed = -xp.expm1(xp.sum(share * spared))
    return xp.exp(xp.log(harmed + _LEAST) / p["s"])


def _log_of_rest(a: Any) -> Any:
    """Return ``log(1 - exp(-a))`` for a > 0: by log1p above log 2, by expm1 below, each exact there."""
    xp, knee = namespace(a), math.log(2.0)
    above, below = xp.clip(a, knee, None), xp.clip(a, None, knee)
    return xp.where(a > knee, xp.log1p(-xp.exp(-above)), xp.log(-xp.expm1(-below) + _LEAST))


def poisson_geud(dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
    """Poisson response of the gEUD [3]_: ``2^(-exp(e gamma (1 - gEUD/D50)))``, a = 1/n."""
    uniform = geud(dose_gy, volume, 1.0 / p["n"])
    return namespace(dose_gy).exp(_log_poisson(uniform, p["d50_gy"], p["gamma"]))


def logistic(dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
    """Logistic of DVH metrics and clinical factors: ``1/(1 + exp(-(intercept + sum of the terms)))``."""
    return _special(p["terms"]).expit(p["intercept"] + p["terms"])


def cox(dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
    """Cox model [6]_ of DVH metrics and clinical factors: ``1 - exp(-h0 exp(sum of the terms))``."""
    xp = namespace(p["terms"])
    return -xp.expm1(-p["baseline_hazard"] * xp.exp(p["terms"]))


def critical_volume(dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
    """Critical volume (population form) [5]_: probit of the destroyed share of subunits round ``mu_cr``."""
    xp = namespace(dose_gy)
    power = (dose_gy / p["d50_gy"]) ** (4.0 * p["gamma50"])
    destroyed = xp.sum(volume / xp.sum(volume) * power / (1.0 + power))
    t = (destroyed - p["mu_cr"]) / p["sigma"]
    return _special(t).ndtr(t)


def poisson_lq_tcp(dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
    """Poisson TCP of clonogens, on EQD2: surviving ``rho V exp(-alpha EQD2 (1 + 2/(alpha/beta)))``.

    The volume is in cc; ``sigma_alpha`` > 0 averages over a population, normal in alpha and cut at 0.
    """
    xp = namespace(dose_gy)
    effect = dose_gy * (1.0 + 2.0 / p["alpha_beta_gy"])
    sigma = p.get("sigma_alpha", 0.0)
    steps = _ALPHAS if sigma > 0 else np.zeros(1)
    alphas = p["alpha_per_gy"] + sigma * steps
    weights = np.exp(-0.5 * steps[alphas > 0] ** 2)
    total = 0.0
    for alpha, weight in zip(alphas[alphas > 0], weights / weights.sum(), strict=True):
        cells = xp.sum(p["density_per_cc"] * volume * xp.exp(-float(alpha) * effect))
        total = total + float(weight) * xp.exp(-cells)
    return total


def _appelt(d50_gy: float, gamma50: float, log_odds: float) -> tuple[float, float]:
    """Return D50 and gamma50 of those with an odds ratio [4]_."""
    changed = gamma50 - log_odds / 4.0
    if not np.all(np.asarray(changed) > 0):
        raise ModelError("The odds ratio is too large for the model's slope: no gamma50 above 0 is left.")
    return d50_gy * changed / gamma50, changed


def _odds_probit(p: Mapping[str, float], log_odds: float) -> Mapping[str, float]:
    td50, gamma = _appelt(p["td50_gy"], _PROBIT / p["m"], log_odds)
    return {**p, "td50_gy": td50, "m": _PROBIT / gamma}


def _odds_gamma(p: Mapping[str, float], log_odds: float) -> Mapping[str, float]:
    td50, gamma = _appelt(p["td50_gy"], p["gamma50"], log_odds)
    return {**p, "td50_gy": td50, "gamma50": gamma}


def _odds_intercept(p: Mapping[str, float], log_odds: float) -> Mapping[str, float]:
    return {**p, "intercept": p["intercept"] + log_odds}


class Form(NamedTuple):
    """One line of the table of forms.

    Parameters
    ----------
    formula : callable
    parameters : tuple of str
        Names that a set must give.
    has_terms : bool
        Whether the set lists DVH metrics and clinical factors as terms.
    odds : callable or None
        How an odds ratio changes the parameters; None where the form has no D50 and gamma50 to shift.
    half_at : str
        The parameter at which a uniform dose gives one half; empty where there is none.
    """

    formula: Formula
    parameters: tuple[str, ...]
    has_terms: bool = False
    odds: Odds | None = None
    half_at: str = ""


#: Every form by name.
FORMS: dict[str, Form] = {
    "lkb_probit": Form(lkb_probit, ("n", "m", "td50_gy"), odds=_odds_probit, half_at="td50_gy"),
    "log_logit": Form(log_logit, ("n", "gamma50", "td50_gy"), odds=_odds_gamma, half_at="td50_gy"),
    "logistic_geud": Form(logistic_geud, ("n", "gamma50", "td50_gy"), odds=_odds_gamma, half_at="td50_gy"),
    "relative_seriality": Form(relative_seriality, ("s", "gamma", "d50_gy"), half_at="d50_gy"),
    "poisson_geud": Form(poisson_geud, ("n", "gamma", "d50_gy"), half_at="d50_gy"),
    "logistic": Form(logistic, ("intercept",), has_terms=True, odds=_odds_intercept),
    "cox": Form(cox, ("baseline_hazard",), has_terms=True),
    "critical_volume": Form(critical_volume, ("d50_gy", "gamma50", "mu_cr", "sigma")),
    "poisson_lq_tcp": Form(poisson_lq_tcp, ("density_per_cc", "alpha_per_gy", "alpha_beta_gy")),
}
