"""The critic of the conditional GAN: a patch discriminator that sees the MR and a CT together."""

from __future__ import annotations

import torch
from monai.networks.nets import PatchDiscriminator
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Critic(nn.Module):
    """Judges patches of (MR, CT) pairs; every convolution has spectral norm 1.

    Parameters
    ----------
    conditions : int
        Channels of the condition (the MR channels).
    channels : int
        Channels of the first level; doubled at each of the ``levels``.
    levels : int
        Number of strided levels; three see about 34 voxels across.

    References
    ----------
    Isola P et al. Image-to-image translation with conditional adversarial networks. CVPR 2017.
    Miyato T et al. Spectral normalization for generative adversarial networks. ICLR 2018.
    """

    def __init__(self, conditions: int = 1, channels: int = 16, levels: int = 3) -> None:
        super().__init__()
        self.judge = PatchDiscriminator(
            spatial_dims=3,
            channels=channels,
            in_channels=conditions + 1,
            num_layers_d=levels,
            kernel_size=3,
            norm="instance",
        )
        for module in self.judge.modules():
            if isinstance(module, nn.Conv3d):
                spectral_norm(module)

    def forward(self, condition: Tensor, ct: Tensor) -> list[Tensor]:
        """Return the feature maps of every level, the last of them the verdicts of the patches.

        Parameters
        ----------
        condition : Tensor, shape (batch, conditions, z, y, x)
            The MR as the generator sees it.
        ct : Tensor, shape (batch, 1, z, y, x)
            A real or a synthetic CT, HU / 1000.
        """
        maps: list[Tensor] = self.judge(torch.cat([condition, ct], dim=1))
        return maps
