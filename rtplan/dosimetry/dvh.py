"""The dose-volume histogram of a structure: sampled once, read for any number of doses, with bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Dose, Grid, Mask, Structure
from rtplan.dosimetry.cells import PARTS, Cells
from rtplan.dosimetry.curve import Curve
from rtplan.dosimetry.histogram import Dvh, Settings
from rtplan.dosimetry.reading import MetricValue, value
from rtplan.dosimetry.sampled import Sampled
from rtplan.dosimetry.sampling import cells_of
from rtplan.dosimetry.solid import Solid
from rtplan.dosimetry.voxels import cells_of_mask, count_for
from rtplan.errors import DoseError, GeometryMismatch, StructureError

__all__ = ["Dvh", "MetricValue", "Settings", "dvh", "dvhs", "value"]

Float = NDArray[np.float64]

#: The first cells' side is this part of the cube root of the volume; each next side is this much smaller.
FIRST_STEP, FINER = 11.0, 1.6
#: Times as many cells at the next side.
GROWTH = 3.5


def dvh(structure: Structure, dose: Dose, settings: Settings | None = None) -> Dvh:
    """Return the DVH of a structure under a dose (see `dvhs` for several doses at once).

    Examples
    --------
    >>> grid = Grid.axial((8, 8, 8), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    >>> inner = np.zeros(grid.shape, bool)
    >>> inner[2:6, 2:6, 2:6] = True
    >>> dose = Dose(grid, np.broadcast_to(np.arange(8.0), grid.shape))
    >>> round(dvh(Structure("GTV", "GTV", Mask(grid, inner)), dose).curve.mean_gy, 6)
    3.5
    """
    return dvhs(structure, [dose], settings)[0]


def dvhs(structure: Structure, doses: Sequence[Dose], settings: Settings | None = None) -> tuple[Dvh, ...]:
    """Return the DVHs of one structure under several doses on one grid; the structure is sampled once.

    Parameters
    ----------
    structure : Structure
        Contours or a mask, in the frame of reference of the doses.
    doses : sequence of Dose
        All on the same grid. The cells are refined on the first.
    settings : Settings, optional
        The default is ``Settings()``.

    Raises
    ------
    GeometryMismatch
        If the doses lie on different grids, or the structure is in another frame of reference.
    StructureError
        If the structure is empty.
    DoseError
        If a dose is not finite in it, or it leaves the grid and the policy is ``refuse``.
    """
    settings = settings or Settings()
    for dose in doses[1:]:
        doses[0].demand_same_grid(dose)
    _demand_frame(structure, doses[0].grid)
    coarse, fine = _refined(structure, doses[0], settings)
    read_coarse, read_fine = Sampled.of(coarse, doses, settings), Sampled.of(fine, doses, settings)
    return tuple(_finish(structure.name, read_fine, read_coarse, i, doses[i]) for i in range(len(doses)))


def _refined(structure: Structure, dose: Dose, settings: Settings) -> tuple[Cells, Cells]:
    """Return the last two samplings: the first whose error is within the tolerance, and the one before."""
    levels = _levels(structure, dose.grid)
    coarse = Sampled.of(next(levels), [dose], settings)
    _demand_covered(structure.name, coarse)
    fine = coarse
    for cells in levels:
        fine = Sampled.of(cells, [dose], settings)
        if _error_left(coarse.reading(0), fine.reading(0), settings) <= 1.0:
            break
        if GROWTH * len(cells.points) > settings.most_cells:
            break
        coarse = fine
    return coarse.cells, fine.cells


def _demand_frame(structure: Structure, grid: Grid) -> None:
    region = structure.region
    frame = region.grid.frame_of_reference if isinstance(region, Mask) else region.frame_of_reference
    if frame and grid.frame_of_reference and frame != grid.frame_of_reference:
        raise GeometryMismatch(
            "The structure and the dose lie in different frames of reference.",
            where=structure.name,
            action="register one to the other first.",
        )


def _levels(structure: Structure, grid: Grid) -> Iterator[Cells]:
    """Yield the structure's cells, coarse to fine."""
    region = structure.region
    try:
        if isinstance(region, Mask):
            parts = count_for(region, 30_000)
            yield cells_of_mask(region, parts)
            while parts != 8:
                parts = {True: min(2 * parts, 8), False: -(-parts // 2)}[parts > 0]
                parts = 1 if parts == -1 else parts
                yield cells_of_mask(region, parts)
            return
        solid = Solid.of(region, structure.name)
        thickness = float(np.abs(grid.direction.T @ solid.axes[2]) @ np.array(grid.spacing_zyx_mm))
        step = _first_step(solid, thickness)
        while True:
            yield cells_of(solid, step, single_slice_mm=thickness)
            step /= FINER
    except StructureError as wrong:
        raise StructureError(wrong.message, where=structure.name) from None


def _first_step(solid: Solid, thickness: float) -> float:
    """Return a part of the cube root of about the volume, mm."""
    heights = solid.heights_mm
    gap = float(np.median(np.diff(heights))) if len(heights) > 1 else thickness
    surface = sum(np.pi * radius**2 for plane in solid.levels[0] for radius in plane.radii_mm)
    return float(max((surface * gap) ** (1 / 3) / FIRST_STEP, 0.05))


def _error_left(a: Curve, b: Curve, settings: Settings) -> float:
    """Return the error left in the leading metrics, for convergence with the square, over the tolerance."""
    shares = np.array([0.985, 0.98, 0.975, 0.5, 0.025, 0.02, 0.015])
    worst = max(abs(a.dose_at(a.total_cc * s) - b.dose_at(b.total_cc * s)) for s in shares)
    allowed = settings.tolerance_gy * max(b.max_gy / 60.0, 1e-6)
    return max(worst, abs(a.mean_gy - b.mean_gy)) / (FINER**2 - 1.0) / allowed


def _demand_covered(name: str, sampled: Sampled) -> float:
    """Return the covered fraction; raise DoseError where it is below 1 and the policy is to refuse."""
    covered = sampled.covered_fraction()
    if covered < 1.0 - 1e-6 and sampled.settings.outside == "refuse":
        raise DoseError(
            f"{100.0 * (1.0 - covered):.1f} % of the structure lies outside the dose grid.",
            where=name,
            action="calculate the dose on a larger grid, or ask for bounds (outside='bounds') knowingly.",
        )
    return covered


def _curves(fine: Sampled, number: int) -> dict[str, Curve]:
    """Return the curves of all cap policies and of the extremes for the cap bound."""
    if not fine.cells.cap.any():
        return {fine.settings.caps: fine.reading(number)}
    return {caps: fine.reading(number, caps) for caps in PARTS if fine.cells.volume_of(caps) > 0}


def _finish(name: str, fine: Sampled, coarse: Sampled, number: int, dose: Dose) -> Dvh:
    settings = fine.settings
    covered = _demand_covered(name, fine)
    curves = _curves(fine, number)
    bounds = settings.outside == "bounds" and covered < 1.0 - 1e-6
    upper = fine.reading(number, outside_gy=fine.highest[number]) if bounds else None
    return Dvh(
        name=name,
        curves=curves,
        coarse=coarse.reading(number),
        covered_fraction=covered,
        settings=settings,
        upper=upper,
        kind=dose.kind,
        fractions=dose.fractions,
        notes=fine.cells.notes,
        grain_gy=float(np.median(fine.spreads[number])),
    )
