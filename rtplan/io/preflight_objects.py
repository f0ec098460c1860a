"""Preflight of RT objects: structure sets, plans, doses and registrations, and how they link by UID."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rtplan.domain import Grid, Structure
from rtplan.errors import RtplanError
from rtplan.io import names as naming
from rtplan.io import registration, rtdose, rtplan, rtplan_delivery, rtstruct
from rtplan.io.dose_course import Course
from rtplan.io.geometry import grid_of
from rtplan.io.index import Entry, description_of
from rtplan.io.look import Look, short
from rtplan.io.plan_facts import UNREAD_ACTION, plan_notices, unread
from rtplan.io.stack import Stack
from rtplan.io.truncation import off_image, truncations


def look_at_objects(look: Look, stacks: Mapping[str, Stack], names: naming.NameMap) -> None:
    """Add the rows and notices of one patient's RT objects, judged against the images that are used."""
    _Objects(look, stacks, names).run()


@dataclass
class _Objects:
    look: Look
    stacks: Mapping[str, Stack]
    names: naming.NameMap
    sets: list[tuple[Entry, tuple[Structure, ...]]] = field(default_factory=list)
    plans: dict[str, rtplan.PlanSummary] = field(default_factory=dict)
    doses: list[rtdose.ReadDose] = field(default_factory=list)
    dose_grids: dict[str, Grid] = field(default_factory=dict)

    def run(self) -> None:
        self.frames = {stack.first.frame for stack in self.stacks.values()}
        readers = {
            "REG": (self._registration, "REG_BROKEN"),
            "RTSTRUCT": (self._structures, "RTSTRUCT_BROKEN"),
            "RTPLAN": (self._plan, "RTPLAN_BROKEN"),
            "RTDOSE": (self._dose, "RTDOSE_BROKEN"),
        }
        for kind, (look_at, broken) in readers.items():
            for entry in self.look.folder.objects(kind):
                try:
                    look_at(entry)
                except RtplanError as wrong:
                    self.look.say(broken, "refuse", wrong.message, wrong.action, entry)
        for entry, what in unread(self.look.folder):
            self.look.say("OBJECT_UNREAD", "warn", f"{what} is not read.", UNREAD_ACTION, entry)
        self._together()

    def _registration(self, entry: Entry) -> None:
        frames = {other.sop_uid: other.frame for other in self.look.folder.entries}
        found = registration.read(entry.path, frames)
        links = [f"{item.from_frame} to {item.to_frame}" for item in found]
        self.frames |= {frame for item in found for frame in (item.from_frame, item.to_frame)}
        self.look.row(entry, "", description_of(entry.header), len(found), "", *links)

    def _structures(self, entry: Entry) -> None:
        item = rtstruct.read(entry.path)
        self.look.notices += item.notices
        self.look.notices += naming.rename({s.name: s.kind for s in item.structures}, self.names)[1]
        links = [f"frame {item.frame}", *(f"series {uid}" for uid in item.series_uids)]
        self.look.row(entry, "", item.label, len(item.structures), "", *links)
        if self.frames and item.frame not in self.frames:
            message = f"The structures lie in frame of reference {item.frame or 'none'}, no image does."
            self.look.say(
                "STRUCTURES_OTHER_FRAME", "warn", message, "supply its images or a registration.", entry
            )
        for role, stack in self.stacks.items():
            if stack.first.series_uid in item.series_uids:
                found = off_image(item.structures, grid_of(stack.slices)[0], f"the image {role}")
                self.look.notices += [replace(n, file=str(entry.path), uid=entry.sop_uid) for n in found]
        self._images_there(item, entry)
        self.sets.append((entry, item.structures))

    def _images_there(self, item: rtstruct.StructureSet, entry: Entry) -> None:
        known = {other.sop_uid for other in self.look.folder.entries}
        lost = set(item.image_uids) - known
        if lost and self.stacks:
            message = (
                f"The contours refer to {len(set(item.image_uids))} images; {len(lost)} of them are not in "
                "the folder."
            )
            whole = len(lost) == len(set(item.image_uids))
            action = (
                "check that the images are those it was drawn on." if whole else "export the whole series."
            )
            self.look.say("CONTOUR_IMAGES_ABSENT", "info" if whole else "warn", message, action, entry)

    def _plan(self, entry: Entry) -> None:
        summary = rtplan.read_summary(entry.path)
        self.plans[summary.sop_uid] = summary
        described = ", ".join(f"{name} {dose:g} Gy" for name, dose in summary.targets.items())
        fractions = f"{summary.fractions or '?'} fractions"
        links = [f"structure set {uid}" for uid in summary.structure_set_uids]
        self.look.row(entry, "", f"{summary.label}: {described}; {fractions}", len(summary.beams), "", *links)
        self._demand(summary.structure_set_uids, "RTSTRUCT", entry)
        if self.frames and summary.frame and summary.frame not in self.frames:
            message = f"The plan {summary.label!r} lies in another frame of reference than the images."
            self.look.say("PLAN_OTHER_FRAME", "warn", message, "supply its images or a registration.", entry)
        if not summary.ours:
            for notice in plan_notices(rtplan_delivery.read(entry.path)):
                self.look.notices.append(replace(notice, file=str(entry.path), uid=entry.sop_uid))

    def _dose(self, entry: Entry) -> None:
        item = rtdose.read(entry.path)
        what = f"{item.summation or '?'}, {item.dose.kind}, max {float(item.dose.array.max()):.2f} Gy"
        links = [f"plan {uid}" for uid in item.plan_uids]
        self.look.row(entry, item.arm or "", what, 1, short(item.dose.grid), *links)
        self._demand(item.plan_uids, "RTPLAN", entry)
        if self.frames and item.dose.grid.frame_of_reference not in self.frames:
            message = "The dose lies in another frame of reference than the images."
            self.look.say("DOSE_OTHER_FRAME", "warn", message, "supply its images.", entry)
        elif item.arm is None:
            self.doses.append(item)
        if item.arm is not None:
            self.dose_grids[f"{item.arm} ({item.dose.kind})"] = item.dose.grid

    def _together(self) -> None:
        """Judge what several objects say together: the dose of the course, and what is cut off."""
        course = Course(self.plans)
        whole = course.choose(self.doses)
        self.look.notices += course.notices
        grids = self.dose_grids | ({} if whole is None else {"of the course": whole.grid})
        images = {role: grid_of(stack.slices)[0] for role, stack in self.stacks.items()}
        for entry, structures in self.sets:
            found = truncations(structures, images, grids)
            self.look.notices += [replace(n, file=str(entry.path), uid=entry.sop_uid) for n in found]

    def _demand(self, uids: tuple[str, ...], kind: str, entry: Entry) -> None:
        known = {other.sop_uid for other in self.look.folder.objects(kind)}
        for uid in uids:
            if uid not in known:
                message = f"The {entry.kind} refers to an {kind} that is not in the folder ({uid})."
                self.look.say("LINK_BROKEN", "info", message, f"add the {kind} if it is needed.", entry)
