"""What the node says of itself: a log for the operator, and an audit trail that is only ever added to.

Neither holds anything of a patient: AE titles, addresses, SOP classes, keyed hashes, counts and codes.
Each line of the trail bears the SHA-256 of the line before: one that was changed or taken out shows.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

AUDIT_FILE = "audit.jsonl"
#: Words may hold printable ASCII only, and so many signs.
MOST_SIGNS = 80
Fact = str | int | float | None


class Journal:
    """Writes log and audit trail.

    Parameters
    ----------
    folder : Path
        Of the audit trail; must exist.
    stream : text stream, optional
        Of the log; stderr when absent, which systemd keeps.
    quiet : bool
        No log.
    """

    def __init__(self, folder: Path, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._stream, self._quiet = stream, quiet
        self._lock = threading.Lock()
        self._path = folder / AUDIT_FILE
        self._last = _last_hash(self._path)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        if self._path.stat().st_size and not _ends_whole(self._path):
            os.write(self._file, b"\n")  # a line that a crash tore stays as it is

    def log(self, event: str, **facts: Fact) -> None:
        """Write a line of the log."""
        if self._quiet:
            return
        stream = self._stream or sys.stderr
        words = " ".join(
            f"{name}={_plain(value)}" for name, value in facts.items() if value not in (None, "")
        )
        with self._lock:
            stream.write(f"{_now()} {event} {words}".rstrip() + "\n")
            stream.flush()

    def audit(self, event: str, **facts: Fact) -> None:
        """Write a line of the trail, on disk before this returns, and one of the log."""
        self.log(event, **facts)
        with self._lock:
            line: dict[str, Fact] = {"time": _now(), "event": event}
            line |= {name: _plain(value) for name, value in facts.items() if value not in (None, "")}
            text = json.dumps(line | {"before": self._last}, ensure_ascii=True).encode()
            try:
                os.write(self._file, text + b"\n")
                os.fsync(self._file)
                self._last = hashlib.sha256(text).hexdigest()
            except OSError as failed:
                self._complain(failed)

    def close(self) -> None:
        """Close the trail."""
        os.close(self._file)

    def _complain(self, failed: OSError) -> None:
        (self._stream or sys.stderr).write(
            f"{_now()} the audit trail cannot be written ({failed.strerror})\n"
        )


def broken_lines(path: Path, tell: Callable[[int], None] = lambda _: None) -> int:
    """Return how many lines of an audit trail do not follow from the line before.

    Parameters
    ----------
    path : Path
        The trail.
    tell : callable
        Gets the number of each such line, from 1.
    """
    before, broken = "", 0
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            said = json.loads(line).get("before")
        except (ValueError, AttributeError):
            said = None
        if said != before:
            broken += 1
            tell(number)
        if said is not None:
            before = hashlib.sha256(line).hexdigest()
    return broken


def _last_hash(path: Path) -> str:
    lines = path.read_bytes().splitlines() if path.exists() else []
    for line in reversed(lines):
        try:
            json.loads(line)
        except ValueError:
            continue
        return hashlib.sha256(line).hexdigest()
    return ""


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read() == b"\n"


def _plain(value: Fact) -> Fact:
    """Return a fact as it may stand in a line: no control signs, no endless words."""
    if not isinstance(value, str):
        return value
    return "".join(sign if " " <= sign <= "~" else "?" for sign in value)[:MOST_SIGNS]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
