"""When a disk or a share is gone for all: wait within the batch's patience, then stop with nothing lost."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from rtplan.batch.members import Member
from rtplan.batch.outcome import Outcome, free_bytes
from rtplan.errors import BatchError

#: So much must be writable before patients are sent on.
PROBE_BYTES = 2**20
_PAUSE_S, _LOOKED_AT = 0.5, 20


def writable(folder: Path) -> bool:
    """Whether a file of `PROBE_BYTES` can be written, and is on the disk."""
    probe = folder / f".probe-{uuid.uuid4().hex[:8]}"
    try:
        with probe.open("wb") as stream:
            stream.write(b"\0" * PROBE_BYTES)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        return False
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    return True


def somebody(members: Sequence[Member]) -> bool:
    """Whether the files of at least one can be reached; a few, spread over all, are looked at."""
    return any(member.reachable for member in members[:: max(1, len(members) // _LOOKED_AT)])


def wait_out(
    results: Path, members: Sequence[Member], patience_s: float, outcome: Outcome, tell: Callable[[str], None]
) -> None:
    """Return when results can be written and somebody's files can be reached.

    A full disk must have more free space than when it was full.

    Parameters
    ----------
    results : Path
        Where results go.
    members : sequence of Member
        Whose files are looked at; a few of them, spread over all.
    patience_s : float
        How long is waited.
    outcome : Outcome
        What the worker said.

    Raises
    ------
    BatchError
        If it is not so within the patience.
    """
    end = time.monotonic() + patience_s
    told, reason = False, str(outcome.reason)
    more = outcome.free_bytes + PROBE_BYTES if outcome.outage == "disk" else 0
    while not (free_bytes(results) >= more and writable(results) and somebody(members)):
        if time.monotonic() >= end:
            raise BatchError(
                f"{reason} The batch stops; nothing is lost.",
                where=str(results.parent),
                action="look after the disk or the share, then call again with --resume.",
            )
        if not told:
            tell(f"{reason} Waiting up to {patience_s:.0f} s.")
            told = True
        time.sleep(_PAUSE_S)
