"""The report of a finished case: page and document from what its out folder holds, written together."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rtplan.case import pseudonym, review, tables
from rtplan.case.archive import Case, read_case
from rtplan.errors import FormatError, OutputError
from rtplan.io import header as hd
from rtplan.report.assemble import Extras, assemble
from rtplan.report.content import Content
from rtplan.report.document import document_of
from rtplan.report.page import page_of

PAGE, DOCUMENT = "report.html", "report.pdf"


@dataclass(frozen=True)
class Rendered:
    """A report as text of a page and bytes of a PDF."""

    page: str
    document: bytes


def rendered(content: Content) -> Rendered:
    """Return content as page and document."""
    return Rendered(page_of(content), document_of(content))


def content_of(folder: Path, case: Case, provenance: Mapping[str, Any]) -> Content:
    """Return the content of a case whose curves, bands and reviews lie in a folder.

    Parameters
    ----------
    folder : Path
        The out folder, or the hidden one that becomes it.
    case : Case
        As `rtplan.case.archive.read_case` returns it.
    provenance : mapping
        The manifest; what was written does not matter.
    """
    reviews = review.read(folder)
    extras = Extras(
        bands=tables.read_bands(folder / "dvh", base_gy=case.base_gy),
        spreads=case.spreads,
        reviews=review.rows_of(reviews.reviews) if reviews else (),
    )
    told = {key: value for key, value in provenance.items() if key != "outputs"}
    if provenance.get("rtplan_version", version("rtplan")) != version("rtplan"):
        told["rendered_by"] = version("rtplan")
    return assemble(case.patient, told, tables.read_curves(folder / "dvh", base_gy=case.base_gy), extras)


def report_again(out: Path, *, pseudonyms: Path | None = None) -> tuple[Path, Path]:
    """Make page and document of a finished case again, and put both in the place of the old ones.

    Parameters
    ----------
    out : Path
        Folder that ``rtplan run``, ``demo`` or ``study`` wrote. Nothing else in it is changed; its manifest
        keeps what the run wrote.
    pseudonyms : Path, optional
        Table of pseudonyms; the patient's ID is read from ``dicom/``.

    Raises
    ------
    FormatError, GeometryMismatch
        If the folder holds no finished case, or a file of it does not parse.
    UnknownName
        If the patient is not among the pseudonyms.
    OutputError
        If the folder cannot be written; then both are as they were.
    """
    provenance = manifest_of(out)
    case = read_case(out)
    if pseudonyms is not None:
        key = pseudonym.of(pseudonym.load(pseudonyms), _patient_id(out / "dicom"))
        case = replace(case, patient=replace(case.patient, key=key))
    return put_both(out, rendered(content_of(out, case, provenance)))


def _patient_id(folder: Path) -> str:
    """Return the PatientID of what a run wrote. Not to be shown."""
    first = next((path for path in sorted(folder.glob("*.dcm"))), None)
    return "" if first is None else hd.text(hd.read(first, tags=("PatientID",)), "PatientID")


def manifest_of(out: Path) -> dict[str, Any]:
    """Return the manifest of a finished case; raises FormatError where there is none."""
    path = out / "manifest.json"
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FormatError(
            "There is no finished case here (no manifest.json).",
            where=str(path.parent),
            action="give a folder that rtplan run, demo or study wrote.",
        ) from None
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("schema") != 1:
        raise FormatError("The manifest does not parse.", where=str(path), action="make the case again.")
    return found


def put_both(out: Path, made: Rendered) -> tuple[Path, Path]:
    """Write page and document beside the old ones, then put both in place; on failure both stay as they were.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    mark = uuid.uuid4().hex[:8]
    new = {name: out / f".new-{mark}-{name}" for name in (PAGE, DOCUMENT)}
    old = {name: out / f".old-{mark}-{name}" for name in (PAGE, DOCUMENT)}
    try:
        new[PAGE].write_text(made.page, encoding="utf-8")
        new[DOCUMENT].write_bytes(made.document)
        for name in new:
            if (out / name).exists():
                os.link(out / name, old[name])
        for name, part in new.items():
            part.replace(out / name)
    except BaseException as failed:
        for name, kept in old.items():
            if kept.exists():
                kept.replace(out / name)
        if isinstance(failed, OSError):
            raise OutputError(
                f"The report cannot be written here ({failed.strerror}); the old one stays.",
                where=str(out),
                action="make the folder writable and free space, or copy it.",
            ) from None
        raise
    finally:
        for part in (*new.values(), *old.values()):
            part.unlink(missing_ok=True)
    return out / PAGE, out / DOCUMENT
