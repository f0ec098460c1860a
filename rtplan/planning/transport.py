"""Energy carried along fixed directions through a box of densities: the collapsed cones of all beams."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtplan.planning.sweep import Ray, swept

Float = NDArray[np.float64]


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
    absorption are even; paths are scaled with density. The gradient (once) is by `rtplan.planning.sweep`.
    """
    total = torch.zeros_like(density)
    for axis in range(3):
        order = (axis, *(i for i in range(3) if i != axis))
        rho = density.permute(1 + order[0], 0, 1 + order[1], 1 + order[2]).contiguous()
        sent = source.permute(2 + order[0], 0, 1, 2 + order[1], 2 + order[2])
        sent = (sent * rho[:, None]).flatten(2)  # energy per volume, shape (P, B, A V U)
        pairs = np.flatnonzero(cones.axis == axis)
        rays = [Ray(cones.tangent[h], step[list(order)], rho.shape[0]) for h in pairs]
        left = swept(rho, sent, weight[torch.as_tensor(pairs, device=weight.device)], rate, rays)
        back = np.argsort((order[0], *order[1:]))
        total = total + left.permute(1, 0, 2, 3).permute(0, *(1 + int(i) for i in back))
    return total
