"""The TG-263 grammar of DVH metrics: ``D95%[Gy]``, ``V20Gy[%]``, ``Mean[Gy]``, ``V50Gy[%]@EQD2(3)``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from rtplan.dosimetry.caret import Reader

Kind = Literal["D", "DC", "V", "CV", "Mean", "Max", "Min", "Volume"]
Unit = Literal["Gy", "cc", "%"]

#: What each kind of metric is measured in, and what stands behind its letter.
_UNITS: dict[str, tuple[str, ...]] = {
    "D": ("Gy", "%"),
    "DC": ("Gy", "%"),
    "V": ("%", "cc"),
    "CV": ("%", "cc"),
    "Mean": ("Gy", "%"),
    "Max": ("Gy", "%"),
    "Min": ("Gy", "%"),
    "Volume": ("cc",),
}
_AMOUNTS: dict[str, tuple[str, ...]] = {
    "D": ("%", "cc"),
    "DC": ("%", "cc"),
    "V": ("Gy", "%"),
    "CV": ("Gy", "%"),
}
_KIND = re.compile(r"Mean|Max|Min|Volume|DC|CV|D|V")
_UNIT = re.compile(r"Gy|cc|%")
_ACTION = "write it as TG-263 does, for example D95%[Gy], D0.03cc[Gy], V20Gy[%], Mean[Gy]."


@dataclass(frozen=True)
class Metric:
    """One DVH metric.

    Parameters
    ----------
    kind : str
        ``D`` dose that the hottest part receives at least; ``DC`` dose that the coldest part receives at
        most; ``V`` volume with at least a dose; ``CV`` volume with less; ``Mean``, ``Max``, ``Min``;
        ``Volume``.
    unit : str
        Unit of the value: Gy, cc or %.
    amount : float or None
        The volume of D and DC, the dose of V and CV.
    amount_unit : str or None
        Unit of the amount. ``%`` of a dose is that of the reference target's prescription.
    alpha_beta_gy : float or None
        The dose is EQD2 with this α/β, per voxel; None for the physical dose.
    """

    kind: Kind
    unit: Unit
    amount: float | None = None
    amount_unit: Unit | None = None
    alpha_beta_gy: float | None = None

    @property
    def dose_kind(self) -> str:
        """``physical`` or ``EQD2(<alpha/beta>)``."""
        return "physical" if self.alpha_beta_gy is None else f"EQD2({self.alpha_beta_gy:g})"

    @property
    def needs_prescription(self) -> bool:
        """Whether a dose in it is a percentage of the prescription."""
        dose_value = self.kind in ("D", "DC", "Mean", "Max", "Min") and self.unit == "%"
        return dose_value or (self.kind in ("V", "CV") and self.amount_unit == "%")

    def __str__(self) -> str:
        amount = "" if self.amount is None else f"{plain(self.amount)}{self.amount_unit}"
        suffix = "" if self.alpha_beta_gy is None else f"@EQD2({plain(self.alpha_beta_gy)})"
        return f"{self.kind}{amount}[{self.unit}]{suffix}"


def plain(number: float) -> str:
    """Write a number of the grammar so that it reads back the same: digits and a point, no exponent.

    Examples
    --------
    >>> plain(0.03), plain(20.0), plain(1e-7)
    ('0.03', '20', '0.0000001')
    """
    return np.format_float_positional(number, trim="-")


@lru_cache(maxsize=512)
def parse(text: str) -> Metric:
    """Read a metric.

    Raises
    ------
    FormatError
        If it does not parse; the message points at the character.

    Examples
    --------
    >>> parse("D0.03cc[Gy]").amount
    0.03
    >>> str(parse("V50Gy[%]@EQD2(3)"))
    'V50Gy[%]@EQD2(3)'
    """
    reader = Reader(text, "A DVH metric", _ACTION)
    kind = reader.take(_KIND, "D, DC, V, CV, Mean, Max, Min or Volume")
    amount, amount_unit = _amount(reader, kind)
    reader.literal("[")
    unit = _one_of(reader, _UNITS[kind])
    reader.literal("]")
    alpha_beta = _alpha_beta(reader, kind)
    reader.end()
    return Metric(kind, unit, amount, amount_unit, alpha_beta)  # type: ignore[arg-type]


def _one_of(reader: Reader, units: tuple[str, ...]) -> str:
    start = reader.place
    unit = reader.take(_UNIT, " or ".join(units))
    if unit not in units:
        reader.place = start
        reader.refuse(" or ".join(units))
    return unit


def _amount(reader: Reader, kind: str) -> tuple[float | None, str | None]:
    if kind not in _AMOUNTS:
        return None, None
    start = reader.place
    amount = reader.number("a number >= 0")
    unit = _one_of(reader, _AMOUNTS[kind])
    if kind in ("D", "DC") and unit == "%" and amount > 100.0:
        reader.place = start
        reader.refuse("a part of the volume from 0 to 100 %")
    return amount, unit


def _alpha_beta(reader: Reader, kind: str) -> float | None:
    if not reader.at("@"):
        return None
    if kind == "Volume":
        reader.refuse("the end, since a volume has no dose")
    reader.literal("@EQD2(")
    start = reader.place
    value = reader.number("alpha/beta in Gy, for example @EQD2(3)")
    if value <= 0:
        reader.place = start
        reader.refuse("alpha/beta above 0 Gy")
    reader.literal(")")
    return value
