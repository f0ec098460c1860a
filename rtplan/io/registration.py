"""Spatial Registration in and out: a rigid transform between two frames of reference."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from rtplan.domain import Identity, Registration
from rtplan.errors import DicomError, RegistrationError
from rtplan.io import header as hd
from rtplan.io import modules as md

#: Departure of the singular values from 1 that is still rigid.
RIGID_TOLERANCE = 1e-4
Matrix = NDArray[np.float64]
_IDENTITY = np.eye(4)
_FIGURE = re.compile(r"([A-Za-z_]\w*) (-?\d[\d.]*(?:e[+-]?\d+)?)(?:, |$)")


def read(path: Path, frames: Mapping[str, str] = MappingProxyType({})) -> tuple[Registration, ...]:
    """Read the rigid transforms of a Spatial Registration object.

    Parameters
    ----------
    path : Path
        A Spatial Registration.
    frames : mapping of str to str
        SOPInstanceUIDs of images to their FrameOfReferenceUIDs, for objects that name images only.

    Returns
    -------
    tuple of Registration
        One for each other frame, into the object's own frame (its registered coordinate system): each matrix
        takes points of the frame that its item names to points of the registered one.

    Raises
    ------
    DicomError
        If the object is not a Spatial Registration, a matrix is not rigid, a frame cannot be told, or two
        items move one frame differently.

    References
    ----------
    DICOM PS3.3 C.20.2.
    """
    path = Path(path)
    header = hd.read(path)
    with hd.guarded(path):
        hd.demand_kind(header, "REG", path)
        target = hd.uid(header, "FrameOfReferenceUID")
        if not target:
            raise _unfit("The registration does not say into which frame of reference it leads.")
        found: dict[str, Registration] = {}
        for item in hd.items(header, "RegistrationSequence"):
            frame, matrix = _frame(item, frames), _matrix(item)
            if frame == target:
                if not np.allclose(matrix, _IDENTITY, atol=1e-6):
                    raise _unfit("The registration moves its own frame of reference.")
            elif frame in found and not np.allclose(found[frame].matrix, matrix, atol=1e-6):
                raise _unfit("The registration moves one frame of reference in two ways.")
            else:
                found[frame] = Registration(frame, target, matrix, "rigid", _quality(header))
        return tuple(found.values())


def _words(quality: Mapping[str, float]) -> str:
    """Return as many figures of quality as 64 characters hold, whole."""
    text = ""
    for name, value in quality.items():
        longer = f"{text}, {name} {value:.4g}".removeprefix(", ")
        text = longer if len(longer) <= 64 else text
    return text


def _quality(header: Dataset) -> Mapping[str, float]:
    """Return the figures of quality of a registration of ours."""
    if hd.line(header, "Manufacturer") != "rtplan":
        return MappingProxyType({})
    pairs = _FIGURE.findall(hd.line(header, "ContentDescription"))
    return MappingProxyType({name: float(value) for name, value in pairs})


def _unfit(message: str) -> DicomError:
    return DicomError(message, action="supply one rigid registration between two frames of reference.")


def _frame(item: Dataset, frames: Mapping[str, str]) -> str:
    """Return the frame of an item: the one it names, else that of the images it names."""
    said = hd.uid(item, "FrameOfReferenceUID")
    images = [
        hd.uid(image, "ReferencedSOPInstanceUID") for image in hd.items(item, "ReferencedImageSequence")
    ]
    of_images = {frames[uid] for uid in images if uid in frames} - {""}
    if not said and len(of_images) != 1:
        raise _unfit("An item of the registration names no frame of reference, nor images that are here.")
    if said and of_images and of_images != {said}:
        raise _unfit("An item of the registration names one frame of reference, and images of another.")
    return said or of_images.pop()


def _matrix(item: Dataset) -> Matrix:
    steps = [
        (np.array(hd.numbers(step, "FrameOfReferenceTransformationMatrix", 16)).reshape(4, 4), step)
        for group in hd.items(item, "MatrixRegistrationSequence")
        for step in hd.items(group, "MatrixSequence")
    ]
    total, other = np.eye(4), np.eye(4)
    for matrix, step in steps:
        _demand_rigid(matrix, hd.code(step, "FrameOfReferenceTransformationMatrixType"))
        total, other = total @ matrix, matrix @ other
    if not np.allclose(total, other, atol=1e-6):
        raise _unfit(f"The registration is a product of {len(steps)} matrices whose order matters.")
    return total


def _demand_rigid(matrix: Matrix, kind: str) -> None:
    if not np.allclose(matrix[3], [0, 0, 0, 1], atol=1e-6):
        raise _unfit("The registration is not rigid: the last row of its matrix is not 0, 0, 0, 1.")
    scales = np.linalg.svd(matrix[:3, :3], compute_uv=False)
    mirrored = np.linalg.det(matrix[:3, :3]) < 0
    if mirrored or np.abs(scales - 1.0).max() > RIGID_TOLERANCE:
        what = "it mirrors" if mirrored else f"it scales by {scales.min():.4f} to {scales.max():.4f}"
        raise _unfit(f"The registration is not rigid ({kind or 'no type said'}): {what}.")


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
    header.ContentDescription = _words(registration.quality)
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
