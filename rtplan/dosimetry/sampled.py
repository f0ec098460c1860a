"""A structure's cells on a dose grid: the doses read in them, on the surface and at the extremes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Dose
from rtplan.dosimetry.cells import PARTS, Cells
from rtplan.dosimetry.curve import Curve, accumulate
from rtplan.dosimetry.extremes import inner_search, surface_search
from rtplan.dosimetry.histogram import Settings
from rtplan.dosimetry.lookup import Field, Place, crop_around

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sampled:
    """One structure's cells with any number of doses read in them.

    Parameters
    ----------
    cells : Cells
    covered, rim_covered : ndarray of bool, shapes (n,) and (m,)
        Whether cells and surface points lie inside the dose grid.
    doses, spreads : tuple of ndarray, shape (n,)
        By dose: in the middle of each cell, and its span over the cell, Gy.
    rims : tuple of ndarray, shape (m,)
        By dose: on the surface, Gy.
    peaks : tuple of (ndarray, ndarray), shape (k,) each
        By dose: where the local search for the extremes ended, Gy, and the parts of the structure there.
    highest : tuple of float
        By dose: the highest of the whole grid, Gy.
    settings : Settings
    """

    cells: Cells
    covered: NDArray[np.bool_]
    rim_covered: NDArray[np.bool_]
    doses: tuple[Float, ...]
    spreads: tuple[Float, ...]
    rims: tuple[Float, ...]
    peaks: tuple[tuple[Float, NDArray[np.int8]], ...]
    highest: tuple[float, ...]
    settings: Settings

    @classmethod
    def of(cls, cells: Cells, doses: Sequence[Dose], settings: Settings) -> Sampled:
        """Read doses on one grid in a structure's cells; raise DoseError where one is not finite."""
        grid = doses[0].grid
        start, shape = crop_around(np.concatenate([cells.points, cells.surface]), grid)
        place = Place.of(cells.points, grid, start, shape)
        rim = Place.of(cells.surface, grid, start, shape)
        fields = [Field.of(dose, start, shape, settings.interpolation) for dose in doses]
        middle = tuple(field.at(place.coordinates) for field in fields)
        edge = tuple(field.at(rim.coordinates) for field in fields)
        peaks = []
        for field, inner, outer in zip(fields, middle, edge, strict=True):
            points, label = _search(cells, field, inner, outer, rim)
            found = Place.of(points, grid, start, shape)
            peaks.append((field.at(found.coordinates)[found.covered], label[found.covered]))
        return cls(
            cells=cells,
            covered=place.covered,
            rim_covered=rim.covered,
            doses=middle,
            spreads=tuple(_spread(cells, field, place) for field in fields),
            rims=edge,
            peaks=tuple(peaks),
            highest=tuple(float(dose.array.max()) for dose in doses),
            settings=settings,
        )

    def reading(self, number: int, caps: str | None = None, outside_gy: float = 0.0) -> Curve:
        """Return the curve of one dose under a cap policy, with a dose for what lies outside."""
        caps = caps or self.settings.caps
        cells, rim = self.cells.belongs(caps), self.cells.surface_of(caps)
        dose = np.where(self.covered, self.doses[number], outside_gy)[cells]
        spread = np.where(self.covered, self.spreads[number], 0.0)[cells]
        edge = np.where(self.rim_covered, self.rims[number], outside_gy)[rim]
        peak, label = self.peaks[number]
        volume = self.cells.volume_cc[cells]
        whole = self.cells.full[cells]
        seen = np.concatenate([dose[whole], edge, peak[np.isin(label, PARTS[caps])]])
        return accumulate(dose, spread, volume, (float(seen.min()), float(seen.max())))

    def covered_fraction(self) -> float:
        """Return the part of the chosen solid's volume that lies inside the dose grid."""
        chosen = self.cells.belongs(self.settings.caps)
        volume = self.cells.volume_cc
        return float(np.clip(volume[chosen & self.covered].sum() / volume[chosen].sum(), 0.0, 1.0))


def _spread(cells: Cells, field: Field, place: Place) -> Float:
    """Return the span of the dose in each cell, Gy."""
    gradient = field.gradient(place.coordinates) @ cells.axes.T
    across = np.einsum("ij,ij->i", gradient, cells.taper_mm)
    square = np.einsum("ij,ij->i", gradient**2, cells.width_mm**2) - across**2
    spread: Float = np.sqrt(np.maximum(square, 0.0))
    return spread


def _search(
    cells: Cells, field: Field, inner: Float, outer: Float, rim: Place
) -> tuple[Float, NDArray[np.int8]]:
    """Return points (LPS mm) where the dose may be highest or lowest, and their parts of the structure."""
    whole = np.nonzero(cells.full)[0]
    centre = cells.points[whole] @ cells.axes.T
    points, label = inner_search(centre, cells.width_mm[whole], cells.cap[whole], inner[whole])
    if cells.patches is not None:
        count = len(cells.patches.points)
        gradient = field.gradient(rim.coordinates[:, :count]) @ cells.axes.T
        more, parts = surface_search(cells.patches, outer[:count], gradient)
        points, label = np.concatenate([points, more]), np.concatenate([label, parts])
    return points @ cells.axes, label
