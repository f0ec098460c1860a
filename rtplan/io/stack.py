"""Stacks: the slices of a series that belong together (one orientation, matrix, echo, channel, b-value)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from rtplan.domain import Notice
from rtplan.errors import DicomError
from rtplan.io import geometry
from rtplan.io import header as hd
from rtplan.io.index import Entry, description_of

#: Proton gyromagnetic ratio, MHz/T, and the distance of fat from water, ppm (clinical.md F.2: -3.4 ppm).
GAMMA_MHZ_PER_T, FAT_PPM = 42.577, 3.4

#: Tokens of ImageType that say how the scanner corrected gradient distortion.
DISTORTION = {"ND": "none", "DIS2D": "2D", "DIS3D": "3D"}

_NUMBERS = {
    "field_strength_t": "MagneticFieldStrength",
    "bandwidth_hz_per_px": "PixelBandwidth",
    "echo_time_ms": "EchoTime",
    "repetition_time_ms": "RepetitionTime",
    "inversion_time_ms": "InversionTime",
    "flip_angle_deg": "FlipAngle",
    "b_value": "DiffusionBValue",
    "kvp": "KVP",
    "slice_thickness_mm": "SliceThickness",
    "reconstruction_diameter_mm": "ReconstructionDiameter",
    "padding_value": "PixelPaddingValue",
}
_TEXTS = {
    "image_type": "ImageType",
    "scanning_sequence": "ScanningSequence",
    "sequence_variant": "SequenceVariant",
    "sequence_name": "SequenceName",
    "scan_options": "ScanOptions",
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
}


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices that can form one volume; their geometry is judged by `geometry.problems`."""

    entries: tuple[Entry, ...]
    slices: tuple[geometry.Slice, ...]

    @property
    def first(self) -> Entry:
        """The entry that speaks for all."""
        return self.entries[0]

    @property
    def description(self) -> str:
        """SeriesDescription, else ProtocolName."""
        return description_of(self.first.header)

    @property
    def problems(self) -> list[Notice]:
        """What keeps the slices from being one regular box."""
        return geometry.problems(self.slices)

    @property
    def volume_cc(self) -> float:
        """About how much of the patient the stack covers, cc."""
        along = [float(item.position @ self.slices[0].normal) for item in self.slices]
        one = self.slices[0]
        plane = one.shape[0] * one.spacing[0] * one.shape[1] * one.spacing[1]
        return plane * (max(along) - min(along)) / 1000.0


def split(entries: Iterable[Entry]) -> list[Stack]:
    """Split the files of a series into stacks, largest first.

    Raises
    ------
    DicomError
        If a slice lacks its position, orientation, spacing or matrix.
    """
    groups: dict[tuple[Any, ...], list[tuple[Entry, geometry.Slice]]] = {}
    for entry in entries:
        with hd.guarded(entry.path):
            item = slice_of(entry)
            groups.setdefault(_kin(entry.header, item), []).append((entry, item))
    stacks = [Stack(tuple(e for e, _ in group), tuple(s for _, s in group)) for group in groups.values()]
    return sorted(stacks, key=lambda stack: (-len(stack.entries), str(stack.first.path)))


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
        action = "export it as classic single-frame objects."
        raise DicomError(f"The object is {entry.kind} (multi-frame).", where=where, action=action)
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
    if min(rows, columns) < 1 or max(rows, columns) > 65535 or not 0 < min(spacing) <= max(spacing) < 1000:
        raise DicomError("Rows, Columns or PixelSpacing is impossible.", where=where)
    if hd.whole(header, "SamplesPerPixel", 1) != 1 or hd.whole(header, "NumberOfFrames", 1) != 1:
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


def _kin(header: Dataset, item: geometry.Slice) -> tuple[Any, ...]:
    image_type = tuple(word for word in hd.words(header, "ImageType")[2:] if word)
    return (
        hd.text(header, "SeriesInstanceUID"),
        item.shape,
        tuple(np.round(item.spacing, 4)),
        tuple(np.round(item.orientation, 3) + 0.0),
        image_type,
        hd.number(header, "EchoTime"),
        hd.number(header, "DiffusionBValue"),
        hd.number(header, "TemporalPositionIdentifier"),
    )


def acquisition(stack: Stack) -> Mapping[str, Any]:
    """Return the header facts of a stack that later steps judge by.

    Returns
    -------
    mapping
        Units stand in the names. ``distortion_correction`` is ``none``, ``2D``, ``3D`` or absent when the
        header does not say; ``fat_shift_mm`` is the chemical shift along the frequency direction.
    """
    header = stack.first.header
    facts: dict[str, Any] = {}
    for name, keyword in _NUMBERS.items():
        values = hd.numbers(header, keyword)
        if values:
            facts[name] = values[0]
    for name, keyword in _TEXTS.items():
        value = hd.text(header, keyword)
        if value:
            facts[name] = value
    for word in hd.words(header, "ImageType"):
        if word in DISTORTION:
            facts["distortion_correction"] = DISTORTION[word]
    facts |= _extent(stack.slices) | _fat_shift(header, facts, stack.slices[0])
    return MappingProxyType(facts)


def _extent(slices: Sequence[geometry.Slice]) -> dict[str, Any]:
    one = slices[0]
    along = [float(item.position @ one.normal) for item in slices]
    return {
        "field_of_view_mm": [one.shape[0] * one.spacing[0], one.shape[1] * one.spacing[1]],
        "stack_length_mm": max(along) - min(along) + (max(along) - min(along)) / max(len(along) - 1, 1),
    }


def _fat_shift(header: Dataset, facts: Mapping[str, Any], item: geometry.Slice) -> dict[str, float]:
    bandwidth, field = facts.get("bandwidth_hz_per_px"), facts.get("field_strength_t")
    phase = hd.text(header, "InPlanePhaseEncodingDirection").upper()
    if not bandwidth or not field or phase[:3] not in ("ROW", "COL"):
        return {}
    pixel = item.spacing[0] if phase.startswith("ROW") else item.spacing[1]
    return {"fat_shift_mm": FAT_PPM * GAMMA_MHZ_PER_T * field / bandwidth * pixel}
