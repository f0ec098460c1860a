"""The U-Net and the critic: shapes, determinism, bf16 gradients beside float32."""

import pytest
import torch

from rtplan.errors import UnknownName
from rtplan.networks.build import build
from rtplan.networks.gan import Critic


@pytest.mark.parametrize("shape", [(8, 16, 16), (9, 17, 23), (5, 30, 11)])
@pytest.mark.parametrize("norm", ["group", "instance"])
def test_any_size_comes_back_as_it_went_in(shape, norm):
    net = build("unet", 2, 1, channels=(4, 8, 12), norm=norm, residual=norm == "group")
    assert net(torch.zeros(2, 2, *shape)).shape == (2, 1, *shape)


def test_an_unknown_network_lists_the_known_ones():
    with pytest.raises(UnknownName, match="unet"):
        build("resnet", 1, 1)


def test_every_parameter_gets_a_gradient():
    net = build("unet", 1, 1, channels=(4, 8, 12))
    net(torch.randn(1, 1, 16, 16, 16)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_dropout_acts_in_training_only():
    torch.manual_seed(1)
    net = build("unet", 1, 1, channels=(4, 8, 12), dropout=0.5)
    x = torch.randn(1, 1, 8, 16, 16)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("seed", [0, 1])
def test_bf16_gradients_agree_with_float32(seed):
    """The shipped widths, on a patch whose bottleneck has 2×4×4 voxels: the case that goes wrong in bf16.

    Rounding alone leaves each layer's gradient within 20° and 10 % of float32's.
    """
    torch.manual_seed(seed)
    net = build("unet", 2, 1, channels=(16, 32, 64, 128))
    coarse = torch.randn(1, 2, 4, 8, 8)
    x = torch.nn.functional.interpolate(coarse, size=(16, 32, 32), mode="trilinear")
    y = (x[:, :1] > 0.2).float() + 0.3 * x[:, 1:]

    def gradients(half):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = net(x)
        assert out.dtype == torch.float32
        (out - y).square().mean().backward()
        return {name: p.grad.flatten().clone() for name, p in net.named_parameters() if p.ndim > 1}

    full, half = gradients(False), gradients(True)
    for name, grad in full.items():
        assert torch.isfinite(half[name]).all(), name
        assert torch.cosine_similarity(half[name], grad, dim=0) > 0.94, name
        assert (half[name].norm() / grad.norm()).item() == pytest.approx(1.0, abs=0.1), name


def test_the_critic_sees_the_condition_and_has_spectral_norm_one():
    torch.manual_seed(2)
    critic = Critic(1, channels=4, levels=2)
    mr, ct = torch.randn(1, 1, 16, 24, 24), torch.randn(1, 1, 16, 24, 24)
    for _ in range(30):
        critic(mr, ct)
    critic.eval()
    assert not torch.equal(critic(mr, ct)[-1], critic(-mr, ct)[-1])
    assert critic(mr, ct)[-1].shape[1] == 1
    for module in critic.modules():
        if isinstance(module, torch.nn.Conv3d):
            largest = torch.linalg.matrix_norm(module.weight.detach().flatten(1), 2)
            assert largest.item() == pytest.approx(1.0, abs=0.03)
