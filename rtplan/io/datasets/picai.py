"""Reader of prostate masks kept as npz: gland, zones and graded lesions, arrays [z, y, x]."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rtplan.domain import Grid, Mask, Patient, Structure
from rtplan.domain.structure import Kind
from rtplan.errors import FormatError
from rtplan.io.datasets.arrays import read_arrays

_ARRAYS = ("gland", "zones", "lesion_isup", "spacing_zyx")


def read_prostate(path: Path) -> Patient:
    """Read the masks of one prostate as a patient without images.

    Parameters
    ----------
    path : Path
        ``<case>.npz``; axes from inferior to superior, anterior to posterior, right to left. ``zones`` is 1
        in the peripheral and 2 in the transition zone; ``lesion_isup`` holds the grade in each lesion. The
        first voxel is put at the origin: place and tilt in the scanner are not kept in these files.

    Returns
    -------
    Patient
        Structures ``Prostate``, ``Prostate_PZ``, ``Prostate_TZ`` and ``GTVp`` (all lesions), those that
        have voxels, as masks on one axial grid.

    Raises
    ------
    FormatError
        If there is no such file, it is no npz, an array is missing, or the shapes differ.
    """
    if not path.is_file():
        raise FormatError("There is no such file.", where=str(path), action="give a prostate's npz.")
    arrays = read_arrays(path)
    lacks = [name for name in _ARRAYS if name not in arrays]
    if lacks or arrays["gland"].ndim != 3 or len({arrays[n].shape for n in _ARRAYS[:3]}) != 1:
        raise FormatError(
            f"A prostate needs the arrays {', '.join(_ARRAYS)}, the first three of one 3-D shape; missing: "
            f"{', '.join(lacks) or 'none'}.",
            where=path.name,
        )
    dz, dy, dx = (float(mm) for mm in arrays["spacing_zyx"])
    nz, ny, nx = arrays["gland"].shape
    grid = Grid.axial((nz, ny, nx), (dz, dy, dx), (0.0, 0.0, 0.0), frame_of_reference=path.stem)
    parts: tuple[tuple[str, Kind, np.ndarray], ...] = (
        ("Prostate", "CTV", arrays["gland"] > 0),
        ("Prostate_PZ", "ORGAN", arrays["zones"] == 1),
        ("Prostate_TZ", "ORGAN", arrays["zones"] == 2),
        ("GTVp", "GTV", arrays["lesion_isup"] > 0),
    )
    structures = {n: Structure(n, kind, Mask(grid, inside)) for n, kind, inside in parts if inside.any()}
    return Patient(key=path.stem, structures=structures)
