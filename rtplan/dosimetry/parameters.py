"""Published parameter sets of outcome models, as files: endpoint, organ, dose kind, population, source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rtplan import resources
from rtplan.dosimetry.protocol import read_model
from rtplan.errors import UnknownName


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
    expected: float
    tolerance: float = 1e-5


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
    check: tuple[Check, ...] = ()

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
    path = _find(str(name_or_path))
    return read_model(ParameterSet, path).model_copy(update={"name": path.stem})


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


def _find(name: str) -> Path:
    for shelf in _shelves()[1:]:
        if name in resources.names(shelf):
            return resources.find(shelf, name)
    return resources.find("models/ntcp", name)
