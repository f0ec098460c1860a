"""DVH text of Elekta Monaco: one head line parted by ``|``, then structure, dose and volume on each line."""

from __future__ import annotations

import re

import numpy as np

from rtplan.errors import FormatError
from rtplan.io.dvh_text.curve import Raw, Type
from rtplan.io.dvh_text.text import NUMBER, gy_of, numbers, volume_unit_of

SYSTEM = "Monaco"
_ROW = re.compile(rf"^\s*(?P<name>\S.*?)\s+(?P<dose>{NUMBER})\s+(?P<volume>{NUMBER})\s*$")


def is_it(lines: list[str]) -> bool:
    """Whether these are the lines of a Monaco DVH export."""
    head = lines[0].casefold() if lines else ""
    return "patient id:" in head and "|" in head and "units:" in head


def read(lines: list[str], where: str) -> list[Raw]:
    """Return the curves.

    Raises
    ------
    FormatError
        If the head does not state the units of dose and volume, or the dose is in %: Monaco's head states
        no prescription.
    """
    told = _told(lines[0])
    for label in ("dose units", "volume units"):
        if not told.get(label):
            raise FormatError(f"The head line does not state the {label}.", where=where)
    if told["dose units"] == "%":
        raise FormatError(
            "The dose is in %, and the head line does not state what 100 % is.",
            where=where,
            action="export the DVH with absolute dose.",
        )
    gy, unit = gy_of(told["dose units"], where), volume_unit_of(told["volume units"], where)
    rows: dict[str, list[list[str]]] = {}
    for line in lines[1:]:
        match = _ROW.match(line)
        if match is not None:
            rows.setdefault(match["name"], []).append([match["dose"], match["volume"]])
    return [_curve(name, table, (gy, unit), told, where) for name, table in rows.items()]


def _told(head: str) -> dict[str, str]:
    parts = (part.partition(":") for part in head.split("|"))
    return {label.strip().casefold(): value.strip() for label, _, value in parts}


def _curve(
    name: str, rows: list[list[str]], units: tuple[float, str], told: dict[str, str], where: str
) -> Raw:
    table = np.array(numbers(rows, f"{where}, {name}"))
    words = " ".join(value for label, value in told.items() if "type" in label or "dvh" in label).casefold()
    kind: Type = "cumulative" if "cumulative" in words else "differential" if "differential" in words else ""
    return Raw(
        structure=name,
        system=SYSTEM,
        where=where,
        dose_gy=table[:, 0] * units[0],
        volume=table[:, 1],
        volume_unit=units[1],
        type=kind,
        plan=told.get("plan name", ""),
    )
