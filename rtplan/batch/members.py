"""Who is in a batch: folders of a list, sub-folders, people of mixed DICOM, or digital patients."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rtplan.batch.settings import BatchSettings
from rtplan.case.digital import patient_id
from rtplan.errors import DicomError, FormatError
from rtplan.io.index import entry_of, index, pseudonym

#: Column of a CSV list that names the folders.
COLUMN = "folder"


@dataclass(frozen=True)
class Member:
    """One patient of the batch.

    Parameters
    ----------
    number : int
        Place in the order of the input, from 1.
    key : str
        Pseudonym: first 12 hexadecimal digits of SHA-256(salt + PatientID); empty where nothing was readable.
    kind : {"folder", "files", "phantom"}
        How he is read.
    path : Path or None
        His folder, or the folder that his files lie in among others'.
    files : tuple of Path
        His files, where the folder is not his alone.
    seed : int
        Of a digital patient.
    fault : str or None
        Why he cannot be run, where that is known before.
    """

    number: int
    key: str
    kind: Literal["folder", "files", "phantom"]
    path: Path | None = None
    files: tuple[Path, ...] = ()
    seed: int = 0
    fault: str | None = None

    @property
    def reachable(self) -> bool:
        """Whether his files are there: a share that is unplugged leaves nothing, or an empty folder."""
        if self.kind == "phantom":
            return True
        if self.files:
            return all(path.is_file() for path in (self.files[0], self.files[-1]))
        try:
            return self.path is not None and bool(os.listdir(self.path))
        except OSError:
            return False


def members_of(settings: BatchSettings) -> tuple[Member, ...]:
    """Return the patients of a batch in their order; of a folder only the first readable header is read.

    Raises
    ------
    FormatError
        If the source is not there, is no list, or holds no patient.
    """
    source, salt = settings.source, settings.salt
    if source is None:
        return tuple(
            Member(seed, pseudonym(patient_id(seed), salt), "phantom", seed=seed)
            for seed in range(1, settings.phantoms + 1)
        )
    if source.is_file():
        found: Iterable[Member | None] = (_of_folder(path, salt, listed=True) for path in _listed(source))
    elif source.is_dir():
        found = _of_mixed(source, salt) if _is_mixed(source) else _of_folders(source, salt)
    else:
        raise FormatError("The list or folder of patients is not there.", where=str(source))
    there = [member for member in found if member is not None]
    if not any(member.fault is None for member in there):
        raise FormatError(
            "There is no patient in the list or folder.",
            where=str(source),
            action="give one sub-folder of DICOM per patient, a folder of mixed DICOM, or a list of folders.",
        )
    return _once([replace(member, number=number) for number, member in enumerate(there, start=1)])


def _listed(source: Path) -> Iterator[Path]:
    """Yield the folders that a list names: one a line, or the column ``folder`` of a CSV file."""
    try:
        lines = source.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise FormatError("The list of patients is no text.", where=str(source)) from None
    named = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not named:
        raise FormatError("The list of patients is empty.", where=str(source))
    head = [cell.strip() for cell in next(csv.reader(named[:1]))]
    if COLUMN in head:
        rows = csv.DictReader(named, fieldnames=head)
        next(rows)
        texts = [(row[COLUMN] or "").strip() for row in rows]
    else:
        texts = [line.strip() for line in named]
    for text in texts:
        yield source.parent / text


def _of_folders(source: Path, salt: str) -> Iterator[Member | None]:
    for path in sorted(entry for entry in source.iterdir() if entry.is_dir()):
        yield _of_folder(path, salt)


def _of_folder(path: Path, salt: str, *, listed: bool = False) -> Member | None:
    """Return the member of a folder; None where it holds no file at all and no list names it."""
    empty = True
    for file in _files(path):
        empty = False
        try:
            return Member(0, entry_of(file, salt).person, "folder", path)
        except (DicomError, OSError):
            continue
    if empty and not listed:
        return None
    fault = "His folder is not there, or empty." if empty else "No file in his folder is readable DICOM."
    return Member(0, "", "folder", path, fault=fault)


def _is_mixed(source: Path) -> bool:
    """Whether DICOM lies in the folder itself, not in one sub-folder per patient."""
    for entry in sorted(source.iterdir()):
        if entry.is_file():
            try:
                entry_of(entry)
            except (DicomError, OSError):
                continue
            return True
    return False


def _of_mixed(source: Path, salt: str) -> Iterator[Member]:
    for person, entries in index(source, salt=salt).people.items():
        yield Member(0, person, "files", source, tuple(dict.fromkeys(entry.path for entry in entries)))


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(root) / name for name in sorted(names))


def _once(members: list[Member]) -> tuple[Member, ...]:
    """Mark the members who are there already under an earlier number: nobody is run twice."""
    first: dict[str, int] = {}
    made = []
    for member in members:
        before = first.setdefault(member.key, member.number) if member.key else member.number
        if before != member.number:
            fault = f"He is the patient of number {before} again: not run twice."
            member = replace(member, key="", fault=fault)
        made.append(member)
    return tuple(made)
