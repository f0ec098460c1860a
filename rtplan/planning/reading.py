"""Maps read at places that stay: a dose and its transpose, for optimisations that read them many times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.autograd.function import once_differentiable

from rtplan.planning.engine import Reach, apply


@dataclass(frozen=True, eq=False)
class Reading:
    """What one beam's maps give at the points of a scene, on the first image.

    Parameters
    ----------
    reach : Reach
        Weights of the points and their places in the maps.
    shares : scipy.sparse.csr_array or None, shape (n, V U)
        Which share each node of a map has in each point; None (on an accelerator): autograd's own way back.
    threads : int
        For the way there.

    Notes
    -----
    Backwards, torch scatters each point's gradient into its four nodes; a product with the transposed matrix
    of shares is the same sum and was measured more than ten times faster on a processor.
    """

    reach: Reach
    shares: Any
    threads: int

    @classmethod
    def of(cls, reach: Reach, threads: int) -> Reading:
        """Return the reading of a reach; its weights and places are taken as they are, without gradient."""
        first = Reach(reach.weight[:1], reach.coordinates, reach.at_v, reach.at_u)
        nodes = (len(reach.at_v), len(reach.at_u))
        here = reach.weight.device.type == "cpu"
        return cls(first, bilinear(reach.coordinates, nodes) if here else None, threads)

    def __call__(self, maps: Tensor) -> Tensor:
        """Return the dose of maps, shape (I, V, U), at the points, Gy, shape (n,)."""
        if self.shares is None or not maps.requires_grad:
            return apply(self.reach, maps, self.threads)[0]
        found: Tensor = _Read.apply(maps, self)  # type: ignore[no-untyped-call]
        return found

    def back(self, dose: Tensor) -> Tensor:
        """Return the transpose: what points, shape (n,), give to the nodes of the maps, shape (I, V, U)."""
        weighed = (self.reach.weight[0] * dose).numpy()
        nodes = torch.from_numpy(np.ascontiguousarray((self.shares.T @ weighed.T).T))
        return nodes.view(-1, len(self.reach.at_v), len(self.reach.at_u))


class _Read(torch.autograd.Function):
    """A reading with its own transpose."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, reading: Reading) -> Tensor:
        ctx.reading = reading
        return apply(reading.reach, maps, reading.threads)[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.reading.back(gradient), None


def bilinear(places: Tensor, nodes: tuple[int, int]) -> Any:
    """Return the shares of a map's nodes in values read between them, a sparse array (n, V U).

    Parameters
    ----------
    places : Tensor, shape (n, 2)
        (u, v) in [-1, 1] from outer edge to outer edge, as `rtplan.planning.raytrace.sampled` takes them.
    nodes : tuple of int
        V, U.
    """
    shares, columns = [], []
    axes = []
    for axis, count in ((1, nodes[0]), (0, nodes[1])):
        x = ((places[:, axis].numpy() + 1.0) * count - 1.0) / 2.0
        low = np.floor(x)
        axes.append((low.astype(np.int32), (x - low).astype(x.dtype), count))
    (v, above, rows), (u, beyond, width) = axes
    for dv, share_v in ((0, 1 - above), (1, above)):
        for du, share_u in ((0, 1 - beyond), (1, beyond)):
            inside = (v + dv >= 0) & (v + dv < rows) & (u + du >= 0) & (u + du < width)
            columns.append(np.where(inside, (v + dv) * width + u + du, 0))
            shares.append(np.where(inside, share_v * share_u, 0))
    count = len(places)
    starts = np.arange(count + 1, dtype=np.int32) * 4
    values = (np.stack(shares, axis=1).ravel(), np.stack(columns, axis=1).ravel(), starts)
    return sparse.csr_array(values, shape=(count, rows * width))
