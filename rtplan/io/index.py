"""What lies in a folder: headers only, grouped into patients, studies, series and RT objects."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from rtplan.errors import DicomError
from rtplan.io import header as hd
from rtplan.io.part10 import open_header

#: What the index keeps of each header.
# fmt: off
TAGS = (
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "Modality", "StudyInstanceUID",
    "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "PatientBirthDate",
    "PatientSex", "PatientPosition", "SeriesDescription", "SeriesNumber", "SeriesDate", "SeriesTime",
    "StudyDate", "StudyTime", "StudyID", "InstanceCreationDate", "InstanceCreationTime", "ImageType",
    "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PhotometricInterpretation", "RescaleType", "EchoTime", "RepetitionTime", "FlipAngle",
    "ScanningSequence", "SequenceVariant", "SequenceName", "ProtocolName", "ScanOptions",
    "MagneticFieldStrength", "PixelBandwidth", "InPlanePhaseEncodingDirection", "InversionTime",
    "EchoNumbers", "DiffusionBValue", "TemporalPositionIdentifier", "AcquisitionNumber", "SliceThickness",
    "KVP", "PixelPaddingValue", "Manufacturer", "ManufacturerModelName", "SoftwareVersions",
    "ReconstructionDiameter", "DataCollectionDiameter", "GantryDetectorTilt", "BurnedInAnnotation",
    "LossyImageCompression", "PatientIdentityRemoved", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "StructureSetLabel", "StructureSetDate",
    "StructureSetTime", "ReferencedFrameOfReferenceSequence", "StructureSetROISequence", "RTPlanLabel",
    "RTPlanDate", "RTPlanTime", "ReferencedStructureSetSequence", "DoseUnits", "DoseType",
    "DoseSummationType", "ReferencedRTPlanSequence", "ContentDate", "ContentTime",
)
# fmt: on

#: Endings of files that ought to be DICOM: one that is not is said, never passed over.
DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")
#: Objects that are read without their UIDs too: they are single, so nothing is mixed up by it.
BY_MODALITY = ("RTDOSE", "RTPLAN", "RTSTRUCT")
_UIDS = ("SOPInstanceUID", "SeriesInstanceUID")
#: Pseudonyms of one project are alike on every machine; a clinic gives a salt of its own.
SALT = "rtplan"


@dataclass(frozen=True, eq=False)
class Entry:
    """One DICOM file of the folder, or one frame of a multi-frame file (`multiframe.unrolled`).

    Parameters
    ----------
    path, header, kind, sop_uid, series_uid, study_uid, frame, person
        File, the elements that `TAGS` names, kind of object, UIDs (``frame`` of reference) and pseudonym.
    pixels_at, stamp
        Where the pixels begin in the file, and its size and time of change when it was indexed.
    number, unrolled : int, bool
        Number of the frame in its file, from 0; whether the entry is one frame of several.
    """

    path: Path
    header: Dataset
    kind: str
    sop_uid: str
    series_uid: str
    study_uid: str
    frame: str
    person: str
    pixels_at: int = 0
    stamp: tuple[int, int] = (0, 0)
    number: int = 0
    unrolled: bool = False

    def text(self, keyword: str) -> str:
        """Return a value of the header as text."""
        return hd.text(self.header, keyword)


def description_of(header: Dataset) -> str:
    """Return SeriesDescription, else ProtocolName, as it may be shown."""
    return hd.shown(header, "SeriesDescription") or hd.shown(header, "ProtocolName")


@dataclass(frozen=True, eq=False)
class Series:
    """The files of one SeriesInstanceUID."""

    uid: str
    kind: str
    entries: tuple[Entry, ...]

    @property
    def first(self) -> Entry:
        """The first file by name; it speaks for what all have in common."""
        return self.entries[0]

    @property
    def description(self) -> str:
        """SeriesDescription, else ProtocolName."""
        return description_of(self.first.header)


@dataclass(frozen=True, eq=False)
class Folder:
    """All that was found."""

    path: Path
    entries: tuple[Entry, ...]
    skipped: tuple[tuple[Path, str], ...] = ()

    @property
    def people(self) -> dict[str, tuple[Entry, ...]]:
        """Entries by pseudonym of the patient."""
        return _grouped(self.entries, lambda entry: entry.person)

    def series(self, *kinds: str) -> tuple[Series, ...]:
        """Return the series of these kinds (``CT``, ``MR``, ``RTSTRUCT`` …), largest first; all if none."""
        wanted = [e for e in self.entries if not kinds or e.kind in kinds]
        groups = _grouped(wanted, lambda entry: f"{entry.series_uid or entry.path}|{entry.kind}")
        found = [Series(group[0].series_uid, group[0].kind, group) for group in groups.values()]
        return tuple(sorted(found, key=lambda s: (-len(s.entries), str(s.first.path))))

    def objects(self, kind: str) -> tuple[Entry, ...]:
        """Return the single objects of a kind (``RTSTRUCT``, ``RTPLAN``, ``RTDOSE``, ``REG``)."""
        return tuple(entry for entry in self.entries if entry.kind == kind)


def index(folder: Path, *, salt: str = SALT, progress: Callable[[int, int], None] | None = None) -> Folder:
    """Read the headers of every DICOM file below a folder.

    Files that are not DICOM are passed over; DICOM files that cannot be read are listed as skipped.

    Parameters
    ----------
    folder : Path
        A folder, or one file.
    salt : str
        Enters the pseudonyms (`pseudonym`).
    progress : callable, optional
        Called with the number of files seen so far, and of all.

    Raises
    ------
    DicomError
        If the folder is not there, may not be read, or holds no DICOM file.
    """
    folder = Path(folder)
    entries: list[Entry] = []
    skipped: list[tuple[Path, str]] = []
    with hd.quiet():
        paths = list(_files(folder))
        for count, path in enumerate(paths, start=1):
            if progress is not None:
                progress(count, len(paths))
            try:
                entry = _entry(path, salt)
                if entry is not None:
                    entries.append(entry)
                elif path.suffix.lower() in DICOM_SUFFIXES:
                    skipped.append((path, "The file is called DICOM, but is none: cut or empty."))
            except DicomError as broken:
                skipped.append((path, broken.message))
    if not entries:
        what = "There is no DICOM file."
        if skipped:
            what = f"None of the {len(skipped)} DICOM files can be read; the first: {skipped[0][1]}"
        raise DicomError(what, where=str(folder), action="give the folder that holds the DICOM series.")
    return Folder(folder, tuple(entries), tuple(skipped))


def entry_of(path: Path, salt: str = SALT) -> Entry:
    """Read the header of one file into an index entry.

    Raises
    ------
    DicomError
        If the file is no DICOM, damaged, or an image without SOPClassUID, SOPInstanceUID or
        SeriesInstanceUID.
    """
    entry = _entry(path, salt)
    if entry is None:
        raise DicomError("The file is no DICOM: cut or empty.", where=str(path), action="export it again.")
    return entry


def _entry(path: Path, salt: str) -> Entry | None:
    opened = open_header(path, TAGS)
    if opened is None:
        return None
    header = opened.header
    with hd.guarded(path):
        kind = _kind(header)
        missing = [key for key in ("SOPClassUID", *_UIDS) if not hd.text(header, key)]
        if missing and kind not in BY_MODALITY:
            action = "export it again."
            raise DicomError(f"The object has no {' and no '.join(missing)}.", where=str(path), action=action)
        return Entry(
            path=path,
            header=header,
            kind=kind,
            sop_uid=hd.uid(header, "SOPInstanceUID"),
            series_uid=hd.uid(header, "SeriesInstanceUID"),
            study_uid=hd.uid(header, "StudyInstanceUID"),
            frame=hd.uid(header, "FrameOfReferenceUID"),
            person=_person(header, salt),
            pixels_at=opened.pixels_at,
            stamp=opened.stamp,
        )


def _kind(header: Dataset) -> str:
    """Return the kind of an object: by its SOP class; by Modality where it has none."""
    class_uid, modality = hd.uid(header, "SOPClassUID"), hd.code(header, "Modality")
    if not class_uid and modality in BY_MODALITY:
        return modality
    return hd.SOP_CLASSES.get(class_uid, f"other ({modality})")


def pseudonym(patient_id: str, salt: str = SALT) -> str:
    """Return the first 12 hexadecimal digits of SHA-256(salt + PatientID).

    Examples
    --------
    >>> pseudonym("PHANTOM 1") == pseudonym(" PHANTOM 1 "), len(pseudonym("PHANTOM 1"))
    (True, 12)
    """
    return hashlib.sha256((salt + patient_id.strip()).encode("utf-8")).hexdigest()[:12]


def _person(header: Dataset, salt: str) -> str:
    known = hd.text(header, "PatientID")
    return pseudonym(known or f"study {hd.text(header, 'StudyInstanceUID')}", salt)


def _files(folder: Path) -> Iterator[Path]:
    if not folder.exists():
        raise DicomError("There is no such folder.", where=str(folder), action="check the path.")
    if folder.is_file():
        yield folder
        return

    def stop(error: OSError) -> None:
        action = "ask for permission to read it."
        raise DicomError("A folder may not be read.", where=str(error.filename), action=action)

    for root, folders, names in os.walk(folder, onerror=stop):
        folders.sort()
        for name in sorted(names):
            path = Path(root) / name
            if path.is_file():
                yield path


def _grouped(entries: Iterable[Entry], key: Callable[[Entry], Any]) -> dict[Any, tuple[Entry, ...]]:
    groups: dict[Any, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(key(entry), []).append(entry)
    return {name: tuple(group) for name, group in groups.items()}
