"""What stands beside the patients of a batch at its end: ``cohort.parquet`` and ``report.html``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rtplan.batch.task import PATIENTS
from rtplan.case.cohort_table import write_rows
from rtplan.case.rendering import PAGE
from rtplan.case.tables import read_findings
from rtplan.domain import Finding
from rtplan.evaluation.batch_state import BatchState
from rtplan.evaluation.spread import ABOUT, Spread, spreads
from rtplan.report.batch import batch_content
from rtplan.report.page import page_of

TABLE = "cohort.parquet"


def write_results(out: Path, state: BatchState) -> None:
    """Write table and page over the finished patients; each replaces the old one in one move.

    Raises
    ------
    FormatError
        If the findings of a finished patient cannot be read.
    """
    temporary = out / f".{TABLE}"
    write_rows(_findings(out / PATIENTS, [patient.key for patient in state.of("done")]), temporary)
    os.replace(temporary, out / TABLE)
    page = out / f".{PAGE}"
    page.write_text(page_of(batch_content(state, spreads_of(out / TABLE))), encoding="utf-8")
    os.replace(page, out / PAGE)


def spreads_of(table: Path) -> tuple[Spread, ...]:
    """Return how each finding is spread over the patients of a table."""
    return spreads(_rows(table))


def _rows(table: Path) -> Iterator[Mapping[str, Any]]:
    with pq.ParquetFile(table) as file:
        for part in file.iter_batches(columns=[*ABOUT, "value", "verdict", "limit"]):
            yield from part.to_pylist()


def _findings(patients: Path, keys: Sequence[str]) -> Iterator[tuple[str, Sequence[Finding]]]:
    for key in keys:
        yield key, read_findings(patients / key)
