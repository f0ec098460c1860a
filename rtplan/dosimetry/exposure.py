"""What each arm's probability sees: the DVHs of its dose and of its samples, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rtplan.domain import Patient
from rtplan.dosimetry.budget import NO_INTERVAL, Lots, condensed
from rtplan.dosimetry.dvh import Dvh
from rtplan.dosimetry.outcome import effective_dose, histogram
from rtplan.dosimetry.parameters import ParameterSet
from rtplan.dosimetry.parts import Answers, Budget, Exposure, Histogram, Told, budget_of

#: The arm whose density was guessed by a network, and so the one that has samples.
SAMPLED_ARM = "SynCT"
NOT_SAMPLED = "not sampled (--dose-samples 0)"
NO_CONTOURS = "not varied (no published variation of contours; give its SD and correlation length)"


def exposures(
    parameters: ParameterSet, made: Mapping[str, Dvh], fractions: Mapping[str, int | None]
) -> dict[str, Exposure]:
    """Return what each arm's probability sees.

    Parameters
    ----------
    made : mapping of str to Dvh
        Of the arms and of the samples (names with ``#``), of one structure.
    fractions : mapping of str to int or None
        By arm.
    """
    seen = {}
    for arm, count in fractions.items():
        own = [made[name] for name in made if name.startswith(f"{arm}#")]
        seen[arm] = Exposure([[_seen(parameters, dvh, count)] for dvh in (made[arm], *own)])
    return seen


def _seen(parameters: ParameterSet, dose: Any, fractions: int | None, *, use_eqd2: bool = True) -> Histogram:
    doses, volumes = condensed(*histogram(dose))
    kind = getattr(dose, "kind", "physical")
    return effective_dose(parameters, doses, fractions, use_eqd2=use_eqd2, kind=kind), volumes


def alone(
    parameters: ParameterSet, dose: Any, fractions: int | None, lots: Lots, *, use_eqd2: bool = True
) -> Budget:
    """Return the budget of a DVH by itself, where nothing is known of image, dose engine and contours."""
    seen = Exposure([[_seen(parameters, dose, fractions, use_eqd2=use_eqd2)]])
    reasons = {"parameters": NO_INTERVAL, "dose": "taken as given", "contours": "taken as given"}
    methods = {} if lots.first is None else {"parameters": lots.first.method}
    return budget_of(Answers(parameters, lots, seen), Told(methods, reasons))


def told_of(patient: Patient, lots: Lots, *arms: str) -> Told:
    """Return how each source was drawn for an arm (and the one it is compared with), or why it was not."""
    reasons = {"parameters": NO_INTERVAL, "contours": NO_CONTOURS}
    if not patient.samples:
        reasons["dose"] = NOT_SAMPLED
    elif SAMPLED_ARM not in arms:
        reasons["dose"] = f"taken as it is (only {SAMPLED_ARM} has samples)"
    methods = {"dose": next((d.source.description for d in patient.samples.values()), "")}
    if lots.first is not None:
        methods["parameters"] = lots.first.method
    return Told(methods, reasons)
