"""What was measured of a network and is kept beside its weights: read, checked, and tied to these weights."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError

from rtplan.errors import FormatError, ModelError
from rtplan.learning.card import Frozen


class Measured(Frozen):
    """A TOML file beside a model: which network, with which weights."""

    schema_version: Literal[1] = Field(1, alias="schema")
    model: str
    weights_sha256: str


class Told(Measured):
    """The same with what it was measured on, when, and by which script."""

    data: str
    date: str
    script: str


Kind = TypeVar("Kind", bound=Measured)


def read_measured(path: Path, kind: type[Kind], sha256: str, what: str) -> Kind:
    """Return what a file beside a model says.

    Parameters
    ----------
    path : Path
        The file.
    kind : type
        Its form.
    sha256 : str
        Of the weights that the model has now.
    what : str
        What it holds, in the plural, for errors.

    Raises
    ------
    FormatError
        If the file does not fit.
    ModelError
        If it was measured with other weights.
    """
    try:
        found = kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (ValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise FormatError(f"These are no {what}: {wrong}", where=path.name) from None
    if found.weights_sha256 != sha256:
        raise ModelError(f"The {what} were measured with other weights.", where=path.parent.name)
    return found
