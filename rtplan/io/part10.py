"""A DICOM file is opened with care: whatever is wrong with it becomes a DicomError that names it."""

from __future__ import annotations

import io
import logging
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from rtplan.errors import DicomError

#: FloatPixelData, DoubleFloatPixelData and PixelData follow each other, and only padding comes after them.
FIRST_PIXELS = 0x7FE00008
#: Items and delimiters; outside a sequence they say that a length before them is wrong.
STRAY_ITEMS = 0xFFFE0000
#: No object that rtplan reads is larger (bytes); a header that claims more is lying.
LARGEST_OBJECT = 2 * 2**30
#: A value longer than this (bytes) is compared with the file before memory is set aside for it.
PLAUSIBLE_VALUE = 2**20


# pydicom's log lines quote values of the header, and so the patient
logging.getLogger("pydicom").setLevel(logging.CRITICAL)


class _Bounded(io.BufferedReader):
    """A file that asks for no more memory than it has bytes, whatever length an element claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most what is there."""
        if size is not None and size > PLAUSIBLE_VALUE:
            size = min(size, os.fstat(self.fileno()).st_size)
        return super().read(size)


def _open(path: Path) -> BinaryIO:
    return _Bounded(io.FileIO(path, "rb"))


_here = threading.local()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom's warnings, which quote values of the header; nested calls cost nothing."""
    if getattr(_here, "quiet", False):
        yield
        return
    _here.quiet = True
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        _here.quiet = False


@contextmanager
def guarded(path: Path, doing: str = "read") -> Iterator[None]:
    """Turn anything that pydicom or a broken value raises into a DicomError that names the file.

    Messages of the libraries are not passed on: they may hold values of the header, and so the patient.
    """
    try:
        with quiet():
            yield
    except DicomError as known:
        if str(path) in known.where:
            raise
        raise DicomError(known.message, where=str(path), action=known.action) from None
    except FileNotFoundError:
        raise DicomError("There is no such file.", where=str(path), action="check the path.") from None
    except PermissionError:
        raise DicomError(
            "The file may not be read.", where=str(path), action="ask for permission to read it."
        ) from None
    except MemoryError:
        raise DicomError("The object does not fit into memory.", where=str(path)) from None
    except Exception as broken:
        raise DicomError(
            f"The file could not be {doing}: it is damaged or not what it says ({type(broken).__name__}).",
            where=str(path),
            action="export it again.",
        ) from broken


@dataclass(frozen=True, eq=False)
class Opened:
    """The header of a file, and what tells whether the file is still the same when its pixels are read.

    Parameters
    ----------
    header : Dataset
        The elements that were asked for.
    pixels_at : int
        Where the element of the pixels begins, bytes from the start of the file.
    stamp : tuple of int
        Size (bytes) and time of change (ns) of the file.
    """

    header: Dataset
    pixels_at: int
    stamp: tuple[int, int]


def stamp_of(stream: BinaryIO) -> tuple[int, int]:
    """Return size (bytes) and time of change (ns) of an open file."""
    facts = os.fstat(stream.fileno())
    return facts.st_size, facts.st_mtime_ns


def open_header(path: Path, tags: Sequence[str]) -> Opened | None:
    """Read some elements of a file up to its pixels; None when it is no DICOM.

    Raises
    ------
    DicomError
        As `read`.
    """
    with guarded(path), _open(path) as stream:
        start = _begins(stream)
        if not start:
            return None
        stamp = stamp_of(stream)
        header = _parse(stream, start, str(path), tags=tags)
        return Opened(header, stream.tell(), stamp)


def read(path: Path, *, tags: Sequence[str] | None = None, pixels: bool = False) -> Dataset:
    """Read one DICOM file.

    Parameters
    ----------
    path : Path
        A DICOM Part 10 file.
    tags : sequence of str, optional
        Keywords to keep; all when None.
    pixels : bool
        Whether PixelData is read too.

    Raises
    ------
    DicomError
        If the file is missing, not DICOM, damaged or larger than any object that rtplan reads.
    """
    path = Path(path)
    with guarded(path), _open(path) as stream:
        start = _begins(stream) or "none"  # pydicom refuses what is none
        return _parse(stream, start, str(path), tags=tags, pixels=pixels)


def _parse(
    stream: BinaryIO, start: str, where: str, *, tags: Sequence[str] | None, pixels: bool = False
) -> Dataset:
    if stamp_of(stream)[0] > LARGEST_OBJECT:
        raise DicomError("The file is larger than 2 GiB.", where=where)
    bare = start == "bare"
    stops: list[int] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if int.__ge__(tag, FIRST_PIXELS):  # BaseTag's own comparison is slow, and each element is asked
            stops.append(int(tag))
            return True
        return False

    header = read_partial(
        stream,
        None if pixels else at_pixels,
        force=bare,
        specific_tags=_tags(tuple(tags)) if tags else None,
    )
    if any(tag >= STRAY_ITEMS for tag in stops) or (not stops and stream.tell() < stamp_of(stream)[0]):
        message = "The data set ends before the file does: the length of a sequence is wrong."
        raise DicomError(message, where=where, action="export it again.")
    if bare:  # old systems write the data set alone: little endian, its VRs show themselves
        implicit = header.original_encoding[0]
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return header


def _begins(stream: BinaryIO) -> str:
    first = stream.read(132)
    stream.seek(0)
    if first[128:] == b"DICM":
        return "part 10"
    # a bare data set begins with a short element of group 0008 (0000, 0005, 0008 …)
    return "bare" if first[:2] == b"\x08\x00" and first[3:4] == b"\0" and len(first) == 132 else ""


@cache
def _tags(keywords: tuple[str, ...]) -> list[BaseTag | int]:
    return [Tag(keyword) for keyword in keywords]
