"""Several volumes read at the same points on the processor: one set of corners and shares serves all."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

#: So many points at a time and thread: their corners and shares stay in the processor's cache.
POINTS = 1 << 14


def images_last(values: Tensor) -> Tensor:
    """Return volumes, shape (C, z, y, x), whose voxels of all volumes are neighbours in memory."""
    return values.movedim(0, -1).contiguous().movedim(-1, 0)


def worthwhile(values: Tensor, axes: int) -> bool:
    """Return whether `gathered` does this, and sooner than sampling each volume: it gives no gradient."""
    several = axes == 3 and values.shape[0] > 1 and min(values.shape[1:]) > 1
    graph = torch.is_grad_enabled() and values.requires_grad
    small = values[0].numel() < 2**31
    return several and small and values.device.type == "cpu" and not graph


def gathered(values: Tensor, coordinates: Tensor, threads: int) -> Tensor:
    """Sample volumes at points; linear, 0 outside: `raytrace.sampled` for several volumes without gradient.

    Parameters
    ----------
    values : Tensor, shape (C, z, y, x)
        Best laid out by `images_last`; else they are copied.
    coordinates : Tensor, shape (n, 3)
        In [-1, 1] from outer edge to outer edge, the last spatial axis first.
    threads : int
        How many there are.

    Returns
    -------
    Tensor, shape (C, n)
        A view of shape (n, C).

    Notes
    -----
    Each point's eight voxels and their shares are found once; a weighted sum of rows then takes all volumes.
    """
    shape = tuple(int(n) for n in values.shape[1:])
    rows = values.movedim(0, -1).reshape(-1, values.shape[0])
    found = torch.empty(coordinates.shape[0], values.shape[0], dtype=values.dtype)
    for start in range(0, coordinates.shape[0], POINTS * threads):
        part = slice(start, start + POINTS * threads)
        index, share = _corners(coordinates[part], shape)
        found[part] = functional.embedding_bag(index, rows, mode="sum", per_sample_weights=share)
    return found.movedim(-1, 0)


def _corners(coordinates: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the eight voxels round each point and their shares, shape (n, 8); shares outside are 0."""
    steps = (shape[1] * shape[2], shape[2], 1)
    first = torch.zeros(coordinates.shape[0], dtype=torch.int32)
    shares = []
    for axis, (count, step) in enumerate(zip(shape, steps, strict=True)):
        place = ((coordinates[:, 2 - axis] + 1.0) * count - 1.0) * 0.5
        low = place.floor().clamp_(0, count - 2)
        first.add_(low.to(torch.int32), alpha=step)
        place = place.sub_(low)
        shares.append(((1.0 - place.abs()).clamp_(min=0.0), (1.0 - (place - 1.0).abs()).clamp_(min=0.0)))
    index = torch.empty(8, first.shape[0], dtype=torch.int32)
    share = torch.empty(8, first.shape[0], dtype=coordinates.dtype)
    for row in range(8):
        k, j, i = row >> 2, (row >> 1) & 1, row & 1
        torch.add(first, k * steps[0] + j * steps[1] + i, out=index[row])
        torch.mul(shares[0][k] * shares[1][j], shares[2][i], out=share[row])
    return index.T.contiguous(), share.T.contiguous()
