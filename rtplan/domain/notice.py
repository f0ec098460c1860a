"""A notice: the one currency of problems."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["info", "warn", "refuse"]


@dataclass(frozen=True)
class Notice:
    """A problem or a fact that the user must know.

    Parameters
    ----------
    code : str
        Stable, in capitals (``FOV_TRUNCATED``).
    severity : str
        ``info``, ``warn`` or ``refuse``.
    message : str
        What was found. Never a patient's name or identifier.
    action : str
        What the user can do.
    file, uid, structure : str or None
        Where.
    """

    code: str
    severity: Severity
    message: str
    action: str = ""
    file: str | None = None
    uid: str | None = None
    structure: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the notice as plain data in the shape of ``notices.json``."""
        plain = asdict(self)
        plain["where"] = {key: plain.pop(key) for key in ("file", "uid", "structure")}
        return plain
