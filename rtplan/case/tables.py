"""Findings, notices and DVH curves as JSON and CSV files."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Finding, Patient
from rtplan.errors import FormatError

SCHEMA = 1

#: Dose (Gy) and volume (%) of one cumulative DVH, both shape (n,).
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
#: Curves by arm, then by structure.
Curves = Mapping[str, Mapping[str, Curve]]


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
            f"findings.json cannot be read ({type(wrong).__name__}).", where=str(path)
        ) from None


def _finding(plain: Mapping[str, Any]) -> Finding:
    interval = plain["interval95"]
    return Finding(**{**plain, "interval95": tuple(interval) if interval else None})


def write_curves(curves: Curves, folder: Path) -> None:
    """Write one ``dvh_<arm>.csv`` per arm: structure, dose_gy, volume_percent; cumulative."""
    if not curves:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for arm, by_structure in curves.items():
        with (folder / f"dvh_{arm}.csv").open("w", newline="", encoding="utf-8") as stream:
            stream.write("# type: cumulative\n")
            table = csv.writer(stream)
            table.writerow(["structure", "dose_gy", "volume_percent"])
            for name, (dose_gy, volume_percent) in by_structure.items():
                for dose, volume in zip(dose_gy, volume_percent, strict=True):
                    table.writerow([name, f"{dose:.4f}", f"{volume:.4f}"])


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
