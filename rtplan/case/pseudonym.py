"""A user's table of pseudonyms (CSV with ``patient_id,pseudonym``): read only, and never copied anywhere."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from rtplan.errors import FormatError, UnknownName

COLUMNS = ("patient_id", "pseudonym")
LONGEST = 40


def load(path: Path) -> Mapping[str, str]:
    """Return the pseudonym by PatientID.

    Parameters
    ----------
    path : Path
        CSV with a head; columns besides ``patient_id`` and ``pseudonym`` are passed over.

    Raises
    ------
    FormatError
        If the file is no such table, a patient stands in it twice, two patients share a pseudonym, or a
        pseudonym is empty, long, not one line, or gives an ID away. The message never holds an ID.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, strict=True))
    except (UnicodeDecodeError, csv.Error):
        raise _refused(path, "it is no CSV in UTF-8") from None
    except OSError:
        raise _refused(path, "it cannot be opened") from None
    table: dict[str, str] = {}
    for n, row in enumerate(rows, 2):
        person, name = ((row.get(column) or "").strip() for column in COLUMNS)
        if not person and not name:
            continue
        _demand(bool(person), path, f"row {n} has no patient_id")
        _demand(person not in table, path, f"row {n} repeats a patient")
        _demand(name not in table.values(), path, f"row {n} repeats a pseudonym")
        _demand(_is_usable(name), path, f"row {n} needs a pseudonym of 1 to {LONGEST} signs in one line")
        table[person] = name
    _demand(bool(table), path, f"no row has {' and '.join(COLUMNS)}")
    hidden = (name for name in table.values() for person in table if _tells(name, person))
    _demand(next(hidden, None) is None, path, "a pseudonym contains a patient's ID")
    return table


def of(table: Mapping[str, str], patient_id: str) -> str:
    """Return a patient's pseudonym.

    Raises
    ------
    UnknownName
        If the patient is not in the table; the message does not hold the ID.
    """
    found = table.get(patient_id.strip())
    if found is None:
        raise UnknownName(
            "The patient is not in the table of pseudonyms (--pseudonym).",
            action="add a row patient_id,pseudonym for this patient, or leave --pseudonym out.",
        )
    return found


def _is_usable(name: str) -> bool:
    return 0 < len(name) <= LONGEST and all(unicodedata.category(sign)[0] != "C" for sign in name)


def _tells(name: str, person: str) -> bool:
    """Whether a pseudonym holds an ID that is long enough to be told from other text."""
    return len(person) >= 4 and person.casefold() in name.casefold()


def _demand(holds: bool, path: Path, why: str) -> None:
    if not holds:
        raise _refused(path, why)


def _refused(path: Path, why: str) -> FormatError:
    return FormatError(
        f"The table of pseudonyms cannot be used: {why}.",
        where=path.name,
        action="give a CSV whose head is patient_id,pseudonym, one row for each patient.",
    )
