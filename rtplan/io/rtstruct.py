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
from rtplan.domain.structure import Kind
from rtplan.errors import DicomError
from rtplan.io import header as hd
from rtplan.io.rtstruct_write import FULL_NAME, write

__all__ = ["StructureSet", "read", "write"]

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")

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
#: Largest distance of a contour's points from one plane, mm.
PLANE_TOLERANCE_MM = 0.1


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
        The images on which it was drawn.
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

    Kept are the closed planar contours; rings of one plane combine by exclusive or. Left out, each with a
    notice: points and open contours, rings of fewer than three points, empty structures, and every
    structure whose name another one bears too.

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
        rois = {
            hd.whole(item, "ROINumber"): item for item in hd.items(self.header, "StructureSetROISequence")
        }
        contours = self._by_roi("ROIContourSequence")
        observations = self._by_roi("RTROIObservationsSequence")
        frame = self._frame(rois)
        structures = []
        for name, number in self._unique_names(rois).items():
            rings = self._rings(name, contours.get(number, []))
            if rings:
                kind = _kind(name, observations.get(number, []))
                structures.append(Structure(name, kind, Contours(tuple(rings), frame)))
            else:
                self._say(
                    "STRUCTURE_EMPTY", "info", "The structure holds no closed contour; it is left out.", name
                )
        series, images = _references(self.header)
        return StructureSet(
            path=self.path,
            sop_uid=hd.uid(self.header, "SOPInstanceUID"),
            label=hd.line(self.header, "StructureSetLabel"),
            frame=frame,
            structures=tuple(structures),
            series_uids=series,
            image_uids=images,
            notices=tuple(self.notices),
        )

    def _by_roi(self, keyword: str) -> dict[int, list[Dataset]]:
        found: dict[int, list[Dataset]] = {}
        for item in hd.items(self.header, keyword):
            found.setdefault(hd.whole(item, "ReferencedROINumber"), []).append(item)
        return found

    def _say(self, code: str, severity: str, message: str, name: str, action: str = "") -> None:
        assert severity in ("info", "warn", "refuse")
        where = {"file": str(self.path), "uid": hd.uid(self.header, "SOPInstanceUID"), "structure": name}
        self.notices.append(Notice(code, severity, message, action, **where))  # type: ignore[arg-type]

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

    def _unique_names(self, rois: dict[int, Dataset]) -> dict[str, int]:
        names = {number: _name(item) or f"ROI {number}" for number, item in rois.items()}
        counts = Counter(names.values())
        for name, count in counts.items():
            if count > 1:
                message = f"{count} structures bear the name {name!r}; none of them is used."
                self._say("STRUCTURE_NAME_TWICE", "warn", message, name, "rename them and export again.")
        return {name: number for number, name in names.items() if counts[name] == 1}

    def _rings(self, name: str, contours: list[Dataset]) -> list[NDArray[np.float64]]:
        rings, left = [], Counter[str]()
        for contour in (c for item in contours for c in hd.items(item, "ContourSequence")):
            kind = hd.code(contour, "ContourGeometricType")
            if kind not in CLOSED:
                left[f"{kind or 'untyped'} contours"] += 1
                continue
            ring = self._ring(name, contour)
            if len(ring) < 3:
                left["rings of fewer than three points"] += 1
            else:
                rings.append(ring)
        for what, count in left.items():
            self._say("CONTOUR_LEFT_OUT", "info", f"{count} {what} are left out.", name)
        return rings

    def _ring(self, name: str, contour: Dataset) -> NDArray[np.float64]:
        values = hd.array(contour, "ContourData")
        stated = hd.whole(contour, "NumberOfContourPoints", values.size // 3)
        if values.size != 3 * stated:
            raise DicomError(
                f"A contour of {name!r} says {stated} points and holds {values.size} numbers.",
                where=str(self.path),
                action="export the structure set again.",
            )
        points = values.reshape(-1, 3)
        if len(points) > 1 and np.allclose(points[0], points[-1], atol=1e-6):
            points = points[:-1]
        if len(points) >= 3 and _off_plane_mm(points) > PLANE_TOLERANCE_MM:
            raise DicomError(
                f"A contour of {name!r} is called planar, but its points lie up to "
                f"{_off_plane_mm(points):.2f} mm off one plane.",
                where=str(self.path),
                action="export the structure set again.",
            )
        return points


def _off_plane_mm(points: NDArray[np.float64]) -> float:
    spread = points - points.mean(axis=0)
    if np.ptp(points[:, 2]) < 1e-9:
        return 0.0
    normal = np.linalg.svd(spread, full_matrices=False)[2][-1]
    return float(np.abs(spread @ normal).max())


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
