"""Stacks: the slices of a series that belong together (one orientation, matrix, echo, channel, b-value)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from rtplan.domain import Notice
from rtplan.errors import DicomError
from rtplan.io import geometry
from rtplan.io import header as hd
from rtplan.io.index import Entry, description_of

#: What the slices of one stack have in common, and how a split is put into words.
_KIN = {
    "matrix": lambda header, item: item.shape,
    "pixel size": lambda header, item: tuple(np.round(item.spacing, 4).tolist()),
    "orientation": lambda header, item: tuple((np.round(item.orientation, 3) + 0.0).tolist()),
    "ImageType": lambda header, item: tuple(word for word in hd.words(header, "ImageType")[2:] if word),
    "EchoTime": lambda header, item: round(hd.number(header, "EchoTime", 0.0) or 0.0, 3),
    "DiffusionBValue": lambda header, item: hd.number(header, "DiffusionBValue"),
    "StackID": lambda header, item: hd.text(header, "StackID"),
    "ComplexImageComponent": lambda header, item: hd.text(header, "ComplexImageComponent"),
}
#: What may part slices that lie at one position, tried in this order.
_TWINS = (
    "TemporalPositionIdentifier",
    "AcquisitionNumber",
    "InversionTime",
    "FlipAngle",
    "EchoNumbers",
    "SequenceName",
)


#: Pixels of a patient are neither smaller nor larger, mm.
SPACINGS_MM = (1e-3, 1e3)


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices that can form one volume; their geometry is judged by `geometry.problems`.

    Parameters
    ----------
    entries, slices : tuple
        The files (or frames) and where they lie, in one order.
    kin : mapping
        What all slices have in common, by the words of `differences`.
    """

    entries: tuple[Entry, ...]
    slices: tuple[geometry.Slice, ...]
    kin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def first(self) -> Entry:
        """The entry that speaks for all."""
        return self.entries[0]

    @property
    def description(self) -> str:
        """SeriesDescription, else ProtocolName."""
        return description_of(self.first.header)

    @cached_property
    def problems(self) -> list[Notice]:
        """What keeps the slices from being one regular box."""
        return geometry.problems(self.slices)

    @property
    def volume_cc(self) -> float:
        """About how much of the patient the stack covers, cc."""
        one = self.slices[0]
        plane = one.shape[0] * one.spacing[0] * one.shape[1] * one.spacing[1]
        return float(plane * np.ptp(geometry.depths(self.slices)) / 1000.0)


def split(entries: Iterable[Entry]) -> list[Stack]:
    """Split the files of a series into stacks, largest first.

    Slices of one stack agree in matrix, pixel size, orientation, echo, b-value and channel; slices that lie
    at one position are parted further by time point, acquisition, inversion time or flip angle where that
    leaves none in one place.

    Raises
    ------
    DicomError
        If a slice lacks its position, orientation, spacing or matrix.
    """
    groups: dict[tuple[Any, ...], list[tuple[Entry, geometry.Slice]]] = {}
    for entry in entries:
        with hd.guarded(entry.path):
            item = slice_of(entry)
            groups.setdefault(_kin(entry, item), []).append((entry, item))
    stacks: list[Stack] = []
    for kin, group in groups.items():
        stack = Stack(
            tuple(e for e, _ in group), tuple(s for _, s in group), dict(zip(_KIN, kin[2:], strict=True))
        )
        stacks += _without_twins(stack)
    return sorted(stacks, key=lambda stack: (-len(stack.entries), str(stack.first.path), stack.first.number))


def differences(stacks: Sequence[Stack]) -> tuple[str, ...]:
    """Return in which header facts stacks differ; empty when only their objects do."""
    words = dict.fromkeys(word for stack in stacks for word in stack.kin)
    return tuple(word for word in words if len({repr(stack.kin.get(word)) for stack in stacks}) > 1)


def _kin(entry: Entry, item: geometry.Slice) -> tuple[Any, ...]:
    header = entry.header
    whole = (hd.text(header, "ConcatenationUID") or entry.sop_uid) if entry.unrolled else ""
    return (entry.series_uid, whole, *(fact(header, item) for fact in _KIN.values()))


def _without_twins(stack: Stack) -> list[Stack]:
    """Part a stack whose slices share positions by the first fact that leaves none shared."""
    if not _has_twins(stack.slices):
        return [stack]
    for keyword in _TWINS:
        parts: dict[str, list[int]] = {}
        for index, entry in enumerate(stack.entries):
            parts.setdefault(entry.text(keyword), []).append(index)
        found = [
            Stack(
                tuple(stack.entries[i] for i in part),
                tuple(stack.slices[i] for i in part),
                {**stack.kin, keyword: value},
            )
            for value, part in parts.items()
        ]
        if len(found) > 1 and not any(_has_twins(part.slices) for part in found):
            return found
    return [stack]


def _has_twins(slices: Sequence[geometry.Slice]) -> bool:
    along = np.sort(geometry.depths(slices))
    return bool((np.diff(along) < geometry.POSITION_TOLERANCE_MM).any())


def slice_of(entry: Entry) -> geometry.Slice:
    """Return where a slice lies.

    Raises
    ------
    DicomError
        If its header does not say so, or it is not a single grey frame.
    """
    header = entry.header
    where = str(entry.path)
    if entry.kind.startswith("enhanced"):
        raise DicomError(f"The object is {entry.kind}, not unrolled.", where=where)
    missing = [
        key
        for key in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")
        if not hd.numbers(header, key)
    ]
    if missing:
        message = f"The slice has no {', no '.join(missing)}: its place in the patient is unknown."
        raise DicomError(message, where=where, action="export the series again.")
    rows, columns = hd.whole(header, "Rows"), hd.whole(header, "Columns")
    spacing = hd.numbers(header, "PixelSpacing", 2)
    if (
        min(rows, columns) < 1
        or max(rows, columns) > 65535
        or not SPACINGS_MM[0] <= min(spacing) <= max(spacing) < SPACINGS_MM[1]
    ):
        raise DicomError("Rows, Columns or PixelSpacing is impossible.", where=where)
    several = hd.whole(header, "NumberOfFrames", 1) != 1 and not entry.unrolled
    if hd.whole(header, "SamplesPerPixel", 1) != 1 or several:
        raise DicomError("The slice is coloured or has several frames.", where=where)
    return geometry.Slice(
        path=entry.path,
        sop_uid=entry.sop_uid,
        position=np.array(hd.numbers(header, "ImagePositionPatient", 3)),
        orientation=np.array(hd.numbers(header, "ImageOrientationPatient", 6)),
        spacing=(spacing[0], spacing[1]),
        shape=(rows, columns),
        frame=entry.frame,
    )
