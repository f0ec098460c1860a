"""What a look at one patient's part of a folder collects: rows of the table, and notices."""

from __future__ import annotations

from dataclasses import dataclass, field

from rtplan.domain import Grid, Notice
from rtplan.domain.notice import Severity
from rtplan.io.index import Entry, Folder


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
            Row(self.person, entry.kind, role, description, count, shape, entry.series_uid, links)
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
