"""Who takes part in a study: digital patients by seed, folders of DICOM, or MR–CT pairs as npz."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rtplan.case.digital import patient_id
from rtplan.errors import DicomError, FormatError
from rtplan.io.index import index, pseudonym
from rtplan.study.settings import StudySettings


@dataclass(frozen=True)
class Member:
    """One patient of the study.

    Parameters
    ----------
    number : int
        Place in the order of the input, from 1.
    key : str
        Pseudonym: first 12 hexadecimal digits of SHA-256(salt + PatientID).
    kind : {"phantom", "dicom", "npz"}
        How he is read.
    path : Path or None
        Folder or file.
    seed : int
        Of a digital patient.
    fault : str or None
        Why he cannot take part, where that is known before he is run.
    """

    number: int
    key: str
    kind: Literal["phantom", "dicom", "npz"]
    path: Path | None = None
    seed: int = 0
    fault: str | None = None


def members_of(settings: StudySettings) -> tuple[Member, ...]:
    """Return the patients of a study in their order.

    Raises
    ------
    FormatError
        If the folder is not there or holds no patient.
    """
    if settings.folder is None:
        return tuple(
            Member(seed, pseudonym(patient_id(seed), settings.salt), "phantom", seed=seed)
            for seed in range(1, settings.phantoms + 1)
        )
    folder = settings.folder
    if not folder.is_dir():
        raise FormatError("The folder of patients is not there.", where=str(folder))
    pairs = sorted(folder.glob("*.npz"))
    if pairs:
        return tuple(
            Member(number, pseudonym(path.stem, settings.salt), "npz", path)
            for number, path in enumerate(pairs, start=1)
        )
    found = [_read(path, settings.salt) for path in sorted(p for p in folder.iterdir() if p.is_dir())]
    numbered = [replace(m, number=n) for n, m in enumerate((m for m in found if m is not None), start=1)]
    if not any(member.fault is None for member in numbered):
        raise FormatError(
            "There is no patient in the folder.",
            where=str(folder),
            action="give a folder that holds one sub-folder of DICOM per patient, or npz pairs.",
        )
    return _once(numbered)


def _read(path: Path, salt: str) -> Member | None:
    """Return the member of a sub-folder; None where it holds no file at all."""
    if not any(p.is_file() for p in path.rglob("*")):
        return None
    try:
        people = list(index(path, salt=salt).people)
    except DicomError as wrong:
        return Member(0, "", "dicom", path, fault=wrong.without_place)
    if len(people) != 1:
        return Member(0, "", "dicom", path, fault=f"The folder holds objects of {len(people)} patients.")
    return Member(0, people[0], "dicom", path)


def _once(members: list[Member]) -> tuple[Member, ...]:
    """Mark the members who are there already under an earlier number: nobody counts twice."""
    first: dict[str, int] = {}
    made = []
    for member in members:
        before = first.setdefault(member.key, member.number) if member.key else member.number
        if before != member.number:
            member = replace(member, fault=f"He is the patient of number {before} again: not counted twice.")
        made.append(member)
    return tuple(made)
