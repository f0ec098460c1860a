"""What ``study.json`` holds: settings, patients, agreement, risks and notices of a paired study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from rtplan.domain import Notice
from rtplan.errors import FormatError
from rtplan.evaluation.agreement import Agreement, ArmRisk

SCHEMA = 1
NAME = "study.json"

State = Literal["done", "failed", "waiting"]


@dataclass(frozen=True)
class StudyPatient:
    """How one patient went.

    Parameters
    ----------
    number : int
        Place in the order of the input, from 1: the only link to a folder, whose name may be a person's.
    key : str
        Pseudonym; empty where the patient could not be read.
    state : {"done", "failed", "waiting"}
        ``waiting`` while the study runs, or where it was interrupted.
    reason : str or None
        Why it failed.
    seconds : float or None
        Wall time of this patient.
    """

    number: int
    key: str
    state: State
    reason: str | None = None
    seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the row as plain data, ready for JSON."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True)
class StudyFile:
    """A study as it is written and read.

    Parameters
    ----------
    finished : bool
        False while the study runs or after it was interrupted.
    rtplan_version : str
        Which version made the statistics.
    settings : mapping
        What was asked on each patient (protocol, arms, gamma, scenario …) and where they come from.
    statistics : mapping
        ``seed``, ``resamples``, ``margin_pp``, ``precision_pp`` (None: not set), ``allow_unverified``.
    reference_arm : str
        Arm that the others are compared with.
    patients : tuple of StudyPatient
        All, in order.
    cohort : tuple of Agreement
        Rows over the finished patients.
    risks : tuple of ArmRisk
        Range of each risk on each arm.
    notices : tuple of Notice
        About the study as a whole.
    """

    finished: bool
    rtplan_version: str
    settings: Mapping[str, Any]
    statistics: Mapping[str, Any]
    reference_arm: str = "CT"
    patients: tuple[StudyPatient, ...] = ()
    cohort: tuple[Agreement, ...] = ()
    risks: tuple[ArmRisk, ...] = ()
    notices: tuple[Notice, ...] = field(default_factory=tuple)

    @property
    def done(self) -> tuple[StudyPatient, ...]:
        """The patients that are finished."""
        return tuple(patient for patient in self.patients if patient.state == "done")

    def as_dict(self) -> dict[str, Any]:
        """Return the study as plain data, ready for JSON."""
        return {
            "schema": SCHEMA,
            "finished": self.finished,
            "rtplan_version": self.rtplan_version,
            "settings": dict(self.settings),
            "statistics": dict(self.statistics),
            "reference_arm": self.reference_arm,
            "patients": [patient.as_dict() for patient in self.patients],
            "cohort": [row.as_dict() for row in self.cohort],
            "risks": [row.as_dict() for row in self.risks],
            "notices": [notice.as_dict() for notice in self.notices],
        }


def read_study(path: Path) -> StudyFile:
    """Read ``study.json`` (or the folder that holds it).

    Raises
    ------
    FormatError
        If there is none, or it is not of this form.
    """
    path = path / NAME if path.is_dir() else path
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FormatError("There is no study.json.", where=path.name) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as wrong:
        raise FormatError(f"study.json does not parse: {wrong}.", where=path.name) from None
    if not isinstance(plain, dict) or plain.get("schema") != SCHEMA:
        raise FormatError(f"study.json is not of schema {SCHEMA}.", where=path.name)
    try:
        return StudyFile(
            finished=plain["finished"],
            rtplan_version=plain["rtplan_version"],
            settings=plain["settings"],
            statistics=plain["statistics"],
            reference_arm=plain["reference_arm"],
            patients=tuple(StudyPatient(**row) for row in plain["patients"]),
            cohort=tuple(Agreement.from_dict(row) for row in plain["cohort"]),
            risks=tuple(ArmRisk.from_dict(row) for row in plain["risks"]),
            notices=tuple(_notice(row) for row in plain["notices"]),
        )
    except (KeyError, TypeError) as wrong:
        raise FormatError(f"study.json lacks or does not know {wrong}.", where=path.name) from None


def _notice(plain: Mapping[str, Any]) -> Notice:
    held = {key: value for key, value in plain.items() if key != "where"}
    where = plain.get("where") or {}
    return Notice(**held, **where)
