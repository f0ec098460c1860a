"""What names a person in a set of objects, and whether any of it is still somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import filterfalse

from pydicom.dataset import Dataset

from rtplan.errors import DicomError
from rtplan.io import header as hd
from rtplan.io.confidentiality.keyed import STANDARD_ROOT
from rtplan.io.confidentiality.profile import is_removed, table
from rtplan.io.confidentiality.words import vocabulary
from rtplan.io.names import fold

#: Sequences in sequences, at most.
DEEPEST = 32
BIRTH_DATE = 0x00100030
#: Shortest identifier that is looked for inside words; a shorter one counts as a whole word.
SHORTEST_PART = 5
#: Shortest identifier that is looked for in pixels, where chance makes short ones.
SHORTEST_IN_PIXELS = 8
#: Encodings in which an identifier is looked for in bytes.
_CODES = ("utf-8", "latin-1")
_TEXT_VR = ("AE", "LO", "SH", "ST", "LT", "UC", "UT")
_UID = re.compile(rb"\d+(?:\.\d+){4,}")
#: Values that stand for nobody.
_NOBODY = frozenset(
    ("anonymous", "anonymized", "anonymised", "deidentified", "unknown", "none", "null", "test", "hospital")
)


@dataclass
class Residue:
    """The names, identifiers and UIDs of one person's objects.

    Parameters
    ----------
    strings : set of str
        Parts of names, and values of attributes that the profile takes away.
    uids : set of str
        Instance UIDs as they were.
    """

    strings: set[str] = field(default_factory=set)
    uids: set[str] = field(default_factory=set)

    def learn(self, header: Dataset, depth: int = 0) -> None:
        """Gather from one object, items of sequences too.

        Raises
        ------
        DicomError
            If sequences lie deeper in each other than any object of the standard has them.
        """
        if depth > DEEPEST:
            raise DicomError(f"its sequences lie more than {DEEPEST} deep in each other.")
        for tag in filterfalse(is_removed, list(header.keys())):
            vr = hd.vr_of(header, tag)
            if vr == "SQ":
                for item in header[tag].value or ():
                    self.learn(item, depth + 1)
            elif vr == "PN":
                self._add(re.split(r"[\^=\\\s,.;]+", str(header[tag].value or "")))
            elif vr in _TEXT_VR and self._identifies(tag):
                self._add(str(header[tag].value or "").split("\\"))
            elif vr == "UI" and not header[tag].keyword.endswith("ClassUID"):
                found = header[tag].value or ()
                self.uids |= {str(uid) for uid in ([found] if isinstance(found, str) else found)}
            elif tag == BIRTH_DATE:
                day = str(header[tag].value or "")
                self._add([day, f"{day[:4]}-{day[4:6]}-{day[6:]}", f"{day[6:]}.{day[4:6]}.{day[:4]}"])

    @staticmethod
    def _identifies(tag: int) -> bool:
        rule = table().get(tag)
        return rule is not None and not rule.words and rule.action != "U"

    def _add(self, values: Iterable[str]) -> None:
        for value in values:
            plain = value.strip().strip("\0")
            folded = fold(plain)
            if 3 <= len(plain) <= 64 and folded not in vocabulary() and folded not in _NOBODY:
                self.strings.add(plain)

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        parts = [_bounded(value) for value in {fold(s) for s in self.strings} - {""}]
        return re.compile("|".join(parts)) if parts else None

    def in_text(self, text: str) -> bool:
        """Whether a text holds an identifier, in any case and with or without accents, or a UID as it was."""
        if self._pattern is not None and self._pattern.search(fold(text)):
            return True
        return self._was_uid(text.encode("utf-8", "replace"))

    def _was_uid(self, content: bytes) -> bool:
        found = (uid.decode() for uid in _UID.findall(content))
        return any(uid in self.uids and not uid.startswith(STANDARD_ROOT) for uid in found)

    def in_header(self, content: bytes) -> bool:
        """Whether the bytes of an object without its pixels hold an identifier or a UID as it was."""
        low = content.lower()
        found = any(part in low and pattern.search(low) for part, pattern in self._bytes)
        return found or self._was_uid(content)

    @cached_property
    def _bytes(self) -> tuple[tuple[bytes, re.Pattern[bytes]], ...]:
        wanted = {form for s in self.strings if len(s) >= SHORTEST_PART for form in (s, s.lower(), s.upper())}
        pairs = {(s.encode(c, "ignore"), _bounded(s).encode(c, "ignore")) for s in wanted for c in _CODES}
        return tuple(
            (part.lower(), re.compile(pattern.lower()))
            for part, pattern in pairs
            if len(part) >= SHORTEST_PART
        )

    def in_pixels(self, content: bytes | None) -> bool:
        """Whether the bytes of the pixels hold an identifier of at least eight characters."""
        wanted = [
            value.encode("utf-8", "ignore") for value in self.strings if len(value) >= SHORTEST_IN_PIXELS
        ]
        return any(value in (content or b"") for value in wanted)


def _bounded(value: str) -> str:
    """Return a pattern: a number as a whole number, a short word as a whole word, a long one anywhere."""
    if value.isdigit():
        return rf"(?<![\d.]){value}(?![\d.])"
    word = re.escape(value)
    return word if len(value) >= SHORTEST_PART else rf"(?<![a-z0-9]){word}(?![a-z0-9])"
