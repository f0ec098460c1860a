"""What a folder holds, how it links, and what is wrong; looks at everything before it judges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rtplan.domain import Contours, Grid, Notice, Structure
from rtplan.errors import RtplanError
from rtplan.io import choose, registration, rtdose, rtplan, rtstruct
from rtplan.io import header as hd
from rtplan.io import names as naming
from rtplan.io.geometry import Slice, grid_of
from rtplan.io.index import SALT, Entry, Folder, description_of, index
from rtplan.io.stack import Stack, acquisition

#: Share of the spacing by which a contour may lie off its slice.
OFF_SLICE = 0.1


@dataclass(frozen=True)
class Row:
    """One line of the table: a series or an RT object, with what it refers to."""

    patient: str
    kind: str
    role: str
    description: str
    count: int
    geometry: str
    uid: str
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preflight:
    """What was found.

    Parameters
    ----------
    rows : tuple of Row
        Series and RT objects by patient (pseudonyms).
    notices : tuple of Notice
        Problems and facts, refusals first.
    """

    folder: Path
    rows: tuple[Row, ...]
    notices: tuple[Notice, ...]

    @property
    def usable(self) -> bool:
        """Whether nothing is refused."""
        return not any(notice.severity == "refuse" for notice in self.notices)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for ``--json``."""
        rows = [{**vars(row), "links": list(row.links)} for row in self.rows]
        return {
            "usable": self.usable,
            "objects": rows,
            "findings": [],
            "notices": [notice.as_dict() for notice in self.notices],
        }


def preflight(folder: Path, *, salt: str = SALT, progress: Callable[[int], None] | None = None) -> Preflight:
    """Look at a folder of DICOM; read headers of images, and RT objects whole.

    Raises
    ------
    DicomError
        If there is no such folder, it may not be read, or holds no DICOM file at all.
    """
    found = index(Path(folder), salt=salt, progress=progress)
    notices = choose.same_person(found)
    notices += [
        Notice("FILE_UNREADABLE", "warn", why, "export it again if it is needed.", file=str(path))
        for path, why in found.skipped
    ]
    rows: list[Row] = []
    for person, entries in found.people.items():
        look = _Look(person, Folder(found.path, entries))
        look.run()
        rows += look.rows
        notices += look.notices
    if not any(row.role for row in rows):
        message = "There is no CT or MR series that can be used."
        notices.append(Notice("NO_IMAGE", "refuse", message, "add a CT or MR series.", file=str(folder)))
    rank = {"refuse": 0, "warn": 1, "info": 2}
    return Preflight(found.path, tuple(rows), tuple(sorted(notices, key=lambda n: rank[n.severity])))


@dataclass
class _Look:
    """The look at one patient's part of the folder."""

    person: str
    folder: Folder
    rows: list[Row] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def run(self) -> None:
        choice = choose.choose(self.folder)
        self.notices += [*choice.notices, *choose.positions(choice.stacks)]
        self.stacks = choice.stacks
        self.frames = {stack.first.frame for stack in choice.stacks.values()}
        self._images()
        readers = {
            "REG": self._registration,
            "RTSTRUCT": self._structures,
            "RTPLAN": self._plan,
            "RTDOSE": self._dose,
        }
        for kind, look_at in readers.items():
            for entry in self.folder.objects(kind):
                try:
                    look_at(entry)
                except RtplanError as wrong:
                    self._say(f"{kind}_BROKEN", "refuse", wrong.message, wrong.action, entry)

    def _say(self, code: str, severity: str, message: str, action: str, entry: Entry) -> None:
        self.notices.append(
            Notice(code, severity, message, action, file=str(entry.path), uid=entry.sop_uid)  # type: ignore[arg-type]
        )

    def _row(self, entry: Entry, role: str, description: str, count: int, shape: str, *links: str) -> None:
        self.rows.append(
            Row(self.person, entry.kind, role, description, count, shape, entry.series_uid, links)
        )

    def _images(self) -> None:
        used = {stack.first.series_uid: role for role, stack in self.stacks.items()}
        for series in self.folder.series():
            kind = series.kind
            if kind in ("RTSTRUCT", "RTPLAN", "RTDOSE", "REG"):
                continue
            role = used.get(series.uid, "")
            shape = _short(grid_of(self.stacks[role].slices)[0]) if role else ""
            frame = (f"frame {series.first.frame}",) if series.first.frame else ()
            self._row(series.first, role, series.description, len(series.entries), shape, *frame)
        for stack in self.stacks.values():
            self._facts(stack)

    def _facts(self, stack: Stack) -> None:
        first = stack.first
        if not first.frame:
            message = "The image has no FrameOfReferenceUID: nothing is known to lie in the same space."
            self._say("FRAME_MISSING", "warn", message, "export the series again.", first)
        if not hd.code(first.header, "PatientPosition"):
            message = "The image does not say PatientPosition."
            self._say("POSITION_MISSING", "info", message, "check the orientation on the page.", first)
        facts = acquisition(stack)
        if first.kind == "MR" and facts.get("distortion_correction", "3D") == "none":
            message = "The scanner did not correct gradient distortion (ImageType ND)."
            self._say("MR_DISTORTION_UNCORRECTED", "warn", message, "use the corrected series.", first)
        if first.kind == "CT" and hd.code(first.header, "RescaleType") not in ("", "HU"):
            message = f"RescaleType says {first.text('RescaleType')}, HU is wanted."
            self._say("CT_NOT_HU", "refuse", message, "export the series in HU.", first)
        if hd.code(first.header, "BurnedInAnnotation") == "YES":
            message = "The header says that text is burned into the pixels."
            self._say("BURNED_IN", "warn", message, "look at the image before use.", first)
        if hd.code(first.header, "Modality") != first.kind:
            message = f"Modality says {first.text('Modality') or 'nothing'}, the SOP class is {first.kind}."
            self._say("MODALITY_LIES", "warn", message, "the SOP class is believed.", first)

    def _registration(self, entry: Entry) -> None:
        found = registration.read(entry.path)
        links = [f"{item.from_frame} to {item.to_frame}" for item in found]
        self.frames |= {frame for item in found for frame in (item.from_frame, item.to_frame)}
        self._row(entry, "", description_of(entry.header), len(found), "", *links)

    def _structures(self, entry: Entry) -> None:
        item = rtstruct.read(entry.path)
        self.notices += item.notices
        self.notices += naming.rename((s.name for s in item.structures), naming.load())[1]
        links = [f"frame {item.frame}", *(f"series {uid}" for uid in item.series_uids)]
        self._row(entry, "", item.label, len(item.structures), "", *links)
        if self.frames and item.frame not in self.frames:
            message = f"The structures lie in frame of reference {item.frame or 'none'}, no image does."
            self._say(
                "STRUCTURES_OTHER_FRAME", "warn", message, "supply its images or a registration.", entry
            )
        for stack in self.stacks.values():
            if stack.first.series_uid in item.series_uids:
                self._on_slices(item.structures, stack.slices, entry)

    def _on_slices(self, structures: tuple[Structure, ...], slices: tuple[Slice, ...], entry: Entry) -> None:
        grid, _ = grid_of(slices)
        for structure in structures:
            assert isinstance(structure.region, Contours)
            depths = [grid.to_index(ring)[:, 0] for ring in structure.region.rings]
            off = sum(bool(np.abs(d - np.round(d.mean())).max() > OFF_SLICE) for d in depths)
            outside = sum(bool(d.min() < -0.5 or d.max() > grid.shape[0] - 0.5) for d in depths)
            if off:
                message = f"{off} of {len(depths)} contours of {structure.name} do not lie on a slice."
                self._say("CONTOURS_OFF_SLICES", "info", message, "", entry)
            if outside:
                message = f"{outside} of {len(depths)} contours of {structure.name} lie beyond the image."
                action = "supply the whole series; the organ is cut."
                self._say("CONTOURS_BEYOND_IMAGE", "warn", message, action, entry)

    def _plan(self, entry: Entry) -> None:
        summary = rtplan.read_summary(entry.path)
        described = ", ".join(f"{name} {dose:g} Gy" for name, dose in summary.targets.items())
        fractions = f"{summary.fractions or '?'} fractions"
        links = [f"structure set {uid}" for uid in summary.structure_set_uids]
        self._row(entry, "", f"{summary.label}: {described}; {fractions}", len(summary.beams), "", *links)
        self._demand(summary.structure_set_uids, "RTSTRUCT", entry)
        if not summary.ours:
            message = f"The plan {summary.label!r} is shaped by apertures and is not recalculated."
            self._say("PLAN_APERTURES_UNREAD", "info", message, "rtplan makes its own plan.", entry)

    def _dose(self, entry: Entry) -> None:
        item = rtdose.read(entry.path)
        what = f"{item.summation or '?'}, {item.dose.kind}, max {float(item.dose.array.max()):.2f} Gy"
        links = [f"plan {uid}" for uid in item.plan_uids]
        self._row(entry, item.arm or "", what, 1, _short(item.dose.grid), *links)
        self._demand(item.plan_uids, "RTPLAN", entry)
        if self.frames and item.dose.grid.frame_of_reference not in self.frames:
            message = "The dose lies in another frame of reference than the images."
            self._say("DOSE_OTHER_FRAME", "warn", message, "supply its images.", entry)

    def _demand(self, uids: tuple[str, ...], kind: str, entry: Entry) -> None:
        known = {other.sop_uid for other in self.folder.objects(kind)}
        for uid in uids:
            if uid not in known:
                message = f"The {entry.kind} refers to an {kind} that is not in the folder ({uid})."
                self._say("LINK_BROKEN", "info", message, f"add the {kind} if it is needed.", entry)


def _short(grid: Grid) -> str:
    z, y, x = grid.shape
    dz, dy, dx = grid.spacing_zyx_mm
    return f"{z}x{y}x{x} of {dz:.2f}x{dy:.2f}x{dx:.2f} mm" + ("" if grid.is_axial else ", tilted")
