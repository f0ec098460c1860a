"""Energy carried along fixed directions through a box of densities: the collapsed cones of all beams."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import checkpoint

Float = NDArray[np.float64]

#: Below this path (in attenuation lengths) a cell counts as empty: its own share is taken at the limit.
EMPTY = 1e-6


@dataclass(frozen=True, eq=False)
class Directions:
    """The cells that a sphere is cut into: those of a cube's faces, equal in angle along both edges.

    Parameters
    ----------
    axis : ndarray of int, shape (H,)
        The axis (0, 1, 2 of the box) along which a pair of opposite directions advances by one plane.
    tangent : ndarray, shape (H, 2)
        How far the first of the pair moves along the two other axes (in order) per unit of ``axis``.
    samples : ndarray, shape (H, 2, S, 3)
        Unit vectors spread over the cell of each direction of the pair, in the box's axes.
    share : ndarray, shape (H, S)
        Solid angle of each sample over 4 pi; the same in both cells of a pair. All together are 1.
    """

    axis: NDArray[np.int64]
    tangent: Float
    samples: Float
    share: Float


def directions(count: int, fine: int = 6) -> Directions:
    """Return ``6 count^2`` directions in opposite pairs, with the cube's symmetry.

    Parameters
    ----------
    count : int
        Cells along each edge of a face.
    fine : int
        Samples along each edge of a cell, over which a kernel is averaged.

    Examples
    --------
    >>> sphere = directions(4)
    >>> len(sphere.axis), round(2.0 * float(sphere.share.sum()), 3)
    (48, 1.0)
    """
    step = math.pi / 2.0 / count
    middle = np.tan((np.arange(count) + 0.5) * step - math.pi / 4.0)
    edge = (np.arange(count * fine) + 0.5) * step / fine - math.pi / 4.0
    spread = np.tan(edge).reshape(count, fine)
    edges = np.tan(np.linspace(-math.pi / 4.0, math.pi / 4.0, count * fine + 1))
    angle = np.diff(np.diff(np.arctan(_corner(edges)), axis=0), axis=1)
    area = angle.reshape(count, fine, count, fine) / (4.0 * math.pi)
    axis, tangent, samples, share = [], [], [], []
    for along in range(3):
        across = [i for i in range(3) if i != along]
        for i, j in np.ndindex(count, count):
            a, b = (x.ravel() for x in np.meshgrid(spread[i], spread[j], indexing="ij"))
            unit = np.empty((a.size, 3))
            unit[:, along], unit[:, across[0]], unit[:, across[1]] = 1.0, a, b
            unit /= np.linalg.norm(unit, axis=1, keepdims=True)
            axis.append(along)
            tangent.append((middle[i], middle[j]))
            samples.append(np.stack([unit, -unit]))
            share.append(area[i, :, j, :].ravel())
    return Directions(np.array(axis), np.array(tangent), np.array(samples), np.array(share))


def _corner(x: Float) -> Float:
    """Return the tangent of the solid angle of the rectangle from the face's centre to (x, y), all pairs."""
    a, b = x[:, None], x[None, :]
    corner: Float = a * b / np.sqrt(1.0 + a**2 + b**2)
    return corner


def carried(
    density: Tensor, source: Tensor, weight: Tensor, rate: Tensor, cones: Directions, step: Float
) -> Tensor:
    """Return the energy per mass left by sources that send along all directions.

    Parameters
    ----------
    density : Tensor, shape (A, z, y, x)
        Relative to water.
    source : Tensor, shape (B, A, z, y, x)
        Energy per mass that each of B sources sets free.
    weight : Tensor, shape (H, 2, K, B)
        Which part of it goes into each direction with each attenuation.
    rate : Tensor, shape (K,)
        Attenuation per mm of water.
    cones : Directions
        Where to.
    step : ndarray, shape (3,)
        Voxel size, mm.

    Returns
    -------
    Tensor, shape (A, z, y, x)
        Where the medium is the same everywhere and nothing leaves the box, its sum is that of
        ``sum(weight) * source``.

    Notes
    -----
    A ray goes through each plane of voxels once. Density and source are read on it between voxels (linear),
    what it leaves is given back with the same shares, so that energy is kept. Within a cell, source and
    absorption are even; paths are scaled with density.
    """
    total = torch.zeros_like(density)
    for axis in range(3):
        order = (axis, *(i for i in range(3) if i != axis))
        rho = density.permute(1 + order[0], 0, 1 + order[1], 1 + order[2]).contiguous()
        sent = source.permute(2 + order[0], 0, 1, 2 + order[1], 2 + order[2])
        sent = (sent * rho[:, None]).flatten(2)  # energy per volume, shape (P, B, A V U)
        left = torch.zeros_like(rho)
        for h in np.flatnonzero(cones.axis == axis):
            ray = _Ray(cones.tangent[h], step[list(order)], rho.shape[0])
            needs = torch.is_grad_enabled() and any(x.requires_grad for x in (rho, sent, weight, rate))
            if needs:  # planes are many: nothing is kept, each direction is calculated again for the gradient
                left = left + checkpoint.checkpoint(
                    _along, rho, sent, weight[h], rate, ray, use_reentrant=False
                )
            else:
                left += _along(rho, sent, weight[h], rate, ray)
        back = np.argsort((order[0], *order[1:]))
        total = total + left.permute(1, 0, 2, 3).permute(0, *(1 + int(i) for i in back))
    return total


@dataclass(frozen=True, eq=False)
class _Ray:
    """A direction as offsets of its rays in each plane, in voxels."""

    tangent: Float
    step: Float
    planes: int

    @property
    def length_mm(self) -> float:
        """Length of the path through one plane."""
        return float(self.step[0] * math.sqrt(1.0 + float((self.tangent**2).sum())))

    @property
    def offsets(self) -> tuple[NDArray[np.int64], Float]:
        """Whole and broken part of the offset in each plane, shape (P, 2)."""
        offset = np.arange(self.planes)[:, None] * self.tangent * self.step[0] / self.step[1:]
        whole = np.floor(offset)
        return whole.astype(np.int64), offset - whole


def _along(rho: Tensor, sent: Tensor, weight: Tensor, rate: Tensor, ray: _Ray) -> Tensor:
    """Return what a pair of opposite directions leaves, shape (P, A, V, U)."""
    whole, broken = ray.offsets
    fraction = torch.as_tensor(broken, dtype=rho.dtype, device=rho.device)
    length = ray.length_mm
    on_ray = _forth(rho, fraction)
    free = rate[:, None, None, None] * length
    path = (on_ray[:, None] * free).clamp(min=EMPTY)  # shape (P, K, A, V, U)
    passed = torch.exp(-path)
    own = -torch.expm1(-path) / path
    per_mass = on_ray.clamp(min=EMPTY)[:, None]
    size = (rho.shape[0], rate.shape[0], *rho.shape[1:])
    left = torch.zeros_like(on_ray)
    for sign, part in ((1, weight[0]), (-1, weight[1])):
        set_free = _forth((part @ sent).view(size), fraction)
        flown = torch.stack(list(_flown(set_free * own, passed, whole, sign)))
        left = left + (flown * (free * own) + set_free / per_mass * (1.0 - own)).sum(dim=1)
    return _back(left, fraction)


def _flown(gain: Tensor, passed: Tensor, whole: NDArray[np.int64], sign: int) -> Iterator[Tensor]:
    """Yield what enters each plane of cells along the rays, in the planes' order, shape (K, A, V, U)."""
    planes = range(len(whole)) if sign > 0 else range(len(whole) - 1, -1, -1)
    entering: list[Tensor] = []
    flow = torch.zeros_like(gain[0])
    before: NDArray[np.int64] | None = None
    for p in planes:
        if before is not None:
            flow = _moved(flow, whole[p] - before)
        entering.append(flow)
        flow = torch.addcmul(gain[p], flow, passed[p])
        before = whole[p]
    yield from entering if sign > 0 else reversed(entering)


def _moved(flow: Tensor, by: NDArray[np.int64]) -> Tensor:
    """Return the rays under the voxels they have come to: the whole part of the offset has risen ``by``."""
    for axis, steps in ((-2, int(by[0])), (-1, int(by[1]))):
        if steps:
            lost, size = abs(steps), flow.shape[axis]
            kept = flow.narrow(axis, max(-steps, 0), size - lost)
            empty = torch.zeros_like(flow.narrow(axis, 0, lost))
            flow = torch.cat([empty, kept] if steps > 0 else [kept, empty], dim=axis)
    return flow


def _forth(values: Tensor, fraction: Tensor) -> Tensor:
    """Read planes of voxels, shape (P, ..., V, U), between voxels: at ``index + fraction`` of each plane."""
    for axis in (-2, -1):
        part = fraction[:, axis].view(-1, *([1] * (values.dim() - 1)))
        beyond = torch.zeros_like(values.narrow(axis, 0, 1))
        next_ = torch.cat([values.narrow(axis, 1, values.shape[axis] - 1), beyond], dim=axis)
        values = torch.lerp(values, next_, part)
    return values


def _back(values: Tensor, fraction: Tensor) -> Tensor:
    """Give values of rays back to the voxels between which they ran: the transpose of `_forth`."""
    for axis in (-2, -1):
        part = fraction[:, axis].view(-1, *([1] * (values.dim() - 1)))
        beyond = torch.zeros_like(values.narrow(axis, 0, 1))
        previous = torch.cat([beyond, values.narrow(axis, 0, values.shape[axis] - 1)], dim=axis)
        values = torch.lerp(values, previous, part)
    return values
