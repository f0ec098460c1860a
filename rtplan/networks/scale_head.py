"""The second head of a folded network: how far each voxel's answer may be off, from frozen features."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rtplan.networks.unet import unfold

#: Where the logarithm of the scale is cut.
LOG_LOW, LOG_HIGH = -7.0, 1.0


class ScaleHead(nn.Module):
    """Takes a folded network's features to ln b of every voxel's Laplace distribution.

    Parameters
    ----------
    features : int
        Channels of the features.
    width : int
        Of the layer between.
    stem : sequence of int
        Voxels (z, y, x) of a folded block.

    References
    ----------
    Kendall A, Gal Y. What uncertainties do we need in Bayesian deep learning for computer vision? NeurIPS
    2017.
    """

    def __init__(self, features: int, width: int = 48, stem: Sequence[int] = (2, 2, 2)) -> None:
        super().__init__()
        self.stem = tuple(stem)
        self.layers = nn.Sequential(
            nn.Conv3d(features, width, 1), nn.LeakyReLU(0.01), nn.Conv3d(width, math.prod(self.stem), 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Take (batch, features, z, y, x) to (batch, 1, z·kz, y·ky, x·kx): ln b in the network's unit."""
        folded: Tensor = self.layers(features.float())
        return unfold(folded.clamp(LOG_LOW, LOG_HIGH), self.stem)


def laplace_nll(error: Tensor, log_scale: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean of −ln of the Laplace density of absolute errors.

    Examples
    --------
    >>> import torch
    >>> one = torch.ones(2)
    >>> round(float(laplace_nll(one, torch.zeros(2), one)), 4)
    1.6931
    """
    nll = error * torch.exp(-log_scale) + log_scale + math.log(2.0)
    return (nll * weight).sum() / weight.sum().clamp(min=1.0)
