"""Two U-Nets in a row: the second one sees the input and what the first one made of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rtplan.networks.unet import UNet


class Cascade(nn.Module):
    """The cascade of the OpenKBP winners: a small U-Net's features and answer feed a larger one.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    channels : sequence of int
        Widths of the second U-Net, finest first; the first one has half of them.
    norm, residual, dropout, stem
        As in `UNet`.

    References
    ----------
    Liu S et al. A cascade 3D U-Net for dose prediction in radiotherapy. Med Phys 2021;48:5574–5582.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (32, 64, 128, 256, 512),
        *,
        norm: str = "instance",
        residual: bool = False,
        dropout: float = 0.0,
        stem: tuple[int, int, int] = (1, 1, 1),
    ) -> None:
        super().__init__()
        small = [width // 2 for width in channels]
        self.out_channels = out_channels
        first_out = out_channels + small[0]
        self.first = UNet(
            in_channels, first_out, small, norm=norm, residual=residual, dropout=dropout, stem=stem
        )
        self.second = UNet(
            in_channels + first_out,
            out_channels,
            channels,
            norm=norm,
            residual=residual,
            dropout=dropout,
            stem=stem,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Take (batch, in_channels, z, y, x) to (batch, out_channels, z, y, x): the second answer."""
        return self.both(x)[1]

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the answers of the first and of the second network; both are learned from."""
        features = self.first(x)
        answer: Tensor = self.second(torch.cat([x, features.to(x.dtype)], dim=1))
        return features[:, : self.out_channels], answer
