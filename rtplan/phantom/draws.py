"""What is drawn for a digital patient: named parameters of a cohort, each with a random stream of its own."""

from __future__ import annotations

import tomllib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np

from rtplan.errors import UnknownName
from rtplan.resources import find

Cohort = Literal["train", "valid", "study"]
COHORTS: tuple[str, ...] = get_args(Cohort)


@cache
def table(kind: str, name: str) -> Mapping[str, Any]:
    """Return a TOML table of the shelf, read once (``table("models/tissue", "hu")``)."""
    return MappingProxyType(tomllib.loads(find(kind, name).read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Draws:
    """The random numbers of one digital patient.

    Parameters
    ----------
    cohort : str
        ``train``, ``valid`` or ``study``.
    seed : int
        Number of the patient in its cohort, 0 or above.
    anew : tuple of str
        Names that are drawn a second time: another day of the same patient.

    Notes
    -----
    Every name has its own stream, keyed by cohort, seed and name: a new parameter changes no other one,
    and no seed of one cohort repeats a patient of another.

    Examples
    --------
    >>> a, b = Draws("train", 1), Draws("valid", 1)
    >>> a["prostate_cc"] == Draws("train", 1)["prostate_cc"], a["prostate_cc"] == b["prostate_cc"]
    (True, False)
    """

    cohort: str
    seed: int
    anew: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.cohort not in COHORTS:
            raise UnknownName(
                f"There is no cohort {self.cohort!r}.", action=f"choose one of {', '.join(COHORTS)}."
            )
        if self.seed < 0:
            raise UnknownName(f"A seed is 0 or above, got {self.seed}.")

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """The cohort's ranges by parameter name."""
        ranges: Mapping[str, tuple[float, float]] = table("models/anatomy", self.cohort)["ranges"]
        return ranges

    def stream(self, name: str) -> np.random.Generator:
        """Return the random stream of a name, always from its beginning."""
        number = int(table("models/anatomy", self.cohort)["number"])
        again = [1] if name in self.anew else []
        return np.random.default_rng([number, self.seed, zlib.crc32(name.encode()), *again])

    def __getitem__(self, name: str) -> float:
        low, high = self.ranges[name]
        return float(low + (high - low) * self.stream(name).random())
