"""From a patient to the content of its report: one order of blocks for page and document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rtplan.domain import Dose, Patient
from rtplan.dosimetry.bands import Band
from rtplan.report.answer import facts_of, glance_of, lead_of
from rtplan.report.book import Book, book_of
from rtplan.report.budgets import budget_block
from rtplan.report.content import Block, Content
from rtplan.report.discretion import discreet
from rtplan.report.facts import provenance_block, run_block
from rtplan.report.plots import Curves
from rtplan.report.problems import not_evaluable_block, notices_block
from rtplan.report.results import comparison_block, goals_block, metrics_block
from rtplan.report.reviews import reviews_block
from rtplan.report.risks import outcome_block
from rtplan.report.scene import scene_of
from rtplan.report.views import difference_block, dvh_block, slices_block, spread_block
from rtplan.report.words import counted, in_words, listed

WARNING = "Research use only. Not for clinical decisions."


@dataclass(frozen=True)
class Extras:
    """What a report shows beside the patient.

    Parameters
    ----------
    bands : mapping
        Arm to structure to the band of its DVH.
    spreads : mapping of str to Dose
        Standard deviation of the dose samples, Gy, by arm.
    reviews : sequence of mapping
        Rows ``reader, time, structure, score, kind, remark, decision`` of ``review.json``.
    """

    bands: Mapping[str, Mapping[str, Band]] = field(default_factory=dict)
    spreads: Mapping[str, Dose] = field(default_factory=dict)
    reviews: Sequence[Mapping[str, Any]] = ()


def assemble(
    patient: Patient,
    provenance: Mapping[str, Any],
    curves: Curves | None = None,
    extras: Extras | None = None,
) -> Content:
    """Return the content of a patient's report.

    Parameters
    ----------
    patient : Patient
        With what the steps gave it. Its identity does not reach the content.
    provenance : mapping
        The manifest (``formats.md``); may be empty.
    curves : mapping, optional
        Arm to structure to (dose in Gy, volume in %), cumulative, each shape (n,).
    extras : Extras, optional
        Bands, maps of spread, reviews.

    Returns
    -------
    Content
        The same for `rtplan.report.page` and `rtplan.report.document`.
    """
    extras = extras or Extras()
    patient, provenance = discreet(patient, provenance)
    book = book_of(patient)
    scene = scene_of(patient)
    blocks = (
        outcome_block(patient, book),
        budget_block(book),
        goals_block(patient, book),
        dvh_block(patient, book, (curves or {}, extras.bands), scene),
        slices_block(patient, scene),
        difference_block(patient, book, scene),
        spread_block(patient, extras.spreads, scene),
        comparison_block(book),
        reviews_block(extras.reviews),
        not_evaluable_block(book),
        run_block(patient),
        metrics_block(book),
        notices_block(patient),
        provenance_block(patient, provenance),
    )
    return Content(
        title=_title(patient, book),
        subtitle=_subtitle(patient, provenance),
        warning=WARNING,
        lead=lead_of(patient, book),
        facts=facts_of(patient, book, provenance),
        glance=glance_of(patient, book),
        blocks=shown_blocks(blocks),
    )


def shown_blocks(asked: Iterable[Block | None]) -> tuple[Block, ...]:
    """Return the blocks that say something; the others are named, with the reason, in ``not_evaluable``."""
    blocks = tuple(block for block in asked if block is not None)
    reasons: dict[str, list[str]] = {}
    for block in blocks:
        if block.absent:
            reasons.setdefault(block.absent, []).append(f"“{block.title}”")
    words = tuple(f"Not in this report, since there is {why}: {listed(t)}." for why, t in reasons.items())
    return tuple(
        replace(block, sentences=(*words, *block.sentences)) if block.name == "not_evaluable" else block
        for block in blocks
        if not block.absent
    )


def _title(patient: Patient, book: Book) -> str:
    if not patient.doses:
        return "What the images allow"
    if len(book.arms) < 2:
        return "One plan on one density image"
    return f"One plan on {in_words(len(book.arms))} density images"


def _subtitle(patient: Patient, provenance: Mapping[str, Any]) -> str:
    settings = provenance.get("settings") or {}
    protocol = provenance.get("protocol") or (
        settings.get("protocol") if isinstance(settings, Mapping) else None
    )
    parts = [f"Patient {patient.key}"]
    if protocol:
        parts.append(f"protocol {protocol}")
    if patient.plan is not None:
        parts.append(counted(patient.plan.prescription.fractions, "fraction"))
    if provenance.get("rtplan_version"):
        parts.append(f"rtplan {provenance['rtplan_version']}")
    return " · ".join(parts)
