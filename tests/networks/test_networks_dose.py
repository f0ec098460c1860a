"""The folded U-Net and the cascade: any size, every voxel, the winners' size, gradients of both halves."""

import pytest
import torch

from rtplan.errors import UnknownName
from rtplan.networks.build import build
from rtplan.networks.cascade import Cascade
from rtplan.networks.folded import FoldedUNet


def test_any_size_is_answered_in_that_size():
    torch.manual_seed(1)
    network = FoldedUNet(3, 1, (4, 8)).eval()
    x = torch.rand(1, 3, 9, 11, 13)
    with torch.inference_mode():
        assert network(x).shape == (1, 1, 9, 11, 13)
        assert network(x).dtype == torch.float32


def test_the_head_knows_where_in_a_block_a_voxel_lies():
    """With the U-Net's answer cut off, two inputs that differ within a block still differ there."""
    torch.manual_seed(1)
    network = FoldedUNet(1, 1, (4, 8)).eval()
    with torch.no_grad():
        network.head[0].weight[:, :4] = 0.0
    a = torch.zeros(1, 1, 8, 8, 8)
    b = a.clone()
    b[..., 2, 3, 5] = 1.0
    with torch.no_grad():
        change = (network(b) - network(a)).abs()[0, 0]
    block = (slice(2, 4), slice(2, 4), slice(4, 6))
    assert change[block].max() > 1e-3
    change[block] = 0.0
    assert change.max() == 0.0


def test_the_nano_has_the_size_that_is_shipped():
    network = build("folded_unet", 20, 1, channels=(32, 48, 96, 192), stem=(2, 2, 2))
    bytes_bf16 = 2 * sum(p.numel() for p in network.parameters())
    assert 5e6 < bytes_bf16 < 12e6


def test_the_cascades_second_half_sees_the_first():
    torch.manual_seed(1)
    network = Cascade(2, 1, (4, 8), norm="group")
    x = torch.rand(1, 2, 8, 8, 8)
    first, second = network.both(x)
    assert first.shape == second.shape == (1, 1, 8, 8, 8)
    assert torch.equal(network(x), second)
    second.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.first.parameters())


def test_the_winners_cascade_has_their_size():
    """28 million weights (the published network, which samples up otherwise: 32.4)."""
    with torch.device("meta"):
        network = build("cascade", 9, 1, channels=(32, 64, 128, 256, 512), norm="instance")
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(28.3e6, rel=0.01)


def test_an_unknown_network_is_refused():
    with pytest.raises(UnknownName, match="folded_unet"):
        build("transformer", 1, 1)
