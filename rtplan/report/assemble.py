"""From a patient to the content of its report: one order of blocks for page and document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rtplan.domain import Patient
from rtplan.report.answer import facts_of, glance_of, lead_of
from rtplan.report.book import Book, book_of
from rtplan.report.content import Block, Content, Picture
from rtplan.report.discretion import discreet
from rtplan.report.facts import provenance_block, run_block
from rtplan.report.plots import MOST_CURVES, Axis, Curves, curve_names, dvh_picture
from rtplan.report.problems import not_evaluable_block, notices_block
from rtplan.report.results import comparison_block, dose_tables, goals_block
from rtplan.report.risks import outcome_block
from rtplan.report.scene import Scene, chosen, scene_of
from rtplan.report.slices import (
    difference_limit,
    difference_picture,
    differences_on,
    key_picture,
    slices_picture,
    worst_place,
)
from rtplan.report.words import ARM_WORDS, counted, in_words, listed

WARNING = "Research use only. Not for clinical decisions."


def assemble(patient: Patient, provenance: Mapping[str, Any], curves: Curves | None = None) -> Content:
    """Return the content of a patient's report.

    Parameters
    ----------
    patient : Patient
        With what the steps gave it. Its identity does not reach the content.
    provenance : mapping
        The manifest (``formats.md``); may be empty.
    curves : mapping, optional
        Arm to structure to (dose in Gy, volume in %), cumulative, each shape (n,).

    Returns
    -------
    Content
        The same for `rtplan.report.page` and `rtplan.report.document`.
    """
    patient, provenance = discreet(patient, provenance)
    book = book_of(patient)
    scene = scene_of(patient)
    blocks = (
        run_block(patient),
        slices_block(patient, scene),
        dvh_block(patient, book, curves or {}, scene),
        difference_block(patient, book, scene),
        goals_block(patient, book),
        outcome_block(patient, book),
        comparison_block(book),
        not_evaluable_block(book),
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


def shown_blocks(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """Return the blocks that say something; the others are named, with the reason, in ``not_evaluable``."""
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


def slices_block(patient: Patient, scene: Scene | None) -> Block:
    """Return slices of every arm, and of the first MR, with structures and isodoses."""
    title = "Slices"
    if scene is None:
        return Block("slices", title, ("There is no image to show.",))
    with_dose = bool(patient.doses)
    pictures: list[Picture | None] = [key_picture(scene, with_dose)]
    shown = (*patient.arms, *list(patient.mr)[:1])
    others = [name for name in patient.images if name not in (*patient.arms, *patient.mr)]
    unseen = []
    for name in shown or others[:1]:
        words = ARM_WORDS.get(name, f"{patient.images[name].modality} as it came")
        drawn = slices_picture(patient, name, words, scene)
        pictures.append(drawn)
        if drawn is None:
            unseen.append(name)
    return Block("slices", title, _slice_words(scene, unseen), tuple(p for p in pictures if p is not None))


def _slice_words(scene: Scene, unseen: list[str]) -> tuple[str, ...]:
    tilted = next((p.tilt_deg for p in scene.planes if p.name == "axial"), 0.0)
    planes = (
        f"The image is tilted by {tilted:.1f}° and shown in its own planes, each named after the nearest one "
        "of the patient."
        if tilted
        else "The planes are the patient's own."
    )
    words = [
        f"Through {scene.centre_words}, in the radiological convention: the patient's left is on the right. "
        f"{planes} Ticks at the edges mark the other two planes."
    ]
    reasons: dict[str, list[str]] = {}
    for name, reason in scene.left_out.items():
        reasons.setdefault(reason, []).append(name)
    words += [f"Not drawn, {reason}: {listed(names)}." for reason, names in reasons.items()]
    if unseen:
        words.append(
            f"{listed(unseen)}: in another frame of reference, joined by no registration; not shown."
        )
    return tuple(words)


def dvh_block(patient: Patient, book: Book, curves: Curves, scene: Scene | None) -> Block:
    """Return the DVHs of all arms in one figure; on a relative dose axis where Gy are withheld."""
    title = "Dose-volume histograms"
    there = {arm: by_name for arm, by_name in curves.items() if by_name}
    if not there:
        return Block("dvh", title, absent="no dose-volume curve" if patient.doses else "no dose")
    axis = Axis()
    sentences: tuple[str, ...] = ()
    if patient.absolute_withheld is not None:
        if scene is None or scene.isodoses is None:
            return Block("dvh", title, (f"Absolute dose is withheld: {patient.absolute_withheld}",))
        axis = Axis(f"dose [% of {scene.isodoses.base.split(' (')[0]}]", scene.isodoses.base_gy / 100.0)
        sentences = (
            f"The dose axis is relative, since absolute dose is withheld: {patient.absolute_withheld}",
        )
    names = curve_names(there, chosen(patient))
    arms = [arm for arm in book.arms if arm in there] + [arm for arm in there if arm not in book.arms]
    if names[MOST_CURVES:]:
        sentences += (f"Not drawn for clarity: {listed(names[MOST_CURVES:])}; their curves lie in dvh/.",)
    return Block("dvh", title, sentences, (dvh_picture(there, arms, names[:MOST_CURVES], axis),))


def difference_block(patient: Patient, book: Book, scene: Scene | None) -> Block:
    """Return maps of arm − reference, where the largest difference lies, and the dose metrics."""
    title = "Dose differences"
    tables = dose_tables(book)
    reference = book.reference
    arms = [arm for arm in book.others if arm in patient.doses]
    if scene is None or reference is None or reference not in patient.doses or not arms:
        why = "no second dose to compare with" if patient.doses else "no dose"
        return Block("difference", title, tables=tables, absent="" if tables else why)
    maps = {arm: differences_on(patient, arm, reference, scene) for arm in arms}
    there = {arm: m for arm, m in maps.items() if m is not None}
    limit = difference_limit(list(there.values()))
    pictures = tuple(difference_picture(arm, reference, m, limit, scene) for arm, m in there.items())
    places = [p for p in (worst_place(patient, arm, reference, scene.centre_mm) for arm in arms) if p]
    words = f"Arm − {reference}, all maps to one scale; grey is outside the body."
    if places:
        words += (
            f" Largest difference at a single voxel, as seen from {scene.centre_words}: {'; '.join(places)}."
        )
    return Block("difference", title, (words,), pictures, tables)
