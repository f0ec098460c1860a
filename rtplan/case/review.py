"""What readers say of a finished run (``review.json``): Likert scores, and a decision on the plan."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from rtplan import resources
from rtplan.domain import Finding
from rtplan.errors import FormatError

FILE = "review.json"
MANIFEST = "manifest.json"

Score = Literal[1, 2, 3, 4]
Kind = Literal["under-segmentation", "over-segmentation", "partial overlap"]
Decision = Literal["acceptable", "acceptable with changes", "not acceptable"]

#: What a score means, worst first; 1 needs a `Kind`.
SCORES: dict[Score, str] = {1: "unacceptable", 2: "major changes", 3: "minor changes", 4: "acceptable"}
KINDS: tuple[Kind, ...] = ("under-segmentation", "over-segmentation", "partial overlap")
DECISIONS: tuple[Decision, ...] = ("acceptable", "acceptable with changes", "not acceptable")
LONGEST_LABEL, LONGEST_REMARK = 24, 2000


def _without_controls(text: str) -> str:
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n")).strip()
    if any(
        unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        for sign in text
        if sign != "\n"
    ):
        raise ValueError("control characters are not allowed")
    return text


def _one_line(text: str) -> str:
    text = _without_controls(text)
    if "\n" in text:
        raise ValueError("one line is wanted")
    return text


Label = Annotated[str, AfterValidator(_one_line), Field(min_length=1, max_length=LONGEST_LABEL)]
Remark = Annotated[str, AfterValidator(_without_controls), Field(max_length=LONGEST_REMARK)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StructureScore(_Strict):
    """One reader's score of one structure.

    Parameters
    ----------
    name : str
        As in ``dicom/RS.dcm``.
    score : int
        1 unacceptable, 2 major changes, 3 minor changes, 4 acceptable.
    kind : str or None
        What is wrong where the score is 1; None at any other score.
    remark : str
        Free text without patient data.
    """

    name: Annotated[str, Field(min_length=1)]
    score: Score
    kind: Kind | None = None
    remark: Remark = ""

    @model_validator(mode="after")
    def _kind_goes_with_one(self) -> Self:
        if self.score == 1 and self.kind is None:
            raise ValueError(f"score 1 needs its kind: {', '.join(KINDS)}")
        if self.score != 1 and self.kind is not None:
            raise ValueError("a kind goes with score 1 alone")
        return self


class PlanReview(_Strict):
    """One reader's decision on the plan."""

    decision: Decision
    remark: Remark = ""


class Review(_Strict):
    """What one reader said at one time; structures that were not scored are absent.

    Parameters
    ----------
    reader : str
        A short label or code, never a patient's.
    time : datetime
        When it was saved, with its time zone.
    structures : tuple of StructureScore
        Each structure once.
    plan : PlanReview or None
        None when the plan was not judged.
    """

    reader: Label
    time: AwareDatetime
    structures: tuple[StructureScore, ...] = ()
    plan: PlanReview | None = None

    @model_validator(mode="after")
    def _says_something_once(self) -> Self:
        names = [item.name for item in self.structures]
        if len(set(names)) != len(names):
            raise ValueError("a structure is scored twice")
        if not names and self.plan is None:
            raise ValueError("neither a structure is scored nor the plan judged")
        return self

    @property
    def who(self) -> str:
        """What tells readers apart: the label without regard to capitals."""
        return self.reader.casefold()


class ReviewFile(_Strict):
    """``review.json``: the current review of each reader, and what these replaced.

    Parameters
    ----------
    manifest_sha256 : str
        Of the run that was reviewed.
    reviews : tuple of Review
        One per reader: the newest.
    history : tuple of Review
        Earlier reviews of the same readers, oldest first.
    """

    schema_: Literal[1] = Field(1, alias="schema")
    manifest_sha256: str
    reviews: tuple[Review, ...] = ()
    history: tuple[Review, ...] = ()

    @model_validator(mode="after")
    def _one_per_reader(self) -> Self:
        readers = [review.who for review in self.reviews]
        if len(set(readers)) != len(readers):
            raise ValueError("a reader has two current reviews")
        return self

    def of(self, reader: str) -> Review | None:
        """Return a reader's current review."""
        return next((r for r in self.reviews if r.who == reader.strip().casefold()), None)

    def with_review(self, review: Review) -> ReviewFile:
        """Return the file with one review more; an earlier one of the reader goes into the history."""
        replaced = tuple(r for r in self.reviews if r.who == review.who)
        others = tuple(r for r in self.reviews if r.who != review.who)
        return self.model_copy(update={"reviews": (*others, review), "history": (*self.history, *replaced)})

    def as_json(self) -> str:
        """Return the file's text."""
        return self.model_dump_json(by_alias=True, indent=1) + "\n"


def read(folder: Path) -> ReviewFile | None:
    """Return the reviews of a run's out folder; None when there are none.

    Raises
    ------
    FormatError
        If ``review.json`` does not parse, or belongs to another run than the folder's ``manifest.json``.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        found = ReviewFile.model_validate_json(path.read_bytes())
    except ValidationError as wrong:
        first = wrong.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise FormatError(
            f"The reviews do not parse: {first['msg']} ({place}).",
            where=str(path),
            action="mend it, or move it away and review again.",
        ) from None
    if found.manifest_sha256 != run_of(folder):
        raise FormatError(
            "The reviews are those of another run (the manifest is not the one that was reviewed).",
            where=str(path),
            action="move review.json back to its own run, and review this one.",
        )
    return found


def run_of(folder: Path) -> str:
    """Return what tells one finished run from another: the SHA-256 of its manifest.

    Raises
    ------
    FormatError
        If there is no manifest: this is no finished run.
    """
    path = folder / MANIFEST
    if not path.is_file():
        action = "give the folder that rtplan run or rtplan demo wrote."
        raise FormatError(
            "There is no finished run here (no manifest.json).", where=str(folder), action=action
        )
    return resources.sha256(path)


def findings_of(reviews: Iterable[Review], patient: str = "") -> tuple[Finding, ...]:
    """Return reviews as findings: ``Likert`` (1–4) per structure, ``PlanDecision`` (1–3) for the plan.

    Parameters
    ----------
    reviews : iterable of Review
        ``read(folder).reviews`` for the current ones.
    patient : str
        The patient's key.

    Returns
    -------
    tuple of Finding
        ``detail`` holds reader, time, kind, remark; ``PlanDecision`` is 3 acceptable, 2 acceptable with
        changes, 1 not acceptable, with the words as ``detail["decision"]``.
    """
    return tuple(
        Finding(
            "PlanDecision" if row["decision"] else "Likert",
            float(row["score"] if row["score"] else 3 - DECISIONS.index(row["decision"])),
            "1",
            "Review",
            patient=patient,
            structure=row["structure"] or None,
            source=f"reader {row['reader']}",
            detail={
                name: row[name] for name in ("reader", "time", "kind", "remark", "decision") if row[name]
            },
        )
        for row in rows_of(reviews)
    )


def rows_of(reviews: Iterable[Review]) -> tuple[dict[str, Any], ...]:
    """Return reviews as rows of a table: one per reader and structure, and one per reader for the plan.

    Examples
    --------
    >>> score = StructureScore(name="Rectum", score=1, kind="partial overlap")
    >>> review = Review(reader="A", time="2026-01-02T03:04:05Z", structures=(score,))
    >>> [(r["reader"], r["structure"], r["score"], r["kind"]) for r in rows_of([review])]
    [('A', 'Rectum', 1, 'partial overlap')]
    """
    rows: list[dict[str, Any]] = []
    for review in reviews:
        common = {"reader": review.reader, "time": review.time.isoformat(timespec="seconds")}
        for item in review.structures:
            said = {"score": item.score, "kind": item.kind, "remark": item.remark, "decision": None}
            rows.append({**common, "structure": item.name, **said})
        if review.plan is not None:
            said = {"score": None, "kind": None, "remark": review.plan.remark}
            rows.append({**common, "structure": None, **said, "decision": review.plan.decision})
    return tuple(rows)
