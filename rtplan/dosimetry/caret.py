"""Reads a short text from the left; every refusal points at the character with a caret."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from rtplan.errors import FormatError

#: Plain digits only, and no more than a dose, a volume or a margin can have.
NUMBER = re.compile(r"[0-9]{1,7}(\.[0-9]{1,9})?(?![0-9])")


@dataclass
class Reader:
    """A text, and how far it has been read.

    Parameters
    ----------
    text : str
        What is read.
    what : str
        What it should be, as a noun: ``A DVH metric``.
    action : str
        How it is written rightly, for the message.
    place : int
        Index of the next character.
    """

    text: str
    what: str
    action: str
    place: int = 0

    def take(self, pattern: re.Pattern[str], wanted: str) -> str:
        """Read what the pattern matches here, or refuse."""
        found = pattern.match(self.text, self.place)
        if found is None:
            self.refuse(wanted)
        self.place = found.end()
        return found.group()

    def literal(self, wanted: str) -> None:
        """Read exactly this, or refuse."""
        self.take(re.compile(re.escape(wanted)), f"{wanted!r}")

    def number(self, wanted: str) -> float:
        """Read a number >= 0 without sign or exponent, or refuse."""
        return float(self.take(NUMBER, wanted))

    def at(self, characters: str) -> bool:
        """Whether the text goes on with these characters."""
        return self.text.startswith(characters, self.place)

    def at_number(self) -> bool:
        """Whether a digit comes next."""
        return re.compile("[0-9]").match(self.text, self.place) is not None

    def skip_blanks(self) -> None:
        """Pass over blanks and tabs."""
        while self.place < len(self.text) and self.text[self.place] in " \t":
            self.place += 1

    def end(self) -> None:
        """Refuse unless the whole text is read."""
        if self.place < len(self.text):
            self.refuse("the end")

    def refuse(self, wanted: str) -> NoReturn:
        """Raise FormatError, with the text and a caret below the character."""
        found = ascii(self.text[self.place]) if self.place < len(self.text) else "the end"
        shown = "".join(sign if sign.isprintable() else "?" for sign in self.text)
        raise FormatError(
            f"{self.what} does not parse at character {self.place + 1}: found {found}, wanted {wanted}.\n"
            f"{shown}\n{' ' * self.place}^\n",
            action=self.action,
        )
