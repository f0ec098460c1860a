"""The plan: nnU-Net's published plans as witnesses, its rules as laws, and settings that can be trained."""

import tomllib

import numpy as np
import pytest

from rtplan.domain import Grid, Image, Mask
from rtplan.errors import ModelError
from rtplan.learning.plan import CaseFacts, facts_of, plan_of, target_spacing
from rtplan.learning.plan_toml import settings_toml
from rtplan.learning.settings import TrainSettings


def cases(shape, spacing, count=260, whole=None):
    return [CaseFacts(shape, whole or shape, spacing, (0.0, 1.0, 2.0), 1.0, 0.5)] * count


@pytest.mark.parametrize(
    ("shape", "spacing", "patch", "pools", "batch"),
    [
        # plans that users printed: MIC-DKFZ/nnUNet issues 148, 1081, 2227 (the 9 is of version 1)
        ((36, 50, 35), (1.0, 1.0, 1.0), (40, 56, 40), (3, 3, 3), 9),
        ((120, 285, 285), (1.7987, 1.54577, 1.54577), (80, 192, 160), (4, 5, 5), 2),
        ((177, 217, 217), (2.3566, 1.8411, 1.8411), (128, 128, 128), (5, 5, 5), 2),
    ],
)
def test_published_plans_come_out_nearly(shape, spacing, patch, pools, batch):
    plan = plan_of(cases(shape, spacing))
    assert plan.pools_zyx == pools
    assert np.prod(plan.patch_zyx) == pytest.approx(np.prod(patch), rel=0.3)
    assert max(abs(a - b) for a, b in zip(plan.patch_zyx, patch, strict=True)) <= 32
    assert plan.batch == pytest.approx(batch, abs=1)


def test_a_coarse_axis_is_halved_later_and_convolved_in_the_slices_first():
    plan = plan_of(cases((20, 320, 319), (3.6, 0.62, 0.62)))
    assert plan.pools_zyx == (2, 6, 6)
    assert plan.kernels[0] == (1, 3, 3)
    assert plan.kernels[-1] == (3, 3, 3)
    assert plan.strides[:4] == ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2))
    assert plan.features == (32, 64, 128, 256, 320, 320, 320)


def test_spacing_is_the_median_and_a_coarse_axis_takes_its_tenth_percentile():
    fine = [
        CaseFacts((30, 200, 200), (30, 200, 200), (mm, 1.0, 1.0), (0, 1, 2), 1.0, 0.5) for mm in range(4, 15)
    ]
    assert target_spacing(fine) == pytest.approx([np.percentile(range(4, 15), 10), 1.0, 1.0])
    assert target_spacing(cases((200, 200, 200), (5.0, 1.0, 1.0))) == pytest.approx([5.0, 1.0, 1.0])
    assert target_spacing(cases((30, 200, 200), (2.5, 1.0, 1.2))) == pytest.approx([2.5, 1.0, 1.2])


@pytest.mark.parametrize("shape", [(60, 75, 75), (482, 512, 512), (9, 400, 400), (33, 34, 35)])
def test_patches_divide_grow_with_memory_and_cropping_decides_the_mask(shape):
    small, large = (plan_of(cases(shape, (3.0, 1.0, 1.0)), gib) for gib in (4.0, 24.0))
    for plan in (small, large):
        assert all(p % 2**n == 0 for p, n in zip(plan.patch_zyx, plan.pools_zyx, strict=True))
        assert all(p / 2**n >= 4 for p, n in zip(plan.patch_zyx, plan.pools_zyx, strict=True) if n)
        assert plan.batch >= 2
    shown = [np.prod(plan.patch_zyx) * plan.batch for plan in (small, large)]
    assert shown[1] > shown[0] or max(shown) == pytest.approx(0.05 * 260 * np.prod(shape), rel=0.2)
    assert plan_of(cases((40, 40, 40), (1.0, 1.0, 1.0), whole=(60, 60, 60))).masked
    assert not large.masked
    assert plan_of(cases((36, 50, 35), (1.0, 1.0, 1.0), count=12)).batch == 2  # never above 5 % of all voxels


def test_facts_are_those_of_the_body():
    grid = Grid.axial((10, 20, 30), (3.0, 2.0, 1.0), (0.0, 0.0, 0.0))
    body = np.zeros(grid.shape, bool)
    body[2:8, 5:15, 10:22] = True
    array = np.where(body, 100.0 + np.indices(grid.shape)[2], 9999.0)
    facts = facts_of(Image(grid, array, modality="MR"), Mask(grid, body))
    assert facts.shape_zyx == (6, 10, 12)
    assert facts.whole_zyx == (10, 20, 30)
    assert facts.mean == pytest.approx(115.5)
    assert facts.percentiles[1] == pytest.approx(115.5)
    with pytest.raises(ModelError, match="No body"):
        facts_of(Image(grid, array, modality="MR"), Mask(grid, ~np.ones(grid.shape, bool)))
    with pytest.raises(ModelError, match="no case"):
        plan_of([])


@pytest.mark.parametrize(
    ("shape", "spacing"), [((60, 75, 75), (3.27, 2.0, 2.0)), ((20, 320, 319), (3.6, 0.62, 0.62))]
)
def test_the_toml_is_settings(shape, spacing):
    some = cases(shape, spacing, count=20)
    plan = plan_of(some)
    settings = TrainSettings.model_validate(tomllib.loads(settings_toml(plan, some, 'a "b"', "pairs")))
    assert settings.name == 'a "b"'
    assert settings.patch_zyx == plan.patch_zyx
    assert settings.optimise.batch == plan.batch
    stride = [s * 2 ** (len(settings.network.channels) - 1) for s in settings.network.stem]
    assert all(patch % s == 0 for patch, s in zip(settings.patch_zyx, stride, strict=True))
