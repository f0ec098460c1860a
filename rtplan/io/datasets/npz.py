"""Reader of MR–CT pairs kept as npz (``ct`` HU, ``mr``, ``gtv``, ``spacing_zyx`` mm; arrays [z, y, x])."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rtplan.domain import Grid, Image, Mask, Patient, Structure
from rtplan.errors import FormatError
from rtplan.io.datasets.arrays import read_arrays

_ARRAYS = ("ct", "mr", "spacing_zyx")


def read_npz(path: Path, *, role: str = "T1w") -> Patient:
    """Read one pair as a patient with a CT, an MR and, where there is one, a GTV.

    Parameters
    ----------
    path : Path
        ``<case>.npz``; axes from inferior to superior, anterior to posterior, right to left. The first
        voxel is put at the origin: the place in the scanner is not kept in these files.
    role : str
        Role of the MR.

    Raises
    ------
    FormatError
        If the file is no npz, an array is missing, or the shapes differ.
    """
    arrays = read_arrays(path)
    lacks = [name for name in _ARRAYS if name not in arrays]
    if lacks or arrays["ct"].ndim != 3 or arrays["ct"].shape != arrays["mr"].shape:
        raise FormatError(
            f"A pair needs the arrays {', '.join(_ARRAYS)}, ct and mr of one 3-D shape; missing: "
            f"{', '.join(lacks) or 'none'}.",
            where=path.name,
        )
    dz, dy, dx = (float(mm) for mm in arrays["spacing_zyx"])
    nz, ny, nx = arrays["ct"].shape
    grid = Grid.axial((nz, ny, nx), (dz, dy, dx), (0.0, 0.0, 0.0), frame_of_reference=path.stem)
    images = {
        "CT": Image(grid, arrays["ct"], modality="CT"),
        role: Image(grid, arrays["mr"], modality="MR"),
    }
    structures = {}
    if "gtv" in arrays and arrays["gtv"].any():
        structures["GTV"] = Structure("GTV", "GTV", Mask(grid, arrays["gtv"] > 0))
    return Patient(key=path.stem, images=images, structures=structures)


def read_folder(folder: Path, *, only: tuple[str, ...] = ()) -> Iterator[Patient]:
    """Read the pairs of a folder in the order of their names.

    Parameters
    ----------
    only : tuple of str
        Cases (file names without ending) to take; all without.

    Raises
    ------
    FormatError
        If there is no npz in the folder, or a case named in ``only`` is not there.
    """
    paths = {path.stem: path for path in sorted(folder.glob("*.npz"))}
    if not paths:
        raise FormatError("There is no npz in the folder.", where=folder.name)
    lacks = [name for name in only if name not in paths]
    if lacks:
        raise FormatError(f"These cases are not in the folder: {', '.join(lacks)}.", where=folder.name)
    for name, path in paths.items():
        if not only or name in only:
            yield read_npz(path)
