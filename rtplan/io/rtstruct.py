"""RTSTRUCT: contours as they came, one Structure per named region, a notice for all that is left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from rtplan.domain import Contours, Notice, Structure
from rtplan.domain.nomenclature import kind_of
from rtplan.domain.notice import Severity
from rtplan.domain.structure import Kind
from rtplan.errors import DicomError, StructureError
from rtplan.imaging.keyhole import opened
from rtplan.io import contour_faults as faults
from rtplan.io import header as hd
from rtplan.io.rtstruct_write import FULL_NAME, write

__all__ = ["StructureSet", "read", "write"]

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
OPEN = ("OPEN_PLANAR", "OPEN_NONPLANAR")

#: RTROIInterpretedTypes that mean one of ours.
TYPES: dict[str, Kind] = {
    "CAVITY": "ORGAN",
    "TREATED_VOLUME": "CONTROL",
    "IRRAD_VOLUME": "CONTROL",
    "DOSE_REGION": "CONTROL",
    "CONTRAST_AGENT": "AVOIDANCE",
    "FIXATION": "SUPPORT",
    "ISOCENTER": "MARKER",
    "REGISTRATION": "MARKER",
    "FIDUCIAL": "MARKER",
}


@dataclass(frozen=True, eq=False)
class StructureSet:
    """What one RTSTRUCT says.

    Parameters
    ----------
    structures : tuple of Structure
        Names as in the file; regions are contours.
    frame : str
        The FrameOfReferenceUID of the regions.
    series_uids, image_uids : tuple of str
        The images on which it was drawn, of the whole set and of each contour.
    notices : tuple of Notice
        What was left out, and why.
    """

    path: Path
    sop_uid: str
    label: str
    frame: str
    structures: tuple[Structure, ...]
    series_uids: tuple[str, ...] = ()
    image_uids: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()


def read(path: Path) -> StructureSet:
    """Read a structure set.

    Kept are the closed planar contours; rings of one plane combine by exclusive or (so a hole may be a ring
    inside another one, a keyhole, or CLOSEDPLANAR_XOR). The channel of a keyhole is taken out, for it is no
    part of the region's surface: what is left is a ring and its hole. Structures that bear one name are
    kept as ``NAME (ROI number)``. Left out, each with a notice: points, open contours, rings of fewer than
    three points or without an area, rings that stand twice, empty structures, and structures whose rings
    are not flat.

    Raises
    ------
    DicomError
        If the file is not a readable RTSTRUCT, or its contours lie in several frames of reference.
    """
    path = Path(path)
    header = hd.read(path)
    with hd.guarded(path):
        hd.demand_kind(header, "RTSTRUCT", path)
        return _StructureReader(header, path).read()


@dataclass
class _StructureReader:
    header: Dataset
    path: Path

    def read(self) -> StructureSet:
        self.notices: list[Notice] = []
        self.drawn_on: dict[str, None] = {}
        self.seen: set[bytes] = set()
        rois = self._rois()
        contours = self._by_roi("ROIContourSequence")
        self._orphans(set(contours) - set(rois))
        observations = self._by_roi("RTROIObservationsSequence")
        frame = self._frame(rois)
        names = {number: _name(item) or f"ROI {number}" for number, item in rois.items()}
        drawn = {number: self._rings(name, contours.get(number, [])) for number, name in names.items()}
        structures = []
        for number, name in self._unique(names, drawn).items():
            region = self._region(name, drawn[number], frame)
            if region is not None:
                structures.append(Structure(name, _kind(name, observations.get(number, [])), region))
        series, images = _references(self.header)
        return StructureSet(
            path=self.path,
            sop_uid=hd.uid(self.header, "SOPInstanceUID"),
            label=hd.shown(self.header, "StructureSetLabel"),
            frame=frame,
            structures=tuple(structures),
            series_uids=series,
            image_uids=tuple(dict.fromkeys((*images, *self.drawn_on))),
            notices=tuple(self.notices),
        )

    def _rois(self) -> dict[int, Dataset]:
        """Return the structures by number; those that share one are left out (whose contours are whose?)."""
        listed = hd.items(self.header, "StructureSetROISequence")
        numbers = [hd.whole(item, "ROINumber") for item in listed]
        counts = self.counts = Counter(numbers)
        for number in sorted(n for n, count in counts.items() if count > 1):
            names = [_name(item) for item, own in zip(listed, numbers, strict=True) if own == number]
            message = f"{', '.join(map(repr, names))} bear one number ({number}); none of them is used."
            action = "export the structure set again."
            self._say("STRUCTURE_NUMBER_TWICE", "warn", message, names[0], action)
        return {number: item for number, item in zip(numbers, listed, strict=True) if counts[number] == 1}

    def _orphans(self, numbers: set[int]) -> None:
        lost = sorted(number for number in numbers if number not in self.counts)
        if lost:
            message = f"Contours of number {', '.join(map(str, lost))} belong to no structure of the list."
            action = "export the structure set again."
            self._say("CONTOURS_ORPHANED", "warn", message, f"ROI {lost[0]}", action)

    def _by_roi(self, keyword: str) -> dict[int, list[Dataset]]:
        found: dict[int, list[Dataset]] = {}
        for item in hd.items(self.header, keyword):
            found.setdefault(hd.whole(item, "ReferencedROINumber"), []).append(item)
        return found

    def _say(self, code: str, severity: Severity, message: str, name: str, action: str = "") -> None:
        uid = hd.uid(self.header, "SOPInstanceUID")
        self.notices.append(
            Notice(code, severity, message, action, file=str(self.path), uid=uid, structure=name)
        )

    def _frame(self, rois: dict[int, Dataset]) -> str:
        frames = {hd.uid(item, "ReferencedFrameOfReferenceUID") for item in rois.values()} - {""}
        if not frames:
            listed = hd.items(self.header, "ReferencedFrameOfReferenceSequence")
            frames = {hd.uid(item, "FrameOfReferenceUID") for item in listed} - {""}
        if not frames:
            frames = {hd.uid(self.header, "FrameOfReferenceUID")}
        if len(frames) > 1:
            raise DicomError(
                f"The structures lie in {len(frames)} frames of reference: {', '.join(sorted(frames))}.",
                where=str(self.path),
                action="export one structure set per frame of reference.",
            )
        return frames.pop()

    def _unique(self, names: dict[int, str], drawn: dict[int, list[NDArray[np.float64]]]) -> dict[int, str]:
        """Return one name for each structure; of several of one name only the one that is drawn keeps it."""
        unique = dict(names)
        for name, count in Counter(names.values()).items():
            bearers = [number for number, other in names.items() if other == name]
            full = [number for number in bearers if drawn[number]]
            if count == 1:
                continue
            for number in bearers:
                if full != [number]:
                    unique[number] = f"{name} (ROI {number})"
            if len(full) == 1:
                message = f"{count} structures bear the name {name!r}; only ROI {full[0]} is drawn, and used."
                self._say("STRUCTURE_NAME_TWICE", "info", message, name, "remove the empty ones.")
            else:
                kept = ", ".join(repr(unique[number]) for number in bearers)
                message = f"{count} structures bear the name {name!r}: none is used as it, they are {kept}."
                action = "rename them, or map one by --names FILE."
                self._say("STRUCTURE_NAME_TWICE", "warn", message, name, action)
        return unique

    def _rings(self, name: str, contours: list[Dataset]) -> list[NDArray[np.float64]]:
        closed, left = [], Counter[str]()
        for contour in (c for item in contours for c in hd.items(item, "ContourSequence")):
            self._note_images(contour)
            kind = hd.code(contour, "ContourGeometricType")
            if kind in CLOSED:
                closed.append(contour)
            elif kind in (*OPEN, "POINT"):
                left[kind] += 1
            else:
                message = (
                    f"A contour of {name!r} is of no kind that the standard knows ({kind or 'none said'})."
                )
                raise DicomError(message, where=str(self.path), action="export the structure set again.")
        values = hd.arrays(closed, "ContourData")
        rings = [self._ring(name, contour, own) for contour, own in zip(closed, values, strict=True)]
        full = [ring for ring in rings if len(ring) >= 3]
        areas = faults.areas_mm2(full)
        held = [ring for ring, area in zip(full, areas, strict=True) if area >= faults.NO_AREA_MM2]
        left["degenerate"] += len(rings) - len(held)
        self._say_left(name, left)
        return held

    def _note_images(self, contour: Dataset) -> None:
        """Note on which images a contour was drawn; equal bytes (contours of one slice) are read once."""
        raw = hd.raw_bytes(contour, "ContourImageSequence")
        if raw is not None and raw in self.seen:
            return
        for image in hd.items(contour, "ContourImageSequence"):
            self.drawn_on[hd.uid(image, "ReferencedSOPInstanceUID")] = None
        if raw is not None:
            self.seen.add(raw)

    def _say_left(self, name: str, left: Counter[str]) -> None:
        opened = sum(left[kind] for kind in OPEN)
        if opened:
            message = f"{opened} open contours are left out: they enclose no volume."
            self._say("CONTOUR_OPEN", "warn", message, name, "close them if they bound the structure.")
        if left["degenerate"]:
            count = left["degenerate"]
            message = f"{count} closed contours of one or two points, or without an area, are left out."
            self._say("CONTOUR_DEGENERATE", "info", message, name)
        if left["POINT"]:
            message = f"{left['POINT']} points are left out: they enclose no volume."
            self._say("CONTOUR_LEFT_OUT", "info", message, name)

    def _ring(self, name: str, contour: Dataset, values: NDArray[np.float64]) -> NDArray[np.float64]:
        stated = hd.whole(contour, "NumberOfContourPoints", values.size // 3)
        if values.size != 3 * stated:
            raise DicomError(
                f"A contour of {name!r} says {stated} points and holds {values.size} numbers.",
                where=str(self.path),
                action="export the structure set again.",
            )
        points = values.reshape(-1, 3)
        if len(points) > 1 and bool((np.abs(points[0] - points[-1]) <= 1e-6).all()):
            points = points[:-1]
        return points

    def _region(self, name: str, rings: list[NDArray[np.float64]], frame: str) -> Contours | None:
        """Return the contours of a structure, None with a notice where they are no region."""
        if not rings:
            message = "The structure holds no closed contour; it is left out."
            self._say("STRUCTURE_EMPTY", "info", message, name)
            return None
        bent = [mm for mm in faults.off_planes_mm(rings) if mm > faults.PLANE_TOLERANCE_MM]
        if bent:
            message = (
                f"{len(bent)} contours are called planar, but their points lie up to {max(bent):.2f} mm off "
                "one plane; the structure is left out."
            )
            self._say("CONTOUR_BENT", "warn", message, name, "export the structure again.")
            return None
        rings = opened(rings)
        once = faults.without_twins(rings)
        if len(once) < len(rings):
            message = f"{len(rings) - len(once)} contours stand twice; each is taken once."
            self._say("CONTOUR_TWICE", "warn", message, name, faults.REDRAW)
        region = Contours(tuple(once), frame)
        try:
            faults.judge(region, lambda code, how, text, do: self._say(code, how, text, name, do))
        except StructureError as wrong:
            self._say("CONTOURS_NOT_PARALLEL", "warn", f"{wrong.message} It is left out.", name, wrong.action)
            return None
        return region


def _name(roi: Dataset) -> str:
    described = hd.text(roi, "ROIDescription")
    return described.removeprefix(FULL_NAME) if described.startswith(FULL_NAME) else hd.line(roi, "ROIName")


def _kind(name: str, observations: list[Dataset]) -> Kind:
    for item in observations:
        said = hd.code(item, "RTROIInterpretedType").upper()
        if said in get_args(Kind):
            return said  # type: ignore[return-value]
        if said in TYPES:
            return TYPES[said]
    upper = name.upper()
    return kind_of(upper) if upper[:3] in ("GTV", "CTV", "PTV") else kind_of(name)


def _references(header: Dataset) -> tuple[tuple[str, ...], tuple[str, ...]]:
    series: dict[str, None] = {}
    images: dict[str, None] = {}
    for frame in hd.items(header, "ReferencedFrameOfReferenceSequence"):
        for study in hd.items(frame, "RTReferencedStudySequence"):
            for item in hd.items(study, "RTReferencedSeriesSequence"):
                series[hd.uid(item, "SeriesInstanceUID")] = None
                for image in hd.items(item, "ContourImageSequence"):
                    images[hd.uid(image, "ReferencedSOPInstanceUID")] = None
    return tuple(series), tuple(images)
