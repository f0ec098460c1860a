"""The bytes of a ContourSequence, many contours at once; points as decimal strings."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from rtplan.errors import StructureError

#: Decimals of a coordinate in mm: 0.1 µm.
DECIMALS = 4
#: No coordinate is farther from the origin, mm; so a decimal string has at most 12 characters.
FARTHEST_MM = 100_000.0

_IMAGES, _CLASS, _INSTANCE = (0x3006, 0x0016), (0x0008, 0x1150), (0x0008, 0x1155)
_FRAME = (0x0008, 0x1160)
_KIND, _POINTS, _NUMBER, _DATA = (0x3006, 0x0042), (0x3006, 0x0046), (0x3006, 0x0048), (0x3006, 0x0050)
_ITEM = (0xFFFE, 0xE000)


@dataclass(frozen=True)
class Contour:
    """One item: its geometric type, points as text, how many they are, and its image (class, UID, frame).

    The number of the frame, from 1, is None for an image of one frame.
    """

    kind: str
    points: bytes
    count: int
    image: tuple[str, str, int | None] | None = None


def decimal_texts(rings: Sequence[NDArray[np.float64]]) -> list[bytes]:
    r"""Return each ring's points, shape (n, 3), mm, as ``x\y\z\x…`` without needless zeros.

    Raises
    ------
    StructureError
        If a coordinate is farther than 100 m from the origin.

    Examples
    --------
    >>> decimal_texts([np.array([[-0.00001, 12.5, -104.0], [1 / 3, 0.0, 7.00019]])])
    [b'0\\12.5\\-104\\0.3333\\0\\7.0002']
    """
    if not rings:
        return []
    values = np.concatenate(rings).ravel()
    if np.abs(values).max(initial=0.0) >= FARTHEST_MM:
        raise StructureError(
            "A contour lies more than 100 m from the origin.", action="check the frame of reference."
        )
    scaled = np.rint(values * 10**DECIMALS).astype(np.int64)
    size = np.abs(scaled).astype(np.uint32)
    letters, kept = _letters(size, scaled < 0)
    lengths = kept.sum(axis=1, dtype=np.int64)
    text = letters[kept].tobytes()
    last = np.cumsum([ring.size for ring in rings]) - 1
    ends = np.cumsum(lengths)[last].tolist()
    starts = [0, *ends[:-1]]
    return [text[start : end - 1] for start, end in zip(starts, ends, strict=True)]  # without the last "\"


def _letters(
    size: NDArray[np.uint32], negative: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return a row of letters per number (sign, digits, point, decimals, backslash), and which to keep."""
    whole = max(len(str(int(size.max(initial=0)))) - DECIMALS, 1)
    width = 1 + whole + 1 + DECIMALS + 1
    letters = np.empty((size.size, width), np.uint8)
    kept = np.ones((size.size, width), np.bool_)
    letters[:, 0], kept[:, 0] = ord("-"), negative
    letters[:, 1 + whole] = ord(".")
    letters[:, -1] = ord("\\")
    rest = size.copy()
    trailing = np.ones(size.size, np.bool_)
    for power in range(DECIMALS + whole):
        column = width - 2 - power if power < DECIMALS else whole - (power - DECIMALS)
        higher = rest // np.uint32(10)
        digit = rest - higher * np.uint32(10)
        letters[:, column] = digit + np.uint32(ord("0"))
        if power < DECIMALS:
            trailing &= digit == 0
            kept[:, column] = ~trailing
        elif power > DECIMALS:
            kept[:, column] = rest > 0
        rest = higher
    kept[:, 1 + whole] = ~trailing
    return letters, kept


def contour_sequence(contours: Iterable[Contour]) -> RawDataElement:
    """Return a ContourSequence as the element that pydicom writes untouched (implicit little endian)."""
    value = b"".join(_item(number, contour) for number, contour in enumerate(contours, start=1))
    # without a VR: pydicom would take a sequence apart again before it writes it
    return RawDataElement(Tag("ContourSequence"), None, len(value), value, 0, True, True)


def image_sequence(class_uid: str, uids: Iterable[str]) -> RawDataElement:
    """Return a ContourImageSequence as `contour_sequence` returns its own."""
    value = b"".join(_element(_ITEM, _reference(class_uid, uid)) for uid in uids)
    return RawDataElement(Tag("ContourImageSequence"), None, len(value), value, 0, True, True)


def _reference(class_uid: str, uid: str) -> bytes:
    return _element(_CLASS, class_uid.encode(), b"\0") + _element(_INSTANCE, uid.encode(), b"\0")


def _item(number: int, contour: Contour) -> bytes:
    content = b""
    if contour.image is not None:
        class_uid, uid, frame = contour.image
        reference = _reference(class_uid, uid)
        if frame is not None:
            reference += _element(_FRAME, str(frame).encode())
        content = _element(_IMAGES, _element(_ITEM, reference))
    content += _element(_KIND, contour.kind.encode())
    content += _element(_POINTS, str(contour.count).encode())
    content += _element(_NUMBER, str(number).encode())
    content += _element(_DATA, contour.points)
    return _element(_ITEM, content)


def _element(tag: tuple[int, int], value: bytes, pad: bytes = b" ") -> bytes:
    if len(value) % 2:
        value += pad
    return struct.pack("<HHI", *tag, len(value)) + value
