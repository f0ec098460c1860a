"""Writer of doses in the form in which OpenKBP takes submissions: one CSV of index,value per patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rtplan.domain import Dose
from rtplan.errors import DoseError
from rtplan.io.datasets.openkbp import EDGE


def write_openkbp_dose(dose: Dose, path: Path) -> None:
    """Write the voxels with dose as ``index,value`` on the official 128³ grid.

    Parameters
    ----------
    dose : Dose
        On a grid that `read_openkbp` gave, or a part of it.

    Raises
    ------
    DoseError
        If the dose does not lie on the official grid.
    """
    grid = dose.grid
    dz, dy, dx = grid.spacing_zyx_mm
    nz, ny, nx = grid.shape
    x, y, z = grid.origin_mm
    first = np.array([y / dy + EDGE / 2, x / dx + EDGE / 2, EDGE / 2 - (z + (nz - 1) * dz) / dz])
    start = np.round(first).astype(int)
    size = np.array([ny, nx, nz])
    if (
        not grid.is_axial
        or np.abs(first - start).max() > 1e-3
        or start.min() < 0
        or (start + size).max() > EDGE
    ):
        raise DoseError("The dose does not lie on OpenKBP's grid.", where=str(grid))
    official = dose.array[::-1].transpose(1, 2, 0)
    where = np.argwhere(official > 0.0)
    flat = np.ravel_multi_index(tuple((where + start).T), (EDGE, EDGE, EDGE))
    values = official[tuple(where.T)]
    lines = [f"{index},{value:.4f}" for index, value in zip(flat, values, strict=True)]
    path.write_text("\n".join([",data", *lines]) + "\n", encoding="utf-8")
