"""From DICOM to NIfTI or MHA and back, and from DICOM to DICOM for a planning system."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rtplan.domain import Dose, Image
from rtplan.errors import DicomError, FormatError
from rtplan.io import convert_out as out
from rtplan.io import modules as md
from rtplan.io import nifti, rtdose, rtstruct, seg
from rtplan.io.conversion import Converted, Order, identity_of, like_of, names_of
from rtplan.io.image import read_series
from rtplan.io.index import entry_of

__all__ = ["Converted", "Order", "convert"]


def convert(order: Order) -> Converted:
    """Convert by what IN is and how OUT is named.

    Raises
    ------
    DicomError, FormatError
        If IN cannot be read, or the conversion is not one that rtplan knows or needs ``like``.
    OutputError
        If OUT is there already or cannot be written.
    """
    source = _source(order.given)
    target = (
        "volume" if nifti.is_volume_file(order.out) else "object" if order.out.suffix == ".dcm" else "folder"
    )
    action = _TABLE.get((source, target))
    if action is None:
        known = "; ".join(f"{a} to {b}" for a, b in _TABLE)
        message = f"From {source} to {target} there is no conversion. Known: {known}."
        raise FormatError(message, where=str(order.out), action="change the ending of --out.")
    return action(order)


def _source(given: Path) -> str:
    if given.is_file() and nifti.is_volume_file(given):
        return "volume"
    if given.is_file():
        kind = entry_of(given).kind
        return kind if kind in ("RTSTRUCT", "RTDOSE", "SEG") else "series"
    if not given.exists():
        raise DicomError("There is no such file or folder.", where=str(given), action="check the path.")
    return "series"


def _series(order: Order) -> Image:
    return read_series(order.given if order.given.is_dir() else order.given.parent)


def _series_to_volume(order: Order) -> Converted:
    return out.volume_out(_series(order), order.out)


def _series_to_series(order: Order) -> Converted:
    image = _series(order)
    place = order.given if order.given.is_dir() else order.given.parent
    return out.series_out(order, image, image, identity_of(place), image.source.description or "series")


def _dose_to_volume(order: Order) -> Converted:
    return out.volume_out(rtdose.read(order.given).dose, order.out)


def _dose_to_object(order: Order) -> Converted:
    item = rtdose.read(order.given)
    return out.dose_out(order, item.dose, item.plan_uids, identity_of(order.given))


def _structures_to_labels(order: Order) -> Converted:
    item = rtstruct.read(order.given)
    return out.labels_out(order, item.structures, item.notices)


def _structures_to_object(order: Order) -> Converted:
    item = rtstruct.read(order.given)
    return out.structures_out(order, item.structures, item.notices)


def _segments_to_labels(order: Order) -> Converted:
    return out.labels_out(order, seg.read(order.given), ())


def _segments_to_object(order: Order) -> Converted:
    return out.structures_out(order, seg.read(order.given), ())


def _volume_to_object(order: Order) -> Converted:
    if order.kind in ("CT", "MR"):
        message = "An image becomes a series in a folder, not one object."
        raise FormatError(message, where=str(order.out), action="give a folder as --out.")
    frame = like_of(order).grid.frame_of_reference if order.like or order.kind != "dose" else ""
    if order.kind == "dose":
        dose = nifti.read_volume(order.given, kind="dose", frame_of_reference=frame)
        assert isinstance(dose, Dose)
        return out.dose_out(order, dose, (), identity_of(order.like))
    if order.kind == "uncertainty":
        return out.map_out(order, nifti.read_volume(order.given, kind="MR", frame_of_reference=frame))
    structures = nifti.read_labels(order.given, names=names_of(order.names), frame_of_reference=frame)
    return out.structures_out(order, structures, ())


def _volume_to_series(order: Order) -> Converted:
    like = like_of(order) if order.like else None
    modality = order.kind if order.kind in ("CT", "MR") else like.modality if like else None
    if modality is None or order.kind not in ("auto", "CT", "MR"):
        message = "It is not said whether the volume is CT or MR."
        raise FormatError(message, where=str(order.given), action="say --kind CT or --kind MR.")
    frame = like.grid.frame_of_reference if like else md.Stamp().uid()
    image = nifti.read_volume(order.given, kind="CT" if modality == "CT" else "MR", frame_of_reference=frame)
    assert isinstance(image, Image)
    return out.series_out(order, image, like, identity_of(order.like), order.given.name)


_TABLE: dict[tuple[str, str], Callable[[Order], Converted]] = {
    ("series", "volume"): _series_to_volume,
    ("series", "folder"): _series_to_series,
    ("RTDOSE", "volume"): _dose_to_volume,
    ("RTDOSE", "object"): _dose_to_object,
    ("RTSTRUCT", "volume"): _structures_to_labels,
    ("RTSTRUCT", "object"): _structures_to_object,
    ("SEG", "volume"): _segments_to_labels,
    ("SEG", "object"): _segments_to_object,
    ("volume", "object"): _volume_to_object,
    ("volume", "folder"): _volume_to_series,
}
