"""A protocol: what is prescribed, how targets are derived, which goals a dose must meet, with sources."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rtplan import resources
from rtplan.dosimetry.metric import Metric, parse
from rtplan.errors import FormatError

M = TypeVar("M", bound=BaseModel)

_LIMIT = re.compile(r"\s*(<=|>=|<|>)\s*(\d+(?:\.\d+)?)\s*")
_DIRECTIONS = ("L", "R", "A", "P", "S", "I")


@dataclass(frozen=True)
class Limit:
    """A bound on a metric's value: ``<= 80``.

    Examples
    --------
    >>> Limit.parse("<= 80").holds(79.0)
    True
    """

    sense: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Read ``<=``, ``>=``, ``<`` or ``>`` and a number; raise FormatError otherwise."""
        found = _LIMIT.fullmatch(text)
        if found is None:
            raise FormatError(f"A limit is written like '<= 80' or '>= 98', got {text!r}.")
        return cls(found[1], float(found[2]))

    def holds(self, value: float) -> bool:
        """Whether a value keeps the limit."""
        return {
            "<=": value <= self.value,
            ">=": value >= self.value,
            "<": value < self.value,
            ">": value > self.value,
        }[self.sense]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Source(_Entry):
    """Where a protocol was published."""

    citation: str
    doi: str = ""


class _Sourced(_Entry):
    """A number group with its source; ``verified`` only where the number was seen there."""

    source: str = ""
    verified: bool = False


class TargetDose(_Sourced):
    """The dose of one target, Gy for the whole course, and the point of its DVH that it is meant for."""

    target: str
    dose_gy: Annotated[float, Field(gt=0)]
    to: Literal["median", "mean", "D98%", "D95%", "D99%", "up_to"] = "median"


class Derive(_Sourced):
    """How a structure is made from others: union of ``from``, margin, then ``within`` and ``minus``."""

    make: str
    from_: Annotated[str | tuple[str, ...], Field(alias="from")]
    margin_mm: dict[str, float] = Field(default_factory=dict)
    within: str | None = None
    minus: str | None = None

    @field_validator("margin_mm")
    @classmethod
    def _all_directions(cls, margin: dict[str, float]) -> dict[str, float]:
        if margin and set(margin) != set(_DIRECTIONS):
            raise ValueError(f"a margin names all of {', '.join(_DIRECTIONS)} (mm)")
        return margin

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the structures it starts from."""
        return (self.from_,) if isinstance(self.from_, str) else self.from_


class Goal(_Sourced):
    """One goal: ``limit`` must hold, ``wish`` should."""

    structure: str
    metric: str
    limit: str
    wish: str | None = None
    reference: str | None = None
    priority: Annotated[int, Field(ge=1)] = 1

    @field_validator("metric")
    @classmethod
    def _metric_parses(cls, text: str) -> str:
        return str(_as_value_error(parse, text))

    @field_validator("limit", "wish")
    @classmethod
    def _limit_parses(cls, text: str | None) -> str | None:
        if text is not None:
            _as_value_error(Limit.parse, text)
        return text

    @property
    def parsed(self) -> Metric:
        """The metric, parsed."""
        return parse(self.metric)

    @property
    def dose_kind(self) -> str:
        """``physical`` or ``EQD2(<alpha/beta>)``, from the metric."""
        return self.parsed.dose_kind

    @property
    def key(self) -> tuple[str, str, str]:
        """Structure, metric and dose kind."""
        return self.structure, self.metric, self.dose_kind

    def verdict(self, value: float) -> Literal["wish_met", "met", "missed"]:
        """Judge a value: limit missed; met; or the wish met too (also where there is no wish: met)."""
        if not Limit.parse(self.limit).holds(value):
            return "missed"
        if self.wish is not None and Limit.parse(self.wish).holds(value):
            return "wish_met"
        return "met"


class OutcomeModel(_Entry):
    """A parameter set of ``models/ntcp`` or ``models/tcp`` that the protocol asks for, or a file.

    ``endpoint`` holds words that must stand in the set's endpoint: a set of another one is not evaluated.
    """

    model: str
    endpoint: str = ""


class Protocol(_Entry):
    """A whole protocol as ``formats.md`` describes it."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    name: str
    site: str
    fractions: Annotated[int, Field(ge=1)]
    source: Source
    equivalence_margin_pp: Annotated[float, Field(gt=0)] | None = None
    prescription: tuple[TargetDose, ...] = ()
    derive: tuple[Derive, ...] = ()
    goal: tuple[Goal, ...] = ()
    outcome: tuple[OutcomeModel, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Protocol:
        _unique("prescription", [entry.target for entry in self.prescription])
        _unique("derive", [entry.make for entry in self.derive])
        _unique("goal", [entry.key for entry in self.goal])
        entries: tuple[_Sourced, ...] = (*self.prescription, *self.derive, *self.goal)
        for entry in entries:
            if entry.verified and not (entry.source or self.source.doi):
                raise ValueError(f"{entry!r} is verified and names no source")
        for goal in self.goal:
            if goal.reference is not None and goal.reference not in self.doses_gy:
                raise ValueError(f"the reference {goal.reference!r} of a goal is not prescribed")
            if goal.parsed.needs_prescription and self.reference_of(goal) is None:
                raise ValueError(f"{goal.metric} needs a `reference` target for its %")
        return self

    @cached_property
    def doses_gy(self) -> dict[str, float]:
        """Prescribed dose by target, Gy."""
        return {entry.target: entry.dose_gy for entry in self.prescription}

    def reference_of(self, goal: Goal) -> float | None:
        """Return the dose, Gy, that ``%`` of a goal refers to: its reference's, or its own target's."""
        return self.doses_gy.get(goal.reference or goal.structure)


def load_protocol(name_or_path: str | Path) -> Protocol:
    """Read a protocol by name (``protocols/<name>.toml``) or from a file.

    Raises
    ------
    UnknownName
        If there is none of that name; the message lists the known ones.
    FormatError
        If the file does not hold a valid protocol; the message names file and key.

    Examples
    --------
    >>> load_protocol("prostate_chhip_60gy").fractions
    20
    """
    path = resources.find("protocols", str(name_or_path))
    return read_model(Protocol, path)


def read_model(model: type[M], path: Path) -> M:
    """Read a TOML file as a pydantic model; raise FormatError with file and key when it does not fit."""
    try:
        return model.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise FormatError(f"Not a TOML file: {wrong}.", where=path.name) from None
    except ValidationError as wrong:
        first = wrong.errors()[0]
        raise FormatError(
            f"{_key(first['loc'])}: {first['msg']}.",
            where=f"{path.name}, {_key(first['loc'])}",
            action="correct the key; the form of each file is in docs/formats.",
        ) from None


def _key(location: tuple[Any, ...]) -> str:
    words = ""
    for part in location:
        words += f"[{part}]" if isinstance(part, int) else f".{part}" if words else str(part)
    return words or "the whole"


def _as_value_error(read: Any, text: str) -> Any:
    try:
        return read(text)
    except FormatError as wrong:
        raise ValueError(wrong.message) from None


def _unique(kind: str, keys: list[Any]) -> None:
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise ValueError(f"{kind} names {sorted(map(str, twice))} twice")
