"""Networks by name: the one table from which settings choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from rtplan.errors import UnknownName
from rtplan.networks.cascade import Cascade
from rtplan.networks.folded import FoldedUNet
from rtplan.networks.unet import UNet

#: Name to a callable ``(in_channels, out_channels, **settings) -> Module``.
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "unet": UNet,
    "folded_unet": FoldedUNet,
    "cascade": Cascade,
}


def build(name: str, in_channels: int, out_channels: int, **settings: Any) -> nn.Module:
    """Return a new network.

    Raises
    ------
    UnknownName
        If the name is not in the table; the message lists the known ones.

    Examples
    --------
    >>> sum(p.numel() for p in build("unet", 2, 1, channels=(4, 8)).parameters())
    4861
    """
    if name not in NETWORKS:
        raise UnknownName(f"There is no network {name!r}. Known: {', '.join(NETWORKS)}.")
    return NETWORKS[name](in_channels, out_channels, **settings)
