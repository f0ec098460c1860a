"""DVH text of RayStation: ``#`` lines about a region of interest, then dose and volume on each line."""

from __future__ import annotations

import re

import numpy as np

from rtplan.errors import FormatError
from rtplan.io.dvh_text.curve import Raw, Type
from rtplan.io.dvh_text.text import gy_of, number, numbers, volume_unit_of

SYSTEM = "RayStation"
_HEAD = re.compile(r"^#\s*(?P<label>[^:]+?)\s*:\s*(?P<value>.*)$")


def is_it(lines: list[str]) -> bool:
    """Whether these are the lines of a RayStation DVH export."""
    return any(line.casefold().startswith("#roiname:") for line in lines[:200])


def read(lines: list[str], where: str) -> list[Raw]:
    """Return the curves; the volume is in % of the region unless a ``#Volume unit:`` says otherwise.

    Raises
    ------
    FormatError
        If the unit of dose is missing or neither Gy nor cGy.
    """
    found: list[Raw] = []
    told: dict[str, str] = {}
    rows: list[list[str]] = []
    for line in [*lines, "#RoiName:"]:
        head = _HEAD.match(line.strip())
        if head is None:
            if line.strip():
                rows.append(line.replace(";", " ").split())
            continue
        label = head["label"].casefold()
        if label in ("roiname", "dosename") and rows:
            found.append(_curve(told, rows, where))
            told, rows = {k: v for k, v in told.items() if k in ("dosename",)}, []
        told[label] = head["value"].strip()
    return found


def _curve(told: dict[str, str], rows: list[list[str]], where: str) -> Raw:
    name = told.get("roiname", "")
    where_in = f"{where}, {name}"
    unit = told.get("dose unit") or told.get("unit")
    if not unit:
        raise FormatError(
            "The file does not state the unit of dose.",
            where=where_in,
            action="export it again: a line '#Dose unit: cGy' (or '#Unit: cGy') belongs to each region.",
        )
    if any(len(row) != 2 for row in rows):
        raise FormatError("A line of the DVH does not hold two numbers.", where=where_in)
    table = np.array(numbers(rows, where_in))
    outside = number(told.get("roi volume fraction outside grid", "0").rstrip("% "))
    return Raw(
        structure=name,
        system=SYSTEM,
        where=where,
        dose_gy=table[:, 0] * gy_of(unit, where_in),
        volume=table[:, 1],
        volume_unit=volume_unit_of(told.get("volume unit", "%"), where_in),
        type=_said(told),
        plan=told.get("dosename", ""),
        covered_fraction=1.0 - (outside or 0.0) / 100.0,
    )


def _said(told: dict[str, str]) -> Type:
    """Return what a line on the type says; RayStation writes none, and the curve must speak for itself."""
    text = " ".join(told.get(label, "") for label in ("type", "dvh type")).casefold()
    if "cumulative" in text:
        return "cumulative"
    return "differential" if "differential" in text else ""
