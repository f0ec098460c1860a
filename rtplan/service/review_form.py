"""From the fields of the review form to a review, and back for a correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from rtplan.case.review import (
    DECISIONS,
    KINDS,
    LONGEST_LABEL,
    LONGEST_REMARK,
    SCORES,
    PlanReview,
    Review,
    StructureScore,
)

#: What is offered, by value: "" is not reviewed.
OFFERED_SCORES = {"": "not reviewed"} | {str(n): f"{n} {words}" for n, words in SCORES.items()}
OFFERED_KINDS: dict[str, str] = {kind: kind for kind in KINDS}
OFFERED_DECISIONS: dict[str, str] = {"": "not judged"} | {d: d for d in DECISIONS}

#: Parts of a structure's fields.
_PARTS = ("score", "kind", "remark")
_LABEL = f"A reader's label is wanted: one line of 1 to {LONGEST_LABEL} characters."
_REMARK = f"A remark is at most {LONGEST_REMARK} characters, without control characters."


def field_of(rank: int) -> str:
    """Return the beginning of the names of a structure's fields."""
    return f"s{rank}"


def review_of(
    form: Mapping[str, str], names: Sequence[str], time: datetime
) -> tuple[Review | None, dict[str, str]]:
    """Return the review that a form says, or its problems by the field that they are about.

    Parameters
    ----------
    form : mapping of str to str
        Fields; those that are missing are empty. A kind without a score of 1 is left out, for the page
        hides it then.
    names : sequence of str
        The structures in the order of their fields.
    time : datetime
        Of the review.

    Returns
    -------
    Review or None
        None when there is a problem.
    dict of str to str
        Field to what is wrong with it.
    """
    known = {f"{field_of(rank)}-{part}" for rank in range(len(names)) for part in _PARTS}
    strangers = set(form) - known - {"reader", "plan-decision", "plan-remark", "then"}
    problems = (
        {"reader": "The form holds fields that it does not have; load the page again."} if strangers else {}
    )
    label = _label(form.get("reader", ""), problems)
    scores = [_score(form, field_of(rank), name, problems) for rank, name in enumerate(names)]
    plan = _plan(form, problems)
    fields: dict[str, Any] = {"structures": tuple(s for s in scores if s is not None), "plan": plan}
    if not problems and not fields["structures"] and plan is None:
        problems["plan-decision"] = "Nothing is reviewed yet: score a structure or judge the plan."
    return (None, problems) if problems else (Review(reader=label, time=time, **fields), {})


def _label(said: str, problems: dict[str, str]) -> str:
    try:
        return Review(reader=said, time="2000-01-01T00:00:00Z", plan=PlanReview(decision="acceptable")).reader
    except ValidationError:
        problems.setdefault("reader", _LABEL)
        return ""


def _score(form: Mapping[str, str], field: str, name: str, problems: dict[str, str]) -> StructureScore | None:
    score, kind, remark = (form.get(f"{field}-{part}", "") for part in _PARTS)
    if score not in OFFERED_SCORES:
        problems[f"{field}-score"] = f"{name}: the score is 1, 2, 3 or 4."
        return None
    if kind not in ("", *KINDS):
        problems[f"{field}-kind"] = f"{name}: there is no such kind."
        return None
    if score == "1" and not kind:
        problems[f"{field}-kind"] = f"{name}: score 1 needs what is unacceptable ({', '.join(KINDS)})."
        return None
    if not score:
        if remark.strip():
            problems[f"{field}-score"] = f"{name}: a remark needs a score."
        return None
    try:
        return StructureScore.model_validate(
            {"name": name, "score": int(score), "kind": kind if score == "1" else None, "remark": remark}
        )
    except ValidationError:
        problems[f"{field}-remark"] = f"{name}: {_REMARK}"
        return None


def _plan(form: Mapping[str, str], problems: dict[str, str]) -> PlanReview | None:
    decision, remark = form.get("plan-decision", ""), form.get("plan-remark", "")
    if decision not in OFFERED_DECISIONS:
        problems["plan-decision"] = "The plan: there is no such decision."
        return None
    if not decision:
        if remark.strip():
            problems["plan-decision"] = "The plan: a remark needs a decision."
        return None
    try:
        return PlanReview.model_validate({"decision": decision, "remark": remark})
    except ValidationError:
        problems["plan-remark"] = f"The plan: {_REMARK}"
        return None


def values_of(review: Review, names: Sequence[str]) -> dict[str, str]:
    """Return the fields of the form that say a review."""
    values = {"reader": review.reader}
    rank = {name: n for n, name in enumerate(names)}
    for item in review.structures:
        if item.name in rank:
            field = field_of(rank[item.name])
            said = (str(item.score), item.kind or "", item.remark)
            values |= {f"{field}-{part}": text for part, text in zip(_PARTS, said, strict=True)}
    if review.plan is not None:
        values |= {"plan-decision": review.plan.decision, "plan-remark": review.plan.remark}
    return values
