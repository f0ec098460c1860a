"""Energy deposition kernels of water: where the energy of an interaction goes, by angle and attenuation."""

from __future__ import annotations

import math
import tomllib
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from rtplan import resources
from rtplan.errors import FormatError

Float = NDArray[np.float64]


class Part(BaseModel):
    """The electrons' or the scattered photons' share of a kernel: in each cone a sum of exponentials.

    Parameters
    ----------
    rate_per_mm : tuple of float
        Attenuations in water.
    weight : tuple of tuple of float
        One row for each attenuation, one column for each cone: energy over the energy of the whole part.
        A row may hold negative numbers (scatter first keeps its level, then falls), the sum over the
        rows not: the columns' sum is the energy that goes into that cone, all together 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate_per_mm: tuple[float, ...]
    weight: tuple[tuple[float, ...], ...]

    @model_validator(mode="after")
    def _normal(self) -> Part:
        if len(self.weight) != len(self.rate_per_mm) or len({len(row) for row in self.weight}) != 1:
            raise ValueError("a kernel needs one row of weights per attenuation, all of one length")
        if any(rate <= 0.0 for rate in self.rate_per_mm):
            raise ValueError("attenuations must be above 0")
        whole = np.array(self.weight)
        if abs(whole.sum() - 1.0) > 1e-4:
            raise ValueError(f"a kernel must hold all energy: its weights add up to {whole.sum():.5f}, not 1")
        if (whole.sum(axis=0) < 0.0).any():
            raise ValueError("a cone must not get negative energy")
        return self

    def within(self, radius_mm: ArrayLike) -> Float:
        """Return which part of the energy stays within distances from the interaction, water, shape (n,)."""
        path = np.asarray(radius_mm, np.float64)[..., None] * np.array(self.rate_per_mm)
        held: Float = -np.expm1(-path) @ np.array(self.weight).sum(axis=1)
        return held

    def per_angle(self, cosine: ArrayLike) -> Float:
        """Return energy per solid angle over 4 pi at cosines to the photon, shape (K, ...)."""
        rows = np.array(self.weight)
        edges = np.cos(np.linspace(0.0, math.pi, rows.shape[1] + 1))
        density = rows / ((edges[:-1] - edges[1:]) / 2.0)
        middle = (np.arange(rows.shape[1]) + 0.5) * math.pi / rows.shape[1]
        angle = np.arccos(np.clip(np.asarray(cosine, np.float64), -1.0, 1.0))
        found: Float = np.stack([np.interp(angle, middle, row) for row in density])
        return found


class EnergyKernel(BaseModel):
    """What a photon beam's interaction in water sends where, the electrons apart from scattered photons.

    Parameters
    ----------
    name : str
        Name on the shelf.
    primary : Part
        Electrons (and positrons) set in motion by the first interaction.
    scatter : Part
        All that scattered photons, annihilation and bremsstrahlung carry on.
    source : dict of str
        Where the numbers come from, and their licence.

    References
    ----------
    Ahnesjö A. Collapsed cone convolution of radiant energy for photon dose calculation in heterogeneous
    media. Med Phys 16:577 (1989).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal[1] = 1
    name: str
    primary: Part
    scatter: Part
    source: dict[str, str]
    verified: bool = False


def load_kernel(name: str) -> EnergyKernel:
    """Return a kernel of ``models/kernels`` by its name, or of a TOML file by its path.

    Raises
    ------
    UnknownName
        If there is no such kernel.
    FormatError
        If the file is not a kernel, or does not hold all energy.
    """
    path = resources.find("models/kernels", name)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        raw["schema_"] = raw.pop("schema", None)
        return EnergyKernel(**raw)
    except (ValidationError, tomllib.TOMLDecodeError) as wrong:
        raise FormatError(f"This is not an energy kernel: {wrong}", where=path.name) from wrong
