"""Findings, notices, DVH curves and their bands as JSON and CSV files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Finding, Patient
from rtplan.dosimetry.bands import Band
from rtplan.errors import FormatError

SCHEMA = 1

Float = NDArray[np.float64]
#: Dose (Gy) and volume (%) of one cumulative DVH, both shape (n,).
Curve = tuple[Float, Float]
#: Curves and bands by arm, then by structure.
Curves = Mapping[str, Mapping[str, Curve]]
Bands = Mapping[str, Mapping[str, Band]]


def write_findings(patient: Patient, folder: Path) -> None:
    """Write ``findings.json``, ``findings.csv`` (the same columns) and ``notices.json``."""
    rows = [finding.as_dict() for finding in patient.findings]
    write_json(folder / "findings.json", {"schema": SCHEMA, "findings": rows})
    notices = [notice.as_dict() for notice in patient.notices]
    write_json(folder / "notices.json", {"schema": SCHEMA, "notices": notices})
    with (folder / "findings.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, [item.name for item in fields(Finding)])
        table.writeheader()
        for row in rows:
            table.writerow({name: _cell(value) for name, value in row.items()})


def read_findings(folder: Path) -> tuple[Finding, ...]:
    """Return the findings of a finished out folder.

    Raises
    ------
    FormatError
        If ``findings.json`` is missing, of another schema or not of this form.
    """
    path = folder / "findings.json"
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if plain["schema"] != SCHEMA:
            raise FormatError(f"findings.json is not of schema {SCHEMA}.", where=str(path))
        return tuple(_finding(row) for row in plain["findings"])
    except (OSError, ValueError, KeyError, TypeError) as wrong:
        raise FormatError(
            f"findings.json cannot be read ({type(wrong).__name__}).",
            where=str(path),
            action="make the case again.",
        ) from None


def _finding(plain: Mapping[str, Any]) -> Finding:
    interval = plain["interval95"]
    return Finding(**{**plain, "interval95": tuple(interval) if interval else None})


def write_curves(curves: Curves, folder: Path, *, base_gy: float | None = None) -> None:
    """Write one ``dvh_<arm>.csv`` per arm: structure, dose_gy, volume_percent; cumulative.

    With ``base_gy`` (absolute dose is withheld) they are ``relative_<arm>.csv`` with doses in % of it.
    """
    head = ["structure", _dose_column(base_gy), "volume_percent"]
    for arm, by_structure in curves.items():
        rows = (
            [name, *pair]
            for name, (dose_gy, volume_percent) in by_structure.items()
            for pair in zip(_shares(dose_gy, base_gy), volume_percent, strict=True)
        )
        _write_table(folder / f"{_dvh_name(base_gy)}_{arm}.csv", ["# type: cumulative"], head, rows)


def read_curves(folder: Path, *, base_gy: float | None = None) -> Curves:
    """Return the curves that `write_curves` wrote; doses in Gy."""
    curves: dict[str, dict[str, Curve]] = {}
    for arm, _, rows in _tables(folder, f"{_dvh_name(base_gy)}_"):
        for name, (dose, volume) in rows.items():
            curves.setdefault(arm, {})[name] = (_gy(dose, base_gy), volume)
    return curves


def write_bands(bands: Bands, folder: Path, *, base_gy: float | None = None) -> None:
    """Write one ``band_<arm>.csv`` per arm: structure, dose, lowest and highest volume, what made it."""
    head = ["structure", _dose_column(base_gy), "low_percent", "high_percent"]
    for arm, by_structure in bands.items():
        rows = (
            [name, *three]
            for name, band in by_structure.items()
            for three in zip(_shares(band.dose_gy, base_gy), band.low_percent, band.high_percent, strict=True)
        )
        what = {name: band.what for name, band in by_structure.items()}
        said = ["# type: cumulative", f"# what: {json.dumps(what, ensure_ascii=False)}"]
        _write_table(folder / f"band_{arm}.csv", said, head, rows)


def read_bands(folder: Path, *, base_gy: float | None = None) -> Bands:
    """Return the bands that `write_bands` wrote; doses in Gy."""
    bands: dict[str, dict[str, Band]] = {}
    for arm, said, rows in _tables(folder, "band_"):
        what: dict[str, str] = json.loads(said.get("what", "{}"))
        for name, (dose, low, high) in rows.items():
            bands.setdefault(arm, {})[name] = Band(_gy(dose, base_gy), low, high, what.get(name, ""))
    return bands


def _dvh_name(base_gy: float | None) -> str:
    return "dvh" if base_gy is None else "relative"


def _dose_column(base_gy: float | None) -> str:
    return "dose_gy" if base_gy is None else "dose_percent"


def _shares(dose_gy: Float, base_gy: float | None) -> Float:
    return dose_gy if base_gy is None else dose_gy * (100.0 / base_gy)


def _gy(shares: Float, base_gy: float | None) -> Float:
    return shares if base_gy is None else shares * (base_gy / 100.0)


def _write_table(path: Path, said: list[str], head: list[str], rows: Iterable[list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        stream.writelines(f"{line}\n" for line in said)
        table = csv.writer(stream)
        table.writerow(head)
        table.writerows([name, *(f"{number:.4f}" for number in numbers)] for name, *numbers in rows)


def _tables(folder: Path, prefix: str) -> Iterator[tuple[str, dict[str, str], dict[str, Float]]]:
    """Yield arm, what the lines above the head say, and by structure the columns, shape (columns, n)."""
    for path in sorted(folder.glob(f"{prefix}*.csv")) if folder.is_dir() else ():
        rows: dict[str, list[list[float]]] = {}
        said: dict[str, str] = {}
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                while (line := next(stream, "")).startswith("# "):
                    key, _, text = line[2:].partition(": ")
                    said[key] = text.strip()
                for name, *numbers in csv.reader(stream):
                    rows.setdefault(name, []).append([float(number) for number in numbers])
            yield path.stem.removeprefix(prefix), said, {name: np.array(r).T for name, r in rows.items()}
        except ValueError:
            raise FormatError(
                "A table of DVHs does not parse.", where=str(path), action="make the case again."
            ) from None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON with a final newline; NaN is refused."""
    path.write_text(
        json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )


def _cell(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return " ".join(f"{item:.9g}" for item in value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return "" if value is None else value
