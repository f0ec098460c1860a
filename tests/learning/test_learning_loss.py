"""Losses in closed form."""

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
