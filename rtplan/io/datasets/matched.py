"""Readers of MR-CT pairs by what lies in the folder: npz files, or SynthRAD's folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rtplan.domain import Patient
from rtplan.errors import FormatError
from rtplan.io.datasets.npz import read_folder
from rtplan.io.datasets.synthrad import case_folders, read_synthrad_folder


def names_of_pairs(folder: Path) -> tuple[str, ...]:
    """Return the names of the pairs in a folder, sorted.

    Raises
    ------
    FormatError
        If there are none.
    """
    names = tuple(path.stem for path in sorted(folder.glob("*.npz"))) or tuple(case_folders(folder))
    if not names:
        raise FormatError("There are no pairs in the folder: neither npz nor SynthRAD.", where=folder.name)
    return names


def read_pairs(folder: Path, *, only: tuple[str, ...] = ()) -> Iterator[Patient]:
    """Read the pairs of a folder, each with a CT and one MR on one grid.

    Raises
    ------
    FormatError
        If there are none, one named in ``only`` is not there, or one cannot be read.
    """
    names_of_pairs(folder)
    if any(folder.glob("*.npz")):
        return read_folder(folder, only=only)
    return read_synthrad_folder(folder, only=only)
