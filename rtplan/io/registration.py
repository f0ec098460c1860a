"""Spatial Registration in and out: a rigid transform between two frames of reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from rtplan.domain import Identity, Registration
from rtplan.errors import DicomError, RegistrationError
from rtplan.io import header as hd
from rtplan.io import modules as md

#: Departure of the rotation from orthogonality that is still rigid.
RIGID_TOLERANCE = 1e-4
_IDENTITY = np.eye(4)


def read(path: Path) -> tuple[Registration, ...]:
    """Read the rigid transforms of a Spatial Registration object.

    Returns
    -------
    tuple of Registration
        One for each other frame, into the object's own frame (its registered coordinate system).

    Raises
    ------
    DicomError
        If the object is not a Spatial Registration, or a matrix is not rigid.
    """
    path = Path(path)
    header = hd.read(path)
    with hd.guarded(path):
        hd.demand_kind(header, "REG", path)
        target = hd.uid(header, "FrameOfReferenceUID")
        found = []
        for item in hd.items(header, "RegistrationSequence"):
            frame = hd.uid(item, "FrameOfReferenceUID")
            matrix = _matrix(item, path)
            if frame and frame != target:
                found.append(Registration(frame, target, matrix, kind="rigid"))
            elif not np.allclose(matrix, _IDENTITY, atol=1e-6):
                raise DicomError("The registration moves its own frame of reference.", where=str(path))
        return tuple(found)


def _matrix(item: Dataset, path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    total = np.eye(4)
    for group in hd.items(item, "MatrixRegistrationSequence"):
        for step in hd.items(group, "MatrixSequence"):
            values = hd.numbers(step, "FrameOfReferenceTransformationMatrix", 16)
            total = np.array(values).reshape(4, 4) @ total
    rotation = total[:3, :3]
    bent = np.abs(rotation.T @ rotation - np.eye(3)).max() > RIGID_TOLERANCE or np.linalg.det(rotation) < 0
    if bent or not np.allclose(total[3], [0, 0, 0, 1], atol=1e-6):
        action = "supply a rigid registration."
        raise DicomError("The registration is not rigid.", where=str(path), action=action)
    return total


def write(
    registration: Registration, path: Path, *, identity: Identity, stamp: md.Stamp | None = None
) -> Path:
    """Write a rigid registration; the registered coordinate system is its ``to_frame``.

    Raises
    ------
    RegistrationError
        If it is deformable: that needs another object.
    """
    if registration.kind == "deformable":
        raise RegistrationError("A deformable registration cannot be written as a rigid one.")
    stamp = stamp or md.Stamp()
    parts = (registration.from_frame, registration.to_frame)
    uid, series_uid = stamp.uid("REG", *parts), stamp.uid("series", "REG", *parts)
    header = md.start("REG", identity, stamp, series_uid=series_uid, sop_uid=uid)
    header.SeriesDescription = "rtplan registration"
    header.InstanceNumber = 1
    header.FrameOfReferenceUID = md.frame_uid(registration.to_frame)
    header.PositionReferenceIndicator = ""
    header.ContentDate, header.ContentTime = stamp.date, stamp.time
    header.ContentLabel = "REGISTRATION"
    quality = ", ".join(f"{name} {value:.4g}" for name, value in registration.quality.items())
    header.ContentDescription = md.clipped(quality, 64)
    header.ContentCreatorName = ""
    header.RegistrationSequence = md.sequence(
        _item(registration.to_frame, np.eye(4)), _item(registration.from_frame, registration.matrix)
    )
    return md.save(header, path)


def _item(frame: str, matrix: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Dataset:
    item, group, step = Dataset(), Dataset(), Dataset()
    step.FrameOfReferenceTransformationMatrixType = "RIGID"
    step.FrameOfReferenceTransformationMatrix = md.decimals(matrix.ravel())
    group.RegistrationTypeCodeSequence = md.sequence(
        md.code("125024", "DCM", "Image Content-based Alignment")
    )
    group.FrameOfReferenceTransformationComment = ""
    group.MatrixSequence = md.sequence(step)
    item.FrameOfReferenceUID = md.frame_uid(frame)
    item.MatrixRegistrationSequence = md.sequence(group)
    return item
