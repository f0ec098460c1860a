"""Energy carried along pairs of opposite directions, plane by plane, and the way back through it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

Float = NDArray[np.float64]

#: Below this path (in attenuation lengths) a cell counts as empty: its own share is taken at the limit.
EMPTY = 1e-6
#: Below this path the slope of a cell's own share is taken from its series, whose error is then 1e-10.
SHORT = 1e-2


@dataclass(frozen=True, eq=False)
class Ray:
    """A direction as offsets of its rays in each plane, in voxels.

    Parameters
    ----------
    tangent : ndarray, shape (2,)
        How far it moves along v and u per unit across the planes.
    step : ndarray, shape (3,)
        Voxel size across the planes, along v and along u, mm.
    planes : int
        How many there are.
    """

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


def swept(rho: Tensor, sent: Tensor, weight: Tensor, rate: Tensor, rays: Sequence[Ray]) -> Tensor:
    """Return what pairs of opposite directions leave, shape (P, A, V, U); differentiable once.

    Parameters
    ----------
    rho : Tensor, shape (P, A, V, U)
        Densities relative to water: planes across the directions, images, and voxels in a plane.
    sent : Tensor, shape (P, B, A V U)
        Energy per volume that each of B sources sets free.
    weight : Tensor, shape (H, 2, K, B)
        Which part of it goes forth and back along each pair with each attenuation.
    rate : Tensor, shape (K,)
        Attenuation per mm of water.
    rays : sequence of Ray
        The pairs' first directions; H of them.

    Notes
    -----
    Going through the planes is linear in what is sent, so its transpose is the same way in the opposite
    direction with the same coefficients. Nothing of a pair is kept for the gradient: what flows, forth and
    back, is calculated again beside the two transposed flows, and the product rule joins them.
    """
    found: Tensor = _Swept.apply(rho, sent, weight, rate, rays)  # type: ignore[no-untyped-call]
    return found


class _Swept(torch.autograd.Function):
    """`swept` and its gradient."""

    @staticmethod
    def forward(
        ctx: Any, rho: Tensor, sent: Tensor, weight: Tensor, rate: Tensor, rays: Sequence[Ray]
    ) -> Tensor:
        ctx.save_for_backward(rho, sent, weight, rate)
        ctx.rays = rays
        left = torch.zeros_like(rho)
        for part, ray in zip(weight, rays, strict=True):
            left += _Cells(rho, rate, ray).left(sent, part)
        return left

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        rho, sent, weight, rate = inputs
        asked = ctx.needs_input_grad[:4]
        found = [torch.zeros_like(x) if needed else None for x, needed in zip(inputs, asked, strict=True)]
        by_rho, by_sent, by_weight, by_rate = found
        for h, (part, ray) in enumerate(zip(weight, ctx.rays, strict=True)):
            cells = _Cells(rho, rate, ray)
            way = cells.way_back(gradient, sent, part, flows=asked[0] or asked[3])
            if by_sent is not None or by_weight is not None:
                mixed = cells.back_to_sources(way)
                if by_sent is not None:
                    by_sent += part.flatten(0, 1).T @ mixed
                if by_weight is not None:
                    by_weight[h] = (mixed @ sent.transpose(1, 2)).sum(dim=0).view(part.shape)
            if by_rho is not None or by_rate is not None:
                path, dense = cells.back_to_paths(way)
                if by_rho is not None:
                    by_rho += _back((path * cells.free).sum(dim=1) + dense, cells.fraction)
                if by_rate is not None:
                    free = path * cells.on_ray[:, None] + cells.own * way.flown_given
                    by_rate += free.sum(dim=(0, 2, 3, 4)) * ray.length_mm
        return *found, None


@dataclass(frozen=True, eq=False)
class _Way:
    """What `_Cells.way_back` finds: the gradient on the rays, and flows.

    Parameters
    ----------
    on_ray : Tensor, shape (P, 1, A, V, U)
        Gradient of what is left on the rays.
    leaving : Tensor, shape (P, 2, K, A, V, U)
        Gradient of what leaves each cell, forth and back.
    sent, flown : Tensor, shape (P, 2, K, A, V, U), optional
        What is set free in each cell, and what enters it; absent where only the sources were asked for.
    """

    on_ray: Tensor
    leaving: Tensor
    sent: Tensor | None
    flown: Tensor | None

    @property
    def flown_given(self) -> Tensor:
        """What enters, both ways together, times the gradient on the rays, shape (P, K, A, V, U)."""
        assert self.flown is not None
        return self.flown.sum(dim=1) * self.on_ray


class _Cells:
    """The cells of a pair's rays: how much of what enters or is set free each lets pass and keeps.

    Parameters
    ----------
    rho : Tensor, shape (P, A, V, U)
        Densities.
    rate : Tensor, shape (K,)
        Attenuations.
    ray : Ray
        The pair's first direction.
    """

    def __init__(self, rho: Tensor, rate: Tensor, ray: Ray) -> None:
        self.whole, broken = ray.offsets
        self.fraction = torch.as_tensor(broken, dtype=rho.dtype, device=rho.device)
        self.on_ray = _forth(rho, self.fraction)
        self.free = rate[:, None, None, None] * ray.length_mm
        self.path = (self.on_ray[:, None] * self.free).clamp_(min=EMPTY)  # shape (P, K, A, V, U)
        self.passed = self.path.neg().exp_()
        self.own = self.path.neg().expm1_().neg_().div_(self.path)  # part of its own energy that leaves
        self.dense = self.on_ray.clamp(min=EMPTY)[:, None]
        self.kept = (1.0 - self.own).div_(self.dense)
        self.taken = self.free * self.own

    def left(self, sent: Tensor, weight: Tensor) -> Tensor:
        """Return what a pair leaves in the voxels, shape (P, A, V, U)."""
        free = self._set_free(sent, weight)
        gain = free * self.own[:, None]
        flown = self._flown(gain[:, 0], 1) + self._flown(gain[:, 1], -1)
        left = flown.mul_(self.taken).addcmul_(free.sum(dim=1), self.kept)
        return _back(left.sum(dim=1), self.fraction)

    def way_back(self, gradient: Tensor, sent: Tensor, weight: Tensor, flows: bool) -> _Way:
        """Return the gradient of what leaves the cells, and with ``flows`` what entered them.

        Parameters
        ----------
        gradient : Tensor, shape (P, A, V, U)
            Of what was left in the voxels.
        """
        on_ray = _forth(gradient, self.fraction)[:, None]
        given = self.taken * on_ray
        if not flows:
            leaving = torch.stack([self._flown(given, -1), self._flown(given, 1)], dim=1)
            return _Way(on_ray, leaving, None, None)
        free = self._set_free(sent, weight)
        gain = free * self.own[:, None]
        # what flows one way and the transpose of what flows the other way take the same planes together
        forth = self._flown(torch.stack([gain[:, 0], given], dim=1), 1)
        back = self._flown(torch.stack([given, gain[:, 1]], dim=1), -1)
        leaving = torch.stack([back[:, 0], forth[:, 1]], dim=1)
        return _Way(on_ray, leaving, free, torch.stack([forth[:, 0], back[:, 1]], dim=1))

    def back_to_sources(self, way: _Way) -> Tensor:
        """Return the gradient of what is set free in the voxels, shape (P, 2 K, A V U)."""
        free = (way.leaving * self.own[:, None]).add_((self.kept * way.on_ray)[:, None])
        return _back(free, self.fraction).flatten(1, 2).flatten(2)

    def back_to_paths(self, way: _Way) -> tuple[Tensor, Tensor]:
        """Return the gradients of paths, shape (P, K, A, V, U), and of the divisor, shape (P, A, V, U)."""
        assert way.flown is not None
        assert way.sent is not None
        both = way.sent.sum(dim=1)
        passed = (way.leaving * way.flown).sum(dim=1)
        own = (way.leaving * way.sent).sum(dim=1)
        own.addcmul_(self.free, way.flown_given).addcmul_(both, way.on_ray / self.dense, value=-1.0)
        path = (self._slope() * own).addcmul_(self.passed, passed, value=-1.0)
        path *= self.path > EMPTY
        dense = (both * self.kept).sum(dim=1) * (way.on_ray / self.dense)[:, 0]
        return path, -dense * (self.on_ray > EMPTY)

    def _slope(self) -> Tensor:
        """Return the derivative of `own` by the path."""
        series = ((self.path / 30.0 - 0.125) * self.path + 1.0 / 3.0) * self.path - 0.5
        return torch.where(self.path < SHORT, series, (self.passed - self.own) / self.path)

    def _set_free(self, sent: Tensor, weight: Tensor) -> Tensor:
        """Return what is set free on the rays, forth and back, shape (P, 2, K, A, V, U)."""
        mixed = weight.flatten(0, 1) @ sent
        shape = (self.on_ray.shape[0], *weight.shape[:2], *self.on_ray.shape[1:])
        return _forth(mixed.view(shape), self.fraction)

    def _flown(self, gain: Tensor, sign: int) -> Tensor:
        """Return what enters each plane of cells along the rays, shape (P, ..., K, A, V, U)."""
        entering = torch.zeros_like(gain)
        for before, p in pairwise(range(len(gain))[::sign]):
            old, new = _shift(self.whole[p] - self.whole[before], gain.shape[-2:])
            torch.addcmul(
                gain[before][old], entering[before][old], self.passed[before][old], out=entering[p][new]
            )
        return entering


def _shift(by: NDArray[np.int64], size: Sequence[int]) -> tuple[Any, Any]:
    """Return the voxels whose rays stay in the box, and those they come to: the offset has risen ``by``."""
    reach = list(zip(by.tolist(), size, strict=True))
    old = (slice(max(-n, 0), max(count - max(n, 0), 0)) for n, count in reach)
    new = (slice(max(n, 0), max(count + min(n, 0), 0)) for n, count in reach)
    return (..., *old), (..., *new)


def _forth(values: Tensor, fraction: Tensor) -> Tensor:
    """Read planes of voxels, shape (P, ..., V, U), between voxels: at ``index + fraction`` of each plane."""
    return _lerped(_lerped(values, fraction, -2, 1), fraction, -1, 1)


def _back(values: Tensor, fraction: Tensor) -> Tensor:
    """Give values of rays back to the voxels between which they ran: the transpose of `_forth`."""
    return _lerped(_lerped(values, fraction, -2, -1), fraction, -1, -1)


def _lerped(values: Tensor, fraction: Tensor, axis: int, to: int) -> Tensor:
    """Return values moved by fractions towards their neighbours ``to`` (+1 or -1) on; beyond the box is 0."""
    part = fraction[:, axis].view(-1, *([1] * (values.dim() - 1)))
    found, inner = torch.empty_like(values), values.shape[axis] - 1
    kept, near, edge = (0, 1, inner) if to > 0 else (1, 0, 0)
    here, there = values.narrow(axis, kept, inner), values.narrow(axis, near, inner)
    torch.lerp(here, there, part, out=found.narrow(axis, kept, inner))
    last = values.narrow(axis, edge, 1)
    torch.lerp(last, torch.zeros_like(last), part, out=found.narrow(axis, edge, 1))
    return found
