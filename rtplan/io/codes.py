"""Every code of a notice that the door can give: severity, meaning, what to do; data in ``io/notices``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from rtplan import resources
from rtplan.errors import FormatError

#: Where the tables lie (``rtplan/io/notices``): one file for each part of the door.
SHELF = "io/notices"
SEVERITIES = ("info", "warn", "refuse")


@dataclass(frozen=True)
class Code:
    """One line of the table.

    Parameters
    ----------
    name : str
        The stable code, as notices bear it.
    part : str
        The file of the table: ``images``, ``objects``, ``names``, ``writing`` …
    severities : tuple of str
        The severities that it can have, mildest first.
    meaning : str
        What was found.
    action : str
        What the user can do; empty where there is nothing to do.
    """

    name: str
    part: str
    severities: tuple[str, ...]
    meaning: str
    action: str = ""


@cache
def codes() -> Mapping[str, Code]:
    """Return the table of all codes by name, in order of part and file.

    Raises
    ------
    FormatError
        If a code stands twice, or an entry is not as `Code` says.

    Examples
    --------
    >>> codes()["GANTRY_TILT"].severities
    ('refuse',)
    """
    found: dict[str, Code] = {}
    for part in resources.names(SHELF):
        path = resources.find(SHELF, part)
        for name, entry in tomllib.loads(path.read_text(encoding="utf-8")).items():
            severities = tuple(word.strip() for word in entry["severity"].split("|"))
            if name in found or not set(severities) <= set(SEVERITIES):
                raise FormatError(f"{name} stands twice or has no known severity.", where=str(path))
            found[name] = Code(name, part, severities, entry["meaning"], entry.get("action", ""))
    return MappingProxyType(found)
