"""A Patient as a folder of real DICOM: series, structures, plan, doses, registrations, report."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from rtplan.domain import ClinicalPlan, Identity, Image, Mask, Patient, Source, Structure
from rtplan.domain.patient import ARMS
from rtplan.errors import OutputError
from rtplan.imaging.axial import axial
from rtplan.io import (
    document,
    registration,
    rtdose_write,
    rtplan_delivery_write,
    rtplan_write,
    rtstruct_write,
    seg,
    sr,
)
from rtplan.io import modules as md
from rtplan.io.image_write import Derived, write_series
from rtplan.io.rtdose_write import BULK, Curve, Form
from rtplan.io.rtstruct_write import WrittenSet
from rtplan.io.tps import DEFAULT, Profile, load

AIR_HU = -1024.0


@dataclass(frozen=True)
class Export:
    """For which system a patient is written, and what is added to the objects.

    Parameters
    ----------
    tps : Profile
        Rules of the planning system.
    curves : mapping of str to mapping
        DVHs by name of the dose, then by structure, for the RTDOSE.
    segmentation : bool
        Whether the structures are written as a Segmentation too.
    findings : bool
        Whether the patient's findings are written as a Structured Report.
    document : bytes or None
        The report as PDF, to be encapsulated.
    delivered : ClinicalPlan or None
        Of leaf positions: stands in RP.dcm in the place of the patient's plan of fluence maps.
    """

    tps: Profile = field(default_factory=lambda: load(DEFAULT))
    curves: Mapping[str, Mapping[str, Curve]] = field(default_factory=lambda: MappingProxyType({}))
    segmentation: bool = False
    findings: bool = False
    document: bytes | None = None
    delivered: ClinicalPlan | None = None


def write_patient(
    patient: Patient,
    folder: Path,
    *,
    images: Collection[str] | None = None,
    pseudonym: str | None = None,
    stamp: md.Stamp | None = None,
    export: Export | None = None,
) -> list[Path]:
    """Write a patient as a folder of DICOM.

    ``CT/``, ``MR_<role>/``, ``CT_<arm>/``, RS.dcm, RP.dcm, RD_<arm>.dcm, REG.dcm; with an `Export` that
    asks for them SEG.dcm, SR.dcm and PDF.dcm.
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
    export : Export, optional
        For which system, and what is added.

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
    roles = tuple(patient.images if images is None else images)
    export = export or Export()
    writer = _Writer(patient, export, identity_of(patient, pseudonym), stamp)
    with written_whole(folder) as part:
        paths = writer.write(part, roles)
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


def identity_of(patient: Patient, pseudonym: str | None = None) -> Identity:
    """Return who stands in the objects of a patient: himself, a pseudonym, or his key where he has no ID."""
    if pseudonym is not None:
        return Identity(pseudonym, pseudonym, sex=patient.identity.sex, study_uid=patient.identity.study_uid)
    if not patient.identity.patient_id:
        name = patient.identity.name or f"RTPLAN^{patient.key}"
        return replace(patient.identity, patient_id=patient.key, name=name)
    return patient.identity


@dataclass(frozen=True)
class _Writer:
    """One patient on the way out."""

    patient: Patient
    export: Export
    identity: Identity
    stamp: md.Stamp

    def write(self, part: Path, roles: Collection[str]) -> list[Path]:
        """Write every object into the folder; return the files in that order."""
        patient = self.patient
        paths: list[Path] = []
        shown = dict(patient.images)
        for name in roles:
            shown[name], written = self._image(name, part)
            paths += written
        role = _reference(patient, roles)
        reference = shown[role] if role else None
        drawn = self._structures(reference, part / "RS.dcm") if reference else None
        plan_uid = self._plan(part / "RP.dcm", reference, drawn)
        paths += [part / name for name in ("RS.dcm", "RP.dcm") if (part / name).exists()]
        paths += [self._dose(name, part, plan_uid, drawn) for name in patient.doses]
        paths += self._registrations(part)
        return paths + self._told(part, reference)

    def _image(self, role: str, part: Path) -> tuple[Image, tuple[Path, ...]]:
        image, explicit = self.patient.images[role], self.export.tps.explicit_vr
        if image.modality == "MR" or role == "CT":
            place = part / (f"MR_{role}" if image.modality == "MR" else "CT")
            done = write_series(
                image, place, self.identity, description=role, stamp=self.stamp, explicit=explicit
            )
            return replace(image, source=done.source), done.paths
        origin = _origin(self.patient, role)
        flat, resampled = axial(image, AIR_HU) if self.export.tps.axial else (image, "")
        moved = "" if _in_place(self.patient, role, origin) else "on the grid of another image"
        text = image.source.description or f"rtplan density image {role}"
        done_to = "; ".join(part for part in (text, moved, resampled) if part)
        done = write_series(
            flat,
            part / f"CT_{role}",
            self.identity,
            description=f"rtplan arm {role}",
            derived=Derived(origin, done_to, self._model(role), bool(moved or resampled)),
            stamp=self.stamp,
            explicit=explicit,
        )
        return replace(flat, source=done.source), done.paths

    def _model(self, role: str) -> str:
        """Return name and weights of the network that made an image; empty when none did."""
        made = [r for r in self.patient.history if r.weights_sha256 and "model" in r.settings]
        if role != "SynCT" or not made:
            return ""
        return f"{made[-1].settings['model']} sha256:{made[-1].weights_sha256[:12]}"

    def _plan(self, path: Path, reference: Image | None, drawn: WrittenSet | None) -> str:
        """Write the plan of leaf positions, else of fluence maps; return its UID (a new one: no plan)."""
        who, plan, leaves = self.identity, self.patient.plan, self.export.delivered
        if leaves is not None:
            facts = {} if plan is None else {"made_on": plan.made_on, "settings": dict(plan.settings)}
            return rtplan_delivery_write.write(
                leaves,
                path,
                identity=who,
                image=reference,
                structure_set=drawn,
                stamp=self.stamp,
                facts=facts,
            ).sop_uid
        if plan is None:
            return self.stamp.uid("RTPLAN", "not written")
        return rtplan_write.write(
            plan, path, identity=who, image=reference, structure_set=drawn, stamp=self.stamp
        ).sop_uid

    def _structures(self, image: Image, path: Path) -> WrittenSet | None:
        listed = self._listed(image)
        if not listed:
            return None
        return rtstruct_write.write(
            listed, path, image=image, identity=self.identity, stamp=self.stamp, tps=self.export.tps
        )

    def _listed(self, image: Image) -> list[Structure]:
        frame = image.grid.frame_of_reference
        return [s for s in self.patient.structures.values() if _frame(s) == frame and _holds(s)]

    def _dose(self, name: str, part: Path, plan_uid: str, drawn: WrittenSet | None) -> Path:
        tps, dose = self.export.tps, self.patient.doses[name]
        curves = self.export.curves.get(name, {}) if tps.dvh else {}
        done = rtdose_write.write(
            axial(dose, 0.0)[0] if tps.axial else dose,
            part / f"RD_{name}.dcm",
            identity=self.identity,
            plan_uid=plan_uid,
            arm=name.removesuffix("_EQD2"),
            form=Form(tps.dose_bits, drawn, curves),
            stamp=self.stamp,
        )
        return done.path

    def _registrations(self, part: Path) -> list[Path]:
        paths = []
        for count, item in enumerate(r for r in self.patient.registrations if r.kind != "deformable"):
            if item.from_frame != item.to_frame:
                name = "REG.dcm" if count == 0 else f"REG_{count + 1}.dcm"
                done = registration.write(item, part / name, identity=self.identity, stamp=self.stamp)
                paths.append(done)
        return paths

    def _told(self, part: Path, reference: Image | None) -> list[Path]:
        """Write Segmentation, Structured Report and document where they are asked for."""
        paths = []
        listed = self._listed(reference) if reference else []
        if self.export.segmentation and reference and listed and _one_object_a_slice(reference):
            paths.append(
                seg.write(listed, part / "SEG.dcm", image=reference, identity=self.identity, stamp=self.stamp)
            )
        subjects = [part / f"RD_{name}.dcm" for name in self.patient.doses] or paths
        subjects = subjects or sorted(part.glob("CT_*/*.dcm"))
        if self.export.findings and self.patient.findings and subjects:
            paths.append(sr.write(self.patient.findings, part / "SR.dcm", about=subjects, stamp=self.stamp))
        if self.export.document is not None:
            paths.append(
                document.write(
                    self.export.document, part / "PDF.dcm", identity=self.identity, stamp=self.stamp
                )
            )
        return paths


def _one_object_a_slice(image: Image) -> bool:
    """Whether every slice is an object; a Segmentation cannot refer to frames of one."""
    return len(set(image.source.sop_uids)) == image.grid.shape[0]


def _origin(patient: Patient, role: str) -> Source:
    """Return the image that an arm was made from: what its own source names, else CT or MR on its grid."""
    image = patient.images[role]
    if image.source.sop_uids:
        return image.source
    others = [*patient.mr.values(), *(i for r, i in patient.images.items() if r == "CT")]
    if role in BULK:
        others.reverse()
    return next((other.source for other in others if other.source.sop_uids), Source())


def _in_place(patient: Patient, role: str, origin: Source) -> bool:
    """Whether an arm lies on the grid of the image that it was made from (as far as that is here)."""
    grid = patient.images[role].grid
    others = (i for r, i in patient.images.items() if r != role and r not in ARMS[1:])
    made_from = next((i for i in others if i.source.sop_uids == origin.sop_uids), None)
    return made_from is None or made_from.grid.same_as(grid)


def _reference(patient: Patient, written: Collection[str]) -> str | None:
    """Return the role of the image on which structures are shown, in whose frame they lie.

    The CT; without one the first density image that is written, for plans are made on that; else an MR.
    """
    frames = {_frame(s) for s in patient.structures.values()}
    ranked = sorted(patient.images, key=lambda r: (r != "CT", r not in ARMS or r not in written, r in ARMS))
    fitting = [role for role in ranked if patient.images[role].grid.frame_of_reference in frames]
    return next(iter(fitting or ranked), None)


def _frame(structure: Structure) -> str:
    region = structure.region
    return region.grid.frame_of_reference if isinstance(region, Mask) else region.frame_of_reference


def _holds(structure: Structure) -> bool:
    region = structure.region
    return bool(region.array.any()) if isinstance(region, Mask) else any(len(r) >= 3 for r in region.rings)
