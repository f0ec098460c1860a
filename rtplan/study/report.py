"""The report of a study from its folder alone: page and document over the cohort."""

from __future__ import annotations

from pathlib import Path

from rtplan.case import review
from rtplan.case.rendering import put_both, rendered
from rtplan.errors import FormatError
from rtplan.evaluation.study_file import NAME, read_study
from rtplan.report.cohort import cohort_content
from rtplan.study.table import read_cohort

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
    found = {p.key: review.read(folder / PATIENTS / p.key) for p in study.done}
    reviews = {key: review.rows_of(item.reviews) for key, item in found.items() if item is not None}
    return put_both(folder, rendered(cohort_content(study, rows, reviews)))
