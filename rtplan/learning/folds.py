"""Folds of a cross-validation (``folds.toml``): which patients are the test of which part, as data."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from rtplan.errors import FormatError, UnknownName
from rtplan.learning.card import Frozen


class Folds(Frozen):
    """Test patients by fold; no patient is in two.

    Parameters
    ----------
    of : str
        What the patients are of.
    seed : int
        From which `drawn` made the folds.
    fold : mapping of str to tuple of str
        Names of the test patients; all others are trained on.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    of: str
    seed: int
    fold: dict[str, tuple[str, ...]]

    @model_validator(mode="after")
    def _apart(self) -> Folds:
        names = [name for part in self.fold.values() for name in part]
        if not names or len(names) != len(set(names)):
            raise ValueError("folds need patients, and each of them once")
        return self

    def test(self, fold: int) -> tuple[str, ...]:
        """Return the test patients of a fold.

        Raises
        ------
        UnknownName
            If there is no such fold.
        """
        if str(fold) not in self.fold:
            raise UnknownName(f"There is no fold {fold}. Known: {', '.join(self.fold)}.")
        return self.fold[str(fold)]


def drawn(names: Sequence[str], count: int, seed: int, of: str) -> Folds:
    """Return folds of like size: the sorted names in random order, dealt out in turn.

    Examples
    --------
    >>> sorted(len(part) for part in drawn(["a", "b", "c", "d", "e"], 2, 1, "letters").fold.values())
    [2, 3]
    """
    order = np.random.default_rng(seed).permutation(sorted(set(names)))
    parts = {str(k + 1): tuple(sorted(str(name) for name in order[k::count])) for k in range(count)}
    return Folds(of=of, seed=seed, fold=parts)


def load_folds(path: Path) -> Folds:
    """Read a ``folds.toml``.

    Raises
    ------
    FormatError
        If it is missing, no TOML, or no folds.
    """
    try:
        return Folds.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise FormatError("The file of the folds is not there.", where=path.name) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise FormatError(f"The folds are no TOML: {broken}.", where=path.name) from None
    except ValidationError as wrong:
        raise FormatError(f"The folds are wrong: {wrong.errors()[0]['msg']}.", where=path.name) from None
