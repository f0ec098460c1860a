"""Radiological depth: densities sampled along the rays of a beam, summed, and read at points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rtplan.domain import Grid
from rtplan.planning.gather import gathered, images_last, worthwhile
from rtplan.planning.geometry import BeamFrame

#: So many points are worked on at a time: small enough for the processor's cache, large enough for its pipes.
CHUNK = 1 << 16


@dataclass(frozen=True, eq=False)
class Rays:
    """A divergent grid of rays: planes across the beam's axis, pixels in the isocentre plane.

    Parameters
    ----------
    frame : BeamFrame
        Source and axes.
    low, high : tuple of float
        First and last node (s, v, u), mm: axial distance from the source, and the isocentre plane.
    count : tuple of int
        Number of nodes along (s, v, u).
    """

    frame: BeamFrame
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    count: tuple[int, int, int]

    @property
    def step_mm(self) -> float:
        """Axial distance of neighbouring planes."""
        return (self.high[0] - self.low[0]) / (self.count[0] - 1)

    def nodes(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the nodes along s, v and u."""
        return tuple(  # type: ignore[return-value]
            torch.linspace(a, b, n, dtype=like.dtype, device=like.device)
            for a, b, n in zip(self.low, self.high, self.count, strict=True)
        )


def rays_through(
    frame: BeamFrame, uvs: tuple[Tensor, Tensor, Tensor], first_mm: float, spacing_mm: float
) -> Rays:
    """Return rays that hold all projected points; they begin at the axial distance ``first_mm``."""
    u, v, s = uvs
    ends = [(first_mm, float(s.max())), *((float(x.min()), float(x.max())) for x in (v, u))]
    low = tuple(a - spacing_mm for a, _ in ends)
    count = tuple(max(int((b - a) / spacing_mm) + 4, 4) for a, b in ends)
    high = tuple(a + spacing_mm * (n - 1) for a, n in zip(low, count, strict=True))
    return Rays(frame, low, high, count)  # type: ignore[arg-type]


def sampled(values: Tensor, coordinates: Tensor, threads: int) -> Tensor:
    """Sample volumes or maps at points; linear, 0 outside.

    Parameters
    ----------
    values : Tensor, shape (C, *spatial)
        Two or three spatial axes.
    coordinates : Tensor, shape (n, 2) or (n, 3)
        In [-1, 1] from outer edge to outer edge, the last spatial axis first.
    threads : int
        The points are cut into so many batches, because torch samples batches in parallel, not points.

    Returns
    -------
    Tensor, shape (C, n)
    """
    axes, points = coordinates.shape[-1], coordinates.shape[0]
    if worthwhile(values, axes):
        return gathered(values, coordinates, threads)
    parts = max(1, min(threads, points))
    missing = -points % parts
    padded = functional.pad(coordinates, (0, 0, 0, missing)) if missing else coordinates
    grid = padded.view(parts, *([1] * (axes - 1)), -1, axes)
    batch = values.expand(parts, *values.shape)
    found = functional.grid_sample(batch, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return found.reshape(parts, values.shape[0], -1).transpose(0, 1).reshape(values.shape[0], -1)[:, :points]


def ray_sums(density: Tensor, grid: Grid, rays: Rays, threads: int) -> Tensor:
    """Return the densities along each ray added up to its nodes (half of the node's own).

    Parameters
    ----------
    density : Tensor, shape (A, z, y, x)
        Densities relative to water of several images on one grid; 0 outside the body.

    Returns
    -------
    Tensor, shape (A, s, v, u)
        Laid out as `images_last` does.
    """
    slabs = _slabs(images_last(density), grid, rays, threads)
    if density.device.type != "cpu" or (torch.is_grad_enabled() and density.requires_grad):
        along = torch.cat(list(slabs))
        return torch.cumsum(along, dim=0).sub_(along, alpha=0.5).movedim(-1, 0)
    sums = torch.empty(*rays.count, density.shape[0], dtype=density.dtype)
    total = torch.zeros_like(sums[0])
    planes = (plane for slab in slabs for plane in slab)
    for plane, found in zip(planes, sums, strict=True):
        total.add_(plane)
        torch.sub(total, plane, alpha=0.5, out=found)
    return sums.movedim(-1, 0)


def _slabs(density: Tensor, grid: Grid, rays: Rays, threads: int) -> Iterator[Tensor]:
    """Yield the densities at the nodes of some planes after another, shape (planes, v, u, A)."""
    s, v, u = rays.nodes(density)
    origin, du, dv, ds = (_to(density, x) for x in _image_axes(grid, rays.frame))
    across = ds + (v[:, None, None] * dv + u[None, :, None] * du) / rays.frame.sad_mm
    for part in torch.split(s, max(1, CHUNK // (v.numel() * u.numel()))):
        nodes = torch.addcmul(origin, part[:, None, None, None], across)
        found = sampled(density, nodes.view(-1, 3), threads)
        yield found.T.reshape(part.numel(), v.numel(), u.numel(), -1)


def read_at(sums: Tensor, rays: Rays, uvs: tuple[Tensor, Tensor, Tensor], threads: int) -> Tensor:
    """Return the radiological depth, mm of water, shape (A, n), at projected points (u, v, s), (n,) each.

    The sum of the densities there times the length of the point's ray between two planes.
    """
    u, v, s = uvs
    ends = zip((u, v, s), rays.low[::-1], rays.high[::-1], rays.count[::-1], strict=True)
    coordinates = torch.stack(
        [(2.0 * (x - a) / (b - a) * (n - 1) + 1.0) / n - 1.0 for x, a, b, n in ends], dim=-1
    )
    length = torch.sqrt(1.0 + (u**2 + v**2) / rays.frame.sad_mm**2) * rays.step_mm
    return sampled(sums, coordinates, threads) * length


def _image_axes(grid: Grid, frame: BeamFrame) -> tuple[Tensor, ...]:
    """Return the source, u, v and the direction in sampling coordinates (x, y, z in [-1, 1]) of a grid."""
    count = torch.tensor(grid.shape, dtype=torch.float64)
    affine = torch.tensor(grid.affine)
    inverse = torch.linalg.inv(affine[:3, :3])
    source = inverse @ (torch.tensor(frame.source_mm) - affine[:3, 3])
    vectors = inverse @ torch.tensor(frame.axes).T
    origin = (2.0 * source + 1.0) / count - 1.0
    du, dv, ds = (vectors * (2.0 / count)[:, None]).unbind(dim=1)
    return tuple(x.flip(0) for x in (origin, du, dv, ds))


def _to(like: Tensor, x: Tensor) -> Tensor:
    return x.to(dtype=like.dtype, device=like.device)
