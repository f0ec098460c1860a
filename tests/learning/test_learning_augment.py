"""Random changes: laws of each, and that the sampler keeps MR, CT and masks together."""

import numpy as np
import pytest
import torch

from rtplan.learning import augment
from rtplan.learning.pairs import inputs_of, pair_of
from rtplan.learning.sample import Sampler
from rtplan.learning.settings import AugmentSettings, DataSpec, load_settings

SETTINGS = AugmentSettings()


def test_curves():
    x = torch.linspace(0.0, 1.0, 101)
    power = augment.Curve(gamma=1.7)(x)
    assert (power.diff() > 0).all()
    assert power[0] == 0.0
    assert power[-1] == 1.0
    assert (augment.Curve(gamma=1.7, invert=True)(x).diff() < 0).all()
    line = np.linspace(0, 1, 5).astype(np.float32)
    np.testing.assert_allclose(augment.Curve(knots=line)(x), x, atol=1e-6)


def test_bias_is_positive_smooth_and_of_mean_log_zero():
    field = augment.bias_field((12, 20, 20), 0.3, np.random.default_rng(1))
    assert field.shape == (1, 12, 20, 20)
    assert (field > 0).all()
    assert field.log().mean().item() == pytest.approx(0.0, abs=1e-5)
    assert field.log().diff(dim=-1).abs().max() < 0.2


def test_blur_keeps_the_mean_and_spreads_a_point_like_a_gaussian():
    x = torch.zeros(1, 15, 15, 15)
    x[0, 7, 7, 7] = 1.0
    y = augment.blur(x, 1.2)
    assert y.sum().item() == pytest.approx(1.0, abs=1e-5)
    at = torch.arange(15.0) - 7
    assert (y[0].sum(dim=(1, 2)) * at**2).sum().item() == pytest.approx(1.44, rel=0.05)
    flat = torch.full((2, 6, 7, 8), 3.0)
    torch.testing.assert_close(augment.blur(flat, 0.8), flat)
    torch.testing.assert_close(augment.thicken(flat), flat)


def test_a_warp_turns_about_the_long_axis_in_mm():
    """A quarter turn on anisotropic pixels takes a rod along x to a rod of the same length along y."""
    x = torch.zeros(1, 4, 30, 60)
    x[0, :, 14:16, 20:40] = 1.0  # 40 mm long along x at 2 mm; y has 4 mm pixels
    settings = AugmentSettings(rotate_deg=90.0, scale=(1.0, 1.0))

    class Quarter:
        def uniform(self, low, high):
            return high

    y = augment.warp(x, (3.0, 4.0, 2.0), Quarter(), settings)
    assert y.sum().item() == pytest.approx(x.sum().item(), rel=0.05)
    along_y = y[0, 2].sum(dim=1)
    assert (along_y > 0.5).sum().item() == pytest.approx(10, abs=1)


def inputs(normalise):
    return (
        {"name": "mr", "kind": "mr", "normalise": normalise, "roles": ("T2w",)},
        {"name": "body", "kind": "body"},
    )


@pytest.mark.parametrize(("normalise", "apart"), [("zscore_body", 0.2), ("unit_body", 0.02)])
def test_the_sampler_without_changes_gives_what_the_network_will_see(tiny, settings, normalise, apart):
    # a contrast curve starts at 0, so the darkest half percent is cut in training
    plan = settings(patch_zyx=(16, 40, 48), augment=augment.NONE.model_dump(), inputs=inputs(normalise))
    pair = pair_of(tiny(), (4.0, 4.0, 4.0), ("T2w",))
    batch = Sampler([(1.0, [pair])], plan).draw(0)
    assert batch.inputs.shape == (1, 2, 16, 40, 48)
    seen = inputs_of(pair, "T2w", plan.inputs)
    assert batch.inputs[0, 1].sum() == seen[1].sum()
    inside = batch.inputs[0, 1] > 0
    values = np.sort(batch.inputs[0, 0][inside].numpy())
    np.testing.assert_allclose(values, np.sort(seen[0][seen[1] > 0]), atol=apart)
    both = batch.both > 0
    assert (batch.ct[both] * 1000).mean().item() == pytest.approx(pair.ct[pair.both].mean(), abs=0.5)


def test_mr_and_ct_move_together(tiny, settings):
    """Under every geometric change bone stays dark in the MR where it is dense in the CT."""
    plan = settings(
        patch_zyx=(12, 32, 32),
        optimise__batch=2,
        augment={**augment.NONE.model_dump(), "warp_chance": 1.0, "mirror_chance": 0.5, "rotate_deg": 25.0},
    )
    sampler = Sampler([(1.0, [pair_of(tiny(), (4.0, 4.0, 4.0), ("T2w",))])], plan)
    for step in range(4):
        batch = sampler.draw(step)
        deep = (batch.ct > 0.5) & (batch.both > 0)
        soft = (batch.ct.abs() < 0.1) & (batch.both > 0)
        mr = batch.inputs[:, :1]
        assert deep.sum() > 20
        assert mr[deep].mean() < mr[soft].mean() - 0.5


def test_upside_turns_the_slices_round_and_gain_scales_the_signal(tiny, settings):
    pairs = [(1.0, [pair_of(tiny(), (4.0, 4.0, 4.0), ("T2w",))])]
    none = augment.NONE.model_dump()

    def drawn(**changes):
        plan = settings(patch_zyx=(16, 40, 48), augment={**none, **changes}, inputs=inputs("unit_body"))
        return Sampler(pairs, plan).draw(0)

    plain, turned, bright = drawn(), drawn(upside_chance=1.0), drawn(gain=(1.2, 1.2 + 1e-9))
    for name in ("inputs", "ct", "weight", "both"):
        assert torch.equal(getattr(turned, name), getattr(plain, name).flip(-3))
    torch.testing.assert_close(bright.inputs[:, 0], 1.2 * plain.inputs[:, 0])
    assert torch.equal(bright.ct, plain.ct)


def test_the_same_step_draws_the_same_batch(tiny, settings):
    pairs = [pair_of(tiny(seed=s), (4.0, 4.0, 4.0), ("T2w",)) for s in (1, 2)]
    a, b = (Sampler([(1.0, pairs)], settings()) for _ in range(2))
    assert torch.equal(a.draw(7).inputs, b.draw(7).inputs)
    assert not torch.equal(a.draw(7).inputs, a.draw(8).inputs)


def test_contrasts_are_mixed_and_bounded(tiny, settings):
    patient = tiny()
    mr = patient.images["T2w"]
    both = patient.with_images(T1w=mr.with_array(np.where(mr.array > 50, 600 - mr.array, mr.array)))
    pair = pair_of(both, (4.0, 4.0, 4.0), ("T2w", "T1w"))
    assert set(pair.mr) == {"T2w", "T1w"}
    sampler = Sampler([(1.0, [pair])], settings(augment={"mix_chance": 1.0}))
    for step in range(6):
        inputs = sampler.draw(step).inputs
        assert torch.isfinite(inputs).all()
        assert inputs.abs().max() < 20


def test_settings_speak(tmp_path):
    path = tmp_path / "train.toml"
    path.write_text("name = ")
    with pytest.raises(Exception, match="no TOML"):
        load_settings(path)
    path.write_text('schema = 1\nname = "x"\nsite = "pelvis"\nnosuch = 1\n')
    with pytest.raises(Exception, match="settings of the training"):
        load_settings(path)
    with pytest.raises(ValueError, match="folder"):
        DataSpec(kind="npz")
    with pytest.raises(ValueError, match="patients"):
        DataSpec(kind="phantom")
