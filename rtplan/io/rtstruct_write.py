"""Write structures as an RTSTRUCT on an image: every contour refers to its slice, every volume is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from pydicom.charset import default_encoding
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import Tag

from rtplan.domain import Contours, Identity, Image, Source, Structure
from rtplan.errors import StructureError
from rtplan.imaging.contour import contours_of, mask_on
from rtplan.imaging.keyhole import keyholes
from rtplan.imaging.planes import area_vectors, volume_cc
from rtplan.io import modules as md
from rtplan.io.contour_items import DECIMALS, Contour, contour_sequence, decimal_texts, image_sequence
from rtplan.io.roi_names import colour, short_names
from rtplan.io.tps import Profile, load

Rings = tuple[NDArray[np.float64], ...]

#: Precedes the full name in ROIDescription when ROIName had to be shortened.
FULL_NAME = "full name: "
#: A contour refers to the slice from which none of its points is further than this, in spacings.
NEAR_SLICE = 0.501
#: And lies on it within this.
ON_SLICE = 0.05


@dataclass(frozen=True)
class WrittenSet:
    """What was written: file, UID, ROINumber by structure name, and what became of the volumes.

    Parameters
    ----------
    volume_errors : mapping of str to float
        Volume of the contours that a reader gets / volume of the structure − 1.
    volumes_cc : mapping of str to float
        Volume of the contours that a reader gets.
    """

    path: Path
    sop_uid: str
    roi_numbers: Mapping[str, int]
    volume_errors: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    volumes_cc: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


def write(
    structures: Iterable[Structure],
    path: Path,
    *,
    image: Image,
    identity: Identity,
    stamp: md.Stamp | None = None,
    label: str = "rtplan",
    tps: Profile | None = None,
) -> WrittenSet:
    """Write a structure set.

    Parameters
    ----------
    structures : iterable of Structure
        Contours are written as they are; masks become contours along their voxel edges, whose area is the
        mask's.
    path : Path
        New file.
    image : Image
        The image on which the structures are shown; contours refer to the slices of its source.
    identity : Identity
        Patient and study.
    label : str
        StructureSetLabel.
    tps : Profile, optional
        For which system; ``generic`` by default.

    Raises
    ------
    StructureError
        If two names are alike, a structure has no contour, or lies in another frame than the image.
    OutputError
        If the file cannot be written.
    """
    stamp, tps = stamp or md.Stamp(), tps or load("generic")
    listed = list(structures)
    short = short_names([structure.name for structure in listed], tps.name_length, tps.fitting)
    uid = stamp.uid("RTSTRUCT", label)
    series_uid = stamp.uid("series", "RTSTRUCT", label)
    header = md.start("RTSTRUCT", identity, stamp, series_uid=series_uid, sop_uid=uid)
    frame = md.frame_uid(image.grid.frame_of_reference)
    _structure_set(header, stamp, tps.fitting(label)[: tps.name_length], frame, image.source)
    header.StructureSetROISequence = md.sequence()
    header.ROIContourSequence = md.sequence()
    header.RTROIObservationsSequence = md.sequence()
    errors, volumes = {}, {}
    for number, structure in enumerate(listed, start=1):
        rings, thick_mm = _rings(structure, image, tps)
        before, after = _volumes(structure, rings, thick_mm, image)
        errors[structure.name], volumes[structure.name] = after / before - 1.0, after
        header.StructureSetROISequence.append(_roi(number, structure, short[structure.name], frame, after))
        header.ROIContourSequence.append(_contours(number, structure, rings, image, tps))
        header.RTROIObservationsSequence.append(_observation(number, structure))
    worst = max(errors, key=lambda name: abs(errors[name]), default="")
    if worst:
        said = f"largest change of a volume: {100 * errors[worst]:+.3f} % ({md.clipped(worst, 64)})"
        header.StructureSetDescription = f"{md.RESEARCH_ONLY}; {said}"
    header.ApprovalStatus = "UNAPPROVED"
    md.save(header, path)
    numbers = {structure.name: number for number, structure in enumerate(listed, start=1)}
    return WrittenSet(path, uid, *map(MappingProxyType, (numbers, errors, volumes)))  # type: ignore[arg-type]


def _rings(structure: Structure, image: Image, tps: Profile) -> tuple[Rings, float | None]:
    """Return the closed rings, each on a slice of the image where the system demands that.

    And how thick a slice of them is, mm; None where they are as they came.
    """
    region = structure.region
    contours = region if isinstance(region, Contours) else contours_of(region)
    if contours.frame_of_reference != image.grid.frame_of_reference:
        raise StructureError(
            f"{structure.name} lies in frame {contours.frame_of_reference or 'none'}, the image in "
            f"{image.grid.frame_of_reference or 'none'}.",
            action="bring the structure into the image's frame by a registration.",
        )
    rings = tuple(ring for ring in contours.rings if len(ring) >= 3)
    thick_mm = None if isinstance(region, Contours) else region.grid.spacing_zyx_mm[0]
    if rings and tps.contours_on_slices and None in _slices(rings, image, ON_SLICE):
        rings, thick_mm = contours_of(mask_on(structure, image.grid)).rings, image.grid.spacing_zyx_mm[0]
    if not rings:
        raise StructureError(
            f"{structure.name} is empty: it has no contour to write.", action="leave it out."
        )
    return rings, thick_mm


def _volumes(structure: Structure, rings: Rings, thick_mm: float | None, image: Image) -> tuple[float, float]:
    """Return the volume of the structure and of the rings as they are written, cc."""
    region, nominal = structure.region, image.grid.spacing_zyx_mm[0]
    written = [np.round(ring, DECIMALS) for ring in rings]
    if isinstance(region, Contours):
        before = volume_cc(region, nominal)
    else:
        before = int(np.count_nonzero(region.array)) * region.grid.voxel_cc
    if thick_mm is None:
        return before, volume_cc(Contours(tuple(written)), nominal)
    area_mm2 = float(np.linalg.norm(area_vectors(written).sum(axis=0)))  # holes run the other way round
    return before, area_mm2 * thick_mm / 1000.0


def _structure_set(header: FileDataset, stamp: md.Stamp, label: str, frame: str, source: Source) -> None:
    header.SeriesDescription = "rtplan structures"
    header.InstanceNumber = 1
    header.FrameOfReferenceUID = frame
    header.PositionReferenceIndicator = ""
    header.StructureSetLabel = md.clipped(label, 16)
    header.StructureSetDescription = md.RESEARCH_ONLY
    header.StructureSetDate, header.StructureSetTime = stamp.date, stamp.time
    item = Dataset()
    item.FrameOfReferenceUID = frame
    header.ReferencedFrameOfReferenceSequence = md.sequence(item)
    if not source.sop_uids:
        return
    series = Dataset()
    series.SeriesInstanceUID = source.series_uid
    series.set_original_encoding(True, True, default_encoding)  # so that its bytes are written untouched
    series[Tag("ContourImageSequence")] = image_sequence(source.sop_class_uid, dict.fromkeys(source.sop_uids))
    study = md.reference("1.2.840.10008.3.1.2.3.1", source.study_uid)  # Detached Study Management
    study.RTReferencedSeriesSequence = md.sequence(series)
    item.RTReferencedStudySequence = md.sequence(study)


def _roi(number: int, structure: Structure, short: str, frame: str, volume: float) -> Dataset:
    item = Dataset()
    item.ROINumber, item.ROIName = number, short
    item.ReferencedFrameOfReferenceUID = frame
    if short != structure.name:
        item.ROIDescription = FULL_NAME + md.clipped(structure.name, 1000)
    item.ROIVolume = md.decimal(round(volume, 6))
    made = not isinstance(structure.region, Contours)
    item.ROIGenerationAlgorithm = "AUTOMATIC" if made else ""
    if made:
        item.ROIGenerationDescription = md.clipped(f"rtplan {md.VERSION}, contours along voxel edges", 64)
    return item


def _observation(number: int, structure: Structure) -> Dataset:
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = number
    item.RTROIInterpretedType, item.ROIInterpreter = structure.kind, ""
    return item


def _depths(rings: Rings, image: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean depth of each ring along the slices, in slices, and how far its points leave it."""
    lengths = np.array([len(ring) for ring in rings])
    inverse = np.linalg.inv(image.grid.affine[:3, :3])[0]
    depth = (np.concatenate(rings) - image.grid.origin_mm) @ inverse
    first = np.cumsum(lengths) - lengths
    mean = np.add.reduceat(depth, first) / lengths
    away = np.maximum(np.maximum.reduceat(depth, first) - mean, mean - np.minimum.reduceat(depth, first))
    return mean, away


def _slices(rings: Rings, image: Image, within: float = NEAR_SLICE) -> list[int | None]:
    """Return the slice near which each ring lies, or None."""
    mean, away = _depths(rings, image)
    near = np.rint(mean)
    count = len(image.source.sop_uids) or image.grid.shape[0]
    on = (np.abs(mean - near) + away <= within) & (near >= 0) & (near < count)
    return [int(k) if good else None for k, good in zip(near, on, strict=True)]


def _contours(number: int, structure: Structure, rings: Rings, image: Image, tps: Profile) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber = number
    item.ROIDisplayColor = list(colour(structure.kind, number))
    planes = np.round(_depths(rings, image)[0], 3).tolist()
    shared = Counter(planes)
    if tps.holes == "keyhole" and max(shared.values()) > 1:
        rings = _joined(rings, planes, image)
        planes = np.round(_depths(rings, image)[0], 3).tolist()
    source = image.source
    slices = _slices(rings, image) if source.sop_uids else [None] * len(rings)
    item.set_original_encoding(True, True, default_encoding)  # so that its bytes are written untouched
    item[Tag("ContourSequence")] = contour_sequence(
        Contour(
            kind="CLOSEDPLANAR_XOR" if tps.holes == "xor" and shared[plane] > 1 else "CLOSED_PLANAR",
            points=text,
            count=len(ring),
            image=None if k is None else (source.sop_class_uid, source.sop_uids[k], source.frame(k)),
        )
        for ring, plane, text, k in zip(rings, planes, decimal_texts(rings), slices, strict=True)
    )
    return item


def _joined(rings: Rings, planes: Sequence[float], image: Image) -> Rings:
    """Return the rings with keyholes in place of holes."""
    along, down = image.grid.direction[:, 2], image.grid.direction[:, 1]
    normal = np.cross(along, down)
    normal = normal / np.linalg.norm(normal)
    found: list[NDArray[np.float64]] = []
    for plane in dict.fromkeys(planes):
        found += keyholes([r for r, at in zip(rings, planes, strict=True) if at == plane], along, normal)
    return tuple(found)
