"""The content of a study's report: what the arms do to risk and dose over a cohort."""

from __future__ import annotations

from rtplan.evaluation.study_file import StudyFile
from rtplan.report.assemble import WARNING, shown_blocks
from rtplan.report.cohort_blocks import (
    Question,
    Reviews,
    Rows,
    agreements_of,
    dose_block,
    founding,
    image_block,
    kind_of_patients,
    patients_block,
    provenance_block,
    questions_of,
    reviews_block,
    risk_blocks,
    risks_of,
    scope_block,
    words_of,
)
from rtplan.report.cohort_plots import agreement_words
from rtplan.report.content import Content, Fact
from rtplan.report.problems import notices_of
from rtplan.report.words import VERDICTS, counted, listed, number, risk

SUBJECT_ARM = "SynCT"
FOOTER = "Made by rtplan. Numbers with their full precision stand in study.json and cohort.parquet."


def cohort_content(study: StudyFile, rows: Rows, reviews: Reviews | None = None) -> Content:
    """Return the content of a study's report.

    Parameters
    ----------
    study : StudyFile
        What ``study.json`` holds.
    rows : mapping of str to sequence of Finding
        Findings of the finished patients, by key (``cohort.parquet``).
    reviews : mapping of str to sequence of mapping, optional
        Rows of ``review.json`` of the patients that have one, by key.

    Returns
    -------
    Content
        For `rtplan.report.page` and `rtplan.report.document`, as that of one patient.
    """
    questions = questions_of(study)
    main = questions[0] if questions else None
    blocks = (
        *risk_blocks(study, rows, questions),
        dose_block(study),
        image_block(study),
        patients_block(study, rows),
        reviews_block(reviews or {}),
        scope_block(study),
        notices_of(study.notices),
        provenance_block(study),
    )
    protocol = study.settings.get("protocol", "")
    return Content(
        title=f"The same plan on several density images: {counted(len(study.patients), 'patient')}",
        subtitle=f"Study · protocol {protocol} · rtplan {study.rtplan_version}",
        warning=WARNING,
        lead=_lead(study, rows, main),
        facts=_facts(study, main),
        glance=None if main is None else founding(study, rows, main),
        blocks=shown_blocks(blocks),
        footer=FOOTER,
    )


def _lead(study: StudyFile, rows: Rows, main: Question | None) -> str:
    done = len(study.done)
    if not study.finished:
        return (
            f"The study is not finished: {done} of {counted(len(study.patients), 'patient')} done, and no "
            "statistics yet."
        )
    if main is None:
        return f"{counted(done, 'patient')} finished; no risk could be compared between the arms."
    agreements = agreements_of(study, main)
    item = next((a for a in agreements if a.arm == SUBJECT_ARM), agreements[-1])
    if item.mean is None or item.max_abs is None:
        return f"{counted(done, 'patient')} finished; the risk on {item.arm} could be compared on none."
    name = "the synthetic CT" if item.arm == SUBJECT_ARM else item.arm
    return (
        f"Over {counted(item.n, 'patient')}, {words_of(rows, main)} on {name} differs from that on "
        f"{item.reference_arm} by {agreement_words(item)} and by {number(100 * item.max_abs, 2)} pp at most"
        f"{_for_risks(study, main, item.reference_arm)}."
    )


def _for_risks(study: StudyFile, question: Question, arm: str) -> str:
    found = risks_of(study, question).get(arm)
    return "" if found is None else f", for risks of {risk(found.minimum)} to {risk(found.maximum)}"


def _facts(study: StudyFile, main: Question | None) -> tuple[Fact, ...]:
    failed = [p for p in study.patients if p.state == "failed"]
    waiting = [p for p in study.patients if p.state == "waiting"]
    facts = [Fact("Verdict", _verdicts(study, main))] if main is not None else []
    said = f"{len(study.done)} of {len(study.patients)} finished"
    said += f"; {len(failed)} failed" if failed else ""
    said += f"; {len(waiting)} not run" if waiting else ""
    facts.append(Fact("Patients", f"{said}.", "bad" if failed or waiting else ""))
    facts.append(Fact("What was asked", _asked(study)))
    facts.append(Fact("What it can say", kind_of_patients(study)))
    return tuple(facts)


def _verdicts(study: StudyFile, main: Question | None) -> str:
    margin = study.statistics.get("margin_pp")
    if margin is None:
        return "None: equivalence needs a margin that the user sets (--margin-pp)."
    agreements = [] if main is None else agreements_of(study, main)
    said = "; ".join(f"{a.arm} {VERDICTS[a.verdict][1]}" for a in agreements if a.verdict != "none")
    why = next((a.reason for a in agreements if a.verdict == "none" and a.reason), "")
    rule = (
        f"against ±{margin:g} pp: equivalent where the 95 % intervals of both limits of agreement lie "
        "inside, different where one lies outside."
    )
    return f"{said or f'None ({why})'}, {rule}"


def _asked(study: StudyFile) -> str:
    arms = [a for a in study.settings.get("arms", ()) if a != study.reference_arm]
    return (
        f"Each patient's plan was made once, and its dose calculated on {listed(arms)} beside "
        f"{study.reference_arm} with the same monitor units and structures. The limits of agreement hold for "
        "one patient, not for the mean: a clinic plans one patient at a time."
    )
