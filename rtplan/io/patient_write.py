"""A Patient as a folder of real DICOM: image series, RTSTRUCT, RTPLAN, RTDOSE, registrations."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rtplan.domain import Identity, Image, Mask, Patient, Source, Structure
from rtplan.domain.patient import ARMS
from rtplan.errors import OutputError
from rtplan.io import modules as md
from rtplan.io import registration, rtdose, rtplan_write, rtstruct_write
from rtplan.io.image_write import Written, write_series
from rtplan.io.rtstruct_write import WrittenSet


def write_patient(
    patient: Patient,
    folder: Path,
    *,
    images: Collection[str] | None = None,
    pseudonym: str | None = None,
    stamp: md.Stamp | None = None,
) -> list[Path]:
    """Write a patient as a folder of DICOM.

    ``CT/``, ``MR_<role>/``, ``CT_<arm>/``, RS.dcm, RP.dcm, RD_<arm>.dcm, REG.dcm.
    Everything is written beside the folder first and moved into it when it is whole.

    Parameters
    ----------
    patient : Patient
        Images, structures (not empty ones), plan, doses and registrations are written.
    folder : Path
        Is made when it is not there; files of these names must not be in it.
    images : collection of str, optional
        Roles of the images to write; all by default. Structures refer to an image that is not written by the
        UIDs of its source.
    pseudonym : str, optional
        Stands as PatientID and PatientName in place of the identity.
    stamp : Stamp, optional
        Date, time and UIDs; ``Stamp(seed=…)`` gives the same UIDs again.

    Returns
    -------
    list of Path
        Every file, in the order of writing.

    Raises
    ------
    OutputError
        If the folder cannot be written, or holds such files already.
    """
    folder = Path(folder)
    stamp = stamp or md.Stamp()
    identity = _identity(patient, pseudonym)
    with written_whole(folder) as part:
        paths = _write(patient, part, identity, stamp, images)
    return [folder / path.relative_to(part) for path in paths]


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """Give a new folder beside this one; move what is in it into this one at the end, or remove it all.

    Raises
    ------
    OutputError
        If the folder cannot be made, or something of the same name is in it already.
    """
    part = folder.parent / f".partial-{uuid.uuid4().hex[:12]}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
    except OSError as failed:
        action = "choose a folder where you may write."
        what = failed.strerror or "no folder can be made"
        raise OutputError(f"Nothing was written: {what}.", where=str(folder), action=action) from None
    try:
        yield part
        taken = [item.name for item in part.iterdir() if (folder / item.name).exists()]
        if taken:
            message = f"Nothing was written: {', '.join(sorted(taken))} is in the folder already."
            raise OutputError(message, where=str(folder), action="choose an empty folder.")
        if not folder.exists():
            part.rename(folder)
            return
        for item in part.iterdir():
            item.rename(folder / item.name)
    except OSError as failed:
        what = failed.strerror or "the folder cannot be written"
        action = "choose a folder where you may write."
        raise OutputError(f"Nothing was written: {what}.", where=str(folder), action=action) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _identity(patient: Patient, pseudonym: str | None) -> Identity:
    study = patient.identity.study_uid
    if pseudonym is not None:
        return Identity(patient_id=pseudonym, name=pseudonym, sex=patient.identity.sex, study_uid=study)
    if not patient.identity.patient_id:
        name = patient.identity.name or f"RTPLAN^{patient.key}"
        return replace(patient.identity, patient_id=patient.key, name=name)
    return patient.identity


def _write(
    patient: Patient, part: Path, identity: Identity, stamp: md.Stamp, images: Collection[str] | None
) -> list[Path]:
    paths: list[Path] = []
    shown = dict(patient.images)
    for name in patient.images if images is None else images:
        written = _image(patient, name, part, identity, stamp)
        shown[name] = replace(shown[name], source=written.source)
        paths += written.paths
    role = _reference(patient)
    reference = shown[role] if role else None
    drawn = _structures(patient, reference, part / "RS.dcm", identity, stamp) if reference else None
    paths += [drawn.path] if drawn else []
    plan_uid = stamp.uid("RTPLAN", "not written")
    if patient.plan is not None:
        plan = rtplan_write.write(
            patient.plan,
            part / "RP.dcm",
            identity=identity,
            image=reference,
            structure_set=drawn,
            stamp=stamp,
        )
        paths.append(plan.path)
        plan_uid = plan.sop_uid
    for name, dose in patient.doses.items():
        path, arm = part / f"RD_{name}.dcm", name.removesuffix("_EQD2")
        rtdose.write(dose, path, identity=identity, plan_uid=plan_uid, arm=arm, stamp=stamp)
        paths.append(path)
    for count, item in enumerate(r for r in patient.registrations if r.kind != "deformable"):
        if item.from_frame != item.to_frame:
            name = "REG.dcm" if count == 0 else f"REG_{count + 1}.dcm"
            paths.append(registration.write(item, part / name, identity=identity, stamp=stamp))
    return paths


def _image(patient: Patient, role: str, part: Path, identity: Identity, stamp: md.Stamp) -> Written:
    image = patient.images[role]
    if image.modality == "MR":
        return write_series(image, part / f"MR_{role}", identity, description=role, stamp=stamp)
    if role == "CT":
        return write_series(image, part / "CT", identity, description="CT", stamp=stamp)
    return write_series(
        image,
        part / f"CT_{role}",
        identity,
        description=f"rtplan arm {role}",
        like=_origin(patient, image),
        stamp=stamp,
        derivation=image.source.description or f"rtplan density image {role}",
    )


def _origin(patient: Patient, image: Image) -> Source:
    """Return the image that an arm was made from: what its own source names, else the MR, else the CT."""
    if image.source.sop_uids:
        return image.source
    others = [*patient.mr.values(), *(i for r, i in patient.images.items() if r == "CT")]
    return next((other.source for other in others if other.source.sop_uids), Source())


def _reference(patient: Patient) -> str | None:
    """Return the role of the image on which structures are shown, in whose frame they lie."""
    frames = {_frame(s) for s in patient.structures.values()}
    ranked = sorted(patient.images, key=lambda role: (role != "CT", role in ARMS))
    fitting = [role for role in ranked if patient.images[role].grid.frame_of_reference in frames]
    return next(iter(fitting or ranked), None)


def _frame(structure: Structure) -> str:
    region = structure.region
    return region.grid.frame_of_reference if isinstance(region, Mask) else region.frame_of_reference


def _structures(
    patient: Patient, image: Image, path: Path, identity: Identity, stamp: md.Stamp
) -> WrittenSet | None:
    frame = image.grid.frame_of_reference
    listed = [s for s in patient.structures.values() if _frame(s) == frame and _holds(s)]
    if not listed:
        return None
    return rtstruct_write.write(listed, path, image=image, identity=identity, stamp=stamp)


def _holds(structure: Structure) -> bool:
    region = structure.region
    return bool(region.array.any()) if isinstance(region, Mask) else any(len(r) >= 3 for r in region.rings)
