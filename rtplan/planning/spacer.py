"""Who benefits from a rectal spacer: published rules as data, and their doses in another course."""

from __future__ import annotations

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


def read_by(rule: Rule, fractions: int) -> str:
    """Return what a rule reads in a course of so many fractions, in words by which it is looked up.

    Examples
    --------
    >>> read_by(load_rule("relative_v70_25"), 35)
    'Rectum V64.27Gy[%]@EQD2(3)'
    >>> read_by(load_rule("delta_ntcp"), 35)
    'NTCP[%] of rectum_bleeding_g2_quantec2010'
    """
    if rule.metric == "NTCP":
        return f"NTCP[%] of {rule.model}"
    return f"{rule.structure} {translated(rule, fractions).metric}"
