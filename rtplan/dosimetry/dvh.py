"""The dose-volume histogram of a structure: sampled once, read for any number of doses, with bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Dose, Grid, Mask, Structure
from rtplan.dosimetry.blas import one_thread
from rtplan.dosimetry.cells import CORE, PARTS, Cells
from rtplan.dosimetry.doubt import doubt_of
from rtplan.dosimetry.histogram import Dvh, Settings
from rtplan.dosimetry.reading import MetricValue, value
from rtplan.dosimetry.sampled import Sampled
from rtplan.dosimetry.sampling import cells_of
from rtplan.dosimetry.solid import Solid
from rtplan.dosimetry.voxels import cells_of_mask, count_for
from rtplan.errors import DoseError, GeometryMismatch, StructureError

__all__ = ["Dvh", "MetricValue", "Settings", "dvh", "dvhs", "value"]

Float = NDArray[np.float64]

#: Cells across the cube root of the volume: of contours, by the tolerance between these two numbers, …
FEWEST, MOST = 10.0, 26.0
#: … so that the error of D98 and D2, about ``ERROR span (side / root)²``, keeps the tolerance.
ERROR = 0.07
#: Voxels per side of the dose that the span is taken from.
FINEST_LOOK = 16
#: A lattice follows rings down to this part of the radius that half of the area has in smaller rings.
SMALLEST_PART = 0.6
#: Most places of the first lattice in all planes, where its side is not the longest.
MOST_PLACES = 120_000
#: Longest side of a lattice cell, mm.
LONGEST_MM = 8.0
#: Each next side is this much smaller; times as many cells.
FINER, GROWTH = 1.6, 3.5
#: Cells of a mask that are aimed at, and the most parts that the side of a voxel is cut into.
MASK_CELLS, FINEST = 30_000, 8


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
    with one_thread():
        read = _refined(structure, doses[0], settings)
        rest = [_finish(structure.name, read.under(dose), dose) for dose in doses[1:]]
        return (_finish(structure.name, read, doses[0]), *rest)


def _refined(structure: Structure, dose: Dose, settings: Settings) -> Sampled:
    """Return the first sampling whose error is within the tolerance."""
    read = None
    for cells in _levels(structure, dose, settings):
        if read is not None and len(cells.volume_cc) > settings.most_cells:
            break
        read = Sampled.of(cells, dose, settings)
        _demand_covered(structure.name, read)
        if _error_left(read, settings) <= 1.0 or GROWTH * len(cells.volume_cc) > settings.most_cells:
            break
    assert read is not None
    return read


def _demand_frame(structure: Structure, grid: Grid) -> None:
    region = structure.region
    frame = region.grid.frame_of_reference if isinstance(region, Mask) else region.frame_of_reference
    if frame and grid.frame_of_reference and frame != grid.frame_of_reference:
        raise GeometryMismatch(
            "The structure and the dose lie in different frames of reference.",
            where=structure.name,
            action="register one to the other first.",
        )


def _levels(structure: Structure, dose: Dose, settings: Settings) -> Iterator[Cells]:
    """Yield the structure's cells, coarse to fine."""
    region = structure.region
    try:
        if isinstance(region, Mask):
            parts = count_for(region, MASK_CELLS)
            yield cells_of_mask(region, parts)
            while parts < FINEST:
                parts = 2 * parts if parts > 0 else (-(-parts // 2) if parts < -3 else 1)
                yield cells_of_mask(region, parts)
            return
        solid = Solid.of(region, structure.name)
        thickness = float(np.abs(dose.grid.direction.T @ solid.axes[2]) @ np.array(dose.grid.spacing_zyx_mm))
        step = _first_step(solid, thickness, dose, settings)
        while True:
            yield cells_of(solid, step, single_slice_mm=thickness)
            step /= FINER
    except StructureError as wrong:
        raise StructureError(wrong.message, where=structure.name) from None


def _first_step(solid: Solid, thickness: float, dose: Dose, settings: Settings) -> float:
    """Return the side of the lattice that about keeps the tolerance (`ERROR`), mm."""
    heights = solid.heights_mm
    gap = median(np.diff(heights).tolist()) if len(heights) > 1 else thickness
    radii = np.concatenate([plane.radii_mm for plane in solid.levels[0]])
    root = min(float((np.pi * (radii**2).sum() * gap) ** (1 / 3)), 1.6 * _middle_radius(radii))
    span, highest = _span(solid, dose)
    if not np.isfinite(span):
        raise DoseError("The dose holds values that are not finite where the structure lies.")
    across = np.sqrt(ERROR * span / (settings.tolerance_gy * max(highest / 60.0, 1e-6)))
    step = min(max(root / min(max(across, FEWEST), MOST), 0.02), LONGEST_MM)
    low, high = solid.box_mm
    places = float((high[0] - low[0]) * (high[1] - low[1])) * sum(len(level) for level in solid.levels)
    return float(max(step, min(np.sqrt(places / MOST_PLACES), LONGEST_MM)))


def _middle_radius(radii: Float) -> float:
    """Return the median radius; where small rings are many, a part of that which halves the area, mm."""
    radii = np.sort(radii)
    area = np.cumsum(radii * radii)
    return max(
        float(median(radii.tolist())), SMALLEST_PART * float(radii[np.searchsorted(area, 0.5 * area[-1])])
    )


def _span(solid: Solid, dose: Dose) -> tuple[float, float]:
    """Return the span of the dose over the box of the structure, Gy, and its highest value there."""
    box = np.array(solid.box_mm)
    corners = np.array([[box[i, 0], box[j, 1], box[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    index = dose.grid.to_index(corners @ solid.axes)
    size = np.array(dose.grid.shape)
    start = np.clip(np.floor(index.min(axis=0)).astype(int), 0, size - 1)
    stop = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1, start + 1, size)
    stride = 1 + (stop - start) // FINEST_LOOK
    values = dose.array[tuple(slice(*part) for part in zip(start, stop, stride, strict=True))].copy()
    highest = float(values.max())
    return highest - float(values.min()), highest


def _error_left(read: Sampled, settings: Settings) -> float:
    """Return the error left in the leading metrics, for convergence with the square, over the tolerance."""
    a, b = read.coarse, read.curve
    shares = np.array([0.985, 0.98, 0.975, 0.5, 0.025, 0.02, 0.015])
    worst = float(np.abs(a.doses_at(shares) - b.doses_at(shares)).max())
    allowed = settings.tolerance_gy * max(b.max_gy / 60.0, 1e-6)
    return max(worst, abs(a.mean_gy - b.mean_gy)) / 3.0 / allowed


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


def _finish(name: str, read: Sampled, dose: Dose) -> Dvh:
    settings = read.settings
    covered = _demand_covered(name, read)
    held = read.cells.labels()
    ramps, labels = read.ramps, PARTS[settings.caps]
    curves = {
        caps: read.curve if caps == settings.caps else ramps.curve(parts)
        for caps, parts in PARTS.items()
        if caps == settings.caps or (held & set(parts) and held != {CORE})
    }
    upper = None
    if settings.outside == "bounds" and covered < 1.0 - 1e-6:
        highest = float(dose.array.max())
        upper = read.read.ramps(read.cells, read.covered, highest).curve(PARTS[settings.caps])
    return Dvh(
        name=name,
        curves=curves,
        coarse=read.coarse,
        covered_fraction=covered,
        settings=settings,
        upper=upper,
        kind=dose.kind,
        fractions=dose.fractions,
        notes=read.cells.notes,
        grain_gy=read.read.grain_gy,
        doubt=doubt_of(read.cells, ramps, labels, read.read.left_open(read.cells, labels)),
    )
