"""What is asked of a conversion, what it refers to, and what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rtplan.domain import Identity, Image, Notice
from rtplan.errors import FormatError
from rtplan.io.image import read_series
from rtplan.io.index import entry_of, index
from rtplan.io.tps import DEFAULT, Profile, load

Kind = Literal["auto", "CT", "MR", "labels", "dose", "seg", "uncertainty"]


@dataclass(frozen=True)
class Order:
    """What is asked for.

    Parameters
    ----------
    given : Path
        A DICOM folder or file, or a volume file.
    out : Path
        A volume file, an RT object (``.dcm``) or a new folder for a series.
    like : Path or None
        A DICOM series: patient, frame of reference and slices of what is written.
    names : Path or None
        JSON ``{"labels": {"1": "Prostate"}}`` for a label map.
    kind : str
        What a volume file holds, or what OUT shall be, where the names of IN and OUT leave it open.
    tps : str
        Profile of the planning system for which DICOM is written.
    """

    given: Path
    out: Path
    like: Path | None = None
    names: Path | None = None
    kind: Kind = "auto"
    tps: str = "generic"

    @property
    def profile(self) -> Profile:
        """The rules of the planning system."""
        return load(self.tps)

    def said(self) -> tuple[Notice, ...]:
        """Return the notice that names the profile, where one was asked for."""
        return () if self.tps == DEFAULT else (self.profile.notice(),)


@dataclass(frozen=True)
class Converted:
    """What was written, and what must be said of it."""

    paths: tuple[Path, ...]
    notices: tuple[Notice, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)


def like_of(order: Order) -> Image:
    """Return the series of ``--like``; raise FormatError when none was given."""
    if order.like is None:
        action = "say --like FOLDER with the DICOM series on which the structures lie."
        raise FormatError("This conversion needs an image series.", where=str(order.given), action=action)
    return read_series(order.like)


def identity_of(like: Path | None) -> Identity:
    """Return the patient and study of a series, of an object, or of nobody."""
    if like is None:
        return Identity()
    first = entry_of(like) if like.is_file() else index(like).series("CT", "MR")[0].first
    return Identity(
        patient_id=first.text("PatientID"),
        name=first.text("PatientName"),
        birth_date=first.text("PatientBirthDate"),
        sex=first.text("PatientSex"),
        study_uid=first.study_uid,
        study_date=first.text("StudyDate"),
        study_time=first.text("StudyTime"),
        study_id=first.text("StudyID"),
    )


def names_of(path: Path | None) -> dict[int, str] | None:
    """Return the names by label value of a JSON file; None without one."""
    if path is None:
        return None
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        table = table.get("labels", table)
        return {int(value): str(name) for value, name in table.items()}
    except (OSError, ValueError, AttributeError):
        action = 'write {"labels": {"1": "Prostate"}}.'
        raise FormatError("The names do not parse.", where=str(path), action=action) from None
