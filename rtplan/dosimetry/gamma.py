"""The gamma index of two doses in three dimensions, exact on linear interpolation (Low 1998)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Dose, Grid, Mask
from rtplan.dosimetry.gamma_search import Field, Points, make_field, search
from rtplan.dosimetry.workers import cores
from rtplan.errors import DoseError, GeometryMismatch

#: Reference points per piece of work: small enough for the processor's cache, large enough for numpy.
CHUNK = 15_000
CHUNK_ON_DEVICE = 1_000_000
BIN = 0.05
#: Indices this near to a whole number are taken for it: two equal grids stay equal after rounding.
SNAP = 1e-7


@dataclass(frozen=True)
class GammaSettings:
    """Criteria of a gamma comparison.

    Parameters
    ----------
    dose_percent : float
        Dose criterion in % of the normalisation dose, or of the local reference dose (``local``).
    distance_mm : float
        Distance to agreement, mm.
    cutoff_percent : float
        Reference points below this share of the normalisation dose (%) are not evaluated.
    local : bool
        Whether the dose criterion is relative to the reference dose at each point.
    max_gamma : float
        The search ends here; larger values are reported as this one.
    normalisation_gy : float or None
        Dose that stands for 100 %, Gy; None takes the greatest reference dose.

    Raises
    ------
    DoseError
        If a criterion is not positive, or the cut-off is not in [0, 100).
    """

    dose_percent: float
    distance_mm: float
    cutoff_percent: float
    local: bool = False
    max_gamma: float = 2.0
    normalisation_gy: float | None = None

    def __post_init__(self) -> None:
        for name in ("dose_percent", "distance_mm", "max_gamma", "normalisation_gy"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise DoseError(f"Gamma needs a positive {name}, got {value}.")
        if not 0 <= self.cutoff_percent < 100:
            raise DoseError(f"Gamma needs a cut-off from 0 to below 100 %, got {self.cutoff_percent}.")


@dataclass(frozen=True, eq=False)
class GammaResult:
    """The gamma index at each reference point.

    Parameters
    ----------
    map : ndarray, shape (z, y, x), float32
        Gamma on the reference grid; NaN where it was not evaluated.
    grid : Grid
        The reference grid.
    settings : GammaSettings
        The criteria.
    normalisation_gy : float
        Dose that stood for 100 %.
    pass_rate : float
        Share of the evaluated points with gamma <= 1, from 0 to 1.
    mean : float
        Mean gamma of the evaluated points (values beyond ``max_gamma`` count as ``max_gamma``).
    histogram : ndarray of int, shape (bins,)
        Number of points by gamma, between the ``edges``; the last bin holds those at ``max_gamma``.
    edges : ndarray, shape (bins + 1,)
        Bin edges.
    n : int
        Number of evaluated points.
    n_outside : int
        Points that met cut-off and mask but lie outside the evaluated grid: not evaluated.
    """

    map: NDArray[np.float32]
    grid: Grid
    settings: GammaSettings
    normalisation_gy: float
    pass_rate: float
    mean: float
    histogram: NDArray[np.int64]
    edges: NDArray[np.float64]
    n: int
    n_outside: int

    @property
    def maximum(self) -> float:
        """Greatest gamma that was found (at most ``max_gamma``)."""
        return float(np.nanmax(self.map))


def gamma(
    reference: Dose,
    evaluated: Dose,
    settings: GammaSettings,
    *,
    mask: Mask | None = None,
    device: str = "cpu",
) -> GammaResult:
    """Compare two doses by the gamma index.

    For each voxel centre r of the reference, the least
    ``sqrt(|r - e|^2 / distance^2 + (D_evaluated(e) - D_reference(r))^2 / criterion^2)`` over all points e
    of the evaluated dose, which is continuous by trilinear interpolation between its voxel centres. The
    minimum is found exactly (to 1e-6) in each cell: there is no sampling step to choose.

    Parameters
    ----------
    reference, evaluated : Dose
        Gy. The grids may differ in spacing, place and tilt, but not in the frame of reference.
    settings : GammaSettings
        The criteria.
    mask : Mask or None
        On the reference grid; points outside it are not evaluated.
    device : str
        ``cpu`` (all cores), or a device of torch with double precision (``cuda``, ``cuda:1``).

    Returns
    -------
    GammaResult
        Map, pass rate, mean and histogram.

    Raises
    ------
    DoseError
        If a dose is not finite, the kinds of dose differ, no point is left to evaluate, or the device
        cannot be used.
    GeometryMismatch
        If the frames of reference differ, the mask lies on another grid, or the evaluated grid is sheared.

    Notes
    -----
    Reference points outside the box of the evaluated voxel centres are not evaluated and counted apart:
    no dose is known there. Which dose is the reference matters: gamma is not symmetric.

    References
    ----------
    D. A. Low et al., "A technique for the quantitative evaluation of dose distributions", Med. Phys.
    25:656-661 (1998). M. Miften et al., AAPM TG-218, Med. Phys. 45:e53-e83 (2018), doi:10.1002/mp.12810.

    Examples
    --------
    A flat dose of 50 Gy and another of 51.5 Gy, 3 % of 100 Gy:

    >>> grid = Grid.axial((4, 4, 4), (2.5, 2.5, 2.5), (0.0, 0.0, 0.0))
    >>> low, high = (Dose(grid, np.full(grid.shape, gy)) for gy in (50.0, 51.5))
    >>> result = gamma(low, high, GammaSettings(3.0, 2.0, 10.0, normalisation_gy=100.0))
    >>> round(result.mean, 6), result.pass_rate, result.n
    (0.5, 1.0, 64)
    """
    _check(reference, evaluated, mask)
    normalisation = settings.normalisation_gy or float(reference.array.max())
    if not normalisation > 0:
        raise DoseError("Gamma needs a reference dose above 0 Gy somewhere.")
    chosen = (reference.array > 0) & (reference.array >= normalisation * settings.cutoff_percent / 100)
    if mask is not None:
        chosen &= mask.array
    place = np.stack(np.unravel_index(np.flatnonzero(chosen), chosen.shape))
    index, inside = _place_in(evaluated.grid, reference.grid, place)
    if not inside.any():
        raise DoseError(
            f"No point is left for gamma: {place.shape[1]} voxels meet cut-off and mask, none lies in "
            "the evaluated grid.",
            action="lower the cut-off, widen the mask, or check that both doses lie on each other.",
        )
    place, index = place[:, inside], index[:, inside]
    dose = reference.array[tuple(place)].astype(np.float64)
    criterion = (dose if settings.local else np.full_like(dose, normalisation)) * settings.dose_percent / 100
    values = _run(evaluated, Points(index, dose, 1 / criterion), settings, device)
    return _result(reference, settings, normalisation, (place, values, int((~inside).sum())))


def _check(reference: Dose, evaluated: Dose, mask: Mask | None) -> None:
    for name, dose in (("reference", reference), ("evaluated", evaluated)):
        if not np.isfinite(dose.array).all():
            raise DoseError(f"The {name} dose holds values that are not finite.")
    if reference.kind != evaluated.kind:
        raise DoseError(
            f"Gamma compares doses of one kind, got {reference.kind} and {evaluated.kind}.",
            action="convert one of them first.",
        )
    frames = {dose.grid.frame_of_reference for dose in (reference, evaluated)} - {""}
    if len(frames) > 1:
        raise GeometryMismatch(
            "The two doses lie in different frames of reference.",
            action="resample the evaluated dose through a registration, by name.",
        )
    if mask is not None:
        reference.demand_same_grid(mask)
    direction = evaluated.grid.direction
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-4):
        raise GeometryMismatch(
            "The evaluated grid is sheared: its axes are not at right angles.",
            action="resample it to a right-angled grid.",
        )


def _place_in(
    grid: Grid, reference: Grid, place: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the index of reference voxels in the evaluated grid, shape (3, n), and which lie inside."""
    to_index = np.linalg.inv(grid.affine) @ reference.affine
    index = to_index[:3, :3] @ place.astype(np.float64) + to_index[:3, 3:]
    whole = np.round(index)
    index = np.where(np.abs(index - whole) < SNAP, whole, index)
    last = np.array(grid.shape)[:, None] - 1.0
    inside: NDArray[np.bool_] = np.all((index >= 0) & (index <= last), axis=0)
    return index, inside


def _run(evaluated: Dose, points: Points, settings: GammaSettings, device: str) -> NDArray[np.float64]:
    field, points = _near(evaluated, points, settings)
    if device != "cpu":
        return _on_device(field, points, settings.max_gamma, device)

    def piece(start: int) -> NDArray[np.float64]:
        found: NDArray[np.float64] = search(np, field, _slice(points, start, CHUNK), settings.max_gamma)
        return found

    with ThreadPoolExecutor(cores()) as pool:
        return np.concatenate(list(pool.map(piece, range(0, points.dose.size, CHUNK))))


def _near(evaluated: Dose, points: Points, settings: GammaSettings) -> tuple[Field, Points]:
    """Crop the evaluated dose to what the search can reach, and lay out its tables."""
    array, size = evaluated.array, np.array(evaluated.grid.spacing_zyx_mm) / settings.distance_mm
    reach = np.ceil(settings.max_gamma / size).astype(int) + 1
    start = np.maximum(np.floor(points.index.min(axis=1)).astype(int) - reach, 0)
    stop = np.ceil(points.index.max(axis=1)).astype(int) + reach + 1
    array = array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))].astype(np.float64)
    for axis in range(3):
        if array.shape[axis] == 1:
            array, size[axis] = np.repeat(array, 2, axis), 0.0
    shifted = Points(points.index - start[:, None], points.dose, points.scale)
    return make_field(array, (float(size[0]), float(size[1]), float(size[2]))), shifted


def _on_device(field: Field, points: Points, max_gamma: float, device: str) -> NDArray[np.float64]:
    """Search with torch on a GPU; the only place in dosimetry that imports torch."""
    import torch

    if device.startswith("mps") or (device.startswith("cuda") and not torch.cuda.is_available()):
        raise DoseError(
            f"Gamma cannot run on {device} here: it needs double precision on a device that is there.",
            action="use --device cpu, or cuda on a machine with an NVIDIA GPU.",
        )

    def send(array: Any) -> Any:
        return torch.as_tensor(array, dtype=torch.float64, device=device)

    there = Field(send(field.dose), field.size, send(field.low), send(field.high), send(field.slopes))
    found = []
    for start in range(0, points.dose.size, CHUNK_ON_DEVICE):
        part = _slice(points, start, CHUNK_ON_DEVICE)
        part = Points(send(part.index), send(part.dose), send(part.scale))
        found.append(search(torch, there, part, max_gamma).cpu().numpy())
    return np.concatenate(found)


def _slice(points: Points, start: int, length: int) -> Points:
    part = slice(start, start + length)
    return Points(points.index[:, part], points.dose[part], points.scale[part])


def _result(
    reference: Dose,
    settings: GammaSettings,
    normalisation_gy: float,
    found: tuple[NDArray[np.intp], NDArray[np.float64], int],
) -> GammaResult:
    place, values, outside = found
    gammas = np.full(reference.grid.shape, np.nan, dtype=np.float32)
    gammas[tuple(place)] = values
    gammas.flags.writeable = False
    counts, edges = np.histogram(values, max(round(settings.max_gamma / BIN), 1), (0.0, settings.max_gamma))
    return GammaResult(
        map=gammas,
        grid=reference.grid,
        settings=settings,
        normalisation_gy=normalisation_gy,
        pass_rate=float(np.mean(values <= 1 + 1e-9)),
        mean=float(values.mean()),
        histogram=counts.astype(np.int64),
        edges=edges,
        n=int(values.size),
        n_outside=outside,
    )
