"""The paired study: every patient through the steps, then agreement over the cohort."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rtplan.case.digital import demand_site
from rtplan.case.outfolder import clear_unfinished
from rtplan.case.provenance import data_files_of, weights_of
from rtplan.dosimetry.parameters import load_set
from rtplan.dosimetry.protocol import load_protocol
from rtplan.errors import OutputError
from rtplan.evaluation.study_file import NAME, StudyFile, StudyPatient, read_study
from rtplan.study.judge import judge, statistics_of, write_study
from rtplan.study.members import members_of
from rtplan.study.report import PATIENTS, study_report
from rtplan.study.settings import StudySettings
from rtplan.study.workers import run_members

#: Gets a patient's outcome, how many are finished, and how many there are.
Tell = Callable[[StudyPatient, int, int], None]


def run_study(
    settings: StudySettings,
    out: Path,
    *,
    resume: bool = False,
    pages: bool = True,
    tell: Tell = lambda patient, count, of: None,
) -> StudyFile:
    """Run a study and write ``patients/<key>/``, ``cohort.parquet``, ``study.json`` and the report.

    Parameters
    ----------
    settings : StudySettings
        Patients, what is asked on each, how agreement is judged.
    out : Path
        Folder of the study; must not exist or be empty, unless it holds this study and ``resume``.
    resume : bool
        Keep finished patients of the same settings and version.
    pages : bool
        Whether ``report.html`` and ``report.pdf`` are made.
    tell : callable
        Called after each patient.

    Returns
    -------
    StudyFile
        As it stands in ``study.json``.

    Raises
    ------
    RtplanError
        If protocol, models, folder or out folder cannot be used; then nothing was written.
    """
    protocol = load_protocol(settings.case.protocol)
    settings = settings.with_margin_of(protocol.equivalence_margin_pp)
    if settings.folder is None:
        demand_site(protocol)
    for name in settings.case.outcome:
        load_set(name)
    data_files_of(settings.case)
    weights_of(settings.case, has_mr=True)
    before = _earlier(out, settings, resume=resume)
    members = members_of(settings)
    patients = out / PATIENTS
    patients.mkdir(parents=True, exist_ok=True)
    clear_unfinished(patients)
    rows = {m.number: StudyPatient(m.number, m.key, "waiting") for m in members}
    write_study(out, _unfinished(settings, rows))
    with closing(run_members(members, settings, patients, resume=resume)) as finished:
        for count, row in enumerate(finished, start=1):
            rows[row.number] = _with_seconds(row, before)
            write_study(out, _unfinished(settings, rows))
            tell(rows[row.number], count, len(members))
    study = judge(out, _unfinished(settings, rows), settings.judging)
    if pages:
        study_report(out)
    return study


def _unfinished(settings: StudySettings, rows: Mapping[int, StudyPatient]) -> StudyFile:
    return StudyFile(
        finished=False,
        rtplan_version=version("rtplan"),
        settings=settings.plain(),
        statistics=statistics_of(settings.judging),
        patients=tuple(rows[number] for number in sorted(rows)),
    )


def _earlier(out: Path, settings: StudySettings, *, resume: bool) -> dict[str, StudyPatient]:
    """Return the patients of the study that is gone on with, by key; refuse a folder of anything else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return {}
    if not resume or not (out / NAME).is_file():
        raise OutputError(
            "The out folder is not empty." if out.is_dir() else "The out folder is a file.",
            where=str(out),
            action="choose another --out; --resume goes on with a study that was interrupted.",
        )
    study = read_study(out)
    changed = _changes(study.settings, settings.plain())
    if changed:
        raise OutputError(
            f"The study in the out folder was asked otherwise ({', '.join(changed)}).",
            where=str(out),
            action="choose another --out, or the settings that it was begun with.",
        )
    return {patient.key: patient for patient in study.done}


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def _with_seconds(row: StudyPatient, before: Mapping[str, StudyPatient]) -> StudyPatient:
    """Return the row of a patient who was finished before with the time that he took then."""
    earlier = before.get(row.key)
    if row.state != "done" or earlier is None or earlier.seconds is None or row.seconds is None:
        return row
    return replace(row, seconds=max(row.seconds, earlier.seconds))
