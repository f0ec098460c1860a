"""A spacer's benefit foretold from geometry: nothing is planned, a folder of findings is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version

from rtplan import resources
from rtplan.case import tables
from rtplan.case.manifest import DataFile, Manifest, records, versions
from rtplan.case.outfolder import refuse_occupied, whole
from rtplan.case.provenance import weights_of
from rtplan.case.run import Place, as_plain, as_plain_outputs, inputs_of, read, with_near_files
from rtplan.case.spacer import Question
from rtplan.case.spacing import SpacerSettings, prepared
from rtplan.domain import Finding, Notice, Patient
from rtplan.dosimetry.protocol import Protocol, load_protocol
from rtplan.errors import StructureError
from rtplan.planning.device import threads
from rtplan.planning.nearness import nearness
from rtplan.planning.prepare import SUPPLY_TARGET
from rtplan.planning.spacer import SHELF
from rtplan.planning.stratify import (
    Evidence,
    Predicted,
    Predictor,
    features_of,
    judge_predicted,
    load_predictor,
    predict,
)
from rtplan.report.discretion import discreet
from rtplan.steps.reference import reference_image

Say = Callable[[str], None]
STEP = "PredictSpacer"
_UNIT = {"relative": "%", "absolute": "pp", "baseline": "%"}
_VERDICT = {"benefits": "met", "does_not": "missed", "cannot_tell": "cannot_tell"}


def predict_spacer(
    place: Place, settings: SpacerSettings, question: Question, *, say: Say = lambda _: None
) -> tuple[Finding, ...]:
    """Read a patient and foretell the benefit of a spacer by every rule, without a plan.

    Parameters
    ----------
    place : Place
        Where from and where to.
    settings : SpacerSettings
        Protocol, margins.
    question : Question
        Rules; the predictor is not verified, so that no rule decides unless unverified numbers may.

    Raises
    ------
    ModelError
        If there is no predictor for the protocol, or the boost's target is missing.
    StructureError
        If rectum or target is missing.
    RtplanError
        If the input cannot be used or the out folder cannot be made; then nothing was written.
    """
    protocol = load_protocol(settings.case.protocol)
    predictor = load_predictor(protocol)
    refuse_occupied(place.out, overwrite=place.overwrite)
    say("Read")
    patient = prepared(read(place), protocol, settings, say)
    say("Predict")
    predicted = predict(
        predictor, features_of(predictor, evidence_of(patient, protocol)), seed=settings.case.seed
    )
    findings = _findings(patient, predictor, predicted, question)
    told = replace(patient, findings=findings, notices=(*patient.notices, _notice(predictor)))
    with whole(place.out, overwrite=place.overwrite) as folder:
        plain = as_plain(_manifest(place, settings, question, told))
        told, provenance = discreet(with_near_files(told, place.folder), plain)
        tables.write_findings(told, folder)
        tables.write_json(folder / "manifest.json", provenance | {"outputs": as_plain_outputs(folder)})
    return findings


def evidence_of(patient: Patient, protocol: Protocol) -> Evidence:
    """Return what a prediction is made from: how near the rectum lies to the target and to the boost."""
    plain = [e.target for e in protocol.prescription if e.to != "up_to" and e.target in patient.structures]
    boosts = [e.target for e in protocol.prescription if e.to == "up_to" and e.target in patient.structures]
    if not plain:
        raise StructureError(
            "None of the protocol's targets is among the structures.",
            action=SUPPLY_TARGET,
        )
    targets = (plain[0], *boosts[:1])
    near = nearness(patient.structures, reference_image(patient).grid, targets)
    return Evidence(near, plain[0], boosts[0] if boosts else "")


def _findings(
    patient: Patient, predictor: Predictor, predicted: Predicted, question: Question
) -> tuple[Finding, ...]:
    found = []
    for rank, rule in enumerate(question.rules()):
        decides = rank == 0 and question.allow_unverified
        judged, probability = judge_predicted(rule, predicted, decides=decides)
        detail = {
            "rule": rule.description,
            "answer": judged.answer,
            "decides": decides,
            "baseline": judged.baseline,
            "reason": judged.reason,
            "probability": probability,
            "predictor": f"predictor_{predictor.protocol}",
            "cohort": predictor.cohort.patients,
        }
        told = judged.value is not None
        found.append(
            Finding(
                metric="SpacerBenefit",
                value=judged.value,
                unit=_UNIT[rule.form],
                step=STEP,
                patient=patient.key,
                arm="Spacer",
                reference_arm=patient.arms[0],
                structure=rule.structure,
                quantity="difference",
                interval95=judged.interval95,
                interval_method="bootstrap of the digital cohort, with what the fit leaves over"
                if told
                else None,
                limit=f">= {rule.at_least:g}",
                verdict=(_VERDICT[judged.answer] if decides else "none") if told else "not_evaluable",  # type: ignore[arg-type]
                reason=None if told else "the cohort does not tell this rule's metric",
                model=rule.name,
                verified=False,
                source=predictor.source.citation,
                detail=detail,
            )
        )
    return tuple(found)


def _notice(predictor: Predictor) -> Notice:
    return Notice(
        "SPACER_PREDICTED",
        "warn",
        f"Nothing was planned: the benefit is foretold from {predictor.cohort.patients}; in people it is not "
        "verified.",
        "plan with and without the spacer before anything is decided: leave --predict out.",
        structure="Spacer",
    )


def _manifest(place: Place, settings: SpacerSettings, question: Question, patient: Patient) -> Manifest:
    case = settings.case
    files = tuple(
        DataFile(path=f"{shelf}/{path.name}", sha256=resources.sha256(path))
        for shelf, path in (
            ("protocols", resources.find("protocols", case.protocol)),
            *((SHELF, resources.find(SHELF, name)) for name in resources.names(SHELF)),
        )
    )
    own = {
        "rule": question.rule,
        "ntcp_pp": question.ntcp_pp,
        "allow_unverified": question.allow_unverified,
        "predict": True,
    }
    return Manifest(
        schema=1,
        rtplan_version=version("rtplan"),
        command="spacer",
        settings=case.plain() | {"arms": [patient.arms[0]]} | own,
        seed=case.seed,
        device=case.device,
        threads=threads(),
        versions=versions(),
        inputs=inputs_of(place),
        weights=weights_of(case, patient.arms[0] == "SynCT"),
        data_files=files,
        steps=records(patient),
        outputs=(),
    )
