"""RTDOSE: both meanings of the frame offsets, what the dose is, of which arm and plan."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from rtplan.domain import Dose, Grid, Source
from rtplan.errors import DicomError
from rtplan.io import header as hd
from rtplan.io.geometry import DIRECTION_TOLERANCE, POSITION_TOLERANCE_MM
from rtplan.io.image import pixels_of
from rtplan.io.rtdose_write import MEANING, Form, WrittenDose, write

__all__ = ["Form", "ReadDose", "WrittenDose", "read", "write"]

#: DoseSummationTypes of whole courses.
WHOLE = ("PLAN", "MULTI_PLAN")
#: SeriesDescription of our doses: the arm, then the kind.
DESCRIPTION = re.compile(r"^rtplan dose (?P<arm>\S+)")
_COMMENT = re.compile(r"(?P<kind>EQD2\([0-9.]+\))?(?:; )?(?:(?P<fractions>\d+) fx)?$")


@dataclass(frozen=True, eq=False)
class ReadDose:
    """What one RTDOSE says.

    Parameters
    ----------
    dose : Dose
        Gy, of what `summation` says.
    summation : str
        DoseSummationType: ``PLAN``, ``BEAM``, ``FRACTION`` …
    arm : str or None
        The arm, when rtplan wrote the object.
    plan_uids : tuple of str
        SOPInstanceUIDs of the plans that it was calculated for.
    groups, beams : tuple of int
        Numbers of the fraction groups and beams that it is the dose of, where the object names them.
    """

    path: Path
    dose: Dose
    summation: str
    arm: str | None
    plan_uids: tuple[str, ...]
    groups: tuple[int, ...] = ()
    beams: tuple[int, ...] = ()


def read(path: Path) -> ReadDose:
    """Read a dose grid.

    Parameters
    ----------
    path : Path
        An RTDOSE with pixels.

    Returns
    -------
    ReadDose
        The dose in Gy (stored value × DoseGridScaling), float32, array [z, y, x]; z ascends along the normal
        of the planes (rows × columns), whichever way the offsets run.

    Raises
    ------
    DicomError
        If the object is not an RTDOSE in Gy, is a difference of doses, its frames are not evenly spaced, or
        its pixels and header contradict each other.
    """
    path = Path(path)
    header = hd.read(path, pixels=True)
    with hd.guarded(path):
        where = str(path)
        hd.demand_kind(header, "RTDOSE", path)
        if hd.code(header, "DoseUnits").upper() != "GY":
            said = hd.code(header, "DoseUnits") or "nothing"
            raise DicomError(
                f"DoseUnits says {said}, GY is wanted.", where=where, action="export absolute dose."
            )
        if hd.code(header, "DoseType").upper() == "ERROR":
            raise DicomError(
                "DoseType says ERROR: a difference of doses, not a dose.",
                where=where,
                action="export the dose itself.",
            )
        grid, descends = _grid(header)
        scaling = hd.number(header, "DoseGridScaling")
        if scaling is None or scaling <= 0:
            raise DicomError(
                "DoseGridScaling is missing or not positive.", where=where, action="export it again."
            )
        stored = pixels_of(header).reshape(grid.shape)
        array = (stored.astype(np.float64) * scaling).astype(np.float32)
        array = array[::-1] if descends else array
        return _what(header, path, grid, array)


def _what(header: Dataset, path: Path, grid: Grid, array: NDArray[np.float32]) -> ReadDose:
    comment = hd.line(header, "DoseComment")
    said = (
        _COMMENT.search(comment.removeprefix(MEANING).lstrip("; ")) if comment.startswith(MEANING) else None
    )
    effective = hd.code(header, "DoseType").upper() == "EFFECTIVE"
    kind = (said and said["kind"]) or ("effective" if effective else "physical")
    ours = DESCRIPTION.match(hd.line(header, "SeriesDescription"))
    source = Source(
        series_uid=hd.uid(header, "SeriesInstanceUID"),
        study_uid=hd.uid(header, "StudyInstanceUID"),
        sop_uids=(hd.uid(header, "SOPInstanceUID"),),
        sop_class_uid=hd.uid(header, "SOPClassUID"),
        description=hd.line(header, "SeriesDescription"),
    )
    fractions = int(said["fractions"]) if said and said["fractions"] else None
    plans = hd.items(header, "ReferencedRTPlanSequence")
    groups = [group for plan in plans for group in hd.items(plan, "ReferencedFractionGroupSequence")]
    beams = [beam for group in groups for beam in hd.items(group, "ReferencedBeamSequence")]
    return ReadDose(
        path=path,
        dose=Dose(grid, array, kind=kind, fractions=fractions, source=source),
        summation=hd.code(header, "DoseSummationType").upper(),
        arm=ours["arm"] if ours else None,
        plan_uids=tuple(hd.uid(plan, "ReferencedSOPInstanceUID") for plan in plans),
        groups=tuple(hd.whole(group, "ReferencedFractionGroupNumber") for group in groups),
        beams=tuple(hd.whole(beam, "ReferencedBeamNumber") for beam in beams),
    )


def _grid(header: Dataset) -> tuple[Grid, bool]:
    """Return the grid with z ascending along the normal, and whether the frames run the other way."""
    where = hd.place(header)
    shape = (hd.whole(header, "NumberOfFrames", 1), hd.whole(header, "Rows"), hd.whole(header, "Columns"))
    position = np.array(hd.numbers(header, "ImagePositionPatient", 3))
    orientation = np.array(hd.numbers(header, "ImageOrientationPatient", 6))
    between_rows, between_columns = hd.numbers(header, "PixelSpacing", 2)
    row, column = orientation[:3], orientation[3:]
    off = max(abs(np.linalg.norm(row) - 1), abs(np.linalg.norm(column) - 1), abs(row @ column))
    if off > DIRECTION_TOLERANCE or min(shape) < 1 or min(between_rows, between_columns) <= 0:
        raise DicomError(
            "The geometry of the dose grid is impossible.", where=where, action="export it again."
        )
    row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)
    normal = np.cross(row, column)
    affine = np.eye(4)
    step = _frame_step(header, shape[0], position, normal)
    affine[:3, 0] = normal * abs(step)
    affine[:3, 1], affine[:3, 2] = column * between_rows, row * between_columns
    affine[:3, 3] = position + normal * min(step, 0.0) * (shape[0] - 1)
    return Grid(shape, affine, hd.uid(header, "FrameOfReferenceUID")), step < 0


def _frame_step(
    header: Dataset, frames: int, position: NDArray[np.float64], normal: NDArray[np.float64]
) -> float:
    """Return the step between frames along the normal, mm, in either meaning of the offsets.

    References
    ----------
    DICOM PS3.3 C.8.8.3.2.
    """
    where = hd.place(header)
    offsets = np.array(hd.numbers(header, "GridFrameOffsetVector"))
    if frames == 1 and offsets.size < 2:
        thickness = hd.number(header, "SliceThickness")
        if not thickness or thickness <= 0:
            message = "A dose of one plane without SliceThickness has no depth."
            raise DicomError(message, where=where, action="export a dose grid of several planes.")
        return thickness
    if offsets.size != frames:
        message = f"GridFrameOffsetVector has {offsets.size} values for {frames} frames."
        raise DicomError(message, where=where, action="export it again.")
    axial = abs(abs(normal[2]) - 1) < DIRECTION_TOLERANCE
    if abs(offsets[0]) < 1e-6:
        steps = offsets
    elif axial and abs(offsets[0] - position[2]) < POSITION_TOLERANCE_MM:
        steps = (offsets - offsets[0]) * np.sign(normal[2])  # absolute: patient z of each plane
    else:
        message = (
            f"GridFrameOffsetVector begins with {offsets[0]:.3f}: neither 0 nor the z of the first plane."
        )
        raise DicomError(message, where=where, action="export it again.")
    step = float(steps[-1]) / (frames - 1)
    if abs(step) < 1e-6 or np.abs(steps - step * np.arange(frames)).max() > POSITION_TOLERANCE_MM:
        message = "The planes of the dose are not evenly spaced."
        raise DicomError(message, where=where, action="export it with constant spacing.")
    return step
