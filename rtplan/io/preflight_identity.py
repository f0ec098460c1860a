"""Preflight of names and identifiers: blank or removed names, lost UIDs, character sets; none is shown."""

from __future__ import annotations

from pydicom.charset import python_encoding
from pydicom.dataset import Dataset

from rtplan.errors import DicomError
from rtplan.io import header as hd
from rtplan.io.look import Look

#: What no decoded text may hold: the sign for what could not be decoded, and a left-over escape.
_GARBLED = ("\ufffd", "\x1b")


def look_at_identity(look: Look) -> None:
    """Add the notices on one patient's name, identifier and character sets."""
    first = look.folder.entries[0]
    empty = [key for key in ("PatientName", "PatientID") if not hd.text(first.header, key)]
    if empty:
        message = f"{' and '.join(empty)} {'is' if len(empty) == 1 else 'are'} empty."
        action = "some planning systems refuse such objects; set it before export."
        look.say("PATIENT_UNNAMED", "warn", message, action, first)
    if hd.code(first.header, "PatientIdentityRemoved") == "YES":
        message = "The header says that the patient's identity was removed."
        look.say("PATIENT_DEIDENTIFIED", "info", message, "check that it is the right patient.", first)
    for entry in look.folder.entries:
        lost = [key for key in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID") if not entry.text(key)]
        if lost:
            message = f"The {entry.kind} has no {' and no '.join(lost)}: nothing can refer to it."
            look.say("UIDS_MISSING", "warn", message, "export it again.", entry)
    for series in look.folder.series():
        wrong = _charset(series.first.header)
        if wrong:
            action = "names may be garbled; export it with the right SpecificCharacterSet."
            look.say("CHARSET_DOUBTFUL", "warn", wrong, action, series.first)


def _charset(header: Dataset) -> str:
    """Return what is wrong with the character set of an object; empty when nothing is."""
    sets = [word for word in hd.words(header, "SpecificCharacterSet") if word]
    if any(word not in python_encoding for word in sets):
        return "SpecificCharacterSet names a character set that DICOM does not know."
    raw = _raw_name(header)
    if not sets:
        plain = all(byte < 128 for byte in raw)
        return "" if plain else "PatientName holds signs beyond ASCII, but SpecificCharacterSet is missing."
    try:
        if len(sets) == 1 and not sets[0].startswith("ISO 2022"):
            raw.decode(python_encoding[sets[0]])
        garbled = any(sign in hd.undecoded(header, "PatientName") for sign in _GARBLED)
    except (UnicodeDecodeError, DicomError):
        garbled = True
    return "PatientName does not fit the SpecificCharacterSet of its object." if garbled else ""


def _raw_name(header: Dataset) -> bytes:
    """Return the bytes of PatientName as they stand in the file; empty when absent."""
    if "PatientName" not in header:
        return b""
    value = header.get_item("PatientName").value
    raw = value if isinstance(value, bytes) else getattr(value, "original_string", b"")
    return raw if isinstance(raw, bytes) else b""
