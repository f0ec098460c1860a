"""Findings of outcome models: per arm with an interval, and as paired differences with the same draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rtplan.domain import Finding, Patient
from rtplan.dosimetry.budget import alpha_beta_row, lots
from rtplan.dosimetry.curves import arms_with_dose
from rtplan.dosimetry.dvh import Dvh, Settings
from rtplan.dosimetry.exposure import Varied, exposures, told_of
from rtplan.dosimetry.extent import completed_fraction, is_cut
from rtplan.dosimetry.judging import reference_arm
from rtplan.dosimetry.ledger import Ledger
from rtplan.dosimetry.outcome import Outcome, detail_of, evaluate
from rtplan.dosimetry.parameters import ParameterSet, load_set
from rtplan.dosimetry.parts import Answers, Budget, Exposure, budget_of
from rtplan.dosimetry.population import RELATIVE_ONLY, Use, organs_of, refusal, relative_only
from rtplan.dosimetry.protocol import Protocol
from rtplan.dosimetry.reader import Readers
from rtplan.errors import RtplanError
from rtplan.imaging.vary import ContourVariation

STEP = "EstimateOutcome"


@dataclass(frozen=True)
class Ask:
    """How outcomes are estimated: draws, seed, settings of the DVH, variation of the contours, DVHs made."""

    samples: int = 2000
    seed: int = 1
    settings: Settings | None = None
    contours: ContourVariation | None = None
    ledger: Ledger = field(default_factory=Ledger, repr=False, compare=False)


def estimate(patient: Patient, protocol: Protocol, ask: Ask | None = None) -> tuple[Finding, ...]:
    """Return NTCP or TCP of every model that a protocol asks for, per arm, and the paired differences.

    A model is not evaluable, with the reason, where its organ is absent, is cut by the field of view,
    where the protocol is for another site, or where absolute dose is withheld.
    """
    ask = ask or Ask()
    findings: list[Finding] = []
    for entry in protocol.outcome:
        use, found = Use(protocol.site, entry.endpoint), load_set(entry.model)
        for organ in organs_of(found, patient.structures):
            parameters = found.model_copy(update={"structure": organ})
            reason = _reason_against(patient, use, parameters)
            if reason is not None:
                findings.append(_missing(patient, parameters, reason))
                continue
            findings += _of_model(patient, protocol, parameters, ask)
    return tuple(findings)


def _reason_against(patient: Patient, use: Use, parameters: ParameterSet) -> str | None:
    reason = refusal(parameters, use)
    if reason is not None:
        return reason
    name = parameters.structure
    if name not in patient.structures:
        return f"There is no structure {name} ({parameters.organ_definition})."
    reference = reference_arm(patient)
    if reference is None:
        return "There is no dose."
    if reference in patient.images and is_cut(patient.structures[name], patient.images[reference].grid):
        return f"{name} is cut by the field of view, and the model needs the whole organ."
    if patient.absolute_withheld is not None:
        return f"{patient.absolute_withheld} A probability is not linear in dose."
    return None


def _of_model(patient: Patient, protocol: Protocol, parameters: ParameterSet, ask: Ask) -> list[Finding]:
    doses = {arm: patient.doses[arm] for arm in arms_with_dose(patient)}
    organ = patient.structures[parameters.structure]
    (made,) = ask.ledger.histograms([organ], {**doses, **patient.samples}, ask.settings)
    if isinstance(made, RtplanError):
        return [_missing(patient, parameters, str(made))]
    fractions = {arm: doses[arm].fractions or protocol.fractions for arm in doses}
    use = Use(protocol.site)
    outcomes = {arm: evaluate(parameters, made[arm], fractions[arm], use=use) for arm in doses}
    drawn = lots(parameters, ask.samples, ask.seed)
    seen, no_contours = _seen(patient, parameters, made, fractions, ask)
    answers = {arm: Answers(parameters, drawn, seen[arm]) for arm in doses}
    rows = {arm: alpha_beta_row(parameters, made[arm], fractions[arm]) for arm in doses}
    reference = reference_arm(patient)
    assert reference is not None
    common = _Common(patient, parameters, completed_fraction(patient, parameters.structure))
    findings = [_missing(patient, parameters, RELATIVE_ONLY)] if relative_only(parameters) else []
    for arm in doses if not relative_only(parameters) else ():
        budget = budget_of(answers[arm], told_of(patient, drawn, seen[arm], arm, no_contours=no_contours))
        findings.append(common.value(arm, outcomes[arm], made[arm], _with_row(budget, rows[arm])))
    for arm in doses:
        if arm != reference:
            told = told_of(patient, drawn, seen[arm], arm, reference, no_contours=no_contours)
            budget = budget_of(answers[arm], told, answers[reference])
            pair = outcomes[arm], outcomes[reference]
            row = _row_of_differences(rows[arm], rows[reference])
            findings.append(common.difference((arm, reference), pair, _with_row(budget, row)))
    return findings


def _seen(
    patient: Patient,
    parameters: ParameterSet,
    made: Mapping[str, Dvh],
    fractions: Mapping[str, int | None],
    ask: Ask,
) -> tuple[dict[str, Exposure], str]:
    """Return what the arms see, and why the contours are not varied although they should be."""
    if ask.contours is None:
        return exposures(parameters, made, fractions), ""
    try:
        readers = Readers.of(patient.structures[parameters.structure], ask.contours, ask.seed)
        varied = Varied(readers, {**patient.doses, **patient.samples})
        return exposures(parameters, made, fractions, varied), ""
    except RtplanError as wrong:
        return exposures(parameters, made, fractions), f"not varied ({wrong.message})"


def _with_row(budget: Budget, row: list[dict[str, float]]) -> Budget:
    return replace(budget, detail={**budget.detail, "alpha_beta": row})


def _row_of_differences(
    row: list[dict[str, float]], reference: list[dict[str, float]]
) -> list[dict[str, float]]:
    return [
        {"alpha_beta_gy": a["alpha_beta_gy"], "value": a["value"] - b["value"]}
        for a, b in zip(row, reference, strict=False)
    ]


@dataclass(frozen=True)
class _Common:
    """What all findings of one model share."""

    patient: Patient
    parameters: ParameterSet
    completed: float

    def _fields(self, budget: Budget) -> dict[str, Any]:
        return {
            "metric": self.parameters.kind.upper(),
            "unit": "1",
            "step": STEP,
            "patient": self.patient.key,
            "structure": self.parameters.structure,
            "model": self.parameters.name,
            "verified": self.parameters.verified,
            "source": source_of(self.parameters),
            "completed_fraction": self.completed,
            "interval95": budget.interval95,
            "interval_method": budget.method,
        }

    def value(self, arm: str, outcome: Outcome, dvh: Dvh, budget: Budget) -> Finding:
        return Finding(
            value=outcome.value,
            arm=arm,
            covered_fraction=dvh.covered_fraction,
            dose_kind=outcome.dose_kind,
            detail=detail_of(self.parameters, outcome) | {"budget": budget.detail},
            **self._fields(budget),
        )

    def difference(self, arms: tuple[str, str], outcomes: tuple[Outcome, Outcome], budget: Budget) -> Finding:
        spread: dict[str, Any] = {"spread": True} if self.patient.reference_arm is None else {}
        if relative_only(self.parameters):
            spread |= detail_of(self.parameters, outcomes[0])
            spread["ratio"] = outcomes[0].value / outcomes[1].value if outcomes[1].value else None
        return Finding(
            value=outcomes[0].value - outcomes[1].value,
            arm=arms[0],
            reference_arm=arms[1],
            quantity="difference",
            dose_kind=outcomes[0].dose_kind,
            detail=spread | {"budget": budget.detail},
            **self._fields(budget),
        )


def source_of(parameters: ParameterSet) -> str:
    """Return the DOI of a set, or its citation."""
    return f"doi:{parameters.source.doi}" if parameters.source.doi else parameters.source.citation


def _missing(patient: Patient, parameters: ParameterSet, reason: str) -> Finding:
    return Finding(
        metric=parameters.kind.upper(),
        value=None,
        unit="1",
        step=STEP,
        patient=patient.key,
        arm=reference_arm(patient),
        structure=parameters.structure,
        verdict="not_evaluable",
        reason=reason,
        model=parameters.name,
        verified=parameters.verified,
        source=source_of(parameters),
        detail={"endpoint": parameters.endpoint, "organ_definition": parameters.organ_definition},
    )
