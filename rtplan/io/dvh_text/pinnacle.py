"""DVHs of Philips Pinnacle as its scripts export them: a folder of CSV tables and files of points."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np

from rtplan.errors import FormatError
from rtplan.io.dvh_text.curve import Raw
from rtplan.io.dvh_text.text import gy_of, number, numbers, read_lines, volume_unit_of

SYSTEM = "Pinnacle"
_LABEL = re.compile(r"^(?P<label>[A-Za-z]+)(?:[ ._]+\(?(?P<unit>[^)]+)\)?)?$")


def is_it(lines: list[str]) -> bool:
    """Whether these are the lines of a file of points."""
    return any(re.match(r"^\s*Points\s*\[\s*\]\s*=\s*\{", line) for line in lines[:50])


def read_folder(folder: Path) -> list[Raw]:
    """Return the curves of an exported folder: ``DoseInfo.csv`` and ``Data/Info.csv`` with its files.

    Raises
    ------
    FormatError
        If a table, a column or a unit is missing.
    """
    data = folder / "Data" if (folder / "Data").is_dir() else folder
    above = folder if data != folder else folder.parent
    table = _table(data / "Info.csv")
    fractions = _fractions(above / "DoseInfo.csv")
    return [_curve(row, data, fractions) for row in table]


def read_points(path: Path) -> list[Raw]:
    """Return the curve of one file of points, by the tables beside it (see `read_folder`)."""
    if not (path.parent / "Info.csv").is_file():
        raise FormatError(
            "A file of points states neither unit nor structure, and its Info.csv is not beside it.",
            where=path.name,
            action="give the exported folder: DoseInfo.csv, Data/Info.csv, Data/DVH1.csv ...",
        )
    table = _table(path.parent / "Info.csv")
    rows = [row for row in table if _file(row) == path.stem]
    return [_curve(row, path.parent, _fractions(path.parent.parent / "DoseInfo.csv")) for row in rows]


def _table(path: Path) -> list[dict[str, tuple[str, str]]]:
    """Return the rows of a CSV table: ``{label: (unit, value)}``."""
    lines = [line for line in read_lines(path) if line.strip()]
    delimiter = ";" if lines and lines[0].count(";") > lines[0].count(",") else ","
    rows = list(csv.reader(lines, delimiter=delimiter))
    if len(rows) < 2:
        raise FormatError("The table has no rows.", where=path.name)
    heads = [_LABEL.match(word.strip().strip('"')) for word in rows[0]]
    names = [(m["label"].casefold(), (m["unit"] or "").strip()) if m else ("", "") for m in heads]
    return [{label: (unit, word.strip()) for (label, unit), word in zip(names, row, strict=False)}
            for row in rows[1:]]  # fmt: skip


def _file(row: dict[str, tuple[str, str]]) -> str:
    name = row.get("filename", ("", ""))[1]
    return name.removesuffix(".csv")


def _fractions(path: Path) -> int | None:
    """Return the number of fractions where the table has one prescription; None where it is missing."""
    if not path.is_file():
        return None
    values = {number(row.get("numberoffractions", ("", ""))[1]) for row in _table(path)}
    only = values.pop() if len(values) == 1 else None
    return int(only) if only and only == int(only) else None


def _curve(row: dict[str, tuple[str, str]], folder: Path, fractions: int | None) -> Raw:
    name, file = row.get("regionofinterestname", ("", ""))[1], _file(row)
    if not name or not file or Path(file).name != file:
        raise FormatError("Info.csv wants the columns Filename and RegionOfInterestName.", where="Info.csv")
    where = f"{file}.csv"
    unit, mean = row.get("dosemean", ("", ""))
    if not unit:
        raise FormatError("Info.csv does not state the unit of dose (DoseMean cGy).", where="Info.csv")
    volume_unit, volume = row.get("volume", ("", ""))
    if not volume_unit or number(volume) is None:
        raise FormatError("Info.csv does not state the volume and its unit (Volume ccm).", where="Info.csv")
    gy = gy_of(unit, where)
    cc = number(volume) if volume_unit_of(volume_unit, where) == "cc" else None
    table = _points(folder / f"{file}.csv", where)
    told = number(mean)
    return Raw(
        structure=name,
        system=SYSTEM,
        where=where,
        dose_gy=table[:, 0] * gy,
        volume=table[:, 1],
        volume_unit=_unit_of(table[:, 1], cc),
        volume_cc=cc,
        mean_gy=None if told is None else told * gy,
        fractions=fractions,
    )


def _unit_of(volume: np.ndarray, cc: float | None) -> str:
    """Return the unit that the points have: that in which their start or their sum is the whole organ."""
    if cc is not None and any(abs(x - cc) <= 0.02 * cc for x in (float(volume[0]), float(volume.sum()))):
        return "cc"
    return "%"


def _points(path: Path, where: str) -> np.ndarray:
    lines = read_lines(path)
    start = next((at for at, line in enumerate(lines) if is_it([line])), None)
    end = next((at for at, line in enumerate(lines) if "}" in line), None)
    if start is None or end is None or end <= start:
        raise FormatError("The file of points is not whole: Points[] = { ... }.", where=where)
    rows = [line.strip().rstrip(",").split(",") for line in lines[start + 1 : end] if line.strip()]
    if any(len(row) != 2 for row in rows) or not rows:
        raise FormatError("A line of the points does not hold two numbers.", where=where)
    said = next(
        (number(line.partition("=")[2].strip("; ")) for line in lines if "NumberOfPoints" in line), None
    )
    if said is not None and said != len(rows):
        raise FormatError(f"The file says {said:g} points and holds {len(rows)}.", where=where)
    return np.array(numbers([[word.strip() for word in row] for row in rows], where))
