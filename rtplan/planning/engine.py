"""The photon dose engine: fluence and densities in, dose out; differentiable; all arms at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtplan.domain import Beam, Dose, Fluence, Grid, Image, Mask
from rtplan.planning import raytrace
from rtplan.planning.beam import BeamModel
from rtplan.planning.density import Curve
from rtplan.planning.device import device as find_device
from rtplan.planning.geometry import frame_of
from rtplan.planning.raster import map_axes, pixel_edges, pixel_radii
from rtplan.planning.scene import (
    Scene,
    Traced,
    as_doses,
    demand_calculable,
    scene_of,
    tensor,
    trace,
    wanted,
)


@dataclass(frozen=True)
class EngineSettings:
    """How finely a dose is calculated.

    Parameters
    ----------
    ray_spacing_mm : float
        Spacing of the rays in the isocentre plane, and of the planes across them.
    map_spacing_mm : float
        Pixel of the convolved maps in the isocentre plane.
    """

    ray_spacing_mm: float = 3.0
    map_spacing_mm: float = 1.25


@dataclass(frozen=True, eq=False)
class Reach:
    """What one beam does at the points of a scene: all but the fluence. Dose is linear in the fluence.

    Parameters
    ----------
    weight : Tensor, shape (A, I, n)
        Gy per MU for a unit response of each kernel: depth function, inverse square and calibration.
    coordinates : Tensor, shape (n, 2)
        Places of the points in the map, for sampling.
    at_v, at_u : Tensor, shapes (V,), (U,)
        Nodes of the map in the isocentre plane, mm.
    """

    weight: Tensor
    coordinates: Tensor
    at_v: Tensor
    at_u: Tensor


class Engine:
    """A pencil-beam dose engine for one machine and one calibration curve.

    Parameters
    ----------
    model : BeamModel
        The machine.
    curve : Curve
        HU to electron density relative to water.
    device : str
        ``cpu``, ``cuda``, ``mps`` or ``auto``.
    settings : EngineSettings
        Fineness.
    dtype : torch.dtype
        float32; float64 for checks of the gradient.

    Notes
    -----
    The kernels are sums of Gaussians, so their convolution with a map of pixels is exact and separable
    (no FFT, no padding). Lateral scatter is that of water at the isocentre's scale: widths do not change
    with density, depth or distance. Nothing is known of electrons entering with the beam, so the first
    centimetre is too low.
    """

    def __init__(
        self,
        model: BeamModel,
        curve: Curve,
        device: str = "cpu",
        *,
        settings: EngineSettings | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.model = model
        self.curve = curve
        self.settings = settings or EngineSettings()
        self.device = find_device(device)
        self.dtype = dtype

    def calculate(
        self, beams: Sequence[Beam], images: Sequence[Image], body: Mask, dose_grid: Grid
    ) -> tuple[Dose, ...]:
        """Return the dose of the beams on each image.

        Parameters
        ----------
        beams : sequence of Beam
            With the monitor units of the whole course.
        images : sequence of Image
            HU, all on one grid. Only the densities differ between the doses.
        body : Mask
            The external contour, the same for all images: outside it density and dose are 0 (so the
            couch is ignored).
        dose_grid : Grid
            Where dose is wanted.

        Returns
        -------
        tuple of Dose
            Physical dose on ``dose_grid``, Gy, one per image.

        Raises
        ------
        DoseError
            If there is no beam or image, a beam is of another machine, a HU value is not finite, or no
            voxel of the dose grid lies in the body.
        GeometryMismatch
            If the images are not on one grid, or a frame of reference differs.
        """
        demand_calculable(self.model.name, beams, images, body, dose_grid)
        inside = wanted(body, dose_grid)
        with torch.no_grad():
            scene = self.scene(images, body, dose_grid, np.argwhere(inside))
            total = torch.zeros(len(images), scene.points.shape[0], dtype=self.dtype, device=self.device)
            for beam in beams:
                total += self.beam_dose(scene, beam)
        return as_doses(total, inside, dose_grid)

    def scene(self, images: Sequence[Image], body: Mask, dose_grid: Grid, index: NDArray[np.int64]) -> Scene:
        """Return the densities of the images in the body and the points of voxels (k, j, i), shape (n, 3)."""
        return scene_of(images, body, self.curve, dose_grid, index, self._like)

    def beam_dose(self, scene: Scene, beam: Beam, mu: Tensor | None = None) -> Tensor:
        """Return the dose of a beam at the points of a scene, Gy, shape (A, n).

        Parameters
        ----------
        mu : Tensor, shape (v, u), optional
            Takes the place of the beam's fluence, with a gradient.
        """
        traced = self._traced(scene, beam)
        places, at_v, at_u = map_axes(traced.uvs[:2], self.settings.map_spacing_mm)
        maps = self.maps(at_v, at_u, beam.fluence, mu)
        doses = []
        for start in range(0, places.shape[0], raytrace.CHUNK):
            part = slice(start, start + raytrace.CHUNK)
            depth, scale = self._depth(traced, part)
            unit = raytrace.sampled(maps, places[part], self._threads) * scale
            doses.append(self.model.dose_of(depth, unit))
        return torch.cat(doses, dim=1)

    def reach(self, scene: Scene, beam: Beam, map_spacing_mm: float | None = None) -> Reach:
        """Trace the rays of a beam through a scene; differentiable in the densities."""
        traced = self._traced(scene, beam)
        places, at_v, at_u = map_axes(traced.uvs[:2], map_spacing_mm or self.settings.map_spacing_mm)
        return Reach(self._weights(traced), places, at_v, at_u)

    def _traced(self, scene: Scene, beam: Beam) -> Traced:
        frame = frame_of(beam, self.model.sad_mm)
        return trace(scene, frame, scene.points, self.settings.ray_spacing_mm, self._threads)

    def _weights(self, traced: Traced) -> Tensor:
        depth, scale = self._depth(traced, slice(None))
        return (self.model.depth_functions(depth) * scale).transpose(0, 1)

    def _depth(self, traced: Traced, part: slice) -> tuple[Tensor, Tensor]:
        """Return the radiological depths of points, shape (A, n), and calibration by inverse square, (n,)."""
        u, v, s = (x[part] for x in traced.uvs)
        depth = raytrace.read_at(traced.sums, traced.rays, (u, v, s), self._threads)
        return depth, self.model.gy_per_mu * (self.model.sad_mm / s) ** 2

    def maps(self, at_v: Tensor, at_u: Tensor, fluence: Fluence, mu: Tensor | None = None) -> Tensor:
        """Return the fluence convolved with the kernels at the nodes of a map, shape (I, V, U)."""
        map_of, horn = self.spreader(at_v, at_u, fluence)
        return map_of((self._tensor(fluence.mu) if mu is None else mu) * horn)

    def spreader(self, at_v: Tensor, at_u: Tensor, fluence: Fluence) -> tuple[Spreader, Tensor]:
        """Return the convolution for a fluence's pixels and the horn at their centres, shape (v, u)."""
        v, u = pixel_edges(fluence)
        horn = self._tensor(self.model.horn_at(pixel_radii(fluence)))
        spread_v = self.model.spread(self._tensor(v), at_v)
        spread_u = self.model.spread(self._tensor(u), at_u)
        return Spreader(spread_v, spread_u, self._tensor(self.model.weights)), horn

    @property
    def _threads(self) -> int:
        return torch.get_num_threads() if self.device.type == "cpu" else 1

    @property
    def _like(self) -> Tensor:
        return torch.empty(0, dtype=self.dtype, device=self.device)

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        return tensor(array, self._like)


@dataclass(frozen=True, eq=False)
class Spreader:
    """The kernels' convolution for one raster of pixels, as small matrices.

    Parameters
    ----------
    v, u : Tensor, shapes (J, V, p), (J, U, q)
        Gaussian integrals along each axis.
    weight : Tensor, shape (I, J)
        The kernels' weights.
    """

    v: Tensor
    u: Tensor
    weight: Tensor

    def __call__(self, fluence: Tensor) -> Tensor:
        """Take pixel values, shape (p, q), to maps, shape (I, V, U)."""
        spread = self.v @ fluence @ self.u.transpose(1, 2)
        maps: Tensor = torch.tensordot(self.weight, spread, dims=1)
        return maps


def apply(reach: Reach, maps: Tensor, threads: int) -> Tensor:
    """Return the dose of maps, shape (I, V, U), at the points of a reach, Gy, shape (A, n)."""
    return (reach.weight * raytrace.sampled(maps, reach.coordinates, threads)).sum(dim=1)
