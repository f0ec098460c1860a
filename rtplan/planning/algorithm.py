"""The dose algorithms by name; made with a machine, a density curve and a device; called alike."""

from __future__ import annotations

from types import MappingProxyType

from rtplan.errors import UnknownName
from rtplan.planning.beam import BeamModel
from rtplan.planning.cone import ConeEngine
from rtplan.planning.density import Curve
from rtplan.planning.engine import Engine

#: ``pencil``: fast, differentiable, scatter as in water; ``cone``: scatter and electrons scaled with density.
ALGORITHMS: MappingProxyType[str, type[Engine] | type[ConeEngine]] = MappingProxyType(
    {"pencil": Engine, "cone": ConeEngine}
)


def algorithm(name: str, model: BeamModel, curve: Curve, device: str = "cpu") -> Engine | ConeEngine:
    """Return an algorithm by its name.

    Raises
    ------
    UnknownName
        If there is no such algorithm.
    DoseError
        If the machine's beam file does not serve it.
    """
    demand_known(name)
    return ALGORITHMS[name](model, curve, device)


def demand_known(name: str) -> None:
    """Raise UnknownName unless there is such an algorithm."""
    if name not in ALGORITHMS:
        raise UnknownName(
            f"There is no dose algorithm {name!r}.", action=f"choose one of {', '.join(ALGORITHMS)}."
        )
