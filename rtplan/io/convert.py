"""From DICOM to NIfTI or MHA and back: a series, a dose, a structure set or a label map."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rtplan.domain import Dose, Identity, Image, Notice
from rtplan.errors import DicomError, FormatError
from rtplan.io import modules as md
from rtplan.io import nifti, rtdose, rtstruct
from rtplan.io.image import read_series
from rtplan.io.image_write import Derived, write_series
from rtplan.io.index import entry_of, index
from rtplan.io.patient_write import written_whole

Kind = Literal["auto", "CT", "MR", "labels", "dose"]


@dataclass(frozen=True)
class Order:
    """What is asked for.

    Parameters
    ----------
    given : Path
        A DICOM folder or file, or a volume file.
    out : Path
        A volume file, an RT object (``.dcm``) or a new folder for a series.
    like : Path or None
        A DICOM series: patient, frame of reference and slices of what is written.
    names : Path or None
        JSON ``{"labels": {"1": "Prostate"}}`` for a label map.
    kind : str
        What a volume file holds, where the names of IN and OUT leave it open.
    """

    given: Path
    out: Path
    like: Path | None = None
    names: Path | None = None
    kind: Kind = "auto"


@dataclass(frozen=True)
class Converted:
    """What was written, and what must be said of it."""

    paths: tuple[Path, ...]
    notices: tuple[Notice, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)


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
        return kind if kind in ("RTSTRUCT", "RTDOSE") else "series"
    if not given.exists():
        raise DicomError("There is no such file or folder.", where=str(given), action="check the path.")
    return "series"


def _series_to_volume(order: Order) -> Converted:
    source = order.given if order.given.is_dir() else order.given.parent
    return Converted((nifti.write_volume(read_series(source), order.out),))


def _dose_to_volume(order: Order) -> Converted:
    return Converted((nifti.write_volume(rtdose.read(order.given).dose, order.out),))


def _structures_to_labels(order: Order) -> Converted:
    image = _like(order)
    item = rtstruct.read(order.given)
    if item.frame != image.grid.frame_of_reference:
        raise DicomError(
            f"The structures lie in frame of reference {item.frame or 'none'}, the series in "
            f"{image.grid.frame_of_reference}.",
            where=str(order.given),
            action="give the series on which they were drawn.",
        )
    path, notices = nifti.write_labels(item.structures, image.grid, order.out)
    labels = {str(value): s.name for value, s in enumerate(item.structures, start=1)}
    return Converted((path, nifti.names_path(path)), (*item.notices, *notices), labels)


def _volume_to_object(order: Order) -> Converted:
    if order.kind == "dose":
        return _volume_to_dose(order)
    if order.kind in ("CT", "MR"):
        message = "An image becomes a series in a folder, not one object."
        raise FormatError(message, where=str(order.out), action="give a folder as --out.")
    image = _like(order)
    frame = image.grid.frame_of_reference
    structures = nifti.read_labels(order.given, names=_names(order.names), frame_of_reference=frame)
    done = rtstruct.write(structures, order.out, image=image, identity=_identity(order.like))
    return Converted((done.path,), labels={str(n): name for name, n in done.roi_numbers.items()})


def _volume_to_dose(order: Order) -> Converted:
    frame = _like(order).grid.frame_of_reference if order.like else ""
    dose = nifti.read_volume(order.given, kind="dose", frame_of_reference=frame)
    assert isinstance(dose, Dose)
    plan_uid = md.Stamp().uid()
    done = rtdose.write(dose, order.out, identity=_identity(order.like), plan_uid=plan_uid, arm="converted")
    message = f"The RTDOSE refers to a plan that does not exist ({plan_uid}): the volume file names none."
    action = "some planning systems ask for the plan."
    return Converted(
        (done.path,), (Notice("DOSE_WITHOUT_PLAN", "warn", message, action, file=str(order.out)),)
    )


def _volume_to_series(order: Order) -> Converted:
    like = _like(order) if order.like else None
    modality = order.kind if order.kind in ("CT", "MR") else like.modality if like else None
    if modality is None or order.kind in ("labels", "dose"):
        message = "It is not said whether the volume is CT or MR."
        raise FormatError(message, where=str(order.given), action="say --kind CT or --kind MR.")
    frame = like.grid.frame_of_reference if like else md.Stamp().uid()
    image = nifti.read_volume(order.given, kind="CT" if modality == "CT" else "MR", frame_of_reference=frame)
    assert isinstance(image, Image)
    with written_whole(order.out) as part:
        done = write_series(
            image,
            part,
            _identity(order.like),
            description=order.given.name,
            derived=Derived(like.source, f"converted from {order.given.name}") if like else None,
        )
    notices = []
    if done.clipped_voxels:
        message = f"{done.clipped_voxels} voxels lay outside -1024 to 3071 HU and were clipped."
        notices.append(Notice("HU_CLIPPED", "warn", message, file=str(order.out)))
    return Converted(tuple(order.out / path.name for path in done.paths), tuple(notices))


_TABLE: dict[tuple[str, str], Callable[[Order], Converted]] = {
    ("series", "volume"): _series_to_volume,
    ("RTDOSE", "volume"): _dose_to_volume,
    ("RTSTRUCT", "volume"): _structures_to_labels,
    ("volume", "object"): _volume_to_object,
    ("volume", "folder"): _volume_to_series,
}


def _like(order: Order) -> Image:
    if order.like is None:
        action = "say --like FOLDER with the DICOM series on which the structures lie."
        raise FormatError("This conversion needs an image series.", where=str(order.given), action=action)
    return read_series(order.like)


def _identity(like: Path | None) -> Identity:
    if like is None:
        return Identity()
    first = index(like).series("CT", "MR")[0].first
    return Identity(
        patient_id=first.text("PatientID"),
        name=first.text("PatientName"),
        birth_date=first.text("PatientBirthDate"),
        sex=first.text("PatientSex"),
        study_uid=first.study_uid,
    )


def _names(path: Path | None) -> dict[int, str] | None:
    if path is None:
        return None
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        table = table.get("labels", table)
        return {int(value): str(name) for value, name in table.items()}
    except (OSError, ValueError, AttributeError):
        action = 'write {"labels": {"1": "Prostate"}}.'
        raise FormatError("The names do not parse.", where=str(path), action=action) from None
