"""Outcome models: a dose-volume histogram to a probability; formulas once, for numpy and torch.

References
----------
.. [1] Lyman JT. Complication probability as assessed from dose-volume histograms. Radiat Res Suppl
   1985;8:S13-S19. Kutcher GJ, Burman C. Int J Radiat Oncol Biol Phys 1989;16:1623-1630.
.. [2] Niemierko A. Reporting and analyzing dose distributions. Med Phys 1997;24:103-110.
.. [3] Källman P, Ågren A, Brahme A. Tumour and normal tissue responses to fractionated non-uniform dose
   delivery. Int J Radiat Biol 1992;62:249-262.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from rtplan.dosimetry.parameters import ParameterSet
from rtplan.dosimetry.radiobiology import LQ_CAUTION_GY, eqd2, geud, namespace
from rtplan.errors import DoseError, ModelError, UnknownName

Float = NDArray[np.float64]
#: Doses in Gy and volumes (any unit) to a probability, for parameters by name.
Form = Callable[[Any, Any, Mapping[str, float]], Any]


def _ndtr(x: Any) -> Any:
    xp = namespace(x)
    return special.ndtr(x) if xp is np else xp.special.ndtr(x)


def lkb_probit(dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
    """Lyman-Kutcher-Burman [1]_: ``Phi((gEUD - TD50)/(m TD50))``, a = 1/n."""
    uniform = geud(dose_gy, volume, 1.0 / p["n"])
    return _ndtr((uniform - p["td50_gy"]) / (p["m"] * p["td50_gy"]))


def log_logit(dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
    """Log-logistic of gEUD [2]_: ``1/(1 + (TD50/gEUD)^(4 gamma50))``, a = 1/n."""
    uniform = geud(dose_gy, volume, 1.0 / p["n"])
    power = (uniform / p["td50_gy"]) ** (4.0 * p["gamma50"])
    return power / (1.0 + power)


def _poisson(dose_gy: Any, d50_gy: float, gamma: float) -> Any:
    xp = namespace(dose_gy)
    return xp.exp(-math.log(2.0) * xp.exp(math.e * gamma * (1.0 - dose_gy / d50_gy)))


def relative_seriality(dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
    """Relative seriality [3]_: ``(1 - prod (1 - P(D_i)^s)^v_i)^(1/s)``."""
    xp = namespace(dose_gy)
    share = volume / xp.sum(volume)
    s = p["s"]
    term = xp.log1p(-(_poisson(dose_gy, p["d50_gy"], p["gamma"]) ** s))
    return (-xp.expm1(xp.sum(share * term))) ** (1.0 / s)


def poisson_geud(dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
    """Poisson response of the gEUD [3]_: ``2^(-exp(e gamma (1 - gEUD/D50)))``, a = 1/n."""
    return _poisson(geud(dose_gy, volume, 1.0 / p["n"]), p["d50_gy"], p["gamma"])


def logistic_mean(dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
    """Logistic of the mean dose: ``1/(1 + exp(-(intercept + slope_per_gy Dmean)))``."""
    xp = namespace(dose_gy)
    mean = xp.sum(volume * dose_gy) / xp.sum(volume)
    return 1.0 / (1.0 + xp.exp(-(p["intercept"] + p["slope_per_gy"] * mean)))


def cox_mean(dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
    """Cox model of the mean dose: ``1 - exp(-h0 exp(slope_per_gy Dmean))``."""
    xp = namespace(dose_gy)
    mean = xp.sum(volume * dose_gy) / xp.sum(volume)
    return -xp.expm1(-p["baseline_hazard"] * xp.exp(p["slope_per_gy"] * mean))


def critical_volume(dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
    """Critical volume (population form): probit of the destroyed share of subunits around ``mu_cr``."""
    xp = namespace(dose_gy)
    share = volume / xp.sum(volume)
    destroyed = xp.sum(share / (1.0 + (p["d50_gy"] / (dose_gy + 1e-12)) ** (4.0 * p["gamma50"])))
    return _ndtr((destroyed - p["mu_cr"]) / p["sigma"])


def poisson_lq_tcp(dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
    """Poisson TCP of clonogens, on EQD2: surviving ``rho V exp(-alpha EQD2 (1 + 2/(alpha/beta)))``.

    The volume is in cc; ``sigma_alpha`` > 0 averages over a population (21 points of the normal).
    """
    xp = namespace(dose_gy)
    effect = dose_gy * (1.0 + 2.0 / p["alpha_beta_gy"])
    nodes, weights = np.polynomial.hermite_e.hermegauss(21)
    total = 0.0
    norm = 0.0
    for node, weight in zip(nodes, weights, strict=True):
        alpha = p["alpha_per_gy"] + node * p.get("sigma_alpha", 0.0)
        if alpha > 0:
            cells = xp.sum(p["density_per_cc"] * volume * xp.exp(-alpha * effect))
            total = total + float(weight) * xp.exp(-cells)
            norm += float(weight)
    return total / norm


#: Every form by name, with the names of its parameters.
FORMS: dict[str, tuple[Form, tuple[str, ...]]] = {
    "lkb_probit": (lkb_probit, ("n", "m", "td50_gy")),
    "log_logit": (log_logit, ("n", "gamma50", "td50_gy")),
    "relative_seriality": (relative_seriality, ("s", "gamma", "d50_gy")),
    "poisson_geud": (poisson_geud, ("n", "gamma", "d50_gy")),
    "logistic_mean": (logistic_mean, ("intercept", "slope_per_gy")),
    "cox_mean": (cox_mean, ("baseline_hazard", "slope_per_gy")),
    "critical_volume": (critical_volume, ("d50_gy", "gamma50", "mu_cr", "sigma")),
    "poisson_lq_tcp": (poisson_lq_tcp, ("density_per_cc", "alpha_per_gy", "alpha_beta_gy")),
}


def form_of(parameters: ParameterSet) -> Form:
    """Return the formula of a set; raise UnknownName or ModelError where it cannot be used."""
    if parameters.form not in FORMS:
        raise UnknownName(f"There is no outcome form {parameters.form!r}. Known: {', '.join(FORMS)}.")
    form, wanted = FORMS[parameters.form]
    missing = [name for name in wanted if name not in parameters.parameters]
    if missing:
        raise ModelError(f"The form {parameters.form} needs {', '.join(missing)}.", where=parameters.name)
    return form


@dataclass(frozen=True)
class Outcome:
    """A probability and what went into it.

    Parameters
    ----------
    value : float
        Probability, 0 to 1.
    dose_kind : str
        ``physical`` or ``EQD2(<alpha/beta>)``: the dose that the formula saw.
    geud_gy : float or None
        In that dose; None for forms without gEUD.
    warnings : tuple of str
        Use outside the set's population, extrapolation, unverified numbers.
    """

    value: float
    dose_kind: str
    geud_gy: float | None
    warnings: tuple[str, ...] = ()


def histogram(dose: Any) -> tuple[Float, Float]:
    """Return (doses Gy, volumes) of a DVH, or of such a pair, checked.

    Raises
    ------
    DoseError
        If they are empty, not finite, negative, or of different lengths.
    """
    doses, volumes = (dose.differential() if hasattr(dose, "differential") else dose)[:2]
    doses, volumes = np.asarray(doses, np.float64), np.asarray(volumes, np.float64)
    if doses.shape != volumes.shape or doses.ndim != 1 or not doses.size:
        raise DoseError(f"A DVH needs as many doses as volumes, got {doses.shape} and {volumes.shape}.")
    if not (np.isfinite(doses).all() and np.isfinite(volumes).all()):
        raise DoseError("A DVH holds values that are not finite.")
    if (doses < 0).any() or (volumes < 0).any() or not volumes.sum() > 0:
        raise DoseError("A DVH needs doses and volumes >= 0, and some volume.")
    return doses, volumes


def effective_dose(
    parameters: ParameterSet,
    doses_gy: Any,
    fractions: int | None,
    *,
    use_eqd2: bool = True,
    alpha_beta_gy: Any = None,
    kind: str = "physical",
) -> Any:
    """Return the dose that the set's formula wants, from the physical dose, per voxel.

    A dose that is EQD2 with the set's α/β already (``kind``) is taken as it is.

    Raises
    ------
    DoseError
        If the number of fractions is needed and unknown; it is never guessed. If the dose is EQD2 of another
        α/β, or a physical sum of courses: neither can be converted.
    """
    if kind == f"EQD2({parameters.dose.alpha_beta_gy or 0:g})" and parameters.dose.kind == "EQD2":
        return doses_gy
    if kind != "physical":
        raise DoseError(
            f"The dose is {kind}, and the set wants {_wanted(parameters)}.",
            where=parameters.name,
            action="sum the courses in EQD2 with the set's alpha/beta, or give one course's physical dose.",
        )
    if parameters.dose.kind == "physical" or not use_eqd2:
        return doses_gy
    if fractions is None:
        raise DoseError(
            "The number of fractions is unknown, and EQD2 needs it.",
            where=parameters.name,
            action="give it (--fractions N), or use the physical dose knowingly (--no-eqd2).",
        )
    return eqd2(doses_gy, fractions, alpha_beta_gy or parameters.dose.alpha_beta_gy)


def _wanted(parameters: ParameterSet) -> str:
    if parameters.dose.kind == "physical":
        return "the physical dose of one course"
    return f"EQD2({parameters.dose.alpha_beta_gy:g})"


def ntcp(parameters: ParameterSet, dose: Any, fractions: int | None = None, *, eqd2: bool = True) -> float:
    """Return the probability of a set for a DVH; see `evaluate` for what went into it.

    Parameters
    ----------
    parameters : ParameterSet
        From `load_set`.
    dose : Dvh or (doses_gy, volumes)
        Physical dose, Gy. With ``eqd2=False`` it is taken as it is.
    fractions : int or None
        Of the whole course.

    Examples
    --------
    >>> from rtplan.dosimetry.parameters import load_set
    >>> rectum = load_set("rectum_bleeding_g2_quantec2010")
    >>> round(ntcp(rectum, (np.array([35.0]), np.array([1.0])), fractions=5), 5)
    0.24503
    """
    return evaluate(parameters, dose, fractions, use_eqd2=eqd2).value


def evaluate(
    parameters: ParameterSet, dose: Any, fractions: int | None = None, *, use_eqd2: bool = True
) -> Outcome:
    """Return the probability with the dose kind used, the gEUD and the warnings (see `ntcp`)."""
    form = form_of(parameters)
    doses, volumes = histogram(dose)
    kind = getattr(dose, "kind", "physical")
    seen = effective_dose(parameters, doses, fractions, use_eqd2=use_eqd2, kind=kind)
    converted = parameters.dose.kind == "EQD2" and (use_eqd2 or kind != "physical")
    n = parameters.values.get("n")
    given = fractions if kind == "physical" else None
    return Outcome(
        value=float(form(seen, volumes, parameters.values)),
        dose_kind=f"EQD2({parameters.dose.alpha_beta_gy:g})" if converted else "physical",
        geud_gy=None if n is None else float(geud(seen, volumes, 1.0 / n)),
        warnings=cautions(parameters, doses, given, use_eqd2=use_eqd2 or converted),
    )


def cautions(
    parameters: ParameterSet, doses_gy: Float, fractions: int | None, *, use_eqd2: bool = True
) -> tuple[str, ...]:
    """Return what a reader must know: unverified numbers, other fractionation, LQ extrapolation."""
    words = []
    if not parameters.verified:
        words.append("the parameters are not verified against their paper")
    if parameters.dose.kind == "EQD2" and not use_eqd2:
        words.append("EQD2 is switched off: the physical dose went into a model of EQD2")
    if fractions is not None:
        per_fraction = float(doses_gy.max()) / fractions
        limits = parameters.population.dose_per_fraction_gy
        if limits is not None and per_fraction > limits[1] * 1.1:
            words.append(
                f"up to {per_fraction:.1f} Gy per fraction; fitted at {limits[0]:g}-{limits[1]:g} Gy"
            )
        if per_fraction > LQ_CAUTION_GY:
            words.append(f"linear-quadratic model extrapolated above {LQ_CAUTION_GY:g} Gy per fraction")
    if parameters.population.note:
        words.append(parameters.population.note)
    return tuple(words)
