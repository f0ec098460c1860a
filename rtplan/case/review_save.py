"""Save a review in the out folder: whole or not at all, and none lost between readers at one time."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from rtplan.case.review import FILE, Review, ReviewFile, read, run_of
from rtplan.errors import OutputError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: one process at a time
    fcntl = None  # type: ignore[assignment]

_PART = ".review-"
_ONE_AT_A_TIME = Lock()


def add(folder: Path, review: Review) -> ReviewFile:
    """Add a review to ``review.json`` of a finished run and return what the file holds now.

    The file is read, written beside itself, forced to the disk and renamed while no other thread or process
    does the same, so that of two readers at one time none is lost, and a reader of the file finds the
    old or the new one, never half of one.

    Raises
    ------
    FormatError
        If what is there does not parse or belongs to another run; it stays as it is.
    OutputError
        If it cannot be written.
    """
    with _alone(folder):
        before = read(folder) or ReviewFile(schema=1, manifest_sha256=run_of(folder))
        after = before.with_review(review)
        _replace(folder / FILE, after.as_json())
    return after


def demand_writable(folder: Path) -> None:
    """Raise OutputError unless a review can be saved in a folder."""
    part = folder / f"{_PART}{uuid.uuid4().hex}"
    try:
        part.touch(exist_ok=False)
        part.unlink(missing_ok=True)
    except OSError as failed:
        raise _unwritable(folder, failed) from None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with _ONE_AT_A_TIME:
        if fcntl is None:
            yield
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)  # which also unlocks


def _replace(path: Path, text: str) -> None:
    """Put a new text in the place of a file; what a killed process left beside it goes."""
    part = path.with_name(f"{_PART}{uuid.uuid4().hex}")
    try:
        for left in path.parent.glob(f"{_PART}*"):
            left.unlink(missing_ok=True)
        with part.open("x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
        _sync(path.parent)
    except OSError as failed:
        part.unlink(missing_ok=True)
        raise _unwritable(path.parent, failed) from None


def _sync(folder: Path) -> None:
    """Force a rename to the disk, where folders can be opened."""
    if fcntl is None:
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(folder: Path, failed: OSError) -> OutputError:
    return OutputError(
        f"The review cannot be saved here ({failed.strerror}).",
        where=str(folder),
        action="make the folder writable, or copy it to a place where you may write, and review there.",
    )
