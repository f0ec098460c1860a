"""What the node needs to know of an object: its UIDs and modality, from the header alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pynetdicom.dsutils import split_dataset

from rtplan.errors import DicomError
from rtplan.io import header as hd
from rtplan.io.part10 import open_header

_TAGS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")


@dataclass(frozen=True)
class Facts:
    """UIDs and modality of one object."""

    class_uid: str
    sop_uid: str
    study_uid: str
    series_uid: str
    modality: str


def facts_of(path: Path) -> Facts:
    """Read the header of a file.

    Raises
    ------
    DicomError
        If it is damaged, or one of its UIDs is missing or damaged.
    """
    opened = open_header(path, _TAGS)
    if opened is None:
        raise DicomError("The file is no DICOM.", where=path.name)
    sop_class, sop, study, series = (hd.uid(opened.header, keyword) for keyword in _TAGS[:4])
    if not (sop_class and sop and study and series):
        raise DicomError("A UID is missing.", where=path.name)
    return Facts(sop_class, sop, study, series, hd.code(opened.header, "Modality"))


def description_of(path: Path) -> str:
    """Return the description of the series that a file is of; to be compared, never shown."""
    opened = open_header(path, ("SpecificCharacterSet", "SeriesDescription"))
    return "" if opened is None else hd.undecoded(opened.header, "SeriesDescription")


def content_of(path: Path) -> tuple[str, str, int]:
    """Return transfer syntax, SHA-256 and length (bytes) of the data set in a file.

    Raises
    ------
    DicomError
        If it is no DICOM file.
    """
    with hd.guarded(path):
        meta, offset = split_dataset(path)
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            stream.seek(offset)
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
        return str(meta.TransferSyntaxUID), digest.hexdigest(), path.stat().st_size - offset
