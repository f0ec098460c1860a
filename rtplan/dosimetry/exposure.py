"""What each arm's probability sees: the DVHs of its dose and of its samples, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rtplan.domain import Dose, Patient
from rtplan.dosimetry.budget import NO_INTERVAL, Lots, condensed
from rtplan.dosimetry.dvh import Dvh
from rtplan.dosimetry.outcome import effective_dose, histogram
from rtplan.dosimetry.parameters import ParameterSet
from rtplan.dosimetry.parts import Answers, Budget, Exposure, Histogram, Told, budget_of
from rtplan.dosimetry.reader import Readers, corrected

#: The arm whose density was guessed by a network, and so the one that has samples.
SAMPLED_ARM = "SynCT"
NOT_SAMPLED = "not sampled (--dose-samples 0)"
NO_CONTOURS = "not varied (no published variation of contours; give its SD and correlation length)"


def exposures(
    parameters: ParameterSet,
    made: Mapping[str, Dvh],
    fractions: Mapping[str, int | None],
    varied: Varied | None = None,
) -> dict[str, Exposure]:
    """Return what each arm's probability sees.

    Parameters
    ----------
    made : mapping of str to Dvh
        Of the arms and of the samples (names with ``#``), of one structure.
    fractions : mapping of str to int or None
        By arm.
    varied : Varied, optional
        The contour samples, and the doses by the names of ``made``.
    """
    seen = {}
    for arm, count in fractions.items():
        names = [arm, *(name for name in made if name.startswith(f"{arm}#"))]
        if varied is None:
            seen[arm] = Exposure([[_seen(parameters, made[name], count)] for name in names])
        else:
            seen[arm] = _with_contours(parameters, made[arm], names, count, varied)
    return seen


@dataclass(frozen=True, eq=False)
class Varied:
    """Contour samples of a structure, and the doses that they are read under, by name."""

    readers: Readers
    doses: Mapping[str, Dose]


def _with_contours(
    parameters: ParameterSet, exact: Dvh, names: Sequence[str], fractions: int | None, varied: Varied
) -> Exposure:
    found = corrected(varied.readers, [varied.doses[name] for name in names], histogram(exact))
    seen = effective_dose(parameters, found.doses_gy, fractions, kind=exact.kind)
    table = [
        [(seen[volumes > 0.0], volumes[volumes > 0.0]) for volumes in by_sample]
        for by_sample in found.volumes_cc
    ]
    return Exposure(table, varied.readers.said(found.moved_gy))


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


def told_of(patient: Patient, lots: Lots, seen: Exposure, *arms: str, no_contours: str = "") -> Told:
    """Return how each source was drawn, or why it was not.

    Parameters
    ----------
    seen : Exposure
        Of the first arm.
    arms : str
        The arm, and the one that it is compared with.
    no_contours : str
        Why the contours are not varied, where they were asked for.
    """
    reasons = {"parameters": NO_INTERVAL, "contours": no_contours or NO_CONTOURS}
    if not patient.samples:
        none = SAMPLED_ARM not in patient.doses
        reasons["dose"] = "not sampled (there is no synthetic CT)" if none else NOT_SAMPLED
    elif SAMPLED_ARM not in arms:
        reasons["dose"] = f"taken as it is (only {SAMPLED_ARM} has samples)"
    methods = {
        "dose": next((d.source.description for d in patient.samples.values()), ""),
        "contours": seen.contours_said,
    }
    if lots.first is not None:
        methods["parameters"] = lots.first.method
    return Told(methods, reasons)
