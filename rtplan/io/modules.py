"""The DICOM modules that all our objects share, the stamp of one export, and decimal strings."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import uuid
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from rtplan.domain import Identity
from rtplan.errors import OutputError
from rtplan.io.header import CLASS_UIDS

#: Stands in every object that rtplan writes.
RESEARCH_ONLY = "research use only, not for clinical use"
_DATE, _TIME = re.compile(r"\d{8}"), re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
#: Version of rtplan that writes.
VERSION = version("rtplan")

#: SeriesNumber by kind, far from a scanner's own.
SERIES_NUMBERS = {
    **{"CT": 9001, "MR": 9002, "RTSTRUCT": 9003, "RTPLAN": 9004, "RTDOSE": 9005, "REG": 9006},
    **{"SEG": 9007, "PM": 9008, "SR": 9009, "PDF": 9010},
}
#: Modality where it is not the kind itself.
MODALITIES = {"PDF": "DOC", "PM": "OT"}


@dataclass(frozen=True)
class Stamp:
    """When one export is made, by whom, and where its new UIDs come from.

    Parameters
    ----------
    when : datetime
        Date and time that stand in the objects.
    seed : str or None
        None: every UID is new. A text: the same parts give the same UIDs again (digital patients).
    """

    when: dt.datetime = field(default_factory=lambda: dt.datetime.now())
    seed: str | None = None

    def uid(self, *parts: str) -> str:
        """Return a UID of the root 2.25 for these parts.

        Examples
        --------
        >>> stamp = Stamp(seed="a patient")
        >>> stamp.uid("CT", "0") == stamp.uid("CT", "0") != stamp.uid("CT", "1")
        True
        """
        if self.seed is None:
            return f"2.25.{uuid.uuid4().int}"
        return hashed_uid(self.seed, *parts)

    @property
    def date(self) -> str:
        """DICOM DA."""
        return self.when.strftime("%Y%m%d")

    @property
    def time(self) -> str:
        """DICOM TM."""
        return self.when.strftime("%H%M%S")


def hashed_uid(*parts: str) -> str:
    """Return a UID of the root 2.25 that depends on the parts alone."""
    digest = hashlib.sha256("\x1f".join(parts).encode("utf-8")).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"


#: Says in every file which program wrote it.
IMPLEMENTATION_UID = hashed_uid("rtplan", "implementation")


def frame_uid(frame: str) -> str:
    """Return a frame of reference as a valid UID: itself, or a hash of it when it is only a name."""
    parts = frame.split(".")
    valid = all(part.isdigit() and (part == "0" or part[0] != "0") for part in parts)
    return frame if len(parts) > 1 and valid and len(frame) <= 64 else hashed_uid("frame", frame)


def start(
    kind: str, identity: Identity, stamp: Stamp, *, series_uid: str, sop_uid: str, explicit: bool = True
) -> FileDataset:
    """Begin an object: patient, study, series, equipment and SOP common modules.

    Parameters
    ----------
    kind : str
        A name of `header.CLASS_UIDS`: CT, MR, RTSTRUCT, RTPLAN, RTDOSE, REG or PDF.
    explicit : bool
        Whether an image is in Explicit VR; RT objects are always Implicit.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CLASS_UIDS[kind]
    meta.MediaStorageSOPInstanceUID = sop_uid
    # implicit for RT objects: only there fits a decimal string of more than 65534 bytes (contours, fluence)
    explicit = explicit and kind in ("CT", "MR", "PDF")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = f"RTPLAN {VERSION}"[:16]
    header = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    header.SpecificCharacterSet = "ISO_IR 192"
    header.InstanceCreationDate, header.InstanceCreationTime = stamp.date, stamp.time
    header.SOPClassUID, header.SOPInstanceUID = CLASS_UIDS[kind], sop_uid
    header.PatientID = clipped(identity.patient_id, 64) or "ANONYMOUS"
    header.PatientName = clipped(identity.name, 64) or f"RTPLAN^{header.PatientID[:57]}"
    header.PatientBirthDate, header.PatientSex = _if_like(_DATE, identity.birth_date), identity.sex
    header.StudyInstanceUID = identity.study_uid or hashed_uid("study", header.PatientID)
    own_study = not identity.study_uid  # else date and number are the hospital's, known or not
    header.StudyDate = stamp.date if own_study else _if_like(_DATE, identity.study_date)
    header.StudyTime = stamp.time if own_study else _if_like(_TIME, identity.study_time)
    header.StudyID = "RTPLAN" if own_study else clipped(identity.study_id, 16)
    header.ReferringPhysicianName = header.AccessionNumber = ""
    header.Modality, header.SeriesInstanceUID = MODALITIES.get(kind, kind), series_uid
    header.SeriesDate, header.SeriesTime, header.SeriesNumber = stamp.date, stamp.time, SERIES_NUMBERS[kind]
    if kind in ("CT", "MR", "REG"):
        header.Laterality = ""
    header.Manufacturer, header.ManufacturerModelName = "rtplan", "rtplan"
    header.SoftwareVersions = VERSION
    header.OperatorsName = ""
    return header


def _if_like(pattern: re.Pattern[str], text: str) -> str:
    """Return a value as it came where it is of the form that its representation demands, else nothing."""
    return text if pattern.fullmatch(text) else ""


def decimal(value: float) -> str:
    """Return a number as a decimal string of at most 16 characters, as exact as that allows.

    Examples
    --------
    >>> decimal(1 / 3), decimal(-1e-7 / 3), decimal(2.0)
    ('0.33333333333333', '-3.333333333e-08', '2.0')
    """
    text: str = format_number_as_ds(float(value))
    return text


def decimals(values: Iterable[float]) -> list[str]:
    """Return numbers as decimal strings of at most 16 characters each."""
    return [decimal(value) for value in values]


def put_numbers(header: Dataset, keyword: str, values: Iterable[str]) -> None:
    """Set a long decimal-string element from ready texts (not one object per number, so it is fast)."""
    header[Tag(keyword)] = DataElement(Tag(keyword), "DS", "\\".join(values), already_converted=True)


def reference(class_uid: str, sop_uid: str, frame: int | None = None) -> Dataset:
    """Return an item that refers to one object, or to one of its frames (from 1)."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = class_uid, sop_uid
    if frame is not None:
        item.ReferencedFrameNumber = frame
    return item


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return a coded concept."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def sequence(*items: Dataset) -> Items:
    """Return items as a DICOM sequence."""
    return Items(list(items))


@contextmanager
def unheard() -> Iterator[None]:
    """Keep another library's warnings to itself: they quote the header, and so the patient."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def dated(header: Dataset, stamp: Stamp) -> None:
    """Give an object that another library made the stamp's dates and our implementation."""
    header.InstanceCreationDate, header.InstanceCreationTime = stamp.date, stamp.time
    header.ContentDate, header.ContentTime = stamp.date, stamp.time
    header.SeriesDate, header.SeriesTime = stamp.date, stamp.time
    header.SpecificCharacterSet = "ISO_IR 192"
    header.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    header.file_meta.ImplementationVersionName = f"RTPLAN {VERSION}"[:16]


def clipped(text: str, length: int) -> str:
    """Return text of at most ``length`` characters without backslash and control characters."""
    return "".join(c if c.isprintable() and c != "\\" else " " for c in text).strip()[:length].strip()


def save(header: FileDataset, path: Path) -> Path:
    """Write one object to a new file.

    Raises
    ------
    OutputError
        If there is a file of that name already, or it cannot be written.
    """
    if path.exists():
        raise OutputError(
            "There is a file of that name already.", where=str(path), action="choose another name."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        header.save_as(part, enforce_file_format=True)
        part.replace(path)
    except OSError as failed:
        path.with_name(path.name + ".part").unlink(missing_ok=True)
        what = failed.strerror or "it cannot be written"
        raise OutputError(
            f"Nothing was written: {what}.", where=str(path), action="choose another folder."
        ) from None
    return path
