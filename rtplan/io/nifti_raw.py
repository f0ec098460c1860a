"""Values of a NIfTI file that are no numbers: the library that reads it turns them into 0 without a word."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtplan.errors import FormatError

#: NIfTI-1 and NIfTI-2 by the size of their header: where datatype and first voxel stand, and how.
_HEADERS = {348: ((70, "i2"), (108, "f4")), 540: ((12, "i2"), (168, "i8"))}
#: Datatypes of floating point, by their code.
_FLOATS = {16: "f4", 64: "f8"}


def not_finite(path: Path) -> NDArray[np.bool_] | None:
    """Return which voxels of a NIfTI file (.nii, .nii.gz) are NaN or infinite.

    Returns
    -------
    ndarray, shape (n,), or None
        In the file's order (first axis fastest); None where all are finite, or the file is of another format.

    Raises
    ------
    FormatError
        If the file is damaged.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return None
    try:
        content = (
            gzip.decompress(path.read_bytes()) if path.name.lower().endswith(".gz") else path.read_bytes()
        )
    except (OSError, EOFError, zlib.error):
        raise FormatError("The file is damaged.", where=str(path), action="write it again.") from None
    for order in "<>":
        size = int(np.frombuffer(content, f"{order}i4", 1)[0]) if len(content) >= 348 else 0
        if size in _HEADERS:
            (place, kind), (at, number) = _HEADERS[size]
            code = int(np.frombuffer(content, f"{order}{kind}", 1, place)[0])
            first = int(np.frombuffer(content, f"{order}{number}", 1, at)[0])
            if code not in _FLOATS:
                return None
            width = np.dtype(_FLOATS[code]).itemsize
            count = max((len(content) - first) // width, 0) if first >= size else 0
            values = np.frombuffer(content, f"{order}{_FLOATS[code]}", count, first)
            wrong = ~np.isfinite(values)
            return wrong if wrong.any() else None
    return None
