"""The content of a spacer's report: who benefits by which rule, what changes, and how the gel lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rtplan.domain import Finding, Notice
from rtplan.report.assemble import WARNING, shown_blocks
from rtplan.report.content import Block, Cell, Content, Fact, Picture, Table, row
from rtplan.report.problems import notices_of
from rtplan.report.words import limit_words, number, risk, with_unit

#: The answers in words.
ANSWERS = {
    "benefits": "benefits",
    "does_not": "does not benefit",
    "cannot_tell": "cannot tell",
    "not_evaluable": "not evaluable",
}
_TONES = {"benefits": "good", "does_not": "bad", "cannot_tell": "quiet", "not_evaluable": "quiet"}
ARM = "Spacer"
_GEL = {
    ("Spacer", "Volume[cc]"): "Volume of the gel",
    ("Spacer", "Thickness[mm]"): "Thickness behind the middle of the gland",
    ("Rectum", "Displacement[mm]"): "Largest displacement of the rectum",
    (None, "LeastJacobian"): "Least Jacobian outside the gel (1: volume kept)",
    ("Rectal_Wall", "VolumeChange[%]"): "Change of the rectal wall's volume",
    ("Rectum", "VolumeChange[%]"): "Change of the rectum's volume",
    (None, "FatVolumeChange[%]"): "Change of the volume of the fat that gives way most",
}


def verdict_line(findings: Sequence[Finding]) -> str:
    """Return the answer in one line; where no rule decides, that."""
    found = deciding(findings)
    if found is None:
        return "No verdict: no rule that is verified was asked for."
    answer = str(found.detail["answer"])
    return f"{ANSWERS[answer].capitalize()}: {found.detail['rule']} – {found.detail['reason']}."


def prediction_line(findings: Sequence[Finding]) -> str:
    """Return what is foretold by the first rule, in one line."""
    first = findings[0]
    answer, probability = str(first.detail["answer"]), first.detail["probability"]
    if probability is None:
        return f"No prediction for the rule {first.model}: {first.reason}."
    return (
        f"Foretold, not planned (digital cohort, not verified): {ANSWERS[answer]}, P = {probability:.2f}; "
        f"{first.detail['rule']} – {first.detail['reason']}."
    )


def deciding(findings: Sequence[Finding]) -> Finding | None:
    """Return the deciding rule's finding."""
    rules = [f for f in findings if f.metric == "SpacerBenefit"]
    return next((f for f in rules if f.detail.get("decides")), None)


def spacer_content(
    key: str,
    findings: Sequence[Finding],
    notices: Sequence[Notice],
    pictures: Sequence[Picture],
    provenance: Mapping[str, Any],
) -> Content:
    """Return the report of one patient's spacer.

    Parameters
    ----------
    key : str
        Pseudonym.
    findings, notices : sequence
        Of both plans, of their difference, of the gel.
    pictures : sequence of Picture
        Slices, then DVHs.
    provenance : mapping
        The manifest.
    """
    found = deciding(findings)
    settings = provenance.get("settings", {})
    blocks = (
        _rules_block(findings),
        _changes_block(findings),
        Block("pictures", "How it looks", pictures=tuple(pictures)),
        _gel_block(findings),
        _limits_block(),
        notices_of(notices),
    )
    answer = "cannot_tell" if found is None else str(found.detail["answer"])
    return Content(
        title=f"A virtual rectal spacer: {ANSWERS[answer] if found else 'no verdict'}",
        subtitle=f"Patient {key} · protocol {settings.get('protocol', '')} · rtplan "
        f"{provenance.get('rtplan_version', '')}",
        warning=WARNING,
        lead=verdict_line(findings),
        facts=_facts(findings, found),
        glance=None,
        blocks=shown_blocks(blocks),
    )


def _facts(findings: Sequence[Finding], found: Finding | None) -> tuple[Fact, ...]:
    facts = []
    if found is not None:
        facts.append(Fact("Deciding rule", f"{found.model}: {found.detail['rule']}. {found.source}"))
        if found.detail.get("converted"):
            facts.append(Fact("Converted", f"{found.detail['converted']}."))
        if found.detail.get("note"):
            facts.append(Fact("Beware", str(found.detail["note"])))
    change = _of(findings, "Rectum", "NTCP", "difference")
    base = _of(findings, "Rectum", "NTCP", "value", not_arm=ARM)
    if change is not None and base is not None and base.value is not None:
        said = f"{risk(base.value)} without, {with_unit(change)} with the gel ({_interval(change)})"
        facts.append(Fact("NTCP of the rectum", f"{said}."))
    facts.append(
        Fact(
            "How sure",
            "Intervals are of the gel's place (and of the NTCP's parameters, the same draws on both plans); "
            "contours, setup and the planner's own scatter are not in them.",
        )
    )
    return tuple(facts)


def _rules_block(findings: Sequence[Finding]) -> Block:
    rows = []
    for f in findings:
        if f.metric != "SpacerBenefit":
            continue
        answer = str(f.detail["answer"])
        mark = "" if f.verified else " ‡"
        role = " (decides)" if f.detail["decides"] else ""
        value = "n.e." if f.value is None else f"{number(f.value, 2)} {f.unit}"
        first = f.detail.get("baseline")
        rows.append(
            row(
                f"{f.model}{mark}{role}",
                str(f.detail["rule"]),
                "n.e." if first is None else f"{number(first, 2)} %",
                value,
                _interval(f, 2),
                f"{limit_words(f.limit)} {f.unit}",
                Cell(ANSWERS[answer], _TONES[answer]),
            )
        )
    notes = ["‡ not verified: it never decides unless that is allowed."]
    notes += [f"{f.model}: {f.detail['converted']}." for f in findings if f.detail.get("converted")]
    table = Table(
        "What each rule says.",
        ("Rule", "Asks that", "Without a gel", "Benefit", "95 % interval", "Wanted", "Answer"),
        tuple(rows),
        (1.9, 2.4, 0.8, 0.8, 1.4, 0.8, 1.1),
        (2, 3, 4, 5),
        tuple(notes),
    )
    return Block("rules", "By which rule", tables=(table,))


def _changes_block(findings: Sequence[Finding]) -> Block:
    rows = []
    for change in findings:
        if change.quantity != "difference" or change.metric == "SpacerBenefit":
            continue
        sides = [_of(findings, change.structure, change.metric, "value", arm=a, model=change.model)
                 for a in (change.reference_arm, ARM)]  # fmt: skip
        texts = ["n.e." if s is None or s.value is None else with_unit(s) for s in sides]
        rows.append(row(f"{change.structure} {change.metric}", *texts, with_unit(change), _interval(change)))
    missing = [f for f in findings if f.value is None and f.metric != "SpacerBenefit"]
    notes = tuple(f"{f.structure} {f.metric}: not evaluable, {f.reason}" for f in missing)
    table = Table(
        "Both plans by the same rules; the difference is with minus without the gel.",
        ("Metric", "Without", "With the gel", "Difference", "95 % interval"),
        tuple(rows),
        (2.2, 1.0, 1.0, 1.0, 1.5),
        (1, 2, 3, 4),
        notes,
    )
    return Block("changes", "What changes", tables=(table,))


def _gel_block(findings: Sequence[Finding]) -> Block:
    rows = []
    for f in findings:
        words = _GEL.get((f.structure, f.metric))
        if words is None or f.value is None:
            continue
        decimals = 2 if f.unit in ("1", "%") else 1
        unit = "" if f.unit == "1" else f" {f.unit}"
        limit = "–" if f.limit is None else limit_words(f.limit)
        tone = {"met": "good", "missed": "bad"}.get(f.verdict, "")
        rows.append(row(words, Cell(f"{number(f.value, decimals)}{unit}", tone), limit))
    table = Table(
        "How the tissue gave way.", ("What", "Value", "Wanted"), tuple(rows), (3.0, 1.0, 0.8), (1, 2)
    )
    said = (
        "The gel enters through the back of the prostate's surface and pushes: a flow without divergence, "
        "so that all tissue keeps its volume and nothing tears. Prostate, targets, vesicles, bladder, "
        "bone and the body's outline stay; the displaced volume is taken from the fat beside and behind "
        "the rectum."
    )
    return Block("gel", "How the gel lies", (said,), tables=(table,))


def _limits_block() -> Block:
    return Block(
        "limits",
        "What this does not say",
        (
            "A real gel lies as the injection leaves it: off the middle, uneven, sometimes in a wall. "
            "The virtual one is where the published averages put it.",
            "Both plans are ideal fluences of the same optimiser by the same rules; where a boost may rise "
            "as far as the organs permit, part of the gain can go into the boost: see the targets' rows.",
            "No benefit was measured in patients here.",
        ),
    )


def _of(
    findings: Sequence[Finding],
    structure: str | None,
    metric: str,
    quantity: str,
    *,
    arm: str | None = None,
    not_arm: str | None = None,
    model: str | None = None,
) -> Finding | None:
    for f in findings:
        same = (f.structure, f.metric, f.quantity) == (structure, metric, quantity)
        if (
            same
            and (arm is None or f.arm == arm)
            and f.arm != not_arm
            and (model is None or f.model == model)
        ):
            return f
    return None


def _interval(finding: Finding, decimals: int = 2) -> str:
    if finding.interval95 is None:
        return "–"
    factor = 100.0 if finding.unit == "1" else 1.0
    low, high = (number(factor * end, decimals) for end in finding.interval95)
    share = finding.unit == "%" and finding.metric.startswith("V") and finding.quantity == "difference"
    unit = "pp" if finding.unit == "1" or share else finding.unit
    return f"{low} to {high} {unit}"
