"""Write structures as an RTSTRUCT on an image: every contour refers to its slice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset

from rtplan.domain import Contours, Identity, Image, Source, Structure
from rtplan.errors import StructureError
from rtplan.imaging.contour import contours_of
from rtplan.io import modules as md

#: Precedes the full name in ROIDescription when ROIName had to be shortened.
FULL_NAME = "full name: "
#: Longest ROIName that every planning system takes (clinical.md G.3).
NAME_LENGTH = 16
#: Colours by kind, and a round of them for organs (RGB).
COLOURS = {
    "GTV": (255, 0, 0),
    "CTV": (255, 128, 0),
    "PTV": (230, 25, 75),
    "EXTERNAL": (0, 160, 0),
    "SUPPORT": (128, 128, 128),
    "MARKER": (255, 255, 0),
    "CONTROL": (170, 170, 255),
}
ORGAN_COLOURS = (
    (165, 90, 40),
    (255, 215, 0),
    (0, 130, 200),
    (145, 30, 180),
    (70, 240, 240),
    (240, 50, 230),
    (210, 245, 60),
    (0, 128, 128),
    (220, 190, 255),
    (170, 110, 40),
    (128, 128, 0),
    (0, 0, 160),
)


@dataclass(frozen=True)
class WrittenSet:
    """What was written: file, UID, and ROINumber by structure name."""

    path: Path
    sop_uid: str
    roi_numbers: Mapping[str, int]


def write(
    structures: Iterable[Structure],
    path: Path,
    *,
    image: Image,
    identity: Identity,
    stamp: md.Stamp | None = None,
    label: str = "rtplan",
    holes: Literal["plain", "xor"] = "plain",
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
    holes : str
        ``plain``: a hole is a ring inside a ring, as most planning systems write it; ``xor``: the rings of
        a plane with holes are CLOSEDPLANAR_XOR.

    Raises
    ------
    StructureError
        If two names are alike, a structure has no contour, or lies in another frame than the image.
    OutputError
        If the file cannot be written.
    """
    stamp = stamp or md.Stamp()
    listed = list(structures)
    short = short_names([structure.name for structure in listed])
    uid = stamp.uid("RTSTRUCT", label)
    series_uid = stamp.uid("series", "RTSTRUCT", label)
    header = md.start("RTSTRUCT", identity, stamp, series_uid=series_uid, sop_uid=uid)
    frame = md.frame_uid(image.grid.frame_of_reference)
    _structure_set(header, stamp, label, frame, image.source)
    header.StructureSetROISequence = md.sequence()
    header.ROIContourSequence = md.sequence()
    header.RTROIObservationsSequence = md.sequence()
    for number, structure in enumerate(listed, start=1):
        rings = _rings(structure, image)
        header.StructureSetROISequence.append(_roi(number, structure, short[structure.name], frame))
        header.ROIContourSequence.append(_contours(number, structure, rings, _Slices(image), holes))
        header.RTROIObservationsSequence.append(_observation(number, structure))
    header.ApprovalStatus = "UNAPPROVED"
    md.save(header, path)
    numbers = {structure.name: number for number, structure in enumerate(listed, start=1)}
    return WrittenSet(path, uid, MappingProxyType(numbers))


def short_names(names: Sequence[str], length: int = NAME_LENGTH) -> dict[str, str]:
    """Return for each name one of at most ``length`` characters; all are unique regardless of case.

    Raises
    ------
    StructureError
        If two names are alike.

    Examples
    --------
    >>> list(short_names(["Rectum", "Glnd_Submand_L_Part", "Glnd_Submand_L_Pole"]).values())
    ['Rectum', 'Glnd_Submand_L_P', 'Glnd_Submand_L~2']
    """
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if list(names).count(name) > 1})
        raise StructureError(f"Two structures bear one name: {', '.join(twice)}.", action="rename one.")
    taken: set[str] = set()
    short: dict[str, str] = {}
    for name in sorted(names, key=lambda n: len(n) > length):  # names that fit keep themselves
        base = md.clipped(name, length) or "ROI"
        choice, count = base, 1
        while choice.casefold() in taken:
            count += 1
            choice = f"{base[: length - len(str(count)) - 1]}~{count}"
        taken.add(choice.casefold())
        short[name] = choice
    return {name: short[name] for name in names}


def _rings(structure: Structure, image: Image) -> tuple[NDArray[np.float64], ...]:
    region = structure.region
    contours = region if isinstance(region, Contours) else contours_of(region)
    if contours.frame_of_reference != image.grid.frame_of_reference:
        raise StructureError(
            f"{structure.name} lies in frame {contours.frame_of_reference or 'none'}, the image in "
            f"{image.grid.frame_of_reference or 'none'}.",
            action="bring the structure into the image's frame by a registration.",
        )
    rings = tuple(ring for ring in contours.rings if len(ring) >= 3)
    if not rings:
        raise StructureError(
            f"{structure.name} is empty: it has no contour to write.", action="leave it out."
        )
    return rings


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
    series.ContourImageSequence = md.sequence(
        *(md.reference(source.sop_class_uid, uid) for uid in source.sop_uids)
    )
    study = md.reference("1.2.840.10008.3.1.2.3.1", source.study_uid)  # Detached Study Management
    study.RTReferencedSeriesSequence = md.sequence(series)
    item.RTReferencedStudySequence = md.sequence(study)


def _roi(number: int, structure: Structure, short: str, frame: str) -> Dataset:
    item = Dataset()
    item.ROINumber, item.ROIName = number, short
    item.ReferencedFrameOfReferenceUID = frame
    if short != structure.name:
        item.ROIDescription = FULL_NAME + md.clipped(structure.name, 1000)
    item.ROIGenerationAlgorithm = "" if isinstance(structure.region, Contours) else "AUTOMATIC"
    return item


def _observation(number: int, structure: Structure) -> Dataset:
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = number
    item.RTROIInterpretedType, item.ROIInterpreter = structure.kind, ""
    return item


class _Slices:
    """The slices of the image: which one a ring lies on."""

    def __init__(self, image: Image) -> None:
        self.grid, self.source = image.grid, image.source

    def reference(self, ring: NDArray[np.float64]) -> Dataset | None:
        """Return the reference to the slice within half a spacing of every point, or None."""
        depth = self.grid.to_index(ring)[:, 0]
        k = round(float(depth.mean()))
        if not 0 <= k < len(self.source.sop_uids) or float(np.abs(depth - k).max()) > 0.501:
            return None
        return md.reference(self.source.sop_class_uid, self.source.sop_uids[k])

    def plane(self, ring: NDArray[np.float64]) -> float:
        """Return the depth of a ring along the slice normal, as a key."""
        return round(float(self.grid.to_index(ring)[:, 0].mean()), 3)


def _contours(
    number: int,
    structure: Structure,
    rings: Sequence[NDArray[np.float64]],
    slices: _Slices,
    holes: Literal["plain", "xor"],
) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber = number
    item.ROIDisplayColor = list(COLOURS.get(structure.kind, ORGAN_COLOURS[number % len(ORGAN_COLOURS)]))
    item.ContourSequence = md.sequence()
    planes = [slices.plane(ring) for ring in rings]
    for count, (ring, plane) in enumerate(zip(rings, planes, strict=True), start=1):
        contour = Dataset()
        contour.ContourNumber = count
        together = holes == "xor" and planes.count(plane) > 1
        contour.ContourGeometricType = "CLOSEDPLANAR_XOR" if together else "CLOSED_PLANAR"
        image = slices.reference(ring)
        if image is not None:
            contour.ContourImageSequence = md.sequence(image)
        contour.NumberOfContourPoints = len(ring)
        md.put_numbers(contour, "ContourData", md.coordinates(ring))
        item.ContourSequence.append(contour)
    return item
