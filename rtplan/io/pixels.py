"""The values of slices: straight from the file where its pixels lie bare, else by pydicom's decoders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder, iter_pixels
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)

from rtplan.errors import DicomError
from rtplan.io import header as hd
from rtplan.io.index import Entry
from rtplan.io.part10 import stamp_of

Values = NDArray[np.float32]

#: Transfer syntaxes whose pixels lie in the file as they are.
BARE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
#: Transfer syntaxes that lose values by nature.
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless)
#: Reading and rescaling release the interpreter: this many slices at a time.
THREADS = min(4, os.cpu_count() or 1)
#: What is advised where a decoder lacks.
UNCOMPRESSED = "export it uncompressed (explicit VR little endian)."

#: What the decoding of a slice needs.
PIXEL_TAGS = (
    "SpecificCharacterSet",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelData",
    "FloatPixelData",
)


@dataclass(frozen=True, eq=False)
class _Plane:
    """One slice: how its pixels are stored, what they mean, and where they go."""

    entry: Entry
    out: Values
    frames: int
    dtype: np.dtype[Any]
    spare_bits: int
    slope: float
    intercept: float

    @property
    def size(self) -> int:
        """Bytes of one frame."""
        return self.out.size * self.dtype.itemsize

    def put(self, stored: NDArray[Any]) -> None:
        """Rescale stored values into their place."""
        if self.slope == 1.0 and self.intercept == int(self.intercept) and self.dtype.itemsize <= 2:
            np.add(stored, np.float32(self.intercept), out=self.out)  # exact in 24 bits
        else:
            self.out[...] = stored.astype(np.float64) * self.slope + self.intercept


def fill(array: Values, entries: Sequence[Entry]) -> None:
    """Read the values of slices, rescaled slice by slice.

    Parameters
    ----------
    array : ndarray of float32, shape (z, y, x)
        Filled in place: plane k with the values of ``entries[k]``.
    entries : sequence of Entry
        One for each plane; several may be frames of one file.

    Raises
    ------
    DicomError
        If pixels cannot be decoded, contradict their description, or a file changed since it was indexed.
    """
    planes = []
    for k, entry in enumerate(entries):
        with hd.guarded(entry.path):
            planes.append(_describe(entry, array[k]))
    with ThreadPoolExecutor(THREADS) as pool:
        done = list(pool.map(_straight, planes))
    left: dict[Path, list[_Plane]] = {}
    for plane, read in zip(planes, done, strict=True):
        if not read:
            left.setdefault(plane.entry.path, []).append(plane)
    for path, group in left.items():
        with hd.guarded(path):
            _decode(path, group)


def _describe(entry: Entry, out: Values) -> _Plane:
    header = entry.header
    allocated, stored, signed = _bits(header)
    _demand_grey(header)
    rows, columns = hd.whole(header, "Rows"), hd.whole(header, "Columns")
    frames = hd.whole(header, "NumberOfFrames", 1)
    if (rows, columns) != out.shape or not 0 <= entry.number < frames:
        message = f"The pixels form {(rows, columns)} in {frames} frames, {out.shape} is wanted."
        raise DicomError(message, where=str(entry.path))
    slope = hd.number(header, "RescaleSlope", 1.0) or 0.0
    if slope == 0.0:
        raise DicomError("RescaleSlope is 0.", where=str(entry.path), action="export the series again.")
    return _Plane(
        entry=entry,
        out=out,
        frames=frames,
        dtype=np.dtype(f"<{'i' if signed else 'u'}{allocated // 8}"),
        spare_bits=allocated - stored,
        slope=slope,
        intercept=hd.number(header, "RescaleIntercept", 0.0) or 0.0,
    )


def _straight(plane: _Plane) -> bool:
    """Read one plane without a decoder; False where pydicom must look, which then names the fault."""
    entry, size = plane.entry, plane.size
    syntax = syntax_of(entry.header)
    if syntax not in BARE or not entry.pixels_at:
        return False
    try:
        with entry.path.open("rb", buffering=0) as stream:
            if stamp_of(stream) != entry.stamp:
                return False
            stream.seek(entry.pixels_at)
            length, begin = _element(stream.read(12), explicit=syntax == ExplicitVRLittleEndian)
            if not plane.frames * size <= length <= plane.frames * size + 1:
                return False
            stream.seek(entry.pixels_at + begin + entry.number * size)
            stored = np.empty(plane.out.shape, plane.dtype)
            if stream.readinto(stored.data.cast("B")) != size:
                return False
    except OSError:
        return False
    plane.put(_cleared(stored, plane.spare_bits))
    return True


def _element(first: bytes, *, explicit: bool) -> tuple[int, int]:
    """Return length and begin of the value of a PixelData element; length -1 where it is none."""
    if first[:4] != b"\xe0\x7f\x10\x00" or len(first) < 12:
        return -1, 0
    if not explicit:
        return int.from_bytes(first[4:8], "little"), 8
    return (int.from_bytes(first[8:12], "little"), 12) if first[4:6] in (b"OW", b"OB") else (-1, 0)


def _cleared(stored: NDArray[Any], spare: int) -> NDArray[Any]:
    """Clear the bits above the stored ones (overlays), and extend the sign."""
    return (stored << spare) >> spare if spare else stored


def _decode(path: Path, planes: Sequence[_Plane]) -> None:
    """Read the planes of one file through pydicom."""
    header = hd.read(path, tags=PIXEL_TAGS, pixels=True)
    first = planes[0]
    if hd.text(header, "SOPInstanceUID") != first.entry.sop_uid:
        raise DicomError("The file changed while it was read.", where=str(path))
    _demand_sense(header)
    order = sorted(planes, key=lambda plane: plane.entry.number)
    frames = iter_pixels(header, indices=[plane.entry.number for plane in order], raw=True)
    for plane, frame in zip(order, frames, strict=True):
        if frame.shape != plane.out.shape:
            message = f"The pixels form {frame.shape}, {plane.out.shape} is said."
            raise DicomError(message, where=str(path))
        plane.put(_signed(frame, header))


def syntax_of(header: Dataset) -> UID | None:
    """Return the transfer syntax of a file's header; None where it does not say."""
    return getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)


def undecodable(syntax: UID) -> str:
    """Return why pixels of a transfer syntax cannot be decoded here; empty when they can.

    Examples
    --------
    >>> undecodable(UID("1.2.840.10008.1.2.5")), undecodable(UID("1.2.840.10008.1.2.4.102"))
    ('', 'MPEG-4 AVC/H.264 High Profile / Level 4.1')
    """
    if not syntax.is_transfer_syntax:
        return f"transfer syntax {syntax}"
    if not syntax.is_compressed or syntax.is_deflated:
        return ""
    try:
        known = get_decoder(syntax).is_available
    except NotImplementedError:
        known = False
    return "" if known else str(syntax.name)


def pixels_of(header: Dataset) -> NDArray[np.generic]:
    """Return the stored values of an object, signs extended and unused bits cleared.

    Raises
    ------
    DicomError
        If the pixel description contradicts itself or the length of the data, or no decoder is installed.
    """
    _demand_sense(header)
    return _signed(np.asarray(header.pixel_array), header)


def _signed(array: NDArray[Any], header: Dataset) -> NDArray[Any]:
    _, stored, signed = _bits(header)
    spare = array.dtype.itemsize * 8 - stored
    if spare and array.dtype.kind in "iu":
        array = array.view(np.dtype(f"{'i' if signed else 'u'}{array.dtype.itemsize}"))
    return _cleared(array, spare if array.dtype.kind in "iu" else 0)


def _bits(header: Dataset) -> tuple[int, int, int]:
    """Return BitsAllocated, BitsStored and PixelRepresentation."""
    allocated, stored = hd.whole(header, "BitsAllocated"), hd.whole(header, "BitsStored")
    high, signed = hd.whole(header, "HighBit", stored - 1), hd.whole(header, "PixelRepresentation")
    fit = allocated in (8, 16, 32) and 0 < stored <= allocated and high == stored - 1
    if not fit or signed not in (0, 1):
        message = f"Bits allocated {allocated}, stored {stored}, high bit {high}, sign {signed} do not fit."
        raise DicomError(message, where=hd.place(header))
    return allocated, stored, signed


def _demand_sense(header: Dataset) -> None:
    """Raise DicomError unless there are grey pixels of the length that the header says, and a decoder."""
    where = hd.place(header)
    if "PixelData" not in header:
        raise DicomError("The object has no pixels.", where=where, action="export it again.")
    allocated, _, _ = _bits(header)
    frames = hd.whole(header, "NumberOfFrames", 1)
    wanted = hd.whole(header, "Rows") * hd.whole(header, "Columns") * frames * allocated // 8
    syntax = syntax_of(header)
    if syntax is None:
        raise DicomError("The file does not say its transfer syntax.", where=where)
    codec = undecodable(syntax)
    if codec:
        message = f"The pixels are compressed as {codec}; no decoder for it is installed."
        raise DicomError(message, where=where, action=UNCOMPRESSED)
    if frames < 1 or wanted < 1 or wanted > hd.LARGEST_OBJECT:
        raise DicomError("Rows, Columns or NumberOfFrames is impossible.", where=where)
    got = len(header.PixelData)
    if not syntax.is_compressed and not wanted <= got <= wanted + 1:
        message = f"The pixels are {got} bytes, {wanted} are wanted: the file is cut or its header is wrong."
        raise DicomError(message, where=where, action="export it again.")
    _demand_grey(header)


def _demand_grey(header: Dataset) -> None:
    if hd.text(header, "PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        message = "The image is not grey (PhotometricInterpretation)."
        raise DicomError(message, where=hd.place(header), action="export the grey image.")
