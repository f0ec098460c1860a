"""The dose algorithms by name; made with a machine, a density curve and a device; called alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Protocol

from rtplan.domain import Beam, Dose, Grid, Image, Mask
from rtplan.errors import UnknownName
from rtplan.planning.beam import BeamModel
from rtplan.planning.cone import ConeEngine
from rtplan.planning.density import Curve
from rtplan.planning.engine import Engine


class Calculates(Protocol):
    """What every algorithm offers."""

    def calculate(
        self, beams: Sequence[Beam], images: Sequence[Image], body: Mask, dose_grid: Grid
    ) -> tuple[Dose, ...]:
        """Return the dose of the beams on each image; see `Engine.calculate`."""
        ...


#: ``pencil``: fast, differentiable, scatter as in water; ``cone``: scatter and electrons scaled with density.
ALGORITHMS: MappingProxyType[str, Callable[[BeamModel, Curve, str], Calculates]] = MappingProxyType(
    {"pencil": Engine, "cone": ConeEngine}
)


def algorithm(name: str, model: BeamModel, curve: Curve, device: str = "cpu") -> Calculates:
    """Return an algorithm by its name.

    Raises
    ------
    UnknownName
        If there is no such algorithm.
    DoseError
        If the machine's beam file does not serve it.
    """
    if name not in ALGORITHMS:
        raise UnknownName(
            f"There is no dose algorithm {name!r}.", action=f"choose one of {', '.join(ALGORITHMS)}."
        )
    return ALGORITHMS[name](model, curve, device)
