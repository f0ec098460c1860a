"""The answer in two minutes: what was asked, what came out, how sure, what could not be said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rtplan.domain import Finding, Notice, Patient
from rtplan.domain.patient import WITHHOLD_ABSOLUTE
from rtplan.report.book import EQUIVALENCE, Book, Row, largest_change, largest_dose_change, prescribed
from rtplan.report.content import Cell, Fact, Table, row
from rtplan.report.words import (
    ARM_WORDS,
    NO_INTERVAL,
    NOT_EVALUABLE,
    VERDICTS,
    about,
    counted,
    in_words,
    judgement,
    limit_words,
    listed,
    number,
    points,
    risk,
    risk_interval,
    with_unit,
)


def endpoint(row_: Row) -> str:
    """Return what a risk is the risk of, as far as the finding says."""
    said = row_.first.detail.get("endpoint")
    name = limit_words(str(said)) if said else (row_.first.model or row_.metric)
    kind = "tumour control" if row_.metric.startswith("TCP") else name
    return (
        kind if not row_.structure or row_.structure.lower() in kind.lower() else f"{kind} ({row_.structure})"
    )


def main_outcome(book: Book) -> Row | None:
    """Return the risk that the headline is about: an evaluable NTCP, a verified one before others."""
    there = [r for r in book.outcomes if r.values or r.changes]
    ranked = sorted(there, key=lambda r: (not r.metric.startswith("NTCP"), not r.first.verified))
    return ranked[0] if ranked else None


def main_arm(book: Book, outcome: Row) -> str | None:
    """Return the arm that the headline is about: the synthetic CT, else the one that differs most."""
    if "SynCT" in outcome.changes:
        return "SynCT"
    found = largest_change([outcome], "1")
    return found.arm if found else None


def lead_of(patient: Patient, book: Book) -> str:
    """Return the answer in one or two sentences."""
    if not patient.images:
        return "There is no image of this patient, so nothing was calculated."
    if not patient.doses and not any(r.changes or r.values for r in (*book.outcomes, *book.doses)):
        why = _why_no_dose(patient)
        return f"No dose was calculated, so nothing can be said about dose or risk. {why}".strip()
    outcome = main_outcome(book)
    said = _risk_sentence(book, outcome) if outcome else _dose_sentence(patient, book)
    unsaid = "" if outcome else f"No risk could be evaluated. {_why_no_risk(book)}"
    return " ".join(part for part in (said, _withheld_words(patient), unsaid) if part)


def _why_no_dose(patient: Patient) -> str:
    order = ("refuse", "warn", "info")
    ranked = sorted(patient.notices, key=lambda n: (order.index(n.severity), n.code != "FOV_TRUNCATED"))
    return ranked[0].message if ranked else ""


def _withheld_words(patient: Patient) -> str:
    if patient.absolute_withheld is None:
        return ""
    return "Absolute dose, goals and monitor units are withheld."


def _risk_sentence(book: Book, outcome: Row) -> str:
    arm = main_arm(book, outcome)
    what = "probability" if outcome.metric.startswith("TCP") else "predicted risk"
    what = f"the {what} of {endpoint(outcome)}"
    base = outcome.values.get(book.reference or "")
    if arm is None:
        said = ", ".join(f"{risk(f.value or 0.0)} on {a}" for a, f in outcome.values.items())
        return f"{_upper(what)} is {said}; there is no second arm to compare with."
    change = outcome.changes[arm]
    value = outcome.values.get(arm)
    name = "the synthetic CT" if arm == "SynCT" else arm
    moved = _moved(change)
    if base is None or value is None or base.value is None or value.value is None:
        return f"On {name}, {what} {moved} against {book.reference}."
    now, before = risk(value.value), risk(base.value)
    return f"On {name}, {what} is {now} instead of {before} on {book.reference}: it {moved}."


def _moved(change: Finding) -> str:
    value = change.value or 0.0
    size = number(abs(100.0 * value), 2)
    if float(size) == 0.0:
        return "changes by less than 0.01 percentage points"
    return f"{'rises' if value > 0 else 'falls'} by {size} percentage points"


def _dose_sentence(patient: Patient, book: Book) -> str:
    found = largest_dose_change(book)
    if found is None:
        arms = counted(len(patient.doses), "arm")
        return f"The dose was calculated on {arms}; no difference between arms was evaluated."
    return (
        f"The largest dose difference between arms is {with_unit(found)} "
        f"({about(found)}, {found.arm} against {found.reference_arm or book.reference})."
    )


def _why_no_risk(book: Book) -> str:
    reasons = [f.reason for row_ in book.outcomes for f in row_.missing.values() if f.reason]
    if reasons:
        return _sentence(reasons[0])
    return "The protocol names no outcome model, or its organ is not among the structures."


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def facts_of(patient: Patient, book: Book, provenance: Mapping[str, Any]) -> tuple[Fact, ...]:
    """Return the lines under the lead: the verdict and its reason first."""
    facts = []
    outcome = main_outcome(book)
    moved = any(r.changes for r in book.doses)
    if outcome is not None or moved:
        facts.append(Fact("Verdict", _verdict(patient, book, provenance)))
    if outcome is not None:
        facts.append(Fact("How sure", _how_sure(book, outcome)))
    if moved:
        facts.append(Fact("Largest dose difference", _largest(patient, book)))
    if any(r.values for r in book.goals):
        facts.append(_goals(patient, book))
    facts += _unsaid(patient, book)
    facts.append(Fact("What was asked", _asked(patient, book)))
    return tuple(facts)


def _asked(patient: Patient, book: Book) -> str:
    if not patient.doses:
        return (
            "The same plan, the same monitor units and the same structures on several density images: does "
            "the density image change dose and risk? That was not reached here."
        )
    made = f" The plan was made on {patient.plan.made_on}." if patient.plan else ""
    others = (
        f"{listed(book.others)} replace nothing but its densities" if book.others else "there is no other arm"
    )
    base = (
        f"There is no CT, hence no reference: differences to {book.reference} are a spread between methods, "
        "not an error."
        if book.spread
        else f"{book.reference} is the reference; {others}."
    )
    images = "image" if len(book.arms) == 1 else "images"
    return (
        f"The same plan, the same monitor units and the same structures on "
        f"{in_words(len(book.arms))} density {images} (“arms”). {base}{made}"
    )


def _how_sure(book: Book, outcome: Row) -> str:
    parts = []
    base = outcome.values.get(book.reference or "")
    if base is not None:
        parts.append(f"The risk on {book.reference} has the 95 % interval {risk_interval(base)}")
    arm = main_arm(book, outcome)
    if arm is not None:
        parts.append(f"the difference on {arm} {risk_interval(outcome.changes[arm])}")
    if all(f.interval95 is None for f in (*outcome.values.values(), *outcome.changes.values())):
        parts = [f"No interval can be given: {outcome.first.reason or NO_INTERVAL} for this parameter set"]
    mark = "" if outcome.first.verified else " The parameter set is not verified (‡)."
    return f"{'; '.join(parts)}.{mark}"


def _largest(patient: Patient, book: Book) -> str:
    found = largest_dose_change(book)
    if found is None:
        return "No difference of dose was evaluated."
    size = with_unit(found) + _share(patient, found)
    said = [f"{found.arm}: {about(found)} {size}"]
    mine = largest_dose_change(book, ["SynCT"])
    if mine is not None and found.arm != "SynCT":
        said.append(f"SynCT: {about(mine)} {with_unit(mine)}{_share(patient, mine)}")
    return "; ".join(said) + "."


def _share(patient: Patient, finding: Finding) -> str:
    found = prescribed(patient)
    if patient.absolute_withheld is not None or found is None or finding.unit != "Gy":
        return ""
    base = found[1]
    return f" ({number(100.0 * (finding.value or 0.0) / base, 1, sign=True)} % of {base:g} Gy)"


def _goals(patient: Patient, book: Book) -> Fact:
    base = book.reference or ""
    judged = [r for r in book.goals if base in r.values and r.first.verified]
    missed = [about(r.first) for r in judged if judgement(r.values[base]) == "missed"]
    turned = [f"{about(r.first)} on {listed(arms)}" for r in judged if (arms := _turning(r, base))]
    met = len(judged) - len(missed)
    text = f"{met} of {counted(len(judged), 'limit')} met on {base} (verified goals only)"
    text += f"; missed: {listed(missed, most=4)}." if missed else "."
    text += f" The judgement turns for {'; '.join(turned)}." if turned else " No arm turns a judgement."
    return Fact("Goals", text, "bad" if missed or turned else "")


def _turning(goal: Row, base: str) -> list[str]:
    """Return the arms on which the judgement of a goal is another one than on the reference."""
    missed = judgement(goal.values[base]) == "missed"
    return [arm for arm, f in goal.values.items() if (judgement(f) == "missed") != missed]


def _verdict(patient: Patient, book: Book, provenance: Mapping[str, Any]) -> str:
    given = [f for r in (*book.outcomes, *book.doses) for f in r.changes.values() if f.verdict in EQUIVALENCE]
    if given:
        return "; ".join(
            f"{f.arm} {f.metric} {f.structure or ''}: {VERDICTS[f.verdict][1]}"
            + (f" ({f.reason})" if f.reason else "")
            for f in given[:6]
        )
    if book.spread:
        return "None: without a CT there is nothing to be equivalent to."
    return "None: equivalence needs a margin that the user sets (equivalence_margin_pp in the protocol)."


def _unsaid(patient: Patient, book: Book) -> list[Fact]:
    facts = []
    withheld = patient.absolute_withheld
    if withheld is not None:
        facts.append(Fact("Withheld", f"Absolute dose, goals and monitor units. {withheld}", "bad"))
    if book.not_evaluable:
        names = list(dict.fromkeys(about(f) for f in book.not_evaluable))
        reasons = list(dict.fromkeys(_sentence(_what(f.reason or "")) for f in book.not_evaluable))
        facts.append(Fact("Not evaluable", f"{listed(names, most=5)}. {' '.join(reasons[:3])}", "bad"))
    skipped = [n.message.split(" did not")[0] for n in patient.notices if n.code == "STEP_SKIPPED"]
    if skipped:
        facts.append(Fact("Steps left out", f"{listed(skipped, most=8)}.", "bad"))
    supply = list(dict.fromkeys(_sentence(n.action) for n in patient.notices if n.action and _takes_away(n)))
    if facts and supply:
        facts.append(Fact("What would supply it", " ".join(supply[:4])))
    return facts


def _what(reason: str) -> str:
    """Return what was found, without where and what to do; those stand in the table of what is missing."""
    return reason.split(" Where: ")[0].split(" What to do: ")[0]


def _takes_away(notice: Notice) -> bool:
    """Whether a notice is why something could not be said."""
    return notice.severity == "refuse" or notice.code in (*WITHHOLD_ABSOLUTE, "FOV_TRUNCATED", "STEP_SKIPPED")


def _sentence(text: str) -> str:
    return f"{_upper(text.rstrip('. '))}."


def glance_of(patient: Patient, book: Book) -> Table | None:
    """Return the arms at a glance: what each is, its risk, its difference, its largest dose difference."""
    outcome = main_outcome(book)
    if not book.arms or (outcome is None and not any(r.changes for r in book.doses)):
        return None
    rows = [_glance_row(book, outcome, arm) for arm in book.arms]
    head = ["Arm", "Density image"]
    if outcome is not None:
        head += [f"{outcome.metric} [%]", "Difference [pp]", "95 % interval [pp]"]
    head.append("Largest dose difference")
    words = f": {endpoint(outcome)}" if outcome is not None else ""
    return Table(
        caption=f"The arms at a glance{words}",
        head=tuple(head),
        rows=tuple(rows),
        widths=(1.1, 3.0, 0.9, 1.1, 1.5, 2.4) if outcome is not None else (1.1, 3.5, 3.0),
        numeric=(2, 3, 4) if outcome is not None else (),
    )


def _glance_row(book: Book, outcome: Row | None, arm: str) -> tuple[Cell, ...]:
    base = arm == book.reference
    label = "compared with" if book.spread else "reference"
    words = ARM_WORDS.get(arm, "")
    cells: list[str | Cell] = [Cell(arm, "strong"), f"{words} ({label})" if base else words]
    if outcome is not None:
        value, change = outcome.values.get(arm), outcome.changes.get(arm)
        cells.append(number(100.0 * value.value, 2) if value and value.value is not None else NOT_EVALUABLE)
        known = change.value if change else None
        moved = NOT_EVALUABLE if known is None else points(known).removesuffix(" pp")
        cells += ["–", "–"] if base else [moved, _ends(change)]
    found = largest_dose_change(book, [arm])
    cells.append("–" if base or found is None else f"{with_unit(found)} ({about(found)})")
    return row(*cells)


def _ends(change: Finding | None) -> str:
    return NOT_EVALUABLE if change is None else risk_interval(change).removesuffix(" pp")
