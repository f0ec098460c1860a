"""Pseudonyms, UIDs and days that depend on a key: alike for one key, and no way back without it."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from dataclasses import dataclass

#: Least length of a key, bytes.
SHORTEST_KEY = 16
#: UIDs of the standard name definitions, not instances.
STANDARD_ROOT = "1.2.840.10008."
#: Dates go back by at least and at most so many days.
LEAST_DAYS, MOST_DAYS = 365, 3650


@dataclass(frozen=True)
class Keyed:
    """What one key makes of identifiers.

    Parameters
    ----------
    key : bytes
        Secret; the same key gives the same results in another call.
    """

    key: bytes

    def _digest(self, use: str, value: str) -> bytes:
        return hmac.new(self.key, f"{use}\x1f{value}".encode(), hashlib.sha256).digest()

    def uid(self, old: str) -> str:
        """Return the new UID of an old one; those of the standard itself are kept.

        Examples
        --------
        >>> keyed = Keyed(b"0123456789abcdef")
        >>> keyed.uid("1.2.3") == keyed.uid("1.2.3") != keyed.uid("1.2.4")
        True
        >>> keyed.uid("1.2.840.10008.1.2")
        '1.2.840.10008.1.2'
        """
        if not old or old.startswith(STANDARD_ROOT):
            return old
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', old)[:16], version=4).int}"

    def pseudonym(self, person: str) -> str:
        """Return twelve hexadecimal digits for a person."""
        return self._digest("person", person).hex()[:12].upper()

    def days(self, person: str) -> int:
        """Return by how many days the dates of a person move; negative."""
        span = MOST_DAYS - LEAST_DAYS + 1
        return -(LEAST_DAYS + int.from_bytes(self._digest("days", person)[:8], "big") % span)
