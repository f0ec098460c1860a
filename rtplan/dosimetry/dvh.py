"""The dose-volume histogram of a structure: sampled once, read for any number of doses, with bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Dose, Grid, Mask, Structure
from rtplan.dosimetry.cells import PARTS, Cells
from rtplan.dosimetry.curve import Curve, accumulate
from rtplan.dosimetry.histogram import Dvh, Settings
from rtplan.dosimetry.lookup import Field, Place, crop_around
from rtplan.dosimetry.reading import MetricValue, value
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
    read_coarse, read_fine = _Sampled.of(coarse, doses, settings), _Sampled.of(fine, doses, settings)
    return tuple(_finish(structure.name, read_fine, read_coarse, i, doses[i]) for i in range(len(doses)))


def _refined(structure: Structure, dose: Dose, settings: Settings) -> tuple[Cells, Cells]:
    """Return the last two samplings: the first whose error is within the tolerance, and the one before."""
    levels = _levels(structure, dose.grid)
    coarse = _Sampled.of(next(levels), [dose], settings)
    _demand_covered(structure.name, coarse)
    fine = coarse
    for cells in levels:
        fine = _Sampled.of(cells, [dose], settings)
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


@dataclass(frozen=True, eq=False)
class _Sampled:
    """A structure's cells on a dose grid with the doses read in them."""

    cells: Cells
    covered: NDArray[np.bool_]
    surface_covered: NDArray[np.bool_]
    doses: tuple[Float, ...]
    spreads: tuple[Float, ...]
    surfaces: tuple[Float, ...]
    highest: tuple[float, ...]
    settings: Settings

    @classmethod
    def of(cls, cells: Cells, doses: Sequence[Dose], settings: Settings) -> _Sampled:
        grid = doses[0].grid
        start, shape = crop_around(np.concatenate([cells.points, cells.surface]), grid)
        place = Place.of(cells.points, grid, start, shape)
        edge = Place.of(cells.surface, grid, start, shape)
        middle, spread, rim = [], [], []
        for dose in doses:
            values = Field.of(dose, start, shape, settings.interpolation)
            middle.append(values.at(place.coordinates))
            rim.append(values.at(edge.coordinates))
            gradient = values.gradient(place.coordinates) @ cells.axes.T
            across = np.einsum("ij,ij->i", gradient, cells.taper_mm)
            square = np.einsum("ij,ij->i", gradient**2, cells.width_mm**2) - across**2
            spread.append(np.sqrt(np.maximum(square, 0.0)))
        highest = tuple(float(dose.array.max()) for dose in doses)
        return cls(
            cells, place.covered, edge.covered, tuple(middle), tuple(spread), tuple(rim), highest, settings
        )

    def reading(self, number: int, caps: str | None = None, outside_gy: float = 0.0) -> Curve:
        """Return the curve of one dose under a cap policy, with a dose for what lies outside."""
        caps = caps or self.settings.caps
        cells, rim = self.cells.belongs(caps), self.cells.surface_of(caps)
        dose = np.where(self.covered, self.doses[number], outside_gy)[cells]
        spread = np.where(self.covered, self.spreads[number], 0.0)[cells]
        edge = np.where(self.surface_covered, self.surfaces[number], outside_gy)[rim]
        volume = self.cells.volume_cc[cells]
        seen = np.concatenate([dose[volume > 0], edge])
        return accumulate(dose, spread, volume, (float(seen.min()), float(seen.max())))

    def covered_fraction(self) -> float:
        """Return the part of the chosen solid's volume that lies inside the dose grid."""
        chosen = self.cells.belongs(self.settings.caps)
        volume = self.cells.volume_cc
        return float(np.clip(volume[chosen & self.covered].sum() / volume[chosen].sum(), 0.0, 1.0))


def _error_left(a: Curve, b: Curve, settings: Settings) -> float:
    """Return the error left in the leading metrics, for convergence with the square, over the tolerance."""
    shares = np.array([0.98, 0.5, 0.02])
    worst = max(abs(a.dose_at(a.total_cc * s) - b.dose_at(b.total_cc * s)) for s in shares)
    allowed = settings.tolerance_gy * max(b.max_gy / 60.0, 1e-6)
    return max(worst, abs(a.mean_gy - b.mean_gy)) / (FINER**2 - 1.0) / allowed


def _demand_covered(name: str, sampled: _Sampled) -> float:
    """Return the covered fraction; raise DoseError where it is below 1 and the policy is to refuse."""
    covered = sampled.covered_fraction()
    if covered < 1.0 - 1e-6 and sampled.settings.outside == "refuse":
        raise DoseError(
            f"{100.0 * (1.0 - covered):.1f} % of the structure lies outside the dose grid.",
            where=name,
            action="calculate the dose on a larger grid, or ask for bounds (outside='bounds') knowingly.",
        )
    return covered


def _curves(fine: _Sampled, number: int) -> dict[str, Curve]:
    """Return the curves of all cap policies and of the extremes for the cap bound."""
    if not fine.cells.cap.any():
        return {fine.settings.caps: fine.reading(number)}
    return {caps: fine.reading(number, caps) for caps in PARTS if fine.cells.volume_of(caps) > 0}


def _finish(name: str, fine: _Sampled, coarse: _Sampled, number: int, dose: Dose) -> Dvh:
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
