"""The pages on which a reader scores the structures of a run and judges its plan; plain forms, no script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rtplan.domain import Patient
from rtplan.report.book import book_of
from rtplan.report.content import Table, row
from rtplan.report.page import filled
from rtplan.report.results import goals_block
from rtplan.report.words import listed


@dataclass(frozen=True)
class Shot:
    """One picture of a structure: its address, its caption, and the words that stand for it."""

    url: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Subject:
    """One structure to be scored.

    Parameters
    ----------
    field : str
        Beginning of the names of its fields (``s3``: ``s3-score``, ``s3-kind``, ``s3-remark``).
    name, about : str
        Its name as in the DICOM, and what it is (type, volume).
    shots : tuple of Shot
        None where it lies beside the image.
    """

    field: str
    name: str
    about: str
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class Sheet:
    """All that stands on the form whoever fills it in.

    Parameters
    ----------
    run : str
        The patient's pseudonym.
    image : str
        On which the structures are shown.
    subjects : tuple of Subject
        In order.
    goals : Table or None
        The plan's goals; ``no_goals`` says why there are none.
    scores, kinds, decisions : mapping of str to str
        Value to words, in the order in which they are offered.
    form_token : str
        Goes back with the form.
    longest_label, longest_remark : int
        Characters.
    """

    run: str
    image: str
    subjects: tuple[Subject, ...]
    goals: Table | None
    no_goals: str
    scores: Mapping[str, str]
    kinds: Mapping[str, str]
    decisions: Mapping[str, str]
    form_token: str
    longest_label: int
    longest_remark: int


@dataclass(frozen=True)
class Filled:
    """What somebody wrote into the form: values and problems by name of the field."""

    values: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    readers: tuple[str, ...] = ()


def form_page(sheet: Sheet, form: Filled) -> str:
    """Return the form, with what is filled in already and what is wrong with that."""
    words = listed(form.readers) if form.readers else ""
    return filled("review.html", sheet=sheet, values=form.values, problems=form.problems, readers=words)


def saved_page(
    sheet: Sheet, reader: str, lines: tuple[tuple[str, str, str], ...], readers: tuple[str, ...]
) -> str:
    """Return the page after saving: what the reader said, and the ways on.

    Parameters
    ----------
    sheet : Sheet
        Of the form.
    reader : str
        Who saved.
    lines : tuple of tuple of str
        What was judged, how, and the remark.
    readers : tuple of str
        All whose reviews are kept.
    """
    said = Table(
        caption=f"Review by {reader}",
        head=("Structure", "Score", "Remark"),
        rows=tuple(row(*line) for line in lines),
        widths=(2.0, 3.0, 3.0),
    )
    return filled("review_saved.html", sheet=sheet, reader=reader, said=said, readers=listed(readers))


def closed_page(reader: str) -> str:
    """Return the page after the server has stopped; it needs nothing from it any more."""
    return filled("review_closed.html", reader=reader)


def style_sheet() -> str:
    """Return the styles of these pages."""
    return filled("review.css")


def goals_of(patient: Patient) -> tuple[Table | None, str]:
    """Return the goals of the plan on the reference arm; and why there are none."""
    reference = book_of(patient).reference
    block = goals_block(patient, book_of(_on_one_arm(patient, reference)))
    if not block.tables:
        return None, block.absent
    return replace(block.tables[0], caption=f"Goals of the protocol on {reference}."), ""


def _on_one_arm(patient: Patient, arm: str | None) -> Patient:
    kept = tuple(f for f in patient.findings if f.arm == arm and f.quantity == "value")
    return Patient(images=patient.images, findings=kept, notices=patient.notices)
