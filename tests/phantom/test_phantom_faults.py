"""Gradient distortion and gas motion: bounds, closed forms, and that the MR images show them."""

import numpy as np
import pytest

from rtplan.domain import Grid
from rtplan.phantom.draws import COHORTS, Draws, table
from rtplan.phantom.faults import distorted, distortion, gas_motion
from rtplan.phantom.field import Axes

LIMIT_MM = table("models/anatomy", "published")["distance"]["distortion"]["high"]


def axes(shape=(22, 30, 40), step=(10.0, 10.0, 10.0)):
    return Axes.of(Grid.axial(shape, step, (-190.0, -140.0, -60.0)))


@pytest.mark.parametrize("cohort", COHORTS)
def test_no_shift_is_longer_than_drawn_and_the_edge_is_worse_than_the_middle(cohort):
    for seed in range(4):
        drawn = Draws(cohort, seed)
        length = np.linalg.norm(distortion(axes(), drawn), axis=0)
        assert length.max() <= drawn["distortion_mm"] + 1e-5 <= LIMIT_MM + 1e-5
        assert length.max() > 0.8 * drawn["distortion_mm"]
        middle = length[8:14, 11:19, 15:25].mean()
        assert length[:, :, :4].mean() > 1.5 * middle > 0


def test_an_image_is_shown_as_far_off_as_the_distortion_says():
    grid = axes()
    shift = distortion(grid, Draws("study", 2))
    inner = (slice(2, -2),) * 3
    for a, line in enumerate(grid.open()):
        ramp = np.broadcast_to(line, grid.shape).astype(np.float32)
        seen = distorted(ramp, shift, grid) - ramp
        assert np.allclose(seen[inner], shift[a][inner], atol=2e-3)


def test_moved_gas_leaves_half_in_place_and_a_quarter_on_each_side():
    grid = Axes.of(Grid.axial((9, 41, 41), (3.0, 1.5, 1.5), (0.0, 0.0, 0.0)))
    values, gas = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, bool)
    gas[2:7, 15:26, 15:26] = True
    values[4, 20, 20] = 8.0
    out = gas_motion(values, gas, grid, 3.0)  # two voxels
    assert out[4, [18, 20, 22], 20] == pytest.approx([2.0, 4.0, 2.0], abs=1e-3)
    assert out.sum() == pytest.approx(8.0, abs=1e-2)


def test_motion_blurs_near_the_gas_only_and_not_where_nothing_moved():
    grid = Axes.of(Grid.axial((12, 80, 80), (3.0, 1.5, 1.5), (0.0, 0.0, 0.0)))
    values = np.random.default_rng(1).random(grid.shape, np.float32)
    gas = np.zeros(grid.shape, bool)
    gas[4:8, 10:16, 10:16] = True
    out = gas_motion(values, gas, grid, 3.0)
    assert np.abs(out - values)[gas].max() > 0.1
    assert np.array_equal(out[:, 50:], values[:, 50:])
    assert np.array_equal(out[:, :, 50:], values[:, :, 50:])
    assert np.array_equal(gas_motion(values, gas, grid, 0.1), values)
    assert np.array_equal(gas_motion(values, np.zeros_like(gas), grid, 3.0), values)


def test_the_mr_shows_both_and_the_ct_neither(made):
    from dataclasses import replace

    from rtplan.phantom import mr

    anatomy = made["study", 1][1]
    draws = Draws("study", 1)
    still = replace(anatomy, masks={**anatomy.masks, "zGas": np.zeros_like(anatomy.masks["zGas"])})
    one, other = (mr.scan_mr(a, draws, ("T2w",))["T2w"].array for a in (anatomy, still))
    gas = anatomy.masks["zGas"]
    assert gas.any()
    changed = one != other
    assert changed[gas].mean() > 0.3
    assert changed[gas].mean() > 3 * changed.mean()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mr, "distortion", lambda grid, _: np.zeros((3, *grid.shape), np.float32))
        straight = mr.scan_mr(anatomy, draws, ("T2w",))["T2w"].array
    rim = anatomy.masks["External"] & ~anatomy.masks["zGas"]
    assert np.abs(straight - one)[rim].mean() > 0.01 * one[rim].mean()
