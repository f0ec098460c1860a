"""Contours as another reader might have drawn them: each plane's outline moved by a smooth random field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from rtplan.domain import Contours, Mask, Structure
from rtplan.errors import StructureError
from rtplan.imaging.contour import contours_of
from rtplan.imaging.planes import Planes, planes_of
from rtplan.imaging.random_field import axis_factor
from rtplan.imaging.raster import contains

Float = NDArray[np.float64]
Array = NDArray[np.float32]

#: Outlines are cut into pieces of at most this length to find the nearest, mm.
PIECE_MM = 0.5
#: The band around the outline reaches so many standard deviations.
REACH_SD = 4.5
#: An outline never moves inwards by more than this part of the depth of its plane, so that it stays.
DEEPEST = 0.8


@dataclass(frozen=True)
class ContourVariation:
    """How far contours vary between readers.

    Parameters
    ----------
    sd_mm : float
        Standard deviation of the displacement of the outline in its plane, along its normal.
    length_mm : float
        Two points of the surface at a distance h move with the correlation ``exp(-h²/(2 length²))``.
    samples : int
        Number of samples; 100 or more.
    source : str
        Where the numbers come from.
    verified : bool
        Whether the source was seen.

    Raises
    ------
    StructureError
        If a number is not above 0, or there are fewer than 100 samples.
    """

    sd_mm: float
    length_mm: float
    samples: int = 100
    source: str = "given by the user"
    verified: bool = False

    def __post_init__(self) -> None:
        if not (0.0 < self.sd_mm <= 20.0 and 1.0 <= self.length_mm <= 200.0):
            raise StructureError(
                f"A variation of contours needs an SD of up to 20 mm and a length of 1 to 200 mm, got "
                f"{self.sd_mm:g} and {self.length_mm:g} mm."
            )
        if self.samples < 100:
            raise StructureError(f"{self.samples} contour samples are too few: 100 or more are wanted.")


@dataclass(frozen=True, eq=False)
class Band:
    """The planes of a structure on one lattice, with the signed distance to the outline in each.

    Parameters
    ----------
    planes : Planes
        As they were drawn.
    axes : ndarray, shape (2, 3)
        Unit vectors of v and u in the planes, LPS.
    v_mm, u_mm : ndarray, shapes (V,), (U,)
        Places of the lattice along these.
    distance_mm : ndarray, shape (planes, V, U)
        To the nearest outline of the plane, below 0 inside, mm.
    thick_mm : ndarray, shape (planes,)
        Thickness of each plane's slab.
    """

    planes: Planes
    axes: Float
    v_mm: Float
    u_mm: Float
    distance_mm: Float
    thick_mm: Float

    @property
    def step_mm(self) -> float:
        """Distance of the nodes in a plane."""
        return float(self.v_mm[1] - self.v_mm[0])

    @property
    def weight_cc(self) -> Float:
        """Volume of one node's cell by plane, shape (planes,), cc."""
        weight: Float = self.thick_mm * self.step_mm**2 / 1000.0
        return weight

    def points(self, index: tuple[NDArray[np.int64], ...]) -> Float:
        """Return the nodes of (plane, v, u) indices as patient points, shape (n, 3), LPS mm."""
        k, j, i = index
        along = self.planes.at_mm[k, None] * self.planes.normal
        points: Float = along + self.v_mm[j, None] * self.axes[0] + self.u_mm[i, None] * self.axes[1]
        return points

    def occupancy(self, shift_mm: Float | float = 0.0) -> Array:
        """Return the part of each cell that is inside when the outline moves outwards by ``shift_mm``.

        Straight across one node's distance, so a cell at the outline counts by half.
        """
        inside: Array = np.clip(0.5 - (self.distance_mm - shift_mm) / self.step_mm, 0.0, 1.0).astype(
            np.float32
        )
        return inside


def band_of(structure: Structure, variation: ContourVariation, step_mm: float = 1.5) -> Band:
    """Return the lattice on which the contours of a structure are varied.

    Raises
    ------
    StructureError
        If the structure is empty, or its contours are not flat and parallel.
    """
    region = structure.region
    planes = planes_of(contours_of(region) if isinstance(region, Mask) else region)
    single = region.grid.spacing_zyx_mm[0] if isinstance(region, Mask) else step_mm
    v = np.cross(planes.normal, np.eye(3)[int(np.argmin(np.abs(planes.normal)))])
    v /= np.linalg.norm(v)
    axes = np.stack([v, np.cross(planes.normal, v)])
    flat = [[ring @ axes.T for ring in rings] for rings in planes.rings]
    ends = np.concatenate([ring for rings in flat for ring in rings])
    margin = REACH_SD * variation.sd_mm + 2.0 * step_mm
    low, high = ends.min(axis=0) - margin, ends.max(axis=0) + margin
    v_mm, u_mm = (np.arange(a, b + step_mm, step_mm) for a, b in zip(low, high, strict=True))
    distance = np.stack([_signed(rings, v_mm, u_mm) for rings in flat])
    return Band(planes, axes, v_mm, u_mm, distance, np.ptp(planes.slabs_mm(single), axis=1))


def _signed(rings: list[Float], v_mm: Float, u_mm: Float) -> Float:
    """Return the signed distance to the rings of one plane, shape (V, U), mm."""
    nodes = np.stack(np.meshgrid(v_mm, u_mm, indexing="ij"), axis=-1).reshape(-1, 2)
    starts, ends = _pieces(rings)
    _, near = cKDTree(0.5 * (starts + ends)).query(nodes, k=min(3, len(starts)))
    near = near.reshape(len(nodes), -1)
    along = ends[near] - starts[near]
    off = nodes[:, None, :] - starts[near]
    at = np.clip((off * along).sum(axis=-1) / np.maximum((along**2).sum(axis=-1), 1e-12), 0.0, 1.0)
    distance = np.linalg.norm(off - at[..., None] * along, axis=-1).min(axis=1)
    inside = np.zeros(len(nodes), np.bool_)
    for ring in rings:
        inside ^= contains(ring, nodes)
    signed: Float = np.where(inside, -distance, distance).reshape(len(v_mm), len(u_mm))
    return signed


def _pieces(rings: list[Float]) -> tuple[Float, Float]:
    starts, ends = [], []
    for ring in rings:
        following = np.roll(ring, -1, axis=0)
        count = np.maximum(np.ceil(np.linalg.norm(following - ring, axis=1) / PIECE_MM), 1).astype(int)
        side = np.repeat(np.arange(len(ring)), count)
        part = np.arange(len(side)) - np.repeat(np.cumsum(count) - count, count)
        step = (following - ring)[side] / count[side, None]
        starts.append(ring[side] + part[:, None] * step)
        ends.append(starts[-1] + step)
    return np.concatenate(starts), np.concatenate(ends)


def displacements(band: Band, variation: ContourVariation, seed: int) -> Iterator[Float]:
    """Yield the displacement of the outline at every node, outwards above 0, shape (planes, V, U), mm.

    Notes
    -----
    The field is correlated across planes too. No plane vanishes: where its outline would move inwards by
    more than 0.8 of the plane's own depth it moves by that.
    """
    rng = np.random.default_rng(seed)
    factors = [axis_factor(at, variation.length_mm) for at in (band.planes.at_mm, band.v_mm, band.u_mm)]
    floor = DEEPEST * band.distance_mm.min(axis=(1, 2))[:, None, None]
    for _ in range(variation.samples):
        white = rng.standard_normal([factor.shape[1] for factor in factors])
        field = np.einsum("ka,abc->kbc", factors[0], white)
        field = np.einsum("vb,kbc->kvc", factors[1], field)
        yield np.maximum(variation.sd_mm * (field @ factors[2].T), floor)


def moved_contours(band: Band, shift_mm: Float, frame_of_reference: str = "") -> Contours:
    """Return the closed contours, on the planes as drawn, of an outline that was moved by ``shift_mm``."""
    rings = []
    for k, level in enumerate(band.distance_mm - shift_mm):
        generator = contour_generator(x=band.u_mm, y=band.v_mm, z=level, line_type=LineType.Separate)
        for line in generator.lines(0.0):
            points = np.asarray(line, np.float64)[:-1]
            if len(points) >= 3:
                at = band.planes.at_mm[k] * band.planes.normal
                rings.append(at + points[:, 1:] * band.axes[0] + points[:, :1] * band.axes[1])
    return Contours(tuple(rings), frame_of_reference)


def varied(
    structure: Structure, variation: ContourVariation, seed: int = 1, *, step_mm: float = 1.5
) -> Iterator[Structure]:
    """Yield samples of a structure's contours, on the same planes.

    Raises
    ------
    StructureError
        If the structure is empty, or its contours are not flat and parallel.
    """
    region = structure.region
    frame = region.grid.frame_of_reference if isinstance(region, Mask) else region.frame_of_reference
    band = band_of(structure, variation, step_mm)
    for shift in displacements(band, variation, seed):
        yield Structure(structure.name, structure.kind, moved_contours(band, shift, frame))
