"""What a folder holds, how it links, and what is wrong; looks at everything before it judges."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtplan.domain import Notice
from rtplan.errors import RtplanError
from rtplan.io import choose, registration
from rtplan.io.index import SALT, Folder, index
from rtplan.io.look import Look, Row
from rtplan.io.names import load as load_names
from rtplan.io.preflight_identity import look_at_identity
from rtplan.io.preflight_images import look_at_images
from rtplan.io.preflight_objects import look_at_objects
from rtplan.io.preflight_pixels import look_at_pixels
from rtplan.io.stack import Stack


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
        patients: dict[str, list[str]] = {}
        for row in self.rows:
            studies = patients.setdefault(row.patient, [])
            studies += [] if row.study in studies else [row.study]
        return {
            "usable": self.usable,
            "patients": [{"patient": key, "studies": studies} for key, studies in patients.items()],
            "objects": rows,
            "findings": [],
            "notices": [notice.as_dict() for notice in self.notices],
        }


def preflight(
    folder: Path,
    *,
    names: Path | None = None,
    salt: str = SALT,
    series: Collection[str] = (),
    pixels: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Preflight:
    """Look at a folder of DICOM; read headers, the pixels of the images that are used, and RT objects whole.

    Parameters
    ----------
    folder : Path
        DICOM files, at any depth.
    names : Path, optional
        TOML map of structure names (`rtplan.io.names.load`).
    salt : str
        Enters the pseudonyms (`rtplan.io.index.pseudonym`).
    series : collection of str
        SeriesInstanceUIDs that are taken for their role whatever the rule says.
    pixels : bool
        Whether pixels are read too: whether they decode, and whether the skin is cut.
    progress : callable, optional
        Called with the number of files seen so far, and of all.

    Raises
    ------
    DicomError
        If there is no such folder, it may not be read, or holds no DICOM file at all.
    FormatError
        If the map of names is none.
    """
    name_map = load_names(names)
    found = index(Path(folder), salt=salt, progress=progress)
    notices = choose.same_person(found)
    notices += [
        Notice("FILE_UNREADABLE", "warn", why, "export it again if it is needed.", file=str(path))
        for path, why in found.skipped
    ]
    rows: list[Row] = []
    for person, entries in found.people.items():
        look = Look(person, Folder(found.path, entries))
        look_at_identity(look)
        stacks = look_at_images(look, series)
        look_at_objects(look, stacks, name_map)
        _frames(look, stacks)
        if pixels:
            look_at_pixels(look, stacks)
        rows += look.rows
        notices += look.notices
    if not any(row.role for row in rows):
        message = "There is no CT or MR series that can be used."
        notices.append(Notice("NO_IMAGE", "refuse", message, "add a CT or MR series.", file=str(folder)))
    rank = {"refuse": 0, "warn": 1, "info": 2}
    return Preflight(found.path, tuple(rows), tuple(sorted(notices, key=lambda n: rank[n.severity])))


def _frames(look: Look, stacks: Mapping[str, Stack]) -> None:
    """Say when the images that are used lie in frames of reference that no registration links."""
    frames = {stack.first.frame for stack in stacks.values()}
    linked = set()
    for entry in look.folder.objects("REG"):
        try:
            linked |= {frame for r in registration.read(entry.path) for frame in (r.from_frame, r.to_frame)}
        except RtplanError:
            continue  # said by `look_at_objects`
    if len(frames) > 1 and not frames <= linked:
        message = f"The images lie in {len(frames)} frames of reference that no registration links."
        action = "they are registered by their content; check the overlay on the page."
        look.notices.append(Notice("FRAMES_UNLINKED", "warn", message, action, file=str(look.folder.path)))
