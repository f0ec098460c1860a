"""Fields: up-sampling, distances and partial volume against closed forms, on an anisotropic shifted grid."""

import numpy as np
import pytest

from rtplan.domain import Grid
from rtplan.phantom.field import Axes, capsule, ellipsoid, even_axes, fraction, smooth_noise, upsample


def axes(step=(2.5, 1.2, 1.7)):
    return Axes.of(Grid.axial((24, 50, 40), step, (-31.0, -28.0, 12.0)))


def test_upsampling_a_linear_field_is_exact():
    fine = axes()
    coarse = even_axes(np.array([-40.0, -40, 0]), np.array([60.0, 60, 90]), 7.0)
    z, y, x = coarse.open()
    values = (0.3 * x - 0.2 * y + 0.5 * z + 1.0).astype(np.float32)
    z, y, x = fine.open()
    assert np.allclose(upsample(values, coarse, fine), 0.3 * x - 0.2 * y + 0.5 * z + 1.0, atol=1e-3)


def test_sphere_has_its_closed_form_distance_and_volume():
    grid = axes()
    centre, radius = np.array([2.0, 3.0, 42.0]), 17.0
    distance = ellipsoid(grid, centre, np.full(3, radius))
    z, y, x = grid.open()
    true = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2) - radius
    near = np.abs(true) < 8
    assert np.abs(distance - true)[near].max() < 1e-3
    volume = fraction(distance, 1.7).sum() * grid.voxel_cc
    assert volume == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=0.01)


def test_capsule_of_equal_ends_is_a_sphere():
    points = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]], np.float32)
    assert capsule(points, np.zeros(3), np.array([0, 0, 1e-3]), 2.0, 2.0) == pytest.approx(
        [3.0, -1.0], abs=2e-3
    )


def test_box_covers_what_is_asked_and_no_more():
    grid = axes()
    box = grid.box(np.array([0.0, 0.0, 20.0]), np.array([10.0, 10.0, 40.0]))
    part = grid.cut(box)
    assert part.x.min() >= 0
    assert part.x.max() <= 10
    assert part.z.min() >= 20
    assert part.z.max() <= 40
    assert len(part.x) == np.count_nonzero((grid.x >= 0) & (grid.x <= 10))


def test_noise_is_deterministic_and_scaled():
    one, two = (smooth_noise(np.random.default_rng(3), axes(), 8.0) for _ in range(2))
    assert np.array_equal(one, two)
    assert 0.3 < one.std() < 1.6
