"""A clinic's measurements of a beam: the commissioning CSV, checked."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtplan.errors import FormatError

Float = NDArray[np.float64]

COLUMNS = ("quantity", "field_mm", "depth_mm", "offset_mm", "value")
#: Quantities and the values that they can have: ratios, and per cent where it is said.
QUANTITIES: dict[str, tuple[float, float]] = {
    "tmr": (0.0, 1.2),
    "pdd": (0.0, 110.0),
    "profile": (0.0, 150.0),
    "output_factor": (0.2, 2.0),
}
#: Largest values below which a quantity in per cent is taken for a fraction by mistake.
PER_CENT = ("pdd", "profile")
#: What a fit cannot do without.
LEAST_FIELDS, LEAST_DEPTHS, REFERENCE_MM = 3, 4, 100.0


@dataclass(frozen=True, eq=False)
class Measured:
    """Measurements in water, one row each; all arrays have shape (n,).

    Parameters
    ----------
    quantity : ndarray of str
        ``tmr`` (over its maximum), ``pdd`` (% of its maximum), ``profile`` (% of the axis, along one side of
        the field), ``output_factor`` (dose per MU over that of 100 mm, isocentre at the depth).
    field_mm, depth_mm, offset_mm, value : ndarray
        Side of the square field in the isocentre plane; depth; distance from the axis at that depth; value.
    """

    quantity: NDArray[np.str_]
    field_mm: Float
    depth_mm: Float
    offset_mm: Float
    value: Float

    def of(self, quantity: str, field_mm: float | None = None) -> Measured:
        """Return the rows of a quantity, and of a field where one is named."""
        here = self.quantity == quantity
        if field_mm is not None:
            here &= self.field_mm == field_mm
        return self.where(here)

    def where(self, rows: NDArray[np.bool_]) -> Measured:
        """Return some of the rows."""
        columns = (self.field_mm, self.depth_mm, self.offset_mm, self.value)
        return Measured(self.quantity[rows], *(column[rows] for column in columns))

    @property
    def fields(self) -> tuple[float, ...]:
        """Sides of the fields, rising."""
        return tuple(float(side) for side in np.unique(self.field_mm))


def read_measured(path: Path) -> Measured:
    """Return the measurements of a CSV with the columns of ``COLUMNS``.

    Raises
    ------
    FormatError
        If a column is missing, a quantity unknown, a value not a number or out of range, or if there is too
        little to fit a beam to.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as wrong:
        raise FormatError(f"The measurements cannot be read: {wrong}.", where=path.name) from wrong
    found = set(rows[0]) if rows else set()
    missing = [column for column in COLUMNS if column not in found]
    if missing:
        raise FormatError(
            f"The measurements lack {'columns' if rows else 'rows, or columns'}: {', '.join(missing)}.",
            where=path.name,
            action=f"give a CSV with {','.join(COLUMNS)}.",
        )
    measured = _parsed(rows, path.name)
    _demand_enough(measured, path.name)
    return measured


def _parsed(rows: list[dict[str, str]], where: str) -> Measured:
    quantities, numbers = [], []
    for line, row in enumerate(rows, start=2):
        quantity = (row["quantity"] or "").strip().lower()
        if quantity not in QUANTITIES:
            raise FormatError(
                f"Line {line}: the quantity {quantity!r} is unknown.",
                where=where,
                action=f"use {', '.join(QUANTITIES)}.",
            )
        quantities.append(quantity)
        numbers.append(_numbers(row, quantity, line, where))
    columns = np.array(numbers).T
    return Measured(np.array(quantities), *columns)


def _numbers(row: dict[str, str], quantity: str, line: int, where: str) -> list[float]:
    numbers = []
    for column in COLUMNS[1:]:
        text = (row[column] or "").strip() or ("0" if column == "offset_mm" else "")
        try:
            number = float(text)
        except ValueError:
            raise FormatError(f"Line {line}: {column} is {text!r}, not a number.", where=where) from None
        numbers.append(number)
    side, depth, _, value = numbers
    low, high = QUANTITIES[quantity]
    if not (np.isfinite(numbers).all() and 0.0 < side <= 400.0 and 0.0 <= depth <= 500.0):
        raise FormatError(
            f"Line {line}: a field of {side:g} mm at {depth:g} mm depth cannot be.",
            where=where,
            action="fields are above 0 and up to 400 mm, depths from 0 to 500 mm.",
        )
    if not low <= value <= high:
        raise FormatError(
            f"Line {line}: {quantity} is {value:g}, outside {low:g} to {high:g}.",
            where=where,
            action="tmr and output_factor are ratios, pdd and profile are in per cent.",
        )
    return numbers


def _demand_enough(measured: Measured, where: str) -> None:
    for quantity in PER_CENT:
        rows = measured.of(quantity)
        if rows.value.size and rows.value.max() <= 1.5:
            raise FormatError(
                f"All values of {quantity} are at most {rows.value.max():g}: they look like fractions.",
                where=where,
                action="give them in per cent.",
            )
    deep = {q: measured.of(q) for q in ("tmr", "pdd")}
    sides = {s for rows in deep.values() for s in rows.fields if (rows.field_mm == s).sum() >= LEAST_DEPTHS}
    if len(sides) < LEAST_FIELDS:
        raise FormatError(
            f"{len(sides)} fields with tmr or pdd at {LEAST_DEPTHS} depths or more are too few.",
            where=where,
            action=f"give at least {LEAST_FIELDS} fields, from small to large.",
        )
    outputs = measured.of("output_factor")
    if len(outputs.fields) < LEAST_FIELDS:
        raise FormatError(
            f"Output factors of {len(outputs.fields)} fields are too few.",
            where=where,
            action=f"give at least {LEAST_FIELDS} fields, relative to {REFERENCE_MM:g} mm.",
        )
    if not (measured.of("profile").offset_mm != 0.0).any():
        raise FormatError(
            "There is no profile: source and horn cannot be fitted.",
            where=where,
            action="give at least one profile across an edge.",
        )
