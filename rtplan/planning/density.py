"""HU to electron density relative to water: the curves of ``models/curves``."""

from __future__ import annotations

import tomllib
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from torch import Tensor

from rtplan import resources
from rtplan.errors import FormatError


class Curve(BaseModel):
    """A calibration curve: straight between its nodes, constant outside them.

    Parameters
    ----------
    name : str
        Name on the shelf.
    quantity : str
        What it gives: electron density relative to water.
    hu : tuple of float
        Nodes, rising.
    density : tuple of float
        Density at each node, never falling, above 0.
    source : str
        Where the numbers come from.
    verified : bool
        Whether the source was seen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal[1] = 1
    name: str
    quantity: Literal["relative_electron_density"]
    hu: tuple[float, ...]
    density: tuple[float, ...]
    source: str
    verified: bool = False

    @model_validator(mode="after")
    def _rising(self) -> Curve:
        if len(self.hu) != len(self.density) or len(self.hu) < 2:
            raise ValueError("a curve needs as many densities as HU nodes, at least two")
        if any(b <= a for a, b in zip(self.hu, self.hu[1:], strict=False)):
            raise ValueError("the HU nodes must rise")
        falls = any(b < a for a, b in zip(self.density, self.density[1:], strict=False))
        if falls or self.density[0] < 0:
            raise ValueError("the densities must not fall, nor lie below 0")
        return self

    def of(self, hu: Tensor) -> Tensor:
        """Return the density relative to water of HU values, any shape; differentiable in ``hu``.

        Outside the nodes the end values hold (and the derivative is 0).

        Examples
        --------
        >>> load_curve("matrad_default").of(torch.tensor([-2000.0, 0.0, 50.0, 9999.0]))
        tensor([1.0000e-03, 1.0000e+00, 1.0475e+00, 2.5050e+00])
        """
        nodes = torch.tensor(self.hu, dtype=hu.dtype, device=hu.device)
        values = torch.tensor(self.density, dtype=hu.dtype, device=hu.device)
        slopes = torch.diff(values) / torch.diff(nodes)
        inside = hu.clamp(self.hu[0], self.hu[-1])
        segment = torch.bucketize(inside.detach(), nodes[1:-1].contiguous(), right=True)
        return values[segment] + slopes[segment] * (inside - nodes[segment])


def load_curve(name: str) -> Curve:
    """Return a curve of ``models/curves`` by its name, or of a TOML file by its path.

    Raises
    ------
    UnknownName
        If there is no such curve.
    FormatError
        If the file is not a curve, or the curve falls.
    """
    path = resources.find("models/curves", name)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        raw["schema_"] = raw.pop("schema", None)
        return Curve(**raw)
    except (ValidationError, tomllib.TOMLDecodeError) as wrong:
        raise FormatError(f"This is not a calibration curve: {wrong}", where=path.name) from wrong
