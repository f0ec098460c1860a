"""PS3.15 Table E.1-1: what the Basic Profile does with an attribute, from the table beside this file."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal

from pydicom.datadict import dictionary_has_tag
from pydicom.tag import BaseTag

from rtplan import resources

Action = Literal["D", "Z", "X", "U"]

#: The codes of CID 7050 that a de-identified object states.
CLAIMS = MappingProxyType(
    {
        "113100": "Basic Application Confidentiality Profile",
        "113105": "Clean Descriptors Option",
        "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    }
)
#: Edition of the table.
EDITION = "PS3.15 2026c Table E.1-1"
#: Of a choice that depends on the type of the attribute, the one that keeps the object valid in each case.
MILDEST: Mapping[str, Action] = MappingProxyType(
    {"X/Z": "Z", "X/D": "D", "Z/D": "D", "X/Z/D": "D", "X/Z/U*": "U", "D": "D", "Z": "Z", "X": "X", "U": "U"}
)
#: Repeating groups that are removed whole: curves and overlays.
REMOVED_GROUPS = (0x5000, 0x6000)


@dataclass(frozen=True)
class Rule:
    """What happens to one attribute.

    Parameters
    ----------
    basic : str
        The action of the standard, as written there (``X/Z/D``).
    dates, words : bool
        Whether the options Modified Dates and Clean Descriptors allow to clean it instead.
    """

    keyword: str
    basic: str
    dates: bool
    words: bool

    @property
    def action(self) -> Action:
        """The action that rtplan takes: the mildest of a choice."""
        return MILDEST[self.basic]


@cache
def table() -> Mapping[int, Rule]:
    """Return the rules by tag; the repeating groups are not in it (`is_removed`)."""
    path = resources.shelf("io/confidentiality") / "table.csv"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return MappingProxyType(
        {
            int(row["tag"], 16): Rule(row["keyword"], row["basic"], bool(row["dates"]), bool(row["words"]))
            for row in csv.DictReader(lines)
            if "x" not in row["tag"]
        }
    )


def is_removed(tag: BaseTag) -> bool:
    """Whether an element goes whatever it holds: private, unknown, group length, command, curve, overlay.

    Examples
    --------
    >>> is_removed(BaseTag(0x00091001)), is_removed(BaseTag(0x60023000)), is_removed(BaseTag(0x00280010))
    (True, True, False)
    """
    return (
        tag.is_private
        or tag.element == 0
        or tag.group in (0x0000, 0x0002)
        or tag.group & 0xFF00 in REMOVED_GROUPS
        or not dictionary_has_tag(tag)
    )
