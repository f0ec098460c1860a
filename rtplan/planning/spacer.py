"""Who benefits from a rectal spacer: published rules as data, and what they say of a benefit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rtplan import resources
from rtplan.dosimetry.metric import Metric, parse
from rtplan.dosimetry.protocol import Source, read_model
from rtplan.dosimetry.radiobiology import eqd2
from rtplan.errors import ModelError

SHELF = "models/spacer"
#: The rule that decides where the user names none.
DECIDES = "relative_v70_25"
Answer = Literal["benefits", "does_not", "cannot_tell", "not_evaluable"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Range(_Strict):
    """A number, the range it is drawn from, and where they come from."""

    value: float
    range_: Annotated[tuple[float, float], Field(alias="range")]
    source: str
    verified: bool


class GelFacts(_Strict):
    """``models/spacer/gel.toml``."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    description: str
    hu: Range
    volume_cc: Range
    thickness_mm: Range


class FoundIn(_Strict):
    """The course in which a rule was found."""

    dose_gy: Annotated[float, Field(gt=0)]
    fractions: Annotated[int, Field(ge=1)]


class Rule(_Strict):
    """One rule of ``models/spacer``: what must fall, or be there to begin with, by how much.

    Parameters
    ----------
    form : str
        ``relative``: the metric falls by so many % of what it was; ``absolute``: it falls by so many
        percentage points; ``baseline``: it is so high without a spacer.
    metric : str
        TG-263 of the structure's physical dose in the course ``found_in``, or ``NTCP`` of ``model``.
    baseline_at_least : float or None
        With less than this without a spacer the answer is that the patient does not benefit.
    """

    schema_: Annotated[Literal[1], Field(alias="schema")]
    name: str
    description: str
    form: Literal["relative", "absolute", "baseline"]
    structure: str = "Rectum"
    metric: str
    model: str | None = None
    at_least: Annotated[float, Field(gt=0)]
    baseline_at_least: Annotated[float, Field(gt=0)] | None = None
    baseline_source: str = ""
    alpha_beta_gy: Annotated[float, Field(gt=0)] = 3.0
    found_in: FoundIn | None = None
    verified: bool
    source: Source
    note: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Rule:
        if self.metric == "NTCP":
            if self.model is None:
                raise ValueError("a rule on NTCP names its model")
        elif self.found_in is None or parse(self.metric).amount_unit != "Gy":
            raise ValueError("a rule on a dose in Gy says in which course it was found")
        return self

    @property
    def unit(self) -> str:
        """Of ``at_least``: % of the baseline, or percentage points."""
        return "%" if self.form == "relative" else "pp" if self.form == "absolute" else "% of the organ"


@dataclass(frozen=True)
class Translated:
    """A rule's metric in a protocol's fractions.

    Parameters
    ----------
    metric : Metric
        On EQD2 where the fractions differ.
    converted : bool
        Whether the dose was converted.
    said : str
        How.
    """

    metric: Metric
    converted: bool
    said: str


@dataclass(frozen=True)
class Judged:
    """What one rule says.

    Parameters
    ----------
    rule : Rule
    answer : str
        ``benefits``, ``does_not``, ``cannot_tell`` or ``not_evaluable``.
    value : float or None
        The benefit in the rule's unit.
    interval95 : tuple or None
    decides : bool
        Whether this answer is the patient's.
    reason : str
        In words.
    """

    rule: Rule
    answer: Answer
    value: float | None
    interval95: tuple[float, float] | None
    decides: bool
    reason: str


def load_gel() -> GelFacts:
    """Read what a gel is."""
    return read_model(GelFacts, resources.find(SHELF, "gel"))


def rules() -> tuple[str, ...]:
    """Return the names of the rules on the shelf."""
    return tuple(
        name for name in resources.names(SHELF) if name.startswith(("relative", "delta", "baseline"))
    )


def load_rule(name_or_path: str) -> Rule:
    """Read a rule by name or from a file.

    Raises
    ------
    UnknownName, FormatError
        If there is none, or it is not of this form.
    """
    return read_model(Rule, resources.find(SHELF, name_or_path))


def translated(rule: Rule, fractions: int) -> Translated:
    """Return a rule's metric for a course of so many fractions.

    The dose keeps its meaning as EQD2 with the rule's α/β where the number of fractions differs.

    Examples
    --------
    >>> str(translated(load_rule("relative_v70_25"), 35).metric)
    'V64.27Gy[%]@EQD2(3)'
    """
    if rule.found_in is None:
        raise ModelError(f"The rule {rule.name} has no dose to convert.", where=rule.name)
    metric = parse(rule.metric)
    if rule.found_in.fractions == fractions:
        return Translated(metric, False, f"as found, in {fractions} fractions")
    assert metric.amount is not None
    dose = float(eqd2(metric.amount, rule.found_in.fractions, rule.alpha_beta_gy))
    text = f"{metric.kind}{dose:.2f}Gy[{metric.unit}]@EQD2({rule.alpha_beta_gy:g})"
    said = (
        f"{rule.metric} was found in {rule.found_in.dose_gy:g} Gy / {rule.found_in.fractions} fractions; "
        f"converted to {text}"
    )
    return Translated(parse(text), True, said)


def judge(
    rule: Rule,
    baseline: float | None,
    benefit: float | None,
    interval95: tuple[float, float] | None,
    *,
    decides: bool,
) -> Judged:
    """Return what a rule says of a benefit.

    Parameters
    ----------
    rule : Rule
    baseline : float or None
        The metric without a spacer, %; None: not evaluable.
    benefit : float or None
        In the rule's unit (`benefit_of`); None: not evaluable.
    interval95 : tuple or None
        Of the benefit; without one there is no telling.
    decides : bool
        Whether its answer is the patient's; an unverified rule's is not, unless that was allowed.

    Notes
    -----
    *Benefits* where the whole interval reaches the threshold, *does not* where none of it does. A rule on
    the baseline has no interval.
    """
    nothing = Judged(rule, "not_evaluable", None, None, decides, "there is nothing to compare")
    if baseline is None:
        return nothing
    if rule.baseline_at_least is not None and baseline < rule.baseline_at_least:
        said = f"{baseline:.2f} % without a spacer is below {rule.baseline_at_least:g} %: nothing to gain"
        return Judged(rule, "does_not", benefit, interval95, decides, said)
    if benefit is None:
        return nothing
    if rule.form == "baseline":  # of the plan as it is: nothing is compared, nothing drawn
        told: Answer = "benefits" if benefit >= rule.at_least else "does_not"
        said = f"{benefit:.2f} {rule.unit}, wanted at least {rule.at_least:g}"
        return Judged(rule, told, benefit, None, decides, said)
    if interval95 is None:
        return Judged(rule, "cannot_tell", benefit, None, decides, "the benefit has no interval")
    low, high = interval95
    answer: Answer = "cannot_tell"
    if low >= rule.at_least:
        answer = "benefits"
    elif high < rule.at_least:
        answer = "does_not"
    said = f"{benefit:.2f} ({low:.2f} to {high:.2f}) {rule.unit}, wanted at least {rule.at_least:g}"
    return Judged(rule, answer, benefit, interval95, decides, said)


def benefit_of(rule: Rule, without: float, with_gel: float) -> float | None:
    """Return a rule's benefit from its metric without and with a spacer, % (NTCP too)."""
    if rule.form == "baseline":
        return without
    if rule.form == "absolute":
        return without - with_gel
    return 100.0 * (without - with_gel) / without if without > 0.0 else None


def verdict(judged: Mapping[str, Judged]) -> Judged:
    """Return the deciding rule's answer; raise ModelError where none decides."""
    for found in judged.values():
        if found.decides:
            return found
    raise ModelError(
        "No rule decides: those asked for are not verified.",
        action="name a verified rule by --rule, or let it decide by --allow-unverified.",
    )
