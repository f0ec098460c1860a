"""A beam model as the text of its file (the standard library reads TOML but does not write it)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rtplan.planning.beam import BeamModel

#: Digits of numbers: more than any measurement has.
DIGITS = 6


def beam_text(model: BeamModel, *comments: str) -> str:
    """Return a beam model as TOML that `load_beam` reads back, with comments at its head.

    Examples
    --------
    >>> from rtplan.planning.beam import load_beam
    >>> beam_text(load_beam("generic_6mv"), "A copy.").splitlines()[:3]
    ['# A copy.', 'schema = 1', 'name = "generic_6mv"']
    """
    content = model.model_dump(exclude_none=True)
    content = {"schema": content.pop("schema_"), **content}
    return "\n".join([*(f"# {line}" for line in comments), *_lines(content, ())]) + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    parts = {key: value for key, value in table.items() if isinstance(value, Mapping) and value}
    for key, value in table.items():
        if not isinstance(value, Mapping):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in parts.items():
        yield ""
        yield f"[{'.'.join(_key(part) for part in (*path, key))}]"
        yield from _lines(value, (*path, key))


def _key(key: str) -> str:
    plain = key.replace("_", "").replace("-", "")
    return key if plain.isascii() and plain.isalnum() else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, bool | str):
        return json.dumps(value)
    if isinstance(value, float):
        return repr(float(f"{value:.{DIGITS}g}"))
    if isinstance(value, tuple | list):
        if value and isinstance(value[0], tuple | list):
            return "[\n" + "".join(f"  {_value(row)},\n" for row in value) + "]"
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return json.dumps(value)
