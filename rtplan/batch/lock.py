"""One owner at a time: locks that the system itself releases when a process dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rtplan.errors import BatchError

BATCH = "batch.lock"
_TRIES, _PAUSE_S = 5, 0.2


class Held(Exception):
    """Another process holds the lock."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock file for the length of the block.

    The lock goes with its process, so that a stale one cannot be; on Linux it holds on network file systems
    between machines too. The file stays; only the lock counts.

    Raises
    ------
    Held
        If another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Held from None
        yield
    finally:
        os.close(handle)


def is_held(path: Path) -> bool:
    """Whether another process holds a lock file now."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


@contextmanager
def owning(out: Path) -> Iterator[None]:
    """Own a batch's folder for the length of the block.

    Raises
    ------
    BatchError
        If another process owns it. One that was killed owns nothing any more.
    """
    with ExitStack() as stack:
        for turn in range(_TRIES):  # one who only looks (--status) holds it for an instant
            try:
                stack.enter_context(held(out / BATCH))
                break
            except Held:
                if turn + 1 == _TRIES:
                    raise _another(out) from None
                time.sleep(_PAUSE_S)
        yield


def refuse_second(out: Path) -> None:
    """Raise BatchError when another process owns a batch's folder."""
    if is_held(out / BATCH):
        raise _another(out)


def _another(out: Path) -> BatchError:
    return BatchError(
        "Another process runs this batch.",
        where=str(out),
        action="wait for it (rtplan batch --status --out DIR), or choose another --out.",
    )
