"""A folder of DICOM as a Patient: images by role, structures by TG-263 name, plan, doses, notices."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rtplan.domain import (
    ClinicalPlan,
    Dose,
    Identity,
    Image,
    Notice,
    Patient,
    Plan,
    Registration,
    Structure,
)
from rtplan.errors import DicomError, RtplanError
from rtplan.io import choose, registration, rtdose, rtplan, rtplan_delivery, rtstruct
from rtplan.io import header as hd
from rtplan.io import names as naming
from rtplan.io.dose_course import Course
from rtplan.io.image import read_stack
from rtplan.io.index import SALT, Entry, Folder, index
from rtplan.io.patient_write import write_patient
from rtplan.io.plan_facts import UNREAD_ACTION, plan_notices, unread
from rtplan.io.preflight_images import facts_of
from rtplan.io.truncation import off_image, truncations

__all__ = ["read_patient", "write_patient"]

#: Key of a dose that another planning system calculated.
TPS_DOSE = "TPS"


def read_patient(
    folder: Path,
    *,
    structures: Path | None = None,
    names: Path | None = None,
    series: Collection[str] = (),
    salt: str = SALT,
) -> Patient:
    """Read everything that a folder says of one patient.

    Parameters
    ----------
    folder : Path
        DICOM files of one patient, at any depth; other files are passed over.
    structures : Path, optional
        An RTSTRUCT to use instead of those in the folder.
    names : Path, optional
        TOML map of structure names (`rtplan.io.names.load`).
    series : collection of str
        SeriesInstanceUIDs that are taken for their role where the rule (`choose.choose`) would take another.
    salt : str
        Patient.key is the first 12 hexadecimal digits of SHA-256(salt + PatientID).

    Returns
    -------
    Patient
        Volumes on their true affines, never resampled. Notices say what was chosen, left out or is doubtful.

    Raises
    ------
    DicomError
        If there is no image, objects of two patients, a broken series, or structures in another frame of
        reference than any image.
    """
    found = index(Path(folder), salt=salt)
    _refuse(choose.same_person(found))
    choice = choose.choose(found, series)
    _refuse(choice.notices)
    if not choice.stacks:
        raise DicomError(
            "There is no CT or MR series that can be used.",
            where=str(folder),
            action="give a folder that holds at least one CT or MR series.",
        )
    facts = facts_of(found, choice.stacks)
    _refuse(facts)
    notices = [*_unreadable(found), *choice.notices, *choose.positions(choice.stacks)]
    images = {role: read_stack(stack) for role, stack in choice.stacks.items()}
    notices += [notice for notice in facts if notice.severity != "info"]
    reader = _Objects(found, images, notices)
    registrations = reader.registrations()
    reader.frames |= {r.from_frame for r in registrations} | {r.to_frame for r in registrations}
    regions = reader.structures(structures, names)
    plan, clinical = reader.plans()
    doses = reader.doses(clinical)
    notices += truncations(
        regions.values(),
        {role: image.grid for role, image in images.items()},
        {name: dose.grid for name, dose in doses.items()},
    )
    first = next(iter(choice.stacks.values())).first
    return Patient(
        key=first.person,
        images=images,
        structures=regions,
        plan=plan,
        doses=doses,
        registrations=registrations,
        notices=tuple(notices),
        identity=_identity(first),
        clinical_plan=clinical,
    )


def _refuse(notices: Iterable[Notice]) -> None:
    for notice in notices:
        if notice.severity == "refuse":
            raise DicomError(notice.message, where=notice.file or notice.uid or "", action=notice.action)


def _unreadable(found: Folder) -> list[Notice]:
    action = "export it again if it is needed."
    return [
        Notice("FILE_UNREADABLE", "warn", f"A DICOM file is left out: {why}", action, file=str(path))
        for path, why in found.skipped
    ]


def _identity(entry: Entry) -> Identity:
    return Identity(
        patient_id=entry.text("PatientID"),
        name=entry.text("PatientName"),
        birth_date=entry.text("PatientBirthDate"),
        sex=entry.text("PatientSex"),
        study_uid=entry.study_uid,
        study_date=entry.text("StudyDate"),
        study_time=entry.text("StudyTime"),
        study_id=entry.text("StudyID"),
    )


@dataclass
class _Objects:
    """The RT objects of a folder, read against its images; what is left out is said in ``notices``."""

    folder: Folder
    images: Mapping[str, Image]
    notices: list[Notice]
    frames: set[str] = field(default_factory=set)
    summaries: dict[str, rtplan.PlanSummary] = field(default_factory=dict)
    drawn: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.frames = {image.grid.frame_of_reference for image in self.images.values()}

    def _say(self, code: str, message: str, action: str, entry: Entry, *, warn: bool = True) -> None:
        severity = "warn" if warn else "info"
        self.notices.append(
            Notice(code, severity, message, action, file=str(entry.path), uid=entry.sop_uid)  # type: ignore[arg-type]
        )

    def registrations(self) -> tuple[Registration, ...]:
        """Return the registrations that touch a frame of the images."""
        found: list[Registration] = []
        frames = {entry.sop_uid: entry.frame for entry in self.folder.entries}
        for entry in self.folder.objects("REG"):
            try:
                listed = registration.read(entry.path, frames)
            except RtplanError as wrong:
                self._say("REGISTRATION_LEFT_OUT", wrong.message, wrong.action, entry)
                continue
            found += [r for r in listed if {r.from_frame, r.to_frame} & self.frames]
        self._unread()
        linked = {frame for r in found for frame in (r.from_frame, r.to_frame)}
        if len(self.frames) > 1 and not self.frames <= linked:
            message = f"The images lie in {len(self.frames)} frames of reference that no registration links."
            action = "they are registered by their content; check the overlay on the page."
            self.notices.append(
                Notice("FRAMES_UNLINKED", "warn", message, action, file=str(self.folder.path))
            )
        return tuple(found)

    def _unread(self) -> None:
        """Say which RT objects are of a kind that is not read."""
        for entry, what in unread(self.folder):
            self._say("OBJECT_UNREAD", f"{what} is not read.", UNREAD_ACTION, entry)

    def structures(self, given: Path | None, name_map: Path | None) -> dict[str, Structure]:
        """Return the structures by TG-263 name, of the given file or of the folder's structure sets."""
        table = naming.load(name_map)
        sets = [self._demanded(given)] if given is not None else self._sets()
        regions: dict[str, Structure] = {}
        for item in sets:
            self.drawn.add(item.sop_uid)
            self.notices += item.notices
            wanted, said = naming.rename({s.name: s.kind for s in item.structures}, table)
            self.notices += said
            for structure in item.structures:
                name = wanted[structure.name]
                if name in regions:
                    message = f"{name} stands in two structure sets; the one of {item.path.name} is left out."
                    where = {"file": str(item.path), "structure": name}
                    self.notices.append(
                        Notice("STRUCTURE_IN_TWO_SETS", "warn", message, "remove one set.", **where)
                    )
                else:
                    regions[name] = replace(structure, name=name)
        return regions

    def _demanded(self, path: Path) -> rtstruct.StructureSet:
        item = rtstruct.read(path)
        if item.frame not in self.frames:
            raise DicomError(
                f"The structures lie in frame of reference {item.frame or 'none'}, the images in "
                f"{', '.join(sorted(self.frames))}.",
                where=str(path),
                action="give a structure set drawn on one of these images, or a Spatial Registration.",
            )
        return item

    def _sets(self) -> list[rtstruct.StructureSet]:
        """Return one structure set per image series: the latest; those of the reference image first."""
        found: dict[str, rtstruct.StructureSet] = {}
        entries = sorted(self.folder.objects("RTSTRUCT"), key=_date, reverse=True)
        for entry in entries:
            item = rtstruct.read(entry.path)
            if item.frame not in self.frames:
                message = f"A structure set lies in another frame of reference ({item.frame or 'none'})."
                self._say("STRUCTURES_OTHER_FRAME", message, "supply its images or a registration.", entry)
                continue
            series = item.series_uids[0] if item.series_uids else ""
            if series in found:
                message = (
                    f"An older structure set of one series is left out; {found[series].path.name} is taken."
                )
                self._say(
                    "STRUCTURES_CHOSEN", message, "give the wanted one by --structures.", entry, warn=False
                )
                continue
            found[series] = item
            self._count_slices(item, entry)
        ranks = {image.source.series_uid: rank for rank, image in enumerate(self.images.values())}
        return sorted(
            found.values(), key=lambda item: min((ranks.get(u, 99) for u in item.series_uids), default=99)
        )

    def _count_slices(self, item: rtstruct.StructureSet, entry: Entry) -> None:
        for role, image in self.images.items():
            if image.source.series_uid not in item.series_uids or len(item.series_uids) != 1:
                continue
            found = off_image(item.structures, image.grid, f"the image {role}")
            self.notices += [replace(n, file=str(entry.path), uid=entry.sop_uid) for n in found]
            lost = set(item.image_uids) - set(image.source.sop_uids)
            if lost and len(lost) == len(set(item.image_uids)):
                message = (
                    f"The structures refer to other objects of the series of {role}; its frame is the same."
                )
                self._say("STRUCTURES_OTHER_OBJECTS", message, "", entry, warn=False)
            elif lost:
                message = (
                    f"The structures were drawn on {len(item.image_uids)} slices of {role}; "
                    f"{len(lost)} of them are not in the folder."
                )
                self._say("SERIES_INCOMPLETE", message, "export the whole series.", entry)

    def plans(self) -> tuple[Plan | None, ClinicalPlan | None]:
        """Return the latest plan of ours, and the latest of another system, whole."""
        ours: list[Plan] = []
        others: list[tuple[Entry, ClinicalPlan]] = []
        for entry in sorted(self.folder.objects("RTPLAN"), key=_date, reverse=True):
            try:
                summary = rtplan.read_summary(entry.path)
                self.summaries[summary.sop_uid] = summary
                if summary.ours:
                    ours.append(rtplan.read(entry.path))
                else:
                    others.append((entry, rtplan_delivery.read(entry.path)))
            except RtplanError as wrong:
                self._say("PLAN_LEFT_OUT", wrong.message, wrong.action, entry)
        if len(ours) > 1:
            message = f"{len(ours)} plans of rtplan are here; the latest, {ours[0].name!r}, is taken."
            self._say(
                "PLAN_CHOSEN", message, "remove the others.", self.folder.objects("RTPLAN")[0], warn=False
            )
        return ours[0] if ours else None, self._clinical(others)

    def _clinical(self, found: list[tuple[Entry, ClinicalPlan]]) -> ClinicalPlan | None:
        placed = []
        for entry, plan in found:
            if plan.frame_of_reference and plan.frame_of_reference not in self.frames:
                message = f"The plan {plan.name!r} lies in another frame of reference than the images."
                self._say("PLAN_OTHER_FRAME", message, "supply its images or a registration.", entry)
            else:
                placed.append((entry, plan))
        for entry, plan in placed[1:]:
            message = f"The plan {plan.name!r} is older than {placed[0][1].name!r}, which is taken."
            self._say("PLAN_CHOSEN", message, "remove the others.", entry, warn=False)
        for entry, plan in placed[:1]:
            if plan.structure_set_uids and self.drawn and not set(plan.structure_set_uids) & self.drawn:
                message = (
                    f"The plan {plan.name!r} was made on another structure set than the one that is taken."
                )
                self._say("PLAN_OTHER_STRUCTURES", message, "give its structure set by --structures.", entry)
            self.notices += [replace(n, file=str(entry.path), uid=entry.sop_uid) for n in plan_notices(plan)]
        return placed[0][1] if placed else None

    def doses(self, clinical: ClinicalPlan | None) -> dict[str, Dose]:
        """Return the doses by arm; of another system that of the whole course, as ``TPS``. After `plans`."""
        doses: dict[str, Dose] = {}
        foreign: list[rtdose.ReadDose] = []
        for entry in self.folder.objects("RTDOSE"):
            try:
                item = rtdose.read(entry.path)
            except RtplanError as wrong:
                self._say("DOSE_LEFT_OUT", wrong.message, wrong.action, entry)
                continue
            if item.dose.grid.frame_of_reference not in self.frames:
                message = "A dose lies in another frame of reference than the images; it is left out."
                self._say("DOSE_OTHER_FRAME", message, "supply its images.", entry)
            elif item.arm:
                suffix = "" if item.dose.kind == "physical" else "_EQD2"
                doses[item.arm + suffix] = item.dose
            else:
                foreign.append(item)
        course = Course(self.summaries)
        whole = course.choose(foreign)
        self.notices += course.notices
        of_plans = {uid for item in course.chosen for uid in item.plan_uids}
        if clinical is not None and of_plans and clinical.source_uid not in of_plans:
            message = f"The dose is not that of the plan {clinical.name!r}, which is taken."
            action = "leave one plan and its dose in the folder."
            self.notices.append(
                Notice("PLAN_OTHER_DOSE", "warn", message, action, file=str(course.chosen[0].path))
            )
        return doses if whole is None else doses | {TPS_DOSE: whole}


def _date(entry: Entry) -> tuple[str, str]:
    days = ("StructureSetDate", "RTPlanDate", "InstanceCreationDate", "SeriesDate")
    times = ("StructureSetTime", "RTPlanTime", "InstanceCreationTime", "SeriesTime")
    first_day = next((hd.text(entry.header, key) for key in days if hd.text(entry.header, key)), "")
    first_time = next((hd.text(entry.header, key) for key in times if hd.text(entry.header, key)), "")
    return first_day, first_time
