"""An outcome set on a dose-volume histogram: its probability, what dose went in, and what to beware of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtplan.dosimetry.forms import FORMS, Form
from rtplan.dosimetry.parameters import ODDS_RATIO, ParameterSet
from rtplan.dosimetry.partmetric import needs_cc, value_of
from rtplan.dosimetry.population import Use, cautions, cautions_of_use, refusal, relative_only
from rtplan.dosimetry.radiobiology import eqd2, geud
from rtplan.errors import DoseError, ModelError, UnknownName

Float = NDArray[np.float64]
_CHOOSE = "choose a set of that organ, site and endpoint (rtplan models ntcp)."
#: Doses in Gy and volumes to a probability, for parameters by name: a form with the set's terms and factors.
Probability = Callable[[Any, Any, Mapping[str, float]], Any]


def form_of(parameters: ParameterSet) -> Probability:
    """Return the formula of a set, with its terms and the clinical factors given (`with_factors`).

    Raises
    ------
    UnknownName
        If there is no such form.
    ModelError
        If a parameter, a term or a clinical factor is missing, or the form knows no odds ratio.
    """
    if parameters.form not in FORMS:
        raise UnknownName(f"There is no outcome form {parameters.form!r}. Known: {', '.join(FORMS)}.")
    form = FORMS[parameters.form]
    _demand_whole(parameters, form)
    used = {m.name: parameters.given[m.name] for m in parameters.modifier if parameters.given.get(m.name)}
    if not used and not form.has_terms:
        return form.formula

    def probability(dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
        if used and form.odds is not None:
            p = form.odds(p, sum(x * _log(p[ODDS_RATIO + name]) for name, x in used.items()))
        if form.has_terms:
            p = {**p, "terms": _terms(parameters, dose_gy, volume, p)}
        return form.formula(dose_gy, volume, p)

    return probability


def _demand_whole(parameters: ParameterSet, form: Form) -> None:
    missing = [name for name in form.parameters if name not in parameters.parameters]
    if missing:
        raise ModelError(f"The form {parameters.form} needs {', '.join(missing)}.", where=parameters.name)
    if bool(parameters.term) != form.has_terms:
        what = "needs terms" if form.has_terms else "takes no terms"
        raise ModelError(f"The form {parameters.form} {what}.", where=parameters.name)
    if parameters.modifier and form.odds is None:
        raise ModelError(
            f"The form {parameters.form} has no D50 and slope that an odds ratio could shift.",
            where=parameters.name,
        )
    unsaid = [t.factor for t in parameters.term if t.factor and t.factor not in parameters.given]
    if unsaid:
        raise ModelError(
            f"The model needs the clinical factors {', '.join(unsaid)}; they are never assumed.",
            where=parameters.name,
            action="give each: --factor NAME=0 or --factor NAME=1.",
        )


def _log(ratio: Any) -> Any:
    return np.log(ratio) if isinstance(ratio, np.ndarray) else math.log(ratio)


def _terms(parameters: ParameterSet, dose_gy: Any, volume: Any, p: Mapping[str, float]) -> Any:
    total: Any = 0.0
    for term in parameters.term:
        x = value_of(term.parsed, dose_gy, volume) if term.factor is None else parameters.given[term.factor]
        total = total + p[term.parameter] * x
    return total


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
    mean_gy, max_gy : float
        In that dose, of the organ.
    fractions : int or None
        Of the course; None where the dose came in EQD2 or nobody said.
    max_per_fraction_gy : float or None
        Highest physical dose per fraction in the organ.
    """

    value: float
    dose_kind: str
    geud_gy: float | None
    warnings: tuple[str, ...] = ()
    mean_gy: float = 0.0
    max_gy: float = 0.0
    fractions: int | None = None
    max_per_fraction_gy: float | None = None


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
    parameters: ParameterSet,
    dose: Any,
    fractions: int | None = None,
    *,
    use_eqd2: bool = True,
    use: Use | None = None,
) -> Outcome:
    """Return the probability with the dose kind used, the gEUD and the warnings (see `ntcp`).

    Raises
    ------
    DoseError
        If the fractions are needed and unknown, or the model needs cc and the volumes are in %.
    ModelError
        If the set must not be used so (`population.refusal`), or a clinical factor is missing.
    """
    reason = None if use is None else refusal(parameters, use)
    if reason is not None:
        raise ModelError(reason, where=parameters.name, action=_CHOOSE)
    form = form_of(parameters)
    doses, volumes = histogram(dose)
    demand_volumes(parameters, volumes, getattr(dose, "volume_unit", "cc"))
    kind = getattr(dose, "kind", "physical")
    seen = effective_dose(parameters, doses, fractions, use_eqd2=use_eqd2, kind=kind)
    converted = parameters.dose.kind == "EQD2" and (use_eqd2 or kind != "physical")
    n = parameters.values.get("n")
    given = fractions if kind == "physical" else None
    more = () if use is None else cautions_of_use(parameters, use)
    return Outcome(
        value=float(form(seen, volumes, parameters.values)),
        dose_kind=f"EQD2({parameters.dose.alpha_beta_gy:g})" if converted else "physical",
        geud_gy=None if n is None else float(geud(seen, volumes, 1.0 / n)),
        warnings=more + cautions(parameters, doses[volumes > 0], given, use_eqd2=use_eqd2 or converted),
        mean_gy=float(np.average(seen, weights=volumes)),
        max_gy=float(seen[volumes > 0].max()),
        fractions=given,
        max_per_fraction_gy=None if given is None else float(doses[volumes > 0].max()) / given,
    )


def demand_volumes(parameters: ParameterSet, volumes: Float, unit: str) -> None:
    """Raise DoseError where the model means absolute volumes and the histogram has none, or too little."""
    absolute = [term.parsed for term in parameters.term if term.factor is None and needs_cc(term.parsed)]
    if unit == "%" and (absolute or parameters.kind == "tcp"):
        raise DoseError(
            "The model needs the volume in cc, and the DVH gives it in % of an unknown volume.",
            where=parameters.name,
            action="export the DVH with absolute volumes.",
        )
    for metric in absolute:
        if metric.amount_unit == "cc" and (metric.amount or 0.0) > volumes.sum():
            raise DoseError(f"{metric} is not defined in an organ of {volumes.sum():.3g} cc.")


def detail_of(parameters: ParameterSet, outcome: Outcome) -> dict[str, Any]:
    """Return what belongs to an outcome finding alone, ready for JSON.

    Endpoint, organ definition, gEUD, whether EQD2 was used and with which α/β and fractions, the factors
    given with their odds ratios and sources, the warnings.
    """
    detail: dict[str, Any] = {
        "endpoint": parameters.endpoint,
        "organ_definition": parameters.organ_definition,
        "geud_gy": outcome.geud_gy,
        "dose_kind": outcome.dose_kind,
        "eqd2_used": outcome.dose_kind != "physical",
        "alpha_beta_gy": parameters.dose.alpha_beta_gy,
        "mean_gy": outcome.mean_gy,
        "max_gy": outcome.max_gy,
        "fractions": outcome.fractions,
        "max_per_fraction_gy": outcome.max_per_fraction_gy,
        "warnings": list(outcome.warnings),
    }
    if parameters.given:
        detail["factors"] = dict(parameters.given)
        detail["odds_ratios"] = {
            m.name: {
                "value": m.odds_ratio.value,
                "ci95": None if m.odds_ratio.ci95 is None else list(m.odds_ratio.ci95),
                "source": m.source,
                "verified": m.verified,
            }
            for m in parameters.modifier
            if parameters.given.get(m.name)
        }
    if parameters.kind == "tcp":
        detail["relative_only"] = relative_only(parameters)
    return detail
