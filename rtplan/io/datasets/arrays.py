"""The arrays of an npz file, all of them plain: what the readers of public sets begin with."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtplan.errors import FormatError


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return every array of an npz by name; pickled objects are refused.

    Raises
    ------
    FormatError
        If the file is no npz of plain arrays. The name of the file stands in the error, its folder does not.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, zipfile.BadZipFile, EOFError) as broken:
        raise FormatError("The file is no npz of plain arrays.", where=path.name) from broken
