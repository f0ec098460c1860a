"""On whom an outcome set was fitted, and whether a use lies outside: refused, or said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtplan.domain import Notice
from rtplan.dosimetry.parameters import ParameterSet
from rtplan.dosimetry.radiobiology import LQ_CAUTION_GY

#: Above the fitted dose per fraction by this much a use is said to lie outside.
FRACTION_MARGIN = 1.1
#: A dose per fraction, Gy, up to which a set of physical dose is taken as meant where it states none.
CONVENTIONAL_GY = 2.2
#: Sites within a wider one: a set of the pelvis may be used for the prostate.
WITHIN = {"prostate": ("pelvis",), "prostate_bed": ("pelvis",)}
#: Organs of the pelvis for which no accepted NTCP model exists: judged by constraints alone.
CONSTRAINTS_ONLY = ("Femur_Head_L", "Femur_Head_R", "PenileBulb")
#: Why a TCP of a set that is not verified has no value of its own.
RELATIVE_ONLY = "No TCP set is verified: TCP is shown only as its difference to a reference dose."


@dataclass(frozen=True)
class Use:
    """What a set is used for; what is empty was not stated.

    Parameters
    ----------
    site : str
        Of the disease, as protocols name it (``prostate``).
    endpoint : str
        Words that must stand in the set's endpoint (``late bleeding``).
    structure : str
        TG-263 name of the organ.
    """

    site: str = ""
    endpoint: str = ""
    structure: str = ""


def refusal(parameters: ParameterSet, use: Use) -> str | None:
    """Return why a set must not be used so, or None.

    Examples
    --------
    >>> from rtplan.dosimetry.parameters import load_set
    >>> refusal(load_set("parotid_flow_dijkema2010"), Use(site="prostate"))
    'The model is for the site head_and_neck, not for prostate.'
    """
    population = parameters.population
    if use.site and not _fits(population.site, use.site) and population.outside_site == "refuse":
        return f"The model is for the site {population.site}, not for {use.site}."
    lacking = [word for word in use.endpoint.casefold().split() if word not in parameters.endpoint.casefold()]
    if lacking:
        return f"The model's endpoint is {parameters.endpoint!r}, not {use.endpoint!r}."
    if use.structure and not same_organ(parameters.structure, use.structure):
        return (
            f"The set is for {parameters.structure} ({parameters.organ_definition}), not for {use.structure}."
        )
    return None


def cautions_of_use(parameters: ParameterSet, use: Use) -> tuple[str, ...]:
    """Return what lies outside the population and is warned of rather than refused."""
    site = parameters.population.site
    if use.site and not _fits(site, use.site):
        return (f"outside its population: fitted for the site {site}, used for {use.site}",)
    return ()


def same_organ(of_set: str, name: str) -> bool:
    """Whether a name is the set's organ, or the same organ of the other side.

    Examples
    --------
    >>> same_organ("Parotid_L", "Parotid_R"), same_organ("Rectum", "Rectal_Wall")
    (True, False)
    """
    sided = of_set.endswith(("_L", "_R")) and name.endswith(("_L", "_R"))
    return of_set == name or (sided and of_set[:-2] == name[:-2])


def constraints_only(site: str, names: Iterable[str]) -> tuple[Notice, ...]:
    """Return the notice that names the organs of a site for which no accepted model exists.

    Examples
    --------
    >>> [n.code for n in constraints_only("prostate", ["Rectum", "PenileBulb"])]
    ['CONSTRAINTS_ONLY']
    """
    found = [name for name in CONSTRAINTS_ONLY if name in set(names)]
    if not found or not _fits("pelvis", site):
        return ()
    words = f"{', '.join(found)}: judged by constraints alone, since no accepted NTCP model exists."
    return (Notice("CONSTRAINTS_ONLY", "info", words),)


def relative_only(parameters: ParameterSet) -> bool:
    """Whether a probability means something only as its difference to a reference."""
    return parameters.kind == "tcp" and not parameters.verified


def organs_of(parameters: ParameterSet, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of a set's organ, of both sides where there are two; the set's own where none is.

    Examples
    --------
    >>> from rtplan.dosimetry.parameters import load_set
    >>> organs_of(load_set("parotid_flow_dijkema2010"), ["Parotid_R", "Larynx", "Parotid_L"])
    ('Parotid_L', 'Parotid_R')
    """
    found = tuple(sorted(name for name in names if same_organ(parameters.structure, name)))
    return found or (parameters.structure,)


def _fits(of_set: str, site: str) -> bool:
    return of_set in (site, "any", *WITHIN.get(site, ()))


def cautions(
    parameters: ParameterSet, doses_gy: Any, fractions: int | None, *, use_eqd2: bool = True
) -> tuple[str, ...]:
    """Return what a reader must know: unverified numbers, other fractionation, LQ extrapolation.

    Parameters
    ----------
    parameters : ParameterSet
    doses_gy : ndarray
        Physical doses, Gy.
    fractions : int or None
        None: unknown, or the dose is a sum of courses in EQD2.
    """
    words = []
    if not parameters.verified:
        words.append("the parameters are not verified against their paper")
    if parameters.dose.kind == "EQD2" and not use_eqd2:
        words.append("EQD2 is switched off: the physical dose went into a model of EQD2")
    if fractions is not None:
        words += _of_fractionation(parameters, float(np.max(doses_gy)) / fractions)
    if relative_only(parameters):
        words.append("no TCP set is verified: only its difference to a reference means anything")
    if parameters.population.note:
        words.append(parameters.population.note)
    return tuple(words)


def _of_fractionation(parameters: ParameterSet, per_fraction: float) -> list[str]:
    words = []
    limits = parameters.population.dose_per_fraction_gy
    if limits is not None and per_fraction > limits[1] * FRACTION_MARGIN:
        words.append(f"up to {per_fraction:.1f} Gy per fraction; fitted at {limits[0]:g}-{limits[1]:g} Gy")
    if limits is None and parameters.dose.kind == "physical" and per_fraction > CONVENTIONAL_GY:
        words.append(
            f"up to {per_fraction:.1f} Gy per fraction; the set takes physical dose and does not state its "
            "fractionation"
        )
    if per_fraction > LQ_CAUTION_GY:
        words.append(f"linear-quadratic model extrapolated above {LQ_CAUTION_GY:g} Gy per fraction")
    return words
