"""The collapsed-cone dose engine: energy set free along rays, carried on by kernels scaled with density."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtplan.domain import Beam, Dose, Fluence, Grid, Image, Mask
from rtplan.errors import DoseError
from rtplan.planning import raytrace
from rtplan.planning.beam import BeamModel, ConeModel, Spectrum
from rtplan.planning.density import Curve
from rtplan.planning.device import device as find_device
from rtplan.planning.geometry import frame_of, sectors
from rtplan.planning.kernel import Part, load_kernel
from rtplan.planning.raster import gaussian_spread, map_axes, pixel_edges, pixel_radii
from rtplan.planning.scene import (
    Scene,
    as_doses,
    demand_calculable,
    points_of,
    scene_of,
    tensor,
    trace,
    wanted,
)
from rtplan.planning.transport import Directions, carried, directions

Float = NDArray[np.float64]

#: So many numbers may a set of sources hold; beyond, the images are calculated one after another.
LARGEST = 1 << 28


@dataclass(frozen=True)
class Fineness:
    """How finely one part of the energy is carried.

    Parameters
    ----------
    voxel_mm : float
        Side of the cubes between which it is carried.
    cells : int
        Directions: ``6 cells^2``. An even number leaves no direction along an axis of the image.
    """

    voxel_mm: float
    cells: int


@dataclass(frozen=True)
class ConeSettings:
    """How finely a collapsed-cone dose is calculated.

    Parameters
    ----------
    primary, scatter : Fineness
        Of what electrons leave nearby, and of what scattered photons carry on: that is smooth but goes far,
        so it takes larger cubes and more directions.
    ray_spacing_mm : float
        Spacing of the primary rays in the isocentre plane, and of the planes across them.
    map_spacing_mm : float
        Pixel of the fluence maps in the isocentre plane.
    sector_deg : float
        Beams that turn by no more than this (an arc's) share one direction of their kernels, the mean one;
        fluence and attenuation are each beam's own.
    """

    primary: Fineness = Fineness(3.0, 4)
    scatter: Fineness = Fineness(6.0, 16)
    ray_spacing_mm: float = 3.0
    map_spacing_mm: float = 1.25
    sector_deg: float = 8.0


@dataclass(frozen=True, eq=False)
class Box:
    """The cubes between which energy is carried, along the axes of the images.

    Parameters
    ----------
    grid : Grid
        Their centres.
    density : Tensor, shape (A, z, y, x)
        Mean over each cube, relative to water; the outermost layer is empty.
    """

    grid: Grid
    density: Tensor


@dataclass(frozen=True, eq=False)
class _Carried:
    """One part of the energy: its kernel, how finely it is carried, how much of the fluence is set free."""

    kernel: Part
    fineness: Fineness
    coefficient_per_mm: tuple[float, ...]


class ConeEngine:
    """A collapsed-cone convolution-superposition engine; it is called as the pencil-beam `Engine` is.

    Parameters
    ----------
    model : BeamModel
        The machine; its file needs the part ``[cone]``.
    curve : Curve
        HU to electron density relative to water.
    device : str
        ``cpu``, ``cuda``, ``mps`` or ``auto``.
    settings : ConeSettings
        Fineness.
    dtype : torch.dtype
        float32; float64 for checks of the gradient.

    Raises
    ------
    DoseError
        If the beam file has no part ``[cone]``.

    Notes
    -----
    Each beam's rays are attenuated through the density, energy by energy (so the beam hardens). What they
    set free splits, as absorption and attenuation say, into what electrons leave nearby and what scattered
    photons carry on; each part has a kernel of integral 1. All beams share one set of directions, fixed in
    the patient, so the time hardly grows with the number of beams. The kernel stands along the beam's axis
    everywhere (not along each ray), all media are water of another density, and electrons of the machine's
    head are not modelled: the first centimetre is too low.
    """

    def __init__(
        self,
        model: BeamModel,
        curve: Curve,
        device: str = "cpu",
        *,
        settings: ConeSettings | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if model.cone is None:
            raise DoseError(
                f"The beam file {model.name!r} holds no collapsed-cone part.",
                action="take the algorithm 'pencil', or make the file with rtplan commission beam.",
            )
        self.model = model
        self.cone: ConeModel = model.cone
        self.kernel = load_kernel(self.cone.kernel)
        self.curve = curve
        self.settings = settings or ConeSettings()
        self.device = find_device(device)
        self.dtype = dtype

    def calculate(
        self, beams: Sequence[Beam], images: Sequence[Image], body: Mask, dose_grid: Grid
    ) -> tuple[Dose, ...]:
        """Return the dose of the beams on each image; parameters and errors as in `Engine.calculate`."""
        demand_calculable(self.model.name, beams, images, body, dose_grid)
        inside = wanted(body, dose_grid)
        index = np.argwhere(inside)
        together = self._together(len(beams), body)
        parts = []
        with torch.no_grad():
            for start in range(0, len(images), together):
                scene = self.scene(images[start : start + together], body, dose_grid, index)
                parts.append(self.dose(scene, beams))
        return as_doses(torch.cat(parts), inside, dose_grid)

    def scene(self, images: Sequence[Image], body: Mask, dose_grid: Grid, index: NDArray[np.int64]) -> Scene:
        """Return the densities of the images in the body and the points of voxels (k, j, i), shape (n, 3)."""
        return scene_of(images, body, self.curve, dose_grid, index, self._like)

    def dose(self, scene: Scene, beams: Sequence[Beam], mu: Sequence[Tensor] | None = None) -> Tensor:
        """Return the dose of beams at the points of a scene, Gy, shape (A, n); differentiable.

        Parameters
        ----------
        mu : sequence of Tensor, shape (v, u) each, optional
            Take the place of the beams' fluences, with a gradient.
        """
        given = mu or [tensor(beam.fluence.mu, self._like) for beam in beams]
        return sum(  # type: ignore[return-value]
            self._part(scene, beams, given, part) for part in (self._primary, self._scatter)
        )

    def _part(self, scene: Scene, beams: Sequence[Beam], mu: Sequence[Tensor], part: _Carried) -> Tensor:
        """Return what one part of the energy gives at the points of a scene, Gy, shape (A, n)."""
        side = part.fineness.voxel_mm
        box = box_of(scene, side, self._threads)
        cones = directions(part.fineness.cells)
        along = np.stack([frame_of(beam, self.model.sad_mm).axes[2] for beam in beams])
        runs = sectors(along, self.settings.sector_deg)
        freed = ((self._freed(scene, box, beams[n], mu[n], part) for n in run) for run in runs)
        source = torch.stack([reduce(torch.add, ones) for ones in freed])
        rate = tensor(np.array(part.kernel.rate_per_mm), self._like)
        mean = np.stack([along[run].sum(axis=0) for run in runs])
        weight = tensor(self._weights(mean, box.grid, part.kernel, cones), self._like)
        left = carried(box.density, source, weight, rate, cones, np.full(3, side))
        index = box.grid.to_index(scene.points.detach().cpu().numpy().astype(np.float64))
        place = (2.0 * index[:, ::-1] + 1.0) / np.array(box.grid.shape[::-1]) - 1.0
        return raytrace.sampled(left, tensor(place, self._like), self._threads)

    def _freed(self, scene: Scene, box: Box, beam: Beam, mu: Tensor, part: _Carried) -> Tensor:
        """Return the energy per mass that a beam sets free in each cube, Gy, shape (A, z, y, x)."""
        frame = frame_of(beam, self.model.sad_mm)
        index = np.indices(box.grid.shape).reshape(3, -1).T
        points = points_of(box.grid, index, self._like)
        traced = trace(scene, frame, points, self.settings.ray_spacing_mm, self._threads)
        depth = raytrace.read_at(traced.sums, traced.rays, traced.uvs, self._threads)
        u, v, s = traced.uvs
        strength = self._fluence_at((u, v), beam.fluence, mu, part.fineness.voxel_mm)
        freed = set_free(self.cone.spectrum, part.coefficient_per_mm, depth)
        return (strength * (self.model.sad_mm / s) ** 2 * self.cone.gy_per_mu * freed).view(
            -1, *box.grid.shape
        )

    def _weights(self, along: Float, grid: Grid, kernel: Part, cones: Directions) -> Float:
        """Return which part of each source goes into each direction, shape (H, 2, K, B).

        Each source's parts add up to 1; ``along``, shape (B, 3), are the directions of their beams.
        """
        to_box = np.linalg.inv(grid.affine[:3, :3])
        whole = np.array(kernel.weight).sum(axis=1)
        columns = []
        for one in along:
            towards = to_box @ one
            cosine = cones.samples @ (towards / np.linalg.norm(towards))
            mean = (kernel.per_angle(cosine) * cones.share[:, None, :]).sum(axis=-1)
            columns.append(mean * (whole / mean.sum(axis=(1, 2)))[:, None, None])
        return np.moveaxis(np.stack(columns), (0, 1), (3, 2))

    def _fluence_at(self, uv: tuple[Tensor, Tensor], fluence: Fluence, mu: Tensor, side_mm: float) -> Tensor:
        """Return the fluence with horn and source at places of the isocentre plane, mean over a cube, MU."""
        places, at_v, at_u = map_axes(uv, self.settings.map_spacing_mm)
        v, u = (tensor(edges, self._like) for edges in pixel_edges(fluence))
        horn = tensor(self.model.horn_at(pixel_radii(fluence)), self._like)
        shares, widths = np.array(self.cone.images).T
        width = np.hypot(widths, side_mm / math.sqrt(12.0))
        spread_v, spread_u = gaussian_spread(v, at_v, width), gaussian_spread(u, at_u, width)
        maps = spread_v @ (mu * horn) @ spread_u.transpose(1, 2)
        map_ = torch.tensordot(tensor(shares, self._like), maps, dims=1)
        return raytrace.sampled(map_[None], places, self._threads)[0]

    def _together(self, beams: int, body: Mask) -> int:
        """Return how many images may be calculated at once."""
        volume = math.prod(body.grid.shape) * math.prod(body.grid.spacing_zyx_mm)
        return max(1, int(LARGEST / (beams * volume / self.settings.primary.voxel_mm**3)))

    @property
    def _primary(self) -> _Carried:
        absorbed = self.cone.spectrum.absorption_per_mm
        return _Carried(self.kernel.primary, self.settings.primary, absorbed)

    @property
    def _scatter(self) -> _Carried:
        both = zip(self.cone.spectrum.attenuation_per_mm, self.cone.spectrum.absorption_per_mm, strict=True)
        return _Carried(self.kernel.scatter, self.settings.scatter, tuple(a - b for a, b in both))

    @property
    def _threads(self) -> int:
        return torch.get_num_threads() if self.device.type == "cpu" else 1

    @property
    def _like(self) -> Tensor:
        return torch.empty(0, dtype=self.dtype, device=self.device)


def set_free(spectrum: Spectrum, coefficient_per_mm: Sequence[float], depth: Tensor) -> Tensor:
    """Return energy set free per mass and unit of energy fluence, 1/mm of water.

    Parameters
    ----------
    coefficient_per_mm : sequence of float
        Which part of each energy's fluence is set free, per mm of water.
    depth : Tensor
        Radiological depth, mm of water; above the surface nothing is lost yet.
    """
    depth = depth.clamp(min=0.0)
    freed = torch.zeros_like(depth)
    columns = (spectrum.energy_fluence, spectrum.attenuation_per_mm, coefficient_per_mm)
    for share, attenuated, taken in zip(*columns, strict=True):
        freed = freed + share * taken * torch.exp(-attenuated * depth)
    return freed


def box_of(scene: Scene, side_mm: float, threads: int) -> Box:
    """Return the cubes round the body, with one empty layer, and their mean densities."""
    spacing = np.array(scene.grid.spacing_zyx_mm)
    shape = np.ceil(np.array(scene.grid.shape) * spacing / side_mm - 1e-6).astype(int) + 2
    first = (np.array(scene.grid.shape) - 1.0) / 2.0 - (shape - 1.0) / 2.0 * side_mm / spacing
    scale = np.diag([*(side_mm / spacing), 1.0])
    scale[:3, 3] = first
    counts = (int(shape[0]), int(shape[1]), int(shape[2]))
    grid = Grid(counts, scene.grid.affine @ scale, scene.grid.frame_of_reference)
    fine = [max(1, math.ceil(side_mm / s - 1e-6)) for s in spacing]
    total = torch.zeros(scene.density.shape[0], math.prod(counts), dtype=scene.density.dtype)
    total = total.to(scene.density.device)
    index = np.indices(counts).reshape(3, -1).T * (side_mm / spacing) + first
    for offset in np.ndindex(*fine):
        inner = ((np.array(offset) + 0.5) / fine - 0.5) * side_mm / spacing
        place = (2.0 * (index + inner)[:, ::-1] + 1.0) / np.array(scene.grid.shape[::-1]) - 1.0
        total = total + raytrace.sampled(scene.density, tensor(place, scene.density), threads)
    return Box(grid, (total / math.prod(fine)).view(-1, *counts))
