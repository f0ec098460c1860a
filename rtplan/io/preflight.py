"""What a folder holds, how it links, and what is wrong; looks at everything before it judges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtplan.domain import Notice
from rtplan.io import choose
from rtplan.io.index import SALT, Folder, index
from rtplan.io.look import Look, Row
from rtplan.io.names import load as load_names
from rtplan.io.preflight_images import look_at_images
from rtplan.io.preflight_objects import look_at_objects


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


def preflight(
    folder: Path,
    *,
    names: Path | None = None,
    salt: str = SALT,
    progress: Callable[[int], None] | None = None,
) -> Preflight:
    """Look at a folder of DICOM; read headers of images, and RT objects whole.

    Parameters
    ----------
    folder : Path
        DICOM files, at any depth.
    names : Path, optional
        TOML map of structure names (`rtplan.io.names.load`).
    salt : str
        Enters the pseudonyms (`rtplan.io.index.pseudonym`).
    progress : callable, optional
        Called with the number of files seen so far.

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
        look_at_objects(look, look_at_images(look), name_map)
        rows += look.rows
        notices += look.notices
    if not any(row.role for row in rows):
        message = "There is no CT or MR series that can be used."
        notices.append(Notice("NO_IMAGE", "refuse", message, "add a CT or MR series.", file=str(folder)))
    rank = {"refuse": 0, "warn": 1, "info": 2}
    return Preflight(found.path, tuple(rows), tuple(sorted(notices, key=lambda n: rank[n.severity])))
