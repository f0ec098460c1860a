"""Enhanced multi-frame MR and CT, unrolled: each frame becomes an index entry with a classic header."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from rtplan.errors import DicomError
from rtplan.io import header as hd
from rtplan.io.index import TAGS, Entry

#: Enhanced kinds and the classic kind of their frames.
ENHANCED = {"enhanced MR": "MR", "enhanced CT": "CT"}

#: Classic keyword: the functional group in which enhanced objects say it, and its keyword there.
GROUPS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "ImagePositionPatient": (("PlanePositionSequence", "ImagePositionPatient"),),
    "ImageOrientationPatient": (("PlaneOrientationSequence", "ImageOrientationPatient"),),
    "PixelSpacing": (("PixelMeasuresSequence", "PixelSpacing"),),
    "SliceThickness": (("PixelMeasuresSequence", "SliceThickness"),),
    "RescaleSlope": (("PixelValueTransformationSequence", "RescaleSlope"),),
    "RescaleIntercept": (("PixelValueTransformationSequence", "RescaleIntercept"),),
    "RescaleType": (("PixelValueTransformationSequence", "RescaleType"),),
    "ImageType": (
        ("MRImageFrameTypeSequence", "FrameType"),
        ("CTImageFrameTypeSequence", "FrameType"),
    ),
    "ComplexImageComponent": (("MRImageFrameTypeSequence", "ComplexImageComponent"),),
    "AcquisitionContrast": (("MRImageFrameTypeSequence", "AcquisitionContrast"),),
    "StackID": (("FrameContentSequence", "StackID"),),
    "TemporalPositionIdentifier": (("FrameContentSequence", "TemporalPositionIndex"),),
    "EchoTime": (("MREchoSequence", "EffectiveEchoTime"),),
    "RepetitionTime": (("MRTimingAndRelatedParametersSequence", "RepetitionTime"),),
    "FlipAngle": (("MRTimingAndRelatedParametersSequence", "FlipAngle"),),
    "InversionTime": (("MRModifierSequence", "InversionTimes"),),
    "PixelBandwidth": (("MRImagingModifierSequence", "PixelBandwidth"),),
    "InPlanePhaseEncodingDirection": (("MRFOVGeometrySequence", "InPlanePhaseEncodingDirection"),),
    "DiffusionBValue": (("MRDiffusionSequence", "DiffusionBValue"),),
    "KVP": (("CTXRayDetailsSequence", "KVP"),),
    "ReconstructionDiameter": (("CTReconstructionSequence", "ReconstructionDiameter"),),
    "GantryDetectorTilt": (("CTAcquisitionDetailsSequence", "GantryDetectorTilt"),),
}
#: Where legacy converted objects keep what fits no functional group.
_UNASSIGNED = (
    "UnassignedPerFrameConvertedAttributesSequence",
    "UnassignedSharedConvertedAttributesSequence",
)
#: EchoPulseSequence in the words of the classic ScanningSequence.
_SPIN = {"SPIN": "SE", "GRADIENT": "GR", "BOTH": "GR"}
_ACTION = "export it as classic single-frame objects."


def unrolled(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return entries with each enhanced MR or CT replaced by one entry a frame; others as they are.

    The header of a frame bears the classic keywords of `GROUPS`, from its own functional groups, else from
    those that all frames share, else from the object itself. All frames keep the SOPInstanceUID of their
    object; `Entry.number` counts them from 0.

    Raises
    ------
    DicomError
        If the functional groups are missing, or not as many as the frames.

    References
    ----------
    DICOM PS3.3 A.36 (Enhanced MR), A.38 (Enhanced CT), C.7.6.16 (multi-frame functional groups).
    """
    found: list[Entry] = []
    for entry in entries:
        found += _frames(entry) if entry.kind in ENHANCED else [entry]
    return tuple(found)


def _frames(entry: Entry) -> list[Entry]:
    whole = hd.read(entry.path)
    with hd.guarded(entry.path):
        groups = hd.items(whole, "PerFrameFunctionalGroupsSequence")
        count = hd.whole(whole, "NumberOfFrames", 1)
        if not groups or len(groups) != count:
            message = f"The {entry.kind} has {count} frames, but {len(groups)} functional groups for them."
            raise DicomError(message, where=str(entry.path), action=_ACTION)
        shared = hd.items(whole, "SharedFunctionalGroupsSequence")[:1]
        _demand_rescale([*groups, *shared], entry)
        common = _common(entry, whole)
        return [
            replace(
                entry,
                header=_header(common, [group, *shared]),
                kind=ENHANCED[entry.kind],
                number=number,
                unrolled=True,
            )
            for number, group in enumerate(groups)
        ]


def _demand_rescale(groups: Iterable[Dataset], entry: Entry) -> None:
    """Raise DicomError where a frame has a rescale without its numbers (both type 1, PS3.3 C.7.6.16.2.9)."""
    for group in groups:
        for item in hd.items(group, "PixelValueTransformationSequence"):
            if hd.number(item, "RescaleSlope") is None or hd.number(item, "RescaleIntercept") is None:
                message = "A frame's pixel value transformation has no slope or no intercept."
                raise DicomError(message, where=str(entry.path), action="export it again.")


def _common(entry: Entry, whole: Dataset) -> Dataset:
    """Return what the object says of all its frames, in classic keywords."""
    common = Dataset()
    for keyword in TAGS:
        if keyword in whole and not keyword.endswith("Sequence"):
            common[keyword] = whole[keyword]
    pulse = hd.text(whole, "EchoPulseSequence")
    if pulse in _SPIN and "ScanningSequence" not in common:
        common.ScanningSequence = _SPIN[pulse]
    for keyword in ("ComplexImageComponent", "AcquisitionContrast", "ConcatenationUID"):
        if keyword in whole:
            common[keyword] = whole[keyword]
    common.file_meta = whole.file_meta
    common.filename = str(entry.path)
    return common


def _header(common: Dataset, groups: Sequence[Dataset]) -> Dataset:
    header = Dataset()
    header.update(common)
    header.file_meta, header.filename = common.file_meta, common.filename
    for keyword, places in GROUPS.items():
        value = _said(groups, (*places, *((name, keyword) for name in _UNASSIGNED)))
        if value is not None:
            header.add_new(keyword, dictionary_VR(keyword), value)  # never into the element that all share
    return header


def _said(groups: Sequence[Dataset], places: Iterable[tuple[str, str]]) -> Any:
    """Return the first value of the places, the frame's own groups before the shared ones; else None."""
    listed = tuple(places)
    for group in groups:
        for sequence, keyword in listed:
            if sequence in group:
                items = hd.items(group, sequence)
                if items and keyword in items[0] and items[0][keyword].value not in (None, ""):
                    return items[0][keyword].value
    return None
