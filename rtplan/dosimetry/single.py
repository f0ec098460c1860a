"""The finding of one outcome set on one organ's histogram, alone or beside a reference's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rtplan.domain import Finding
from rtplan.dosimetry.budget import NO_INTERVAL, Lots, alpha_beta_row, condensed, lots
from rtplan.dosimetry.outcome import Outcome, detail_of, effective_dose, evaluate, histogram
from rtplan.dosimetry.parameters import ParameterSet
from rtplan.dosimetry.parts import Answers, Budget, Exposure, Told, budget_of
from rtplan.dosimetry.population import RELATIVE_ONLY, Use, relative_only
from rtplan.dosimetry.risk import source_of
from rtplan.errors import DoseError

STEP = "outcome"
#: Part of an organ that the dose must cover for a model of relative volume.
COVERED = 0.99


@dataclass(frozen=True, eq=False)
class Seen:
    """An organ's histogram and how its dose was given.

    Parameters
    ----------
    histogram : Dvh, TextDvh, Parts or (doses_gy, volumes)
    fractions : int or None
        Of the whole course; None where unknown, or the dose is a sum of courses.
    warnings : tuple of str
        What was seen while reading.
    """

    histogram: Any
    fractions: int | None
    warnings: tuple[str, ...] = ()

    @property
    def covered_fraction(self) -> float:
        """Part of the organ inside the dose grid."""
        return float(getattr(self.histogram, "covered_fraction", 1.0))


@dataclass(frozen=True)
class Question:
    """What is asked of a set.

    Parameters
    ----------
    parameters : ParameterSet
        With the clinical factors given.
    use : Use
        Site, endpoint and organ, as far as they are known.
    use_eqd2 : bool
        Whether EQD2 is taken where the set wants it.
    samples, seed : int
        Of the parameters' draws.
    """

    parameters: ParameterSet
    use: Use
    use_eqd2: bool = True
    samples: int = 2000
    seed: int = 1


def single_findings(question: Question, organ: Seen, reference: Seen | None = None) -> list[Finding]:
    """Return the probability; and with a reference the paired difference, with the same draws.

    A TCP of a set that is not verified has no value of its own: only the difference is given.

    Raises
    ------
    RtplanError
        If the set refuses this use, or what it needs is unknown.
    """
    parameters, drawn = question.parameters, lots(question.parameters, question.samples, question.seed)
    for seen in (organ, reference):
        if seen is not None and seen.covered_fraction < COVERED:
            part = f"{100 * seen.covered_fraction:.0f} %"
            return [_missing(question, f"The dose covers {part} of the organ, and the model needs all.")]
    outcome = _outcome(question, organ)
    findings = []
    if relative_only(parameters):
        findings.append(_missing(question, RELATIVE_ONLY))
    else:
        budget = budget_of(_answers(question, organ, drawn), _told(drawn))
        findings.append(_finding(question, outcome, budget, _row(question, organ)))
    if reference is not None:
        base = _outcome(question, reference)
        budget = budget_of(
            _answers(question, organ, drawn), _told(drawn), _answers(question, reference, drawn)
        )
        pairs = zip(_row(question, organ), _row(question, reference), strict=True)
        row = [a | {"value": a["value"] - b["value"]} for a, b in pairs]
        findings.append(_finding(question, outcome, budget, row, base))
    return findings


def _outcome(question: Question, seen: Seen) -> Outcome:
    kind = getattr(seen.histogram, "kind", "physical")
    if seen.fractions is None and kind == "physical" and question.use_eqd2:
        raise DoseError(
            "The number of fractions is unknown: neither EQD2 nor the use outside the set's fractionation "
            "can be told.",
            where=question.parameters.name,
            action="give it (--fractions N), or take the physical dose as it is, knowingly (--no-eqd2).",
        )
    outcome = evaluate(
        question.parameters, seen.histogram, seen.fractions, use_eqd2=question.use_eqd2, use=question.use
    )
    return replace(outcome, warnings=outcome.warnings + seen.warnings)


def _answers(question: Question, seen: Seen, drawn: Lots) -> Answers:
    doses, volumes = condensed(*histogram(seen.histogram))
    dose = effective_dose(
        question.parameters,
        doses,
        seen.fractions,
        use_eqd2=question.use_eqd2,
        kind=getattr(seen.histogram, "kind", "physical"),
    )
    return Answers(question.parameters, drawn, Exposure([[(dose, volumes)]]))


def _told(drawn: Lots) -> Told:
    reasons = {"parameters": NO_INTERVAL, "dose": "taken as given", "contours": "taken as given"}
    return Told({} if drawn.first is None else {"parameters": drawn.first.method}, reasons)


def _row(question: Question, seen: Seen) -> list[dict[str, float]]:
    return alpha_beta_row(question.parameters, seen.histogram, seen.fractions, use_eqd2=question.use_eqd2)


def _fields(question: Question) -> dict[str, Any]:
    parameters = question.parameters
    return {
        "metric": parameters.kind.upper(),
        "unit": "1",
        "step": STEP,
        "structure": question.use.structure or parameters.structure,
        "model": parameters.name,
        "verified": parameters.verified,
        "source": source_of(parameters),
    }


def _finding(
    question: Question,
    outcome: Outcome,
    budget: Budget,
    row: list[dict[str, float]],
    base: Outcome | None = None,
) -> Finding:
    detail = detail_of(question.parameters, outcome) | {"budget": {**budget.detail, "alpha_beta": row}}
    pair: dict[str, Any] = {"quantity": "value"}
    if base is not None:
        detail |= {
            "reference_geud_gy": base.geud_gy,
            "ratio": outcome.value / base.value if base.value else None,
        }
        pair = {"quantity": "difference", "reference_arm": "reference", "arm": "dose"}
    return Finding(
        value=outcome.value - (base.value if base else 0.0),
        interval95=budget.interval95,
        interval_method=budget.method,
        dose_kind=outcome.dose_kind,
        detail=detail,
        **pair,
        **_fields(question),
    )


def _missing(question: Question, reason: str) -> Finding:
    parameters = question.parameters
    return Finding(
        value=None,
        verdict="not_evaluable",
        reason=reason,
        detail={"endpoint": parameters.endpoint, "organ_definition": parameters.organ_definition},
        **_fields(question),
    )
