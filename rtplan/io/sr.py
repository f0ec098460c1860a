"""Findings as a DICOM Structured Report: TID 1500, a measurement group for each arm and structure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from rtplan.domain import Finding
from rtplan.errors import FormatError
from rtplan.io import concepts
from rtplan.io import header as hd
from rtplan.io import modules as md

if TYPE_CHECKING:
    from highdicom.sr import Measurement, MeasurementsAndQualitativeEvaluations

NOT_EVALUABLE = Code("NOT_EVALUABLE", concepts.PRIVATE, "Not evaluable")
_VERDICTS = {
    "met": "limit met",
    "wish_met": "wish met",
    "missed": "limit missed",
    "equivalent": "equivalent",
    "different": "different",
    "cannot_tell": "cannot tell",
}


def write(
    findings: Iterable[Finding], path: Path, *, about: Sequence[Path], stamp: md.Stamp | None = None
) -> Path:
    """Write findings as a Comprehensive SR.

    Parameters
    ----------
    findings : iterable of Finding
        Each becomes a measurement (value, unit, 95 % interval, verdict, model with its source); one that is
        not evaluable becomes an evaluation that says so.
    path : Path
        New file.
    about : sequence of Path
        The objects that the findings are about, of one patient and study (doses, segmentation).

    Raises
    ------
    FormatError
        If there is no finding or no object.
    OutputError
        If the file cannot be written.
    """
    from highdicom.sr import ComprehensiveSR, MeasurementReport, ObservationContext

    stamp = stamp or md.Stamp()
    grouped: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        grouped.setdefault((finding.arm or "", finding.structure or ""), []).append(finding)
    if not grouped or not about:
        raise FormatError("A structured report needs findings and objects that they are about.")
    evidence = [hd.read(item) for item in about]
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(stamp)),
        procedure_reported=concepts.private("Radiotherapy planning research"),
        imaging_measurements=[_group(arm, name, held, stamp) for (arm, name), held in grouped.items()],
        title=codes.DCM.ImagingMeasurementReport,
    )
    with md.unheard():
        made = ComprehensiveSR(
            evidence=evidence,
            content=report[0],
            series_instance_uid=stamp.uid("series", "SR"),
            series_number=md.SERIES_NUMBERS["SR"],
            sop_instance_uid=stamp.uid("SR"),
            instance_number=1,
            manufacturer="rtplan",
            is_complete=True,
            is_final=False,
            is_verified=False,
            series_description="rtplan findings NOT FOR CLINICAL USE",
        )
    made.CodingSchemeIdentificationSequence = md.sequence(concepts.scheme())
    md.dated(made, stamp)
    return md.save(made, path)


def _observer(stamp: md.Stamp) -> object:
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext

    device = DeviceObserverIdentifyingAttributes(
        uid=md.hashed_uid("rtplan", "device"),
        name="rtplan",
        manufacturer_name="rtplan",
        model_name=md.VERSION,
    )
    return ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)


def _group(
    arm: str, structure: str, findings: Sequence[Finding], stamp: md.Stamp
) -> MeasurementsAndQualitativeEvaluations:
    from highdicom.sr import MeasurementsAndQualitativeEvaluations, QualitativeEvaluation, TrackingIdentifier

    words = " of ".join(part for part in (structure, f"arm {arm}" if arm else "") if part) or "patient"
    told = [f for f in findings if f.value is not None]
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(stamp.uid("SR", arm, structure), md.clipped(words, 64)),
        finding_type=concepts.private(structure or "patient"),
        method=concepts.private(f"arm {arm}") if arm else None,
        measurements=[_measurement(finding) for finding in told] or None,
        qualitative_evaluations=[
            QualitativeEvaluation(concepts.private(name), value)
            for finding in findings
            if finding.value is None
            for name, value in _evaluations(finding)
        ]
        or None,
    )


def _evaluations(finding: Finding) -> list[tuple[str, Code]]:
    """Return that a finding is not evaluable, and why."""
    said = [(_name(finding), NOT_EVALUABLE)]
    if finding.reason:
        said.append((f"why not: {_name(finding)}", concepts.private(md.clipped(finding.reason, 64))))
    return said


def _name(finding: Finding) -> str:
    if finding.quantity == "difference":
        return f"{finding.metric} difference from {finding.reference_arm or 'reference'}"
    return finding.metric


def _measurement(finding: Finding) -> Measurement:
    from highdicom.sr import AlgorithmIdentification, Measurement, MeasurementProperties

    assert finding.value is not None
    interval = finding.interval95
    verdict = _VERDICTS.get(finding.verdict)
    properties = MeasurementProperties(
        normality=concepts.private(verdict) if verdict else None,
        level_of_significance=concepts.private("95 % interval") if interval else None,
        upper_measurement_uncertainty=interval[1] - finding.value if interval else None,
        lower_measurement_uncertainty=finding.value - interval[0] if interval else None,
    )
    parameters = [text for text in _parameters(finding) if text]
    algorithm = None
    if finding.model or parameters:
        algorithm = AlgorithmIdentification(
            finding.model or finding.step, md.VERSION, parameters=parameters or None
        )
    return Measurement(
        name=concepts.private(_name(finding)),
        value=finding.value,
        unit=concepts.unit(finding.unit),
        algorithm_id=algorithm,
        properties=properties if interval or verdict else None,
    )


def _parameters(finding: Finding) -> list[str]:
    """Return what stands with a number: source, whether verified, dose kind, limits, how sure it is."""
    cut = finding.covered_fraction is not None and finding.covered_fraction < 1.0
    return [
        finding.source or "",
        "" if finding.verified is None else ("verified" if finding.verified else "UNVERIFIED"),
        f"dose {finding.dose_kind}" if finding.dose_kind else "",
        f"interval: {finding.interval_method}" if finding.interval_method else "",
        f"limit {finding.limit}" if finding.limit else "",
        f"wish {finding.wish}" if finding.wish else "",
        f"covered fraction {finding.covered_fraction:.4g}" if cut else "",
        f"error bound {finding.error_bound:.3g} {finding.unit}" if finding.error_bound is not None else "",
        str(finding.detail.get("endpoint", "")),
    ]
