"""What a look at one patient's part of a folder collects: rows of the table, and notices."""

from __future__ import annotations

from dataclasses import dataclass, field

from rtplan.domain import Grid, Notice
from rtplan.domain.notice import Severity
from rtplan.io.index import Entry, Folder


@dataclass(frozen=True)
class Row:
    """One line of the table: a series or an RT object, with what it refers to.

    Parameters
    ----------
    patient, study, uid, sop_uid : str
        Pseudonym, StudyInstanceUID, SeriesInstanceUID, and SOPInstanceUID of a single object.
    kind, role, description, geometry : str
        What it is, what it is used as, how it is called, its size.
    count : int
        Files of a series; structures, beams or transforms of an object.
    links : tuple of str
        What it refers to: ``frame UID``, ``series UID``, ``structure set UID``, ``plan UID``.
    """

    patient: str
    kind: str
    role: str
    description: str
    count: int
    geometry: str
    uid: str
    links: tuple[str, ...] = ()
    study: str = ""
    sop_uid: str = ""


@dataclass
class Look:
    """The look at one patient's part of the folder: ``rows`` and ``notices`` grow while it goes on."""

    person: str
    folder: Folder
    rows: list[Row] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def say(self, code: str, severity: Severity, message: str, action: str, entry: Entry) -> None:
        """Add a notice on one file."""
        self.notices.append(Notice(code, severity, message, action, file=str(entry.path), uid=entry.sop_uid))

    def row(self, entry: Entry, role: str, description: str, count: int, shape: str, *links: str) -> None:
        """Add a row to the table."""
        self.rows.append(
            Row(
                patient=self.person,
                kind=entry.kind,
                role=role,
                description=description,
                count=count,
                geometry=shape,
                uid=entry.series_uid,
                links=links,
                study=entry.study_uid,
                sop_uid=entry.sop_uid,
            )
        )


def short(grid: Grid) -> str:
    """Return a grid in a few words.

    Examples
    --------
    >>> short(Grid.axial((3, 4, 5), spacing_zyx_mm=(2.0, 1.0, 1.0), origin_mm=(0.0, 0.0, 0.0)))
    '3x4x5 of 2.00x1.00x1.00 mm'
    """
    z, y, x = grid.shape
    dz, dy, dx = grid.spacing_zyx_mm
    return f"{z}x{y}x{x} of {dz:.2f}x{dy:.2f}x{dx:.2f} mm" + ("" if grid.is_axial else ", tilted")
