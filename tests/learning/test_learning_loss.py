"""Losses in closed form."""

import math

import pytest
import torch

from rtplan.learning import loss


def test_l1_counts_only_what_has_weight():
    a, b = torch.zeros(1, 1, 2, 2, 2), torch.ones(1, 1, 2, 2, 2)
    w = torch.zeros_like(a)
    assert loss.masked_l1(a, b, w) == 0.0
    w[..., 0] = 0.5
    assert loss.masked_l1(a, 3 * b, w).item() == pytest.approx(3.0)


def test_gradient_l1_is_blind_to_a_shift_of_level_and_sees_a_ramp():
    x = torch.randn(1, 1, 5, 6, 7)
    w = torch.ones_like(x)
    assert loss.gradient_l1(x + 3.0, x, w).item() == pytest.approx(0.0, abs=1e-6)
    ramp = torch.arange(7.0).expand(1, 1, 5, 6, 7)
    assert loss.gradient_l1(x + 2 * ramp, x, w).item() == pytest.approx(2.0 / 3.0, rel=1e-5)


@pytest.mark.parametrize("kind", sorted(loss.GAMES))
def test_the_critic_wants_real_high_and_fake_low_the_generator_the_reverse(kind):
    game = loss.GAMES[kind]
    good, bad = torch.full((4,), 1.0), torch.full((4,), -1.0 if kind == "hinge" else 0.0)
    assert game.critic(good, bad) == 0.0
    assert game.critic(bad, good) > 1.0 - 1e-6
    assert game.generator(good) < game.generator(bad)


def test_feature_loss_leaves_the_verdict_out():
    maps = [torch.ones(1, 2, 3), torch.ones(1, 2, 3), torch.zeros(1)]
    other = [torch.ones(1, 2, 3) * 3, torch.ones(1, 2, 3), torch.ones(1) * 99]
    assert loss.feature_l1(maps, other).item() == pytest.approx(1.0)


def test_bone_entropy_pulls_on_bone_that_is_far_off_and_leaves_what_is_right():
    bone = torch.tensor([0.8])
    for far in (0.0, -0.5):
        guess = torch.tensor([far], requires_grad=True)
        entropy = loss.bone_entropy(guess, bone, torch.ones(1), (0.2, 0.1))
        odds = (far - 0.2) / 0.1
        assert entropy.item() == pytest.approx(math.log1p(math.exp(-odds)), rel=1e-4)
        entropy.backward()
        assert guess.grad.item() == pytest.approx(-1.0 / (1.0 + math.exp(odds)) / 0.1, rel=1e-3)
    right, soft = torch.tensor([1.2, -0.6]), torch.tensor([0.9, -0.1])
    assert loss.bone_entropy(right, soft, torch.ones(2), (0.2, 0.1)).item() < 1e-3
    assert loss.bone_entropy(-right, soft, torch.tensor([0.0, 1.0]), (0.2, 0.1)).item() > 1.0
    assert loss.bone_entropy(-right, soft, torch.zeros(2), (0.2, 0.1)) == 0.0
