"""The values of slices: straight from the file where its pixels lie bare, else by pydicom's decoders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from rtplan.errors import DicomError
from rtplan.io import apart
from rtplan.io import header as hd
from rtplan.io.codec import PIXEL_TAGS, bits, demand_grey, demand_sense, frames, runs_apart, syntax_of
from rtplan.io.index import Entry
from rtplan.io.part10 import stamp_of

Values = NDArray[np.float32]

#: Transfer syntaxes whose pixels lie in the file as they are.
BARE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
#: Reading and rescaling release the interpreter: this many slices at a time.
THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, eq=False)
class _Plane:
    """One slice: how its pixels are stored, what they mean, and where they go."""

    entry: Entry
    out: Values
    syntax: UID | None
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
    for group in left.values():
        group.sort(key=lambda plane: plane.entry.number)
    distant = {path: group for path, group in left.items() if runs_apart(group[0].syntax)}
    for path, group in left.items():
        if path not in distant:
            with hd.guarded(path):
                _decode(path, group)
    if distant:
        requests = [(path, [plane.entry.number for plane in group]) for path, group in distant.items()]
        for path, values in apart.decode(requests):
            with hd.guarded(path):
                _put(hd.read(path, tags=PIXEL_TAGS), distant[path], values)


def _describe(entry: Entry, out: Values) -> _Plane:
    header = entry.header
    allocated, stored, signed = bits(header)
    demand_grey(header)
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
        syntax=syntax_of(header),
        frames=frames,
        dtype=np.dtype(f"<{'i' if signed else 'u'}{allocated // 8}"),
        spare_bits=allocated - stored,
        slope=slope,
        intercept=hd.number(header, "RescaleIntercept", 0.0) or 0.0,
    )


def _straight(plane: _Plane) -> bool:
    """Read one plane without a decoder; False where pydicom must look, which then names the fault."""
    entry, size, syntax = plane.entry, plane.size, plane.syntax
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
    demand_sense(header)
    _put(header, planes, frames(header, [plane.entry.number for plane in planes]))


def _put(header: Dataset, planes: Sequence[_Plane], found: Iterable[NDArray[Any]]) -> None:
    """Put decoded frames of one file into their places."""
    where = hd.place(header)
    if hd.text(header, "SOPInstanceUID") != planes[0].entry.sop_uid:
        raise DicomError("The file changed while it was read.", where=where)
    for plane, frame in zip(planes, found, strict=True):
        if frame.shape != plane.out.shape:
            raise DicomError(f"The pixels form {frame.shape}, {plane.out.shape} is said.", where=where)
        plane.put(_signed(frame, header))


def pixels_of(header: Dataset) -> NDArray[np.generic]:
    """Return the stored values of an object, signs extended and unused bits cleared.

    Raises
    ------
    DicomError
        If the pixel description contradicts itself or the length of the data, or no decoder is installed.
    """
    demand_sense(header)
    if runs_apart(syntax_of(header)):
        numbers = range(hd.whole(header, "NumberOfFrames", 1))
        found: Iterable[NDArray[Any]] = next(apart.decode([(Path(hd.place(header)), numbers)]))[1]
    else:
        found = frames(header)
    values = [_signed(frame, header) for frame in found]
    return values[0] if len(values) == 1 else np.stack(values)


def _signed(array: NDArray[Any], header: Dataset) -> NDArray[Any]:
    _, stored, signed = bits(header)
    spare = array.dtype.itemsize * 8 - stored
    if spare and array.dtype.kind in "iu":
        array = array.view(np.dtype(f"{'i' if signed else 'u'}{array.dtype.itemsize}"))
    return _cleared(array, spare if array.dtype.kind in "iu" else 0)
