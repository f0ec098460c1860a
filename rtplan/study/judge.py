"""Agreement over the finished patients of a study, written beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rtplan.case.cohort_table import write_cohort
from rtplan.case.tables import read_findings, write_json
from rtplan.domain import Finding, Notice
from rtplan.errors import FormatError
from rtplan.evaluation.agreement import Judging
from rtplan.evaluation.cohort import agree, risks_of_arms
from rtplan.evaluation.limits import FEWEST
from rtplan.evaluation.study_file import NAME, StudyFile, read_study
from rtplan.study.report import PATIENTS, TABLE, study_report


def judge(out: Path, study: StudyFile, judging: Judging) -> StudyFile:
    """Read the finished patients' findings, judge, and write ``cohort.parquet`` and ``study.json``.

    Parameters
    ----------
    out : Path
        Folder of the study.
    study : StudyFile
        With settings and patients; those in state ``done`` count.
    judging : Judging
        Margin, precision, bootstrap.

    Returns
    -------
    StudyFile
        As it stands in ``study.json``.
    """
    found = {patient.key: read_findings(out / PATIENTS / patient.key) for patient in study.done}
    study = replace(
        study,
        finished=True,
        rtplan_version=version("rtplan"),
        statistics=statistics_of(judging),
        cohort=agree(found, judging),
        risks=risks_of_arms(found),
        notices=_notices(study, found),
    )
    temporary = out / f".{TABLE}"
    write_cohort(found, temporary)
    os.replace(temporary, out / TABLE)
    write_study(out, study)
    return study


def judge_again(out: Path, judging: Judging, protocol: str) -> StudyFile:
    """Judge the patients that are finished in a study's folder, and run nobody; report on it.

    Parameters
    ----------
    out : Path
        Folder of a study, finished or interrupted, of this version or an older one.
    judging : Judging
        Margin, precision, bootstrap.
    protocol : str
        As the study was asked with.

    Raises
    ------
    FormatError
        If there is no study, or it was asked with another protocol.
    """
    study = read_study(out)
    if study.settings.get("protocol") != protocol:
        raise FormatError(
            f"The study was asked with the protocol {study.settings.get('protocol')}, not {protocol}.",
            action="give its own --protocol.",
        )
    study = judge(out, study, judging)
    study_report(out)
    return study


def write_study(out: Path, study: StudyFile) -> None:
    """Replace ``study.json`` in one move."""
    temporary = out / f".{NAME}"
    write_json(temporary, study.as_dict())
    os.replace(temporary, out / NAME)


def statistics_of(judging: Judging) -> dict[str, Any]:
    """Return how agreement is judged as plain data, for ``study.json``."""
    return {
        "seed": judging.bootstrap.seed,
        "resamples": judging.bootstrap.resamples,
        "margin_pp": _points(judging.margin),
        "precision_pp": _points(judging.precision),
        "allow_unverified": judging.allow_unverified,
    }


def _points(fraction: float | None) -> float | None:
    return None if fraction is None else round(100.0 * fraction, 9)


def _notices(study: StudyFile, found: Mapping[str, Sequence[Finding]]) -> tuple[Notice, ...]:
    """Say what limits the study as a whole: failures, too few patients, digital patients."""
    notices = []
    for state, code, words, action in (
        (
            "failed",
            "PATIENTS_FAILED",
            "failed and are left out",
            "look at their reasons; --resume tries again.",
        ),
        ("waiting", "PATIENTS_NOT_RUN", "were not run", "--resume runs them."),
    ):
        numbers = [str(patient.number) for patient in study.patients if patient.state == state]
        if numbers:
            message = (
                f"{len(numbers)} of {len(study.patients)} patients {words}: number {', '.join(numbers)}."
            )
            notices.append(Notice(code, "warn", message, action))
    if len(found) < FEWEST:
        message = f"{len(found)} patients are finished: limits of agreement need {FEWEST}."
        notices.append(Notice("TOO_FEW_PATIENTS", "warn", message, "add patients."))
    if study.settings.get("patients") == "phantom":
        message = (
            "The patients are digital: what the study says of arms holds for these anatomies and this "
            "scanner model, not for people."
        )
        notices.append(Notice("DIGITAL_PATIENTS", "info", message))
    return tuple(notices)
