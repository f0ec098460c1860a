"""The U-Net: a 3-D encoder and decoder with skips, put together from MONAI's blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from monai.networks.blocks import UnetBasicBlock, UnetOutBlock, UnetResBlock, UnetUpBlock
from torch import Tensor, nn

#: Normalisations by name, with the number of channels they see. Group statistics keep the relative
#: size of the channels of a group, so a patch of one tissue still knows how bright it is; instance
#: statistics forget it.
NORMS: dict[str, Callable[[int], tuple[str, dict[str, object]]]] = {
    "group": lambda channels: ("group", {"num_groups": channels // 4 if channels % 4 == 0 else 1}),
    "instance": lambda channels: ("instance", {"affine": True}),
}


class UNet(nn.Module):
    """A 3-D U-Net whose deepest level is always computed in float32.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    channels : sequence of int
        Channels of each level, finest first; each further level halves the resolution on all axes.
    norm : str
        ``group`` or ``instance``.
    residual : bool
        Residual instead of plain pairs of convolutions.
    dropout : float
        Share of channels dropped in the two deepest levels (0: none).
    stem : tuple of int
        Voxels (z, y, x) that are folded into channels before the first level and unfolded after the
        last: (1, 2, 2) costs a quarter of (1, 1, 1) and loses no voxel.

    Notes
    -----
    In bfloat16 the weight gradient of a convolution on a few voxels is wrong on some processors (a
    bottleneck of 2×4×4 voxels is 25–50 % off or infinite), so the bottleneck leaves the autocast.
    Any input size is taken: it is padded to a multiple of the total stride and cut back.

    References
    ----------
    Ronneberger O, Fischer P, Brox T. U-Net: convolutional networks for biomedical image segmentation.
    MICCAI 2015, LNCS 9351:234–241. Wu Y, He K. Group normalization. ECCV 2018.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (16, 32, 64, 128),
        *,
        norm: str = "group",
        residual: bool = False,
        dropout: float = 0.0,
        stem: tuple[int, int, int] = (1, 1, 1),
    ) -> None:
        super().__init__()
        block = UnetResBlock if residual else UnetBasicBlock
        self.stem = tuple(stem)
        self.stride = tuple(s * 2 ** (len(channels) - 1) for s in self.stem)
        deep = len(channels) - 2
        self.encoder = nn.ModuleList()
        before = in_channels * math.prod(self.stem)
        for level, width in enumerate(channels):
            drop = dropout if dropout and level >= deep else None
            stride = 1 if level == 0 else 2
            self.encoder.append(block(3, before, width, 3, stride, NORMS[norm](width), dropout=drop))
            before = width
        self.decoder = nn.ModuleList(
            UnetUpBlock(3, below, width, 3, 2, 2, NORMS[norm](width))
            for below, width in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )
        self.head = UnetOutBlock(3, channels[0], out_channels * math.prod(self.stem))

    def forward(self, x: Tensor) -> Tensor:
        """Take (batch, in_channels, z, y, x) to (batch, out_channels, z, y, x), float32."""
        shape = x.shape[2:]
        pads = [pad for n, s in zip(shape, self.stride, strict=True) for pad in (-n % s, 0)][::-1]
        x = fold(nn.functional.pad(x, pads), self.stem)
        skips: list[Tensor] = []
        for encode in self.encoder[:-1]:
            x = encode(x)
            skips.append(x)
        with torch.autocast(x.device.type, enabled=False):
            x = self.encoder[-1](x.float())
        for decode, skip in zip(self.decoder, reversed(skips), strict=True):
            x = decode(x, skip)
        whole = unfold(self.head(x).float(), self.stem)
        return whole[..., : shape[0], : shape[1], : shape[2]]


def fold(x: Tensor, stem: tuple[int, ...]) -> Tensor:
    """Fold blocks of voxels into channels: (b, c, z, y, x) to (b, c·kz·ky·kx, z/kz, y/ky, x/kx).

    Examples
    --------
    >>> import torch
    >>> x = torch.rand(1, 2, 4, 6, 8)
    >>> fold(x, (1, 2, 2)).shape, bool((unfold(fold(x, (1, 2, 2)), (1, 2, 2)) == x).all())
    (torch.Size([1, 8, 4, 3, 4]), True)
    """
    b, c, z, y, w = x.shape
    kz, ky, kx = stem
    blocks = x.reshape(b, c, z // kz, kz, y // ky, ky, w // kx, kx).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return blocks.reshape(b, c * kz * ky * kx, z // kz, y // ky, w // kx)


def unfold(x: Tensor, stem: tuple[int, ...]) -> Tensor:
    """Undo `fold`."""
    b, c, z, y, w = x.shape
    kz, ky, kx = stem
    blocks = x.reshape(b, c // (kz * ky * kx), kz, ky, kx, z, y, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return blocks.reshape(b, c // (kz * ky * kx), z * kz, y * ky, w * kx)
