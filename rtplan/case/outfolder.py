"""An out folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtplan.errors import DiskFull, OutputError


@contextmanager
def whole(out: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a hidden folder beside ``out`` to write into; it becomes ``out`` when the block ends well.

    Both have one parent, so the last rename is atomic. When the block fails, is interrupted or the disk
    fills, the hidden folder goes and ``out`` is as it was.

    Parameters
    ----------
    out : Path
        Folder of the results; must not exist, or be empty, unless ``overwrite``.
    overwrite : bool
        Put the new results in the place of old ones, at the end, by two renames.

    Yields
    ------
    Path
        The hidden folder.

    Raises
    ------
    OutputError
        If ``out`` is a file, holds something already, or its parent cannot be written.
    """
    out = out.absolute()
    refuse_occupied(out, overwrite=overwrite)
    partial = out.parent / f".partial-{uuid.uuid4().hex[:12]}"
    made = _make(partial)
    try:
        yield partial
        _put_in_place(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for folder in made:
            _remove_if_empty(folder)
        raise


def clear_unfinished(parent: Path) -> None:
    """Remove what a process that was killed left in a folder: its hidden, unfinished folders."""
    for pattern in (".partial-*", ".old-*"):
        for folder in parent.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)


def refuse_occupied(out: Path, *, overwrite: bool) -> None:
    """Raise OutputError when ``out`` is a file, or a folder that holds something and may not be replaced."""
    if out.exists() and not out.is_dir():
        raise OutputError("The out folder is a file.", where=str(out), action="choose another --out.")
    if out.is_dir() and any(out.iterdir()):
        if not overwrite:
            raise OutputError(
                "The out folder is not empty.",
                where=str(out),
                action="choose another --out; --resume keeps finished results, --overwrite replaces them.",
            )
        if not (out / "manifest.json").is_file():
            raise OutputError(
                "The out folder holds files that are not rtplan's (no manifest.json), so it is not replaced.",
                where=str(out),
                action="choose another --out.",
            )
        if (out / "review.json").exists():
            raise OutputError(
                "The out folder holds readers' reviews (review.json), which would be lost.",
                where=str(out),
                action="choose another --out, or move review.json away first.",
            )


def demand_space(folder: Path, wanted_bytes: int) -> None:
    """Raise DiskFull when the disk of a folder has less free space than is wanted."""
    free = shutil.disk_usage(folder).free
    if free < wanted_bytes:
        raise DiskFull(
            f"The disk is too full: about {wanted_bytes / 2**20:.0f} MiB are needed, "
            f"{free / 2**20:.0f} MiB are free; nothing was written.",
            where=str(folder.parent),
            action="free space or choose another --out.",
        )


def _make(partial: Path) -> list[Path]:
    """Make the folder and the parents that are missing; return those, deepest first."""
    absent = [folder for folder in partial.parents if not folder.exists()]
    try:
        partial.mkdir(parents=True)
    except OSError as failed:
        for folder in absent:
            _remove_if_empty(folder)
        raise OutputError(
            f"The out folder cannot be made ({failed.strerror}).",
            where=str(partial.parent),
            action="choose an --out in a folder where you may write.",
        ) from None
    return absent


def _put_in_place(partial: Path, out: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        old = partial.with_name(partial.name.replace("partial", "old"))
        os.rename(out, old)
        try:
            os.rename(partial, out)
        except OSError:
            os.rename(old, out)
            raise
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.rename(partial, out)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
