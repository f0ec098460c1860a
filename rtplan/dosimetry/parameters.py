"""Published parameter sets of outcome models, as files: endpoint, organ, dose kind, population, source."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rtplan import resources
from rtplan.dosimetry.metric import Metric, parse
from rtplan.dosimetry.partmetric import demand_of_parts
from rtplan.dosimetry.protocol import read_model
from rtplan.errors import FormatError, ModelError, UnknownName

#: What stands before a modifier's name among the parameters.
ODDS_RATIO = "odds_ratio:"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Parameter(_Entry):
    """A fitted value and its 95 % confidence interval, where one was published."""

    value: float
    ci95: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Parameter:
        if self.ci95 is not None and not self.ci95[0] <= self.value <= self.ci95[1]:
            raise ValueError("the value lies outside its interval")
        return self


class DoseKind(_Entry):
    """The dose that the set was fitted to."""

    kind: Literal["physical", "EQD2"]
    alpha_beta_gy: Annotated[float, Field(gt=0)] | None = None
    alpha_beta_verified: bool = False

    @model_validator(mode="after")
    def _whole(self) -> DoseKind:
        if self.kind == "EQD2" and self.alpha_beta_gy is None:
            raise ValueError("EQD2 needs alpha_beta_gy")
        return self


class Population(_Entry):
    """On whom the set was fitted."""

    site: str
    technique: str = ""
    dose_per_fraction_gy: tuple[float, float] | None = None
    outside_site: Literal["refuse", "warn"] = "refuse"
    note: str = ""


class Citation(_Entry):
    """Where the set was published."""

    citation: str
    doi: str = ""


class Check(_Entry):
    """A known answer, run by the law tests: a uniform dose, or a DVH, in N fractions."""

    uniform_dose_gy: float | None = None
    doses_gy: tuple[float, ...] = ()
    volumes: tuple[float, ...] = ()
    fractions: int | None = None
    eqd2: bool = True
    factors: dict[str, float] = Field(default_factory=dict)
    expected: float
    tolerance: float = 1e-5


class Term(_Entry):
    """One term of a logistic or Cox model: a DVH metric or a clinical factor, and its coefficient's name."""

    parameter: str
    metric: str | None = None
    factor: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Term:
        if (self.metric is None) == (self.factor is None):
            raise ValueError("a term names either a metric or a factor")
        if self.metric is not None:
            try:
                demand_of_parts(parse(self.metric))
            except FormatError as wrong:
                raise ValueError(wrong.message) from None
        return self

    @property
    def parsed(self) -> Metric:
        """The metric, parsed; of the set's organ and in the set's kind of dose."""
        return parse(self.metric or "")


class Modifier(_Entry):
    """A clinical factor that multiplies the odds (Appelt 2014), with its own source.

    Without it the model gives the risk of the population that it was fitted to.
    """

    name: str
    odds_ratio: Parameter
    source: str
    verified: bool = False
    continuous: bool = False
    note: str = ""

    @model_validator(mode="after")
    def _above_nought(self) -> Modifier:
        lowest = self.odds_ratio.ci95[0] if self.odds_ratio.ci95 else self.odds_ratio.value
        if not lowest > 0:
            raise ValueError("an odds ratio is above 0")
        return self


class ParameterSet(_Entry):
    """One outcome model with its numbers (``models/ntcp/<name>.toml``)."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    name: str = ""
    form: str
    kind: Literal["ntcp", "tcp"]
    endpoint: str
    structure: str
    organ_definition: str
    verified: bool
    parameters: dict[str, Parameter]
    dose: DoseKind
    population: Population
    source: Citation
    term: tuple[Term, ...] = ()
    modifier: tuple[Modifier, ...] = ()
    check: tuple[Check, ...] = ()
    #: Clinical factors by name, never from the file: `with_factors`.
    given: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> ParameterSet:
        lacking = [term.parameter for term in self.term if term.parameter not in self.parameters]
        if lacking:
            raise ValueError(f"there is no parameter {lacking[0]!r} for its term")
        names = [*self.factors]
        if len(set(names)) < len(names):
            raise ValueError("a clinical factor is named twice")
        return self

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of the clinical factors that it knows: those of its terms, then its modifiers."""
        terms = [term.factor for term in self.term if term.factor is not None]
        return (*terms, *(modifier.name for modifier in self.modifier))

    @property
    def values(self) -> dict[str, float]:
        """The best estimates by name."""
        return {name: parameter.value for name, parameter in self.parameters.items()}


def load_set(name_or_path: str | Path) -> ParameterSet:
    """Read a parameter set by name, from ``models/ntcp`` or ``models/tcp``, or from a file.

    Raises
    ------
    UnknownName
        If there is none of that name, or its form is not in the table of forms.
    FormatError
        If the file does not fit; the message names file and key.

    Examples
    --------
    >>> load_set("rectum_bleeding_g2_quantec2010").values["n"]
    0.09
    """
    _, path = find_set(str(name_or_path))
    found = read_model(ParameterSet, path)
    if found.given:
        raise FormatError("given: clinical factors belong to a patient, not to a set.", where=path.name)
    return found.model_copy(update={"name": path.stem})


def with_factors(parameters: ParameterSet, given: Mapping[str, float]) -> ParameterSet:
    """Return a set for a patient with these clinical factors (1 has it, 0 has it not, or a number).

    An odds ratio joins the parameters, so that it is drawn with them where it has an interval; the set
    counts as verified only if the odds ratios used are.

    Raises
    ------
    UnknownName
        If the set knows no such factor; the message lists those it knows.
    ModelError
        If a factor that one has or has not is given another number than 0 or 1.
    """
    known = ", ".join(parameters.factors) or "none"
    added, verified = {}, parameters.verified
    for name, number in given.items():
        if name not in parameters.factors:
            raise UnknownName(f"The set knows no factor {name!r}. Known: {known}.", where=parameters.name)
        if not math.isfinite(number):
            raise ModelError(f"The factor {name} is not a number.", where=parameters.name)
    for modifier in parameters.modifier:
        number = given.get(modifier.name, 0.0)
        if not modifier.continuous and number not in (0.0, 1.0):
            raise ModelError(f"One has {modifier.name} or not: give 1 or 0, not {number:g}.")
        if number:
            added[ODDS_RATIO + modifier.name] = modifier.odds_ratio
            verified = verified and modifier.verified
    changed = {"given": dict(given), "parameters": parameters.parameters | added, "verified": verified}
    return parameters.model_copy(update=changed)


def names() -> tuple[str, ...]:
    """Return the names of all shipped sets."""
    return tuple(name for shelf in _shelves() for name in resources.names(shelf))


def _shelves() -> tuple[str, ...]:
    return tuple(kind for kind in ("models/ntcp", "models/tcp") if _there(kind))


def _there(kind: str) -> bool:
    try:
        return resources.shelf(kind).is_dir()
    except UnknownName:
        return False


def find_set(name: str) -> tuple[str, Path]:
    """Return the shelf of a parameter set (``models/ntcp`` unless it lies on another) and its file.

    Raises
    ------
    UnknownName
        If there is none of that name.
    """
    for shelf in _shelves()[1:]:
        if name in resources.names(shelf):
            return shelf, resources.find(shelf, name)
    return "models/ntcp", resources.find("models/ntcp", name)
