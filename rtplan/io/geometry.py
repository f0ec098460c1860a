"""From the headers of a stack of slices to its Grid; refuses what is not a regular box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Grid, Notice
from rtplan.errors import DicomError

Float = NDArray[np.float64]

#: Largest distance of a slice from its place on the regular grid, mm.
POSITION_TOLERANCE_MM = 0.05
#: Largest deviation of the row and column directions from unit length and right angle.
DIRECTION_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Slice:
    """Where one slice lies, as its header says.

    Parameters
    ----------
    path : Path
        File.
    sop_uid : str
        SOPInstanceUID.
    position : ndarray, shape (3,)
        ImagePositionPatient, LPS mm.
    orientation : ndarray, shape (6,)
        ImageOrientationPatient: direction of the rows, then of the columns.
    spacing : tuple of float
        PixelSpacing: (between rows, between columns), mm.
    shape : tuple of int
        (Rows, Columns).
    frame : str
        FrameOfReferenceUID.
    """

    path: Path
    sop_uid: str
    position: Float
    orientation: Float
    spacing: tuple[float, float]
    shape: tuple[int, int]
    frame: str

    @cached_property
    def normal(self) -> Float:
        """Unit normal of the slice: rows × columns, shape (3,), LPS."""
        normal: Float = np.cross(self.orientation[:3], self.orientation[3:])
        return normal / np.linalg.norm(normal)


def depths(slices: Sequence[Slice]) -> Float:
    """Return how far each slice lies along the normal of the first, mm."""
    found: Float = np.array([item.position for item in slices]) @ slices[0].normal
    return found


def order(slices: Sequence[Slice]) -> list[int]:
    """Return the indices that sort slices along their normal (rows × columns), ascending."""
    along = depths(slices).tolist()
    return sorted(range(len(slices)), key=lambda index: (along[index], str(slices[index].path)))


def problems(slices: Sequence[Slice]) -> list[Notice]:
    """Return what keeps slices from being one regular box; empty when they are one.

    Codes: ``DIRECTION_BROKEN``, ``ORIENTATION_MIXED``, ``MATRIX_MIXED``, ``FRAME_MIXED``,
    ``SLICE_SINGLE``, ``SLICES_DUPLICATE``, ``SLICES_MISSING``, ``SPACING_IRREGULAR``, ``GANTRY_TILT``.
    """
    first = slices[0]
    found = _direction(first) or _mixed(slices)
    if found:
        return found
    if len(slices) == 1:
        return [_refuse("SLICE_SINGLE", "One slice alone has no spacing.", "supply the whole series.", first)]
    ordered = [slices[index] for index in order(slices)]
    along = np.array([item.position for item in ordered]) @ first.normal
    return _spacing(ordered, along) or _sheared(ordered, along)


def grid_of(slices: Sequence[Slice]) -> tuple[Grid, list[int]]:
    """Return the grid of slices, and the order in which they fill its first axis.

    The slice step is the true step between ImagePositionPatient of the first and the last slice, never
    SliceThickness.

    Returns
    -------
    Grid
        Array order [z, y, x]; z ascends along the normal of the slices.
    list of int
        Index into ``slices`` for each k.

    Raises
    ------
    DicomError
        With the first of `problems`.
    """
    for notice in problems(slices):
        raise DicomError(notice.message, where=notice.file or "", action=notice.action)
    indices = order(slices)
    first, last = slices[indices[0]], slices[indices[-1]]
    affine = np.eye(4)
    affine[:3, 0] = (last.position - first.position) / (len(slices) - 1)
    affine[:3, 1] = _unit(first.orientation[3:]) * first.spacing[0]
    affine[:3, 2] = _unit(first.orientation[:3]) * first.spacing[1]
    affine[:3, 3] = first.position
    return Grid((len(slices), *first.shape), affine, first.frame), indices


def _unit(vector: Float) -> Float:
    return vector / np.linalg.norm(vector)


def _refuse(code: str, message: str, action: str, item: Slice) -> Notice:
    return Notice(code, "refuse", message, action, file=str(item.path), uid=item.sop_uid)


def _direction(item: Slice) -> list[Notice]:
    row, column = item.orientation[:3], item.orientation[3:]
    lengths = float(np.linalg.norm(row)), float(np.linalg.norm(column))
    off = abs(lengths[0] - 1), abs(lengths[1] - 1), abs(float(row @ column))
    if max(off) <= DIRECTION_TOLERANCE:
        return []
    message = "ImageOrientationPatient is not a pair of unit vectors at right angles."
    return [_refuse("DIRECTION_BROKEN", message, "export the series again.", item)]


def _mixed(slices: Sequence[Slice]) -> list[Notice]:
    first = slices[0]
    tests = {
        "ORIENTATION_MIXED": lambda s: np.abs(s.orientation - first.orientation).max() <= DIRECTION_TOLERANCE,
        "MATRIX_MIXED": lambda s: s.shape == first.shape and np.allclose(s.spacing, first.spacing, atol=1e-4),
        "FRAME_MIXED": lambda s: s.frame == first.frame,
    }
    what = {
        "ORIENTATION_MIXED": "slices of different orientation (ImageOrientationPatient)",
        "MATRIX_MIXED": "slices of different matrix or pixel size (Rows, Columns, PixelSpacing)",
        "FRAME_MIXED": "slices of different FrameOfReferenceUID",
    }
    for code, same in tests.items():
        for item in slices:
            if not same(item):
                return [_refuse(code, f"The series mixes {what[code]}.", "supply one series alone.", item)]
    return []


def _spacing(ordered: Sequence[Slice], along: Float) -> list[Notice]:
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    same = np.flatnonzero(gaps < POSITION_TOLERANCE_MM)
    if same.size:
        item = ordered[int(same[0]) + 1]
        message = f"{same.size + 1} slices or more lie at the same position ({along[same[0]]:.2f} mm)."
        return [
            _refuse("SLICES_DUPLICATE", message, "remove the second copy or supply one series alone.", item)
        ]
    wide = np.flatnonzero(gaps > 1.5 * usual)
    if wide.size and np.allclose(gaps[wide] / usual, np.round(gaps[wide] / usual), atol=0.1):
        lost = int(np.round(gaps[wide] / usual).sum()) - wide.size
        at = int(wide[0])
        message = f"{lost} slices are missing, the first between {along[at]:.2f} and {along[at + 1]:.2f} mm."
        return [_refuse("SLICES_MISSING", message, "export the whole series again.", ordered[at])]
    line = np.linspace(along[0], along[-1], len(along))
    off = np.abs(along - line)
    if off.max() > POSITION_TOLERANCE_MM:
        message = (
            f"The slices are not evenly spaced: gaps from {gaps.min():.3f} to {gaps.max():.3f} mm, "
            f"{off.max():.3f} mm off a regular grid."
        )
        action = "supply a series of constant spacing; rtplan never resamples silently."
        return [_refuse("SPACING_IRREGULAR", message, action, ordered[int(off.argmax())])]
    return []


def _sheared(ordered: Sequence[Slice], along: Float) -> list[Notice]:
    first = ordered[0]
    steps = np.array([item.position - first.position for item in ordered])
    sideways = np.linalg.norm(steps - np.outer(along - along[0], first.normal), axis=1)
    if sideways.max() <= POSITION_TOLERANCE_MM:
        return []
    angle = float(np.degrees(np.arctan2(sideways[-1], along[-1] - along[0])))
    message = (
        f"The slices are shifted sideways along the stack (gantry tilt or shear of {angle:.2f} degrees)."
    )
    action = "supply a series without gantry tilt, or one resampled by its scanner."
    return [_refuse("GANTRY_TILT", message, action, ordered[int(sideways.argmax())])]
