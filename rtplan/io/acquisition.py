"""How a stack was acquired: the header facts by which later steps judge it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from rtplan.io import geometry
from rtplan.io import header as hd
from rtplan.io.stack import Stack

#: Proton gyromagnetic ratio, MHz/T, and how far fat resonates below water, ppm: 3.4, 217 Hz at 1.5 T, as in
#: models/tissue/sequences.toml (clinical.md F.2); teaching texts say 3.5 (revisemri.com, xrayphysics.com).
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
    correction = distortion_of(header)
    if correction:
        facts["distortion_correction"] = correction
    facts |= _extent(stack.slices) | _fat_shift(header, facts, stack.slices[0])
    return MappingProxyType(facts)


def distortion_of(header: Dataset) -> str:
    """Return how gradient distortion was corrected: ``none``, ``2D``, ``3D``, or nothing when not said."""
    said = [DISTORTION[word] for word in hd.words(header, "ImageType") if word in DISTORTION]
    return said[-1] if said else ""


def _extent(slices: Sequence[geometry.Slice]) -> dict[str, Any]:
    one = slices[0]
    length, gaps = float(np.ptp(geometry.depths(slices))), max(len(slices) - 1, 1)
    return {
        "field_of_view_mm": [one.shape[0] * one.spacing[0], one.shape[1] * one.spacing[1]],
        "stack_length_mm": length + length / gaps,
    }


def _fat_shift(header: Dataset, facts: Mapping[str, Any], item: geometry.Slice) -> dict[str, Any]:
    bandwidth, field = facts.get("bandwidth_hz_per_px"), facts.get("field_strength_t")
    phase = hd.text(header, "InPlanePhaseEncodingDirection").upper()[:3]
    if phase not in ("ROW", "COL"):
        return {}
    known = {"phase_encoding": "rows" if phase == "ROW" else "columns"}
    if not bandwidth or not field:
        return known
    pixels = FAT_PPM * GAMMA_MHZ_PER_T * field / bandwidth
    spacing = item.spacing[0] if phase == "ROW" else item.spacing[1]
    return {**known, "fat_shift_px": pixels, "fat_shift_mm": pixels * spacing}
