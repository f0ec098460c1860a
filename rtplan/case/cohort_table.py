"""The findings of all patients as one table: ``cohort.parquet``, with the columns of ``findings.csv``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rtplan.domain import Finding

#: About as many rows are held and written at once.
GROUP = 50_000
_NUMBERS = ("value", "error_bound", "cap_bound", "covered_fraction", "completed_fraction")


def _type(name: str) -> pa.DataType:
    if name == "interval95":
        return pa.list_(pa.float64())
    if name == "verified":
        return pa.bool_()
    return pa.float64() if name in _NUMBERS else pa.string()


#: Columns of the table; ``detail`` is JSON, ``interval95`` a list of two numbers.
SCHEMA = pa.schema([(item.name, _type(item.name)) for item in fields(Finding)])


def write_cohort(patients: Mapping[str, Sequence[Finding]], path: Path) -> None:
    """Write one row per finding; ``patient`` is the key.

    Parameters
    ----------
    patients : mapping of str to sequence of Finding
        By key.
    path : Path
        ``cohort.parquet``.
    """
    write_rows(patients.items(), path)


def write_rows(patients: Iterable[tuple[str, Sequence[Finding]]], path: Path) -> None:
    """Write as `write_cohort` does, but hold only `GROUP` rows at a time: for cohorts of any size."""
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as table:
        for key, findings in patients:
            for finding in findings:
                row = finding.as_dict() | {"patient": key}
                row["detail"] = json.dumps(row["detail"], ensure_ascii=False) if row["detail"] else ""
                for name, column in columns.items():
                    column.append(row[name])
            if len(columns["patient"]) >= GROUP:
                table.write_table(pa.table(columns, schema=SCHEMA))
                columns = {name: [] for name in SCHEMA.names}
        table.write_table(pa.table(columns, schema=SCHEMA))


def read_cohort(path: Path) -> dict[str, tuple[Finding, ...]]:
    """Return the findings of `write_cohort` by key."""
    found: dict[str, list[Finding]] = {}
    for row in pq.read_table(path, schema=SCHEMA).to_pylist():
        row["detail"] = json.loads(row["detail"]) if row["detail"] else {}
        row["interval95"] = tuple(row["interval95"]) if row["interval95"] is not None else None
        found.setdefault(row["patient"], []).append(Finding(**row))
    return {key: tuple(findings) for key, findings in found.items()}
