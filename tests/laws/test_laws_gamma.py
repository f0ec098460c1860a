"""Laws of gamma and of dose surfaces on drawn cases: scale, shift, symmetry, order, area."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtplan.domain import Contours, Dose, Grid, Mask, Structure
from rtplan.dosimetry.gamma import GammaSettings, gamma
from rtplan.dosimetry.surface import extent_at, surface_histogram, surface_map

SHAPE = (5, 6, 7)
SPACING = st.tuples(*[st.floats(0.8, 4.0)] * 3)
CRITERIA = st.builds(
    GammaSettings, st.floats(0.5, 8.0), st.floats(0.5, 5.0), st.floats(0.0, 60.0), st.booleans()
)


def drawn(seed, spacing, smooth=True):
    """Return two doses on one grid that differ by a smooth or rough change."""
    rng = np.random.default_rng(seed)
    grid = Grid.axial(SHAPE, spacing, (3.0, -7.0, 11.0))
    base = rng.uniform(20.0, 60.0, (2, 2, 2))
    k, j, i = (np.stack([1.0 - w, w]) for w in (np.linspace(0.0, 1.0, n) for n in SHAPE))
    low = np.einsum("abc,ak,bj,ci->kji", base, k, j, i)  # trilinear between eight corners
    change = rng.normal(0.0, 1.0, SHAPE) if not smooth else rng.normal() * np.ones(SHAPE)
    return Dose(grid, low), Dose(grid, np.maximum(low + change, 0.1))


@given(st.integers(0, 10**6), SPACING, CRITERIA, st.floats(0.1, 20.0))
@settings(max_examples=20, deadline=None)
def test_scaling_both_doses_changes_nothing(seed, spacing, criteria, factor):
    a, b = drawn(seed, spacing, smooth=False)
    once = gamma(a, b, criteria)
    scaled = gamma(a.with_array(a.array * factor), b.with_array(b.array * factor), criteria)
    assert np.allclose(once.map, scaled.map, atol=2e-4, equal_nan=True)


@given(st.integers(0, 10**6), SPACING, CRITERIA, st.integers(0, 2))
@settings(max_examples=20, deadline=None)
def test_a_mirror_image_has_the_mirrored_gamma(seed, spacing, criteria, axis):
    a, b = drawn(seed, spacing, smooth=False)
    once = gamma(a, b, criteria)
    turned = gamma(*(dose.with_array(np.flip(dose.array, axis)) for dose in (a, b)), criteria)
    assert np.allclose(np.flip(turned.map, axis), once.map, atol=1e-5, equal_nan=True)


@given(st.integers(0, 10**6), SPACING, CRITERIA, st.floats(1.0, 3.0), st.floats(1.0, 3.0))
@example(204, (1.0, 1.0, 1.0), GammaSettings(0.5, 2.0, 0.0, True), 2.0, 1.0)
@settings(max_examples=20, deadline=None)
def test_is_bounded_by_the_dose_difference_and_falls_with_wider_criteria(seed, spacing, criteria, d, m):
    a, b = drawn(seed, spacing, smooth=False)
    once = gamma(a, b, criteria)
    reference = a.array if criteria.local else a.array.max()
    alone = np.abs(b.array - a.array) / (reference * criteria.dose_percent / 100)
    inside = np.isfinite(once.map)
    assert (once.map[inside] <= np.minimum(alone, criteria.max_gamma)[inside] + 1e-5).all()
    wider = GammaSettings(
        criteria.dose_percent * d, criteria.distance_mm * m, criteria.cutoff_percent, criteria.local
    )
    assert (gamma(a, b, wider).map[inside] <= once.map[inside] + 1e-5).all()


@given(st.floats(-4.0, 4.0), st.floats(0.5, 8.0), st.floats(0.5, 5.0))
@example(0.07067684221455747, 1.0, 1.0)
@settings(max_examples=20, deadline=None)
def test_flat_doses_give_the_difference_over_the_criterion(extra, percent, distance):
    grid = Grid.axial((4, 4, 4), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    low, high = (Dose(grid, np.full(grid.shape, gy)) for gy in (50.0, 50.0 + extra))
    found = gamma(low, high, GammaSettings(percent, distance, 10.0, max_gamma=20.0, normalisation_gy=100.0))
    rounding = 4e-6 / percent  # of 50 Gy in float32, over the criterion
    assert np.allclose(found.map, min(abs(extra) / percent, 20.0), atol=1e-6 + rounding)


@given(
    st.floats(8.0, 25.0),
    st.floats(0.3, 1.0),
    st.floats(20.0, 80.0),
    st.floats(-8.0, 8.0),
    st.floats(-0.2, 0.2),
)
@settings(max_examples=25, deadline=None)
def test_a_wall_keeps_its_area_however_full_it_is(circumference_r, squeeze, length, away, lean):
    """An ellipse of the same circumference (Ramanujan's second formula) at any place, upright or leaning."""
    h = ((1 - squeeze) / (1 + squeeze)) ** 2
    half = circumference_r / (0.5 * (1 + squeeze) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h))))
    angle = np.linspace(0.0, 2 * np.pi, 720, endpoint=False)
    ring = np.stack([half * np.cos(angle) + away, half * squeeze * np.sin(angle) - away], axis=1)
    heights = np.linspace(0.0, length, 8)
    rings = tuple(
        np.column_stack([ring + np.array((lean * height, 0.0)), np.full(len(ring), height)])
        for height in heights
    )
    grid = Grid.axial((21, 25, 25), (length / 16, 6.0, 6.0), (-72.0 + away, -72.0 - away, -length / 8))
    dose = Dose(grid, np.broadcast_to(np.linspace(0.0, 60.0, 25), grid.shape))
    drawn_map = surface_map(dose, Structure("Rectum", "ORGAN", Contours(rings)), n_theta=120)
    assert drawn_map.length_mm == pytest.approx(length * np.hypot(1.0, lean), rel=1e-6)
    if lean == 0.0:
        assert drawn_map.total_cm2 == pytest.approx(2 * np.pi * circumference_r * length / 100, rel=2e-3)
    assert drawn_map.total_cm2 >= 2 * np.pi * circumference_r * length / 100 * (1 - 2e-3)
    levels = np.linspace(0.0, 61.0, 14)
    share = surface_histogram(drawn_map, levels)
    assert (np.diff(share) <= 1e-9).all()
    assert (share[0], share[-1]) == (pytest.approx(100.0), 0.0)
    for level, percent in zip(levels, share, strict=True):
        extent = extent_at(drawn_map, float(level))
        assert extent.area_percent == pytest.approx(percent, abs=1e-9)
        assert extent.cluster_percent <= extent.area_percent + 1e-9
        assert extent.lateral_deg <= 360.0
        assert extent.longitudinal_mm <= drawn_map.length_mm + 1e-9


@given(st.integers(0, 10**6), SPACING)
@settings(max_examples=20, deadline=None)
def test_masks_part_the_points(seed, spacing):
    a, b = drawn(seed, spacing, smooth=False)
    inside = np.random.default_rng(seed).random(SHAPE) < 0.5
    if not inside.any() or inside.all():
        return
    criteria = GammaSettings(2.0, 2.0, 0.0)
    whole = gamma(a, b, criteria)
    parts = [gamma(a, b, criteria, mask=Mask(a.grid, part)) for part in (inside, ~inside)]
    assert sum(part.n for part in parts) == whole.n
    assert sum(part.n * part.mean for part in parts) == pytest.approx(whole.n * whole.mean, abs=1e-6)
    assert (parts[0].histogram + parts[1].histogram == whole.histogram).all()
