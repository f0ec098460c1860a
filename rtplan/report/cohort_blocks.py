"""Blocks of a study's report: agreement of risks, dose differences, images, patients, scope, provenance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rtplan.domain import Finding
from rtplan.domain.patient import ARMS
from rtplan.evaluation.agreement import RISKS, Agreement, ArmRisk
from rtplan.evaluation.study_file import StudyFile
from rtplan.report.cohort_plots import Pairs, bland_altman, ranges_picture
from rtplan.report.cohort_tables import (
    arms_table,
    by_arm_table,
    failed_table,
    founding_table,
    limits_table,
    logit_table,
    missing_table,
)
from rtplan.report.content import Block, Cell, Picture, Table, row
from rtplan.report.facts import settings_words
from rtplan.report.reviews import SCORES
from rtplan.report.words import counted, limit_words, listed, number

#: Findings of the finished patients, and rows of their reviews, by key.
Rows = Mapping[str, Sequence[Finding]]
Reviews = Mapping[str, Sequence[Mapping[str, Any]]]
#: What a risk is of: structure, metric, model.
Question = tuple[str | None, str, str | None]


def questions_of(study: StudyFile) -> list[Question]:
    """Return the risks, verified NTCP first."""
    found = {(a.structure, a.metric, a.model): a for a in study.cohort if a.metric in RISKS}
    return sorted(found, key=lambda q: (q[1] != "NTCP", found[q].verified is False))


def agreements_of(study: StudyFile, question: Question, scale: str = "as_is") -> list[Agreement]:
    """Return the agreement of a risk by arm, in the order of the arms."""
    rows = [a for a in study.cohort if (a.structure, a.metric, a.model) == question and a.scale == scale]
    return sorted(rows, key=lambda a: _place(a.arm))


def _place(arm: str) -> int:
    return ARMS.index(arm) if arm in ARMS else len(ARMS)


def words_of(rows: Rows, question: Question) -> str:
    """Return what a risk is the risk of."""
    structure, metric, model = question
    for findings in rows.values():
        for finding in findings:
            if (finding.structure, finding.metric, finding.model) == question and finding.detail.get(
                "endpoint"
            ):
                said = limit_words(str(finding.detail["endpoint"]))
                return f"{metric} {structure or ''}: {said}".replace("  ", " ")
    return " ".join(part for part in (metric, structure, f"({model})" if model else "") if part)


def mark_of(agreements: Sequence[Agreement]) -> str:
    """Return the sign of an unverified parameter set; empty for a verified one."""
    return " ‡" if any(a.verified is False for a in agreements) else ""


def risks_of(study: StudyFile, question: Question) -> dict[str, ArmRisk]:
    """Return the range of a risk over the patients, by arm."""
    return {r.arm: r for r in study.risks if (r.structure, r.metric, r.model) == question}


def kind_of_patients(study: StudyFile) -> str:
    """Return for whom the study can speak."""
    if study.settings.get("patients") == "phantom":
        return (
            "The patients are digital. The study shows how the arms differ on these anatomies and this MR "
            "model; of people, scanners and clinics it shows nothing until it is repeated on them."
        )
    return "It holds for patients like these, with this scanner, this network and this plan technique."


def founding(study: StudyFile, rows: Rows, question: Question) -> Table:
    """Return the table of a risk as in the founding study."""
    agreements = agreements_of(study, question)
    return founding_table(
        f"{words_of(rows, question)}{mark_of(agreements)}", agreements, risks_of(study, question)
    )


def risk_blocks(study: StudyFile, rows: Rows, questions: Sequence[Question]) -> Iterator[Block]:
    """Yield one block for each risk: Bland–Altman, limits with intervals, the same on the logit scale."""
    for n, question in enumerate(questions):
        agreements = agreements_of(study, question)
        words = f"{words_of(rows, question)}{mark_of(agreements)}"
        tables = [] if n == 0 else [founding(study, rows, question)]
        tables.append(limits_table(words, agreements))
        logit = agreements_of(study, question, "logit")
        tables += [logit_table(words, logit)] if logit else []
        pairs = [p for a in agreements if (p := _pairs(rows, question, a)) is not None]
        pictures: tuple[Picture, ...] = (bland_altman(words, pairs),) if pairs else ()
        sentences: tuple[str, ...] = ()
        if mark_of(agreements):
            sentences = ("‡ This parameter set is not verified against its publication: no verdict.",)
        title = f"Agreement of risks: {question[1]} {question[0] or ''}".strip()
        yield Block(f"agreement-{n + 1}", title, sentences, pictures, tuple(tables))


def _pairs(rows: Rows, question: Question, item: Agreement) -> Pairs | None:
    risks, bases = [], []
    for findings in rows.values():
        found = {
            f.arm: f.value
            for f in findings
            if (f.structure, f.metric, f.model) == question and f.quantity == "value"
        }
        mine, base = found.get(item.arm), found.get(item.reference_arm)
        if mine is not None and base is not None:
            risks.append(mine)
            bases.append(base)
    return Pairs(item.arm, np.array(risks), np.array(bases), item) if risks else None


def _arms(study: StudyFile) -> list[str]:
    return sorted({a.arm for a in study.cohort}, key=_place)


def _grouped(study: StudyFile, metrics: tuple[str, ...]) -> dict[tuple[str, str], list[Agreement]]:
    found: dict[tuple[str, str], list[Agreement]] = {}
    for a in study.cohort:
        if a.metric.startswith(metrics) and a.scale == "as_is":
            found.setdefault((a.structure or "", a.metric), []).append(a)
    return found


def dose_block(study: StudyFile) -> Block:
    """Return the dose differences: target means and isocentre, gamma, DVH metrics."""
    title = "Dose differences"
    relative = _grouped(study, ("IsocentreDose", "MeanDose"))
    metrics = _grouped(study, ("D98%", "D2%", "D50%", "Mean[", "V", "Gamma", "DoseMAE90"))
    targets = {k: v for k, v in relative.items() if not k[0] or k[0].startswith(("PTV", "GTV"))}
    pictures: tuple[Picture, ...] = ()
    if targets:
        words = {f"{s} {m.split('[')[0]}".strip(): v for (s, m), v in list(targets.items())[:3]}
        pictures = (ranges_picture(words, "%"),)
    tables = []
    gamma = {k: v for k, v in metrics.items() if k[1].startswith(("Gamma", "DoseMAE90"))}
    shown = {k: v for k, v in metrics.items() if k not in gamma and _is_target_or_risk(study, k[0])}
    for caption, held in (
        ("Whole dose, isocentre and target means, in % of the prescribed dose", targets),
        ("Agreement of the doses (gamma pass rate; mean error above 90 %)", gamma),
        ("DVH metrics of targets and of organs with a risk", shown),
    ):
        if held:
            tables.append(
                by_arm_table(f"{caption}: difference to {study.reference_arm}.", held, _arms(study))
            )
    if not tables:
        return Block("doses", title, absent="no dose difference")
    words_ = "All structures and metrics stand in study.json."
    return Block("doses", title, (words_,), pictures, tuple(tables))


def _is_target_or_risk(study: StudyFile, structure: str) -> bool:
    at_risk = {a.structure for a in study.cohort if a.metric in RISKS}
    return structure.startswith(("PTV", "CTV", "GTV")) or structure in at_risk


def image_block(study: StudyFile) -> Block:
    """Return the errors of the density images."""
    title = "Density images"
    rows = _grouped(study, ("MAE[", "ME[", "PSNR", "Dice"))
    if not rows:
        return Block("images", title, absent="no comparison of images")
    table = by_arm_table(f"HU errors against {study.reference_arm}.", rows, _arms(study))
    return Block("images", title, tables=(table,))


def patients_block(study: StudyFile, rows: Rows) -> Block:
    """Return who failed, and what was not evaluable on those who finished."""
    tables = [failed_table(study.patients), missing_table(rows)]
    sentences = (
        () if any(tables) else ("All patients finished, and every result that was asked for has a value.",)
    )
    return Block(
        "not_evaluable", "Who failed, and what was not evaluable", sentences,
        tables=tuple(t for t in tables if t is not None),
    )  # fmt: skip


def reviews_block(reviews: Reviews) -> Block | None:
    """Return how readers scored the structures over the cohort; None where nobody reviewed."""
    scores: dict[str, list[int]] = {}
    decisions: dict[str, int] = {}
    readers: set[str] = set()
    for rows in reviews.values():
        for said in rows:
            readers.add(str(said["reader"]))
            if said.get("score"):
                scores.setdefault(str(said["structure"]), []).append(int(said["score"]))
            if said.get("decision"):
                decisions[str(said["decision"])] = decisions.get(str(said["decision"]), 0) + 1
    if not readers:
        return None
    body = tuple(
        row(
            Cell(name, "strong"),
            str(len(found)),
            number(float(np.median(found)), 1),
            *(str(found.count(score)) for score in sorted(SCORES)),
        )
        for name, found in sorted(scores.items())
    )
    head = ("Structure", "Scores", "Median", *(f"{score} {SCORES[score]}" for score in sorted(SCORES)))
    tables = [
        Table("Scores by structure.", head, body, (2.0, 0.8, 0.8, 1.2, 1.2, 1.2, 1.2), (1, 2, 3, 4, 5, 6))
    ]
    said_ = "; ".join(f"{word}: {count}" for word, count in sorted(decisions.items()))
    words = f"{counted(len(reviews), 'patient')} reviewed by {counted(len(readers), 'reader')}."
    words += f" Decisions on the plan: {said_}." if said_ else ""
    return Block("reviews", "Readers' reviews", (words,), tables=tuple(tables) if body else ())


def scope_block(study: StudyFile) -> Block:
    """Return what the study can and cannot say."""
    scenario = study.settings.get("scenario") or {}
    moved = float(scenario.get("registration_error_mm") or 0.0)
    changed = bool(scenario.get("gas_and_bladder_change"))
    digital = study.settings.get("patients") == "phantom"
    sentences = [
        "It says how far replacing the density image alone moves dose and predicted risk, with all else "
        "held equal; it says nothing of delineation, set-up, delivery or follow-up.",
        "A predicted risk carries the uncertainty of its model, which can be larger than these differences; "
        "paired differences share it.",
        kind_of_patients(study),
    ]
    if digital:
        way = [f"a registration error of {moved:g} mm"] if moved else []
        way += ["gas and bladder of another day in the MR"] if changed else []
        sentences.append(
            f"Between CT and MR there is {listed(way)}, as a clinic would see."
            if way
            else "CT and MR show the same moment without registration error: a clinic would see more."
        )
    return Block(
        "scope", "What this can and cannot say", tuple(sentences),
        tables=(arms_table(study.settings.get("arms", ()), study.reference_arm),),
    )  # fmt: skip


def provenance_block(study: StudyFile) -> Block:
    """Return versions, settings, seeds and times of the study."""
    seconds = [p.seconds for p in study.done if p.seconds is not None]
    items = {
        "rtplan": study.rtplan_version,
        "Reference": study.reference_arm,
        "Settings": settings_words(study.settings),
        "Statistics": settings_words(study.statistics),
    }
    if seconds:
        items["Seconds of a patient"] = (
            f"median {number(float(np.median(seconds)), 1)}, longest {max(seconds):.1f}"
        )
    rows = tuple(row(Cell(name, "strong"), text) for name, text in items.items())
    table = Table("The study.", ("Item", "Value"), rows, (1.2, 6.0))
    words = (
        "With these inputs, versions and seeds the same numbers come out again; weights, data files and the "
    )
    words += "UIDs of each patient's inputs stand in patients/<key>/manifest.json."
    return Block("provenance", "Provenance", (words,), tables=(table,))
