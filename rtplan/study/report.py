"""The report of a study from its folder alone: page and document over the cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rtplan.case import review
from rtplan.case.cohort_table import read_cohort
from rtplan.case.rendering import put_both, rendered
from rtplan.domain import Notice
from rtplan.errors import FormatError
from rtplan.evaluation.study_file import NAME, read_study
from rtplan.report.cohort import cohort_content

PATIENTS, TABLE = "patients", "cohort.parquet"


def is_study(folder: Path) -> bool:
    """Whether a folder is that of a study."""
    return (folder / NAME).is_file()


def study_report(folder: Path) -> tuple[Path, Path]:
    """Make ``report.html`` and ``report.pdf`` of a study, both or neither.

    Parameters
    ----------
    folder : Path
        Folder of `rtplan study`: ``study.json``, ``cohort.parquet``, ``patients/<key>/review.json``.

    Raises
    ------
    FormatError
        If the folder holds no study, or a file of it does not parse.
    OutputError
        If it cannot be written; then the old report stays.
    """
    study = read_study(folder)
    table = folder / TABLE
    if study.finished and not table.is_file():
        raise FormatError(
            f"There is no {TABLE} beside study.json.",
            where=str(folder),
            action="run the study with --resume.",
        )
    rows = read_cohort(table) if table.is_file() else {}
    reviews, left_out = _reviews(folder / PATIENTS, [p.key for p in study.done])
    study = replace(study, notices=(*study.notices, *left_out))
    return put_both(folder, rendered(cohort_content(study, rows, reviews)))


def _reviews(patients: Path, keys: list[str]) -> tuple[dict[str, Sequence[Mapping[str, Any]]], list[Notice]]:
    """Return the rows of the reviews by key; one that cannot be used is left out and said."""
    found: dict[str, Sequence[Mapping[str, Any]]] = {}
    left_out = []
    for key in keys:
        try:
            read = review.read(patients / key)
        except FormatError as wrong:
            place = f"{PATIENTS}/{key}/{review.FILE}"
            left_out.append(Notice("REVIEW_LEFT_OUT", "warn", wrong.message, wrong.action, file=place))
            continue
        if read is not None:
            found[key] = review.rows_of(read.reviews)
    return found, left_out
