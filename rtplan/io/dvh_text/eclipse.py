"""DVH text of Varian Eclipse: header, plans, then structures, each with a table."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from rtplan.errors import FormatError
from rtplan.io.dvh_text.curve import Raw, Type
from rtplan.io.dvh_text.text import gy_of, is_number, number, numbers, volume_unit_of

SYSTEM = "Eclipse"
_TYPE = re.compile(r"^Type\s*:\s*(Cumulative|Differential)\b", re.IGNORECASE)
_STRUCTURE = re.compile(r"^Structure\s*:\s*(\S.*)$")
_ENTRY = re.compile(r"^\s*(?P<label>[^:\[]+?)\s*(?:\[(?P<unit>[^\]]*)\])?\s*:\s*(?P<value>.*)$")
_COLUMN = re.compile(r"(?P<label>[A-Za-z][A-Za-z/ ]*?)\s*\[(?P<unit>[^\]]*)\]")
_PLAN = ("plan", "plan sum")
#: What the columns of a table are.
_COLUMNS = {
    "dose": "dose",
    "relative dose": "relative",
    "structure volume": "volume",
    "ratio of total structure volume": "volume",
    "dvolume / ddose": "density",
}


@dataclass(frozen=True)
class _Plan:
    """A plan's prescription as its header says; None where it says none."""

    dose_gy: float | None = None
    percent: float | None = None
    is_sum: bool = False


def is_it(lines: list[str]) -> bool:
    """Whether these are the lines of an Eclipse DVH export."""
    return any(_TYPE.match(line) for line in lines[:60]) and any(_STRUCTURE.match(line) for line in lines)


def read(lines: list[str], where: str) -> list[Raw]:
    """Return the curves; those of uncertainty scenarios are left out.

    Raises
    ------
    FormatError
        If units, columns or a needed prescription are missing.
    """
    starts = [at for at, line in enumerate(lines) if _STRUCTURE.match(line)]
    header = lines[: starts[0]]
    said = next(match[1].casefold() for line in header if (match := _TYPE.match(line)))
    kind: Type = "cumulative" if said == "cumulative" else "differential"
    plans = _plans(header, where)
    blocks = [lines[a:b] for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)]
    return [
        _curve(block, kind, plans, where)
        for block in blocks
        if not any(line.casefold().startswith("uncertainty plan") for line in block)
    ]


def _plans(header: list[str], where: str) -> dict[str, _Plan]:
    found: dict[str, _Plan] = {}
    current = ""
    for line in header:
        entry = _ENTRY.match(line)
        if entry is None:
            continue
        label, value = entry["label"].strip().casefold(), entry["value"].strip()
        if label in _PLAN:
            current = value
            found[current] = _Plan(is_sum=label == "plan sum")
        elif label in ("prescribed dose", "total dose") and number(value) is not None:
            plan = found.get(current, _Plan())
            dose = (number(value) or 0.0) * gy_of(entry["unit"] or "", where)
            found[current] = replace(plan, dose_gy=dose)
        elif label.startswith("% for dose"):
            found[current] = replace(found.get(current, _Plan()), percent=number(value))
    return found


def _curve(block: list[str], kind: Type, plans: dict[str, _Plan], where: str) -> Raw:
    match = _STRUCTURE.match(block[0])
    assert match is not None
    name = match[1].strip()
    where_in = f"{where}, {name}"
    top = next((at for at, line in enumerate(block) if _names(line)), None)
    if top is None:
        raise FormatError("The structure has no table with dose and volume.", where=where_in)
    told = {m["label"].strip().casefold(): m for line in block[:top] if (m := _ENTRY.match(line))}
    plan = told["plan"]["value"].strip() if "plan" in told else ""
    columns = _names(block[top])
    table = np.array(numbers(_rows(block[top + 1 :], len(columns), where_in), where_in)).reshape(
        -1, len(columns)
    )
    own = _plan_of(plan, plans)
    dose_gy, scale = _dose(columns, table, own, where_in)
    volume, unit = _volume(columns, table, kind, where_in)
    return Raw(
        structure=name,
        system=SYSTEM,
        where=where,
        dose_gy=dose_gy,
        volume=volume / scale if kind == "differential" else volume,
        volume_unit=unit,
        type=kind,
        per_gy=kind == "differential",
        volume_cc=_amount(told, "volume", where_in),
        mean_gy=_amount(told, "mean dose", where_in),
        plan=plan,
        covered_fraction=_covered(told),
        kind="physical sum" if own.is_sum else "physical",
    )


def _names(line: str) -> list[tuple[str, str]]:
    """Return the columns of a table's head as (what, unit); nothing for any other line."""
    if ":" in line or "dose" not in line.casefold():
        return []
    found = list(_COLUMN.finditer(line))
    names = [(_COLUMNS.get(" ".join(m["label"].split()).casefold(), ""), m["unit"]) for m in found]
    return names if len(names) >= 2 and all(what for what, _ in names) else []


def _rows(lines: list[str], count: int, where: str) -> list[list[str]]:
    rows = []
    for line in lines:
        words = line.split()
        if not words:
            continue
        if not is_number(words[0]):
            break
        if len(words) != count:
            raise FormatError(f"A line of the DVH does not hold {count} numbers.", where=where)
        rows.append(words)
    return rows


def _plan_of(plan: str, plans: dict[str, _Plan]) -> _Plan:
    if plan in plans:
        return plans[plan]
    return next(iter(plans.values())) if len(plans) == 1 and not plan else _Plan()


def _dose(
    columns: list[tuple[str, str]], table: np.ndarray, plan: _Plan, where: str
) -> tuple[np.ndarray, float]:
    """Return the doses, Gy, and the Gy of one unit of the dose that a differential volume is per."""
    whats = [what for what, _ in columns]
    density = next((unit for what, unit in columns if what == "density"), "")
    per = density.rpartition("/")[2].strip()
    scale = gy_of(per, where) if per and per != "%" else 1.0
    if "dose" in whats and columns[whats.index("dose")][1] != "%":
        at = whats.index("dose")
        doses = table[:, at] * gy_of(columns[at][1], where)
    else:
        at = whats.index("relative") if "relative" in whats else whats.index("dose")
        if plan.dose_gy is None or not plan.percent:
            raise FormatError(
                "The dose is in % and the header does not state what 100 % is.",
                where=where,
                action="export the DVH with absolute dose.",
            )
        doses = table[:, at] * plan.dose_gy / plan.percent
    if per == "%":
        if plan.dose_gy is None or not plan.percent:
            raise FormatError("The volume is per % of an unknown dose.", where=where)
        scale = plan.dose_gy / plan.percent
    return doses, scale


def _volume(
    columns: list[tuple[str, str]], table: np.ndarray, kind: Type, where: str
) -> tuple[np.ndarray, str]:
    wanted = "volume" if kind == "cumulative" else "density"
    at = next((at for at, (what, _) in enumerate(columns) if what == wanted), None)
    if at is None:
        raise FormatError(f"A {kind} DVH, and no column of its volume.", where=where)
    return table[:, at], volume_unit_of(columns[at][1].partition("/")[0], where)


def _amount(told: dict[str, re.Match[str]], label: str, where: str) -> float | None:
    """Return a volume in cc or a dose in Gy of a structure's head; None where there is none of that unit."""
    entry = told.get(label)
    value = None if entry is None else number(entry["value"])
    if entry is None or value is None or entry["unit"] in (None, "%"):
        return None
    if label == "volume":
        return value if volume_unit_of(entry["unit"], where) == "cc" else None
    return value * gy_of(entry["unit"], where)


def _covered(told: dict[str, re.Match[str]]) -> float:
    entry = told.get("dose cover.")
    value = None if entry is None else number(entry["value"])
    return 1.0 if value is None else value / 100.0
