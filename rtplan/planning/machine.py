"""What a machine's leaves, gantry and dose rate may do: the limits of ``models/machines``."""

from __future__ import annotations

import tomllib
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rtplan import resources
from rtplan.errors import FormatError

Float = NDArray[np.float64]
Positive = Field(gt=0)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    verified: bool = False


class Leaves(_Part):
    """Leaf pairs, in the isocentre plane, mm; ``pairs`` are (number, width) from -y to +y."""

    kind: Literal["MLCX"]
    pairs: tuple[tuple[int, float], ...]
    min_gap_mm: float = Field(ge=0)
    interdigitation: bool
    max_position_mm: float = Positive
    max_span_mm: float = Positive
    speed_mm_per_s: float = Positive

    @cached_property
    def boundaries_mm(self) -> Float:
        """Edges of the pairs across their motion, rising, centred on the axis, shape (pairs + 1,)."""
        widths = np.concatenate([np.full(count, width) for count, width in self.pairs])
        edges: Float = np.concatenate([[0.0], np.cumsum(widths)]) - widths.sum() / 2.0
        return edges


class Gantry(_Part):
    """Speed of the gantry."""

    speed_deg_per_s: float = Positive


class Output(_Part):
    """Dose rate, and the least monitor units of a segment in one fraction."""

    max_mu_per_min: float = Positive
    min_mu_per_segment: float = Field(ge=0)


class Shape(_Part):
    """How a plan is cut: segments of a field, control points of an arc."""

    max_segments: int = Field(ge=1)
    arc_step_deg: float = Field(gt=0, le=10)
    arc_start_deg: float = Field(ge=0, lt=360)
    arc_turn_deg: float = Field(gt=0, le=360)


class Machine(BaseModel):
    """The limits of one machine; the numbers of beams are in ``models/beams``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal[1] = 1
    name: str
    verified: bool = False
    leaves: Leaves
    gantry: Gantry
    output: Output
    shape: Shape


def load_machine(name: str) -> Machine:
    """Return a machine of ``models/machines`` by its name, or of a TOML file by its path.

    Raises
    ------
    UnknownName
        If there is no such machine.
    FormatError
        If the file is not a machine.

    Examples
    --------
    >>> machine = load_machine("generic_mlc120")
    >>> len(machine.leaves.boundaries_mm), float(machine.leaves.boundaries_mm[10])
    (61, -100.0)
    """
    path = resources.find("models/machines", name)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        raw["schema_"] = raw.pop("schema", None)
        return Machine(**raw)
    except (ValidationError, tomllib.TOMLDecodeError) as wrong:
        raise FormatError(f"This is not a machine: {wrong}", where=path.name) from wrong
