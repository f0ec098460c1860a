"""Headers, read with care: whatever is wrong in a file becomes a DicomError that names it."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from rtplan.errors import DicomError
from rtplan.io.part10 import LARGEST_OBJECT as LARGEST_OBJECT
from rtplan.io.part10 import guarded as guarded
from rtplan.io.part10 import quiet as quiet
from rtplan.io.part10 import read as read

#: SOP classes that rtplan knows, by UID.
SOP_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "enhanced CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.4.1": "enhanced MR",
    "1.2.840.10008.5.1.4.1.1.4.4": "enhanced MR",
    "1.2.840.10008.5.1.4.1.1.481.2": "RTDOSE",
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
    "1.2.840.10008.5.1.4.1.1.481.5": "RTPLAN",
    "1.2.840.10008.5.1.4.1.1.66.1": "REG",
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.30": "PM",
    "1.2.840.10008.5.1.4.1.1.88.33": "SR",
    "1.2.840.10008.5.1.4.1.1.104.1": "PDF",
    "1.2.840.10008.5.1.4.1.1.7": "secondary capture",
    "1.2.840.10008.5.1.4.1.1.7.1": "secondary capture",
    "1.2.840.10008.5.1.4.1.1.7.2": "secondary capture",
    "1.2.840.10008.5.1.4.1.1.7.3": "secondary capture",
    "1.2.840.10008.5.1.4.1.1.7.4": "secondary capture",
}
#: The first (not legacy converted, not multi-frame) class of each name.
CLASS_UIDS = {name: uid for uid, name in reversed(SOP_CLASSES.items())}

#: A name or identifier that is shorter (characters) is not looked for in other texts.
SHORTEST_NAME = 4
_UID = re.compile(r"^[0-9][0-9.]{0,63}$")
_CODE = re.compile(r"^[A-Za-z0-9_ ]{0,20}$")
#: One code or UID of plain letters and what pads it.
_PLAIN = re.compile(rb"([A-Za-z0-9_.]+)[ \0]?")
#: All that a list of decimal strings is made of.
_DECIMAL = b"0123456789+-.eE\\"


def text(header: Dataset, keyword: str, default: str = "") -> str:
    """Return a value as stripped text without control characters, or the default when absent."""
    plain = _plain(header, keyword)
    if plain is not None:
        return plain
    value = _value(header, keyword)
    if value is None:
        return default
    if not isinstance(value, str) and isinstance(value, Sequence):
        value = "\\".join(str(item) for item in value)
    shown = str(value)
    return (shown if shown.isprintable() else "".join(c for c in shown if c.isprintable())).strip()


def uid(header: Dataset, keyword: str) -> str:
    """Return a UID, empty when absent.

    Raises
    ------
    DicomError
        If it is not digits and dots. The value is not shown: a damaged one may hold the patient's name.
    """
    value = text(header, keyword)
    if value and not _UID.match(value):
        raise DicomError(f"{keyword} is damaged.", where=place(header), action="export it again.")
    return value


def line(header: Dataset, keyword: str) -> str:
    """Return a free text of one line as it may be shown; ``unreadable`` when it is longer or damaged."""
    value = _value(header, keyword)
    shown = "" if value is None else str(value).rstrip(" \0")
    return shown.strip() if len(shown) <= 64 and shown.isprintable() else "unreadable"


def undecoded(header: Dataset, keyword: str) -> str:
    """Return a value as it is decoded, with all its signs; empty when absent. Not to be shown."""
    value = _value(header, keyword)
    return "" if value is None else str(value)


def shown(header: Dataset, keyword: str) -> str:
    """Return a free text of one line in which the patient's name and identifier are replaced by dots."""
    said = line(header, keyword)
    parts = (text(header, "PatientID"), *re.split(r"[\^=\s]+", text(header, "PatientName")))
    for part in parts:
        if len(part) >= SHORTEST_NAME and part.lower() != "rtplan":
            said = re.sub(re.escape(part), "…", said, flags=re.IGNORECASE)
    return said


def code(header: Dataset, keyword: str) -> str:
    """Return a coded word (VR CS) as it may be shown; ``unreadable`` when it is none."""
    value = text(header, keyword)
    return value if _CODE.match(value) else "unreadable"


def words(header: Dataset, keyword: str) -> tuple[str, ...]:
    """Return a value of any multiplicity as a tuple of texts; empty when absent."""
    return tuple(part.strip() for part in text(header, keyword).split("\\")) if keyword in header else ()


def number(header: Dataset, keyword: str, default: float | None = None) -> float | None:
    """Return a finite number, or the default when absent or empty.

    Raises
    ------
    DicomError
        If it is not a finite number, or there are several where the standard has one.
    """
    values = numbers(header, keyword)
    if len(values) > 1 and pydicom.datadict.dictionary_VM(_tag(keyword)) == "1":
        raise DicomError(f"{keyword} has {len(values)} values, 1 is wanted.", where=place(header))
    return values[0] if values else default


def numbers(header: Dataset, keyword: str, count: int | None = None) -> tuple[float, ...]:
    """Return finite numbers; empty when absent.

    Raises
    ------
    DicomError
        If a value is not a finite number, or there are not ``count`` of them.
    """
    raw = raw_text(header, keyword)
    try:
        if raw is not None:
            found = tuple(float(part) for part in raw.split("\\") if part.strip(" \0"))
        else:
            value = _value(header, keyword)
            many = isinstance(value, Sequence) and not isinstance(value, str)
            items = () if value is None or value == "" else (value if many else (value,))
            found = tuple(float(item) for item in items)
    except (TypeError, ValueError):
        raise DicomError(f"{keyword} is not a number.", where=place(header)) from None
    if not all(math.isfinite(item) for item in found):
        raise DicomError(f"{keyword} is not finite.", where=place(header))
    if count is not None and len(found) != count:
        raise DicomError(f"{keyword} has {len(found)} values, {count} are wanted.", where=place(header))
    return found


def array(header: Dataset, keyword: str) -> NDArray[np.float64]:
    """Return a long list of decimal strings as an array (fast: the bytes are split once)."""
    raw = raw_text(header, keyword)
    if raw is None:
        return np.array(numbers(header, keyword), dtype=np.float64)
    try:
        values = np.array(raw.strip(" \0").split("\\"), dtype=np.float64) if raw.strip(" \0") else np.zeros(0)
    except ValueError:
        raise DicomError(f"{keyword} holds something that is not a number.", where=place(header)) from None
    if not np.isfinite(values).all():
        raise DicomError(f"{keyword} is not finite.", where=place(header))
    return values


def arrays(headers: Sequence[Dataset], keyword: str) -> list[NDArray[np.float64]]:
    """Return `array` of each of many items; plain numbers of all of them are converted at once."""
    texts = [raw_text(header, keyword) for header in headers]
    plain = [(said or "").strip(" \0").encode() for said in texts]
    together = b"\\".join([*plain, b"0"])
    if all(plain) and not together.translate(None, _DECIMAL):
        counts = [said.count(b"\\") + 1 for said in plain]
        values = _split(together.decode())
        if values.size == sum(counts) + 1 and np.isfinite(values).all():
            ends = np.cumsum(counts).tolist()
            return [values[end - count : end] for end, count in zip(ends, counts, strict=True)]
    return [array(header, keyword) for header in headers]


def _split(said: str) -> NDArray[np.float64]:
    """Return the numbers between backslashes up to the first that is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # an error in later versions of numpy
        try:
            return np.fromstring(said, dtype=np.float64, sep="\\")
        except ValueError:
            return np.zeros(0)


def whole(header: Dataset, keyword: str, default: int | None = None) -> int:
    """Return a whole number.

    Raises
    ------
    DicomError
        If it is absent and there is no default, or not a whole number.
    """
    value = number(header, keyword)
    if value is None:
        if default is None:
            raise DicomError(f"{keyword} is missing.", where=place(header))
        return default
    if value != int(value):
        raise DicomError(f"{keyword} is not a whole number.", where=place(header))
    return int(value)


def items(header: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence; empty when absent.

    Raises
    ------
    DicomError
        If the value is there but is not a sequence.
    """
    value = _value(header, keyword)
    if value is None or value == "":
        return []
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise DicomError(f"{keyword} is not a sequence.", where=place(header))
    found = list(value)
    if not all(isinstance(item, Dataset) for item in found):
        raise DicomError(f"{keyword} is not a sequence.", where=place(header))
    return found


def raw_text(header: Dataset, keyword: str) -> str | None:
    """Return the undecoded text of a decimal string that pydicom has not yet converted, else None."""
    tag = _tag(keyword)
    if tag not in header:
        return None
    element: Any = header.get_item(tag)
    if getattr(element, "is_raw", False) and element.VR in ("DS", "IS", None, "UN"):
        value = element.value
        if isinstance(value, bytes) and _dictionary_vr(tag) in ("DS", "IS"):
            try:
                return value.decode("ascii")
            except UnicodeDecodeError:
                raise DicomError(f"{keyword} is damaged.", where=place(header)) from None
    return None


def raw_bytes(header: Dataset, keyword: str) -> bytes | None:
    """Return the bytes of a value that pydicom has not yet converted, else None."""
    tag = _tag(keyword)
    element: Any = header.get_item(tag) if tag in header else None
    value = element.value if getattr(element, "is_raw", False) else None
    return value if isinstance(value, bytes) else None


def vr_of(header: Dataset, tag: BaseTag) -> str:
    """Return the VR of an element that is there; that of the dictionary where the file says none or UN."""
    said = header.get_item(tag).VR
    if said not in (None, "UN") or not pydicom.datadict.dictionary_has_tag(tag):
        return said or "UN"
    return str(pydicom.datadict.dictionary_VR(tag)).split(" or ")[0]


def empty_element(tag: BaseTag, vr: str) -> DataElement:
    """Return an element without a value."""
    return DataElement(tag, vr, None)


def demand_kind(header: Dataset, kind: str, path: Path) -> None:
    """Raise DicomError unless the object is of this kind (by SOPClassUID; by Modality where it has none)."""
    class_uid = text(header, "SOPClassUID")
    if class_uid == CLASS_UIDS[kind] or (not class_uid and text(header, "Modality") == kind):
        return
    found = SOP_CLASSES.get(class_uid) or code(header, "Modality") or "something else"
    raise DicomError(
        f"The file is not an {kind} but {found}.", where=str(path), action=f"give an {kind} file."
    )


def place(header: Dataset) -> str:
    """Return the file that a header came from; empty for an item of a sequence."""
    return str(getattr(header, "filename", None) or "")


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


@cache
def _dictionary_vr(tag: BaseTag) -> str:
    return str(pydicom.datadict.dictionary_VR(tag))


def _plain(header: Dataset, keyword: str) -> str | None:
    """Return one code or UID of plain letters that pydicom has not yet converted (it would say the same)."""
    raw = raw_bytes(header, keyword)
    tag = _tag(keyword)
    if raw is None or _dictionary_vr(tag) not in ("CS", "UI"):
        return None
    found = _PLAIN.fullmatch(raw) if header.get_item(tag).VR in ("CS", "UI", None) else None
    return found[1].decode("ascii") if found else None


def _value(header: Dataset, keyword: str) -> Any:
    tag = _tag(keyword)
    if tag not in header:
        return None
    try:
        with quiet():
            return header[tag].value
    except Exception as broken:
        raise DicomError(
            f"{keyword} is damaged ({type(broken).__name__}).", where=place(header), action="export it again."
        ) from broken
