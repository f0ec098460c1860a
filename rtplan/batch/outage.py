"""When a disk or a share is gone for all: wait within the batch's patience, then stop with nothing lost."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from rtplan.batch.members import Member
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


def wait_out(
    results: Path, members: Sequence[Member], patience_s: float, reason: str, tell: Callable[[str], None]
) -> None:
    """Return when results can be written and somebody's files can be reached.

    Parameters
    ----------
    results : Path
        Where results go.
    members : sequence of Member
        Who still waits; a few of them are looked at.
    patience_s : float
        How long is waited.
    reason : str
        What the worker said.

    Raises
    ------
    BatchError
        If it is not so within the patience.
    """
    end = time.monotonic() + patience_s
    told = False
    while not (writable(results) and any(member.reachable for member in members[:_LOOKED_AT])):
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
