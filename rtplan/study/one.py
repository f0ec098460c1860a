"""One patient of a study, from his source to his out folder, or to the reason why not."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from rtplan import resources
from rtplan.case.digital import digital_patient, patient_id
from rtplan.case.manifest import Input
from rtplan.case.memory import Origin, run_in_memory
from rtplan.case.run import Place, run_case
from rtplan.domain import Patient
from rtplan.dosimetry.protocol import load_protocol
from rtplan.errors import RtplanError
from rtplan.evaluation.study_file import StudyPatient
from rtplan.io.datasets.npz import read_npz
from rtplan.study.members import Member
from rtplan.study.settings import StudySettings


def run_member(member: Member, settings: StudySettings, patients: Path, *, resume: bool) -> StudyPatient:
    """Run one patient and write ``patients/<key>``, whole or not at all.

    Returns
    -------
    StudyPatient
        ``failed`` with the reason where he could not be run: one patient never ends the study.
    """
    start = time.perf_counter()
    reason = member.fault
    if reason is None:
        try:
            _run(member, settings, patients / member.key, resume=resume)
        except RtplanError as refused:
            reason = refused.without_place
        except OSError as failed:
            reason = f"{failed.strerror or type(failed).__name__}."
        except Exception as unforeseen:  # a patient's data must not end the others' study
            reason = f"Something went wrong that rtplan did not foresee ({type(unforeseen).__name__})."
    seconds = round(time.perf_counter() - start, 2)
    state = "done" if reason is None else "failed"
    return StudyPatient(member.number, member.key, state, reason, seconds)  # type: ignore[arg-type]


def _run(member: Member, settings: StudySettings, out: Path, *, resume: bool) -> None:
    if member.kind == "dicom":
        assert member.path is not None
        place = Place(
            member.path,
            out,
            names=settings.names,
            resume=resume,
            salt=settings.salt,
            pseudonyms=settings.pseudonyms,
        )
        run_case(place, settings.case, command="study")
        return
    run_in_memory(_origin(member, settings), out, settings.case, resume=resume)


def _origin(member: Member, settings: StudySettings) -> Origin:
    """Return how a patient who is not DICOM is made, and what tells him from others."""
    if member.kind == "npz":
        assert member.path is not None
        read = Input(uid="", sha256=resources.sha256(member.path), role="npz")
        return Origin(lambda: _pair(member), {"kind": "npz", "key": member.key}, (read,))
    facts = {
        "kind": "phantom",
        "id": patient_id(member.seed),
        "spacing_zyx_mm": list(settings.spacing_zyx_mm),
        "scenario": settings.scenario.plain(),
    }
    return Origin(lambda: _digital(member, settings), facts)


def _pair(member: Member) -> Patient:
    assert member.path is not None
    return replace(read_npz(member.path), key=member.key)


def _digital(member: Member, settings: StudySettings) -> Patient:
    protocol = load_protocol(settings.case.protocol)
    made = digital_patient(
        member.seed,
        protocol,
        settings.scenario,
        settings.spacing_zyx_mm,
        tuple(settings.case.margins),
        with_mr="SynCT" in settings.case.arms,
    )
    return replace(made, key=member.key)
