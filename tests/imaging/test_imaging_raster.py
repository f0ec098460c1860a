"""Polygon coverage against closed forms; the rings around pixels against their masks."""

import numpy as np
import pytest

from rtplan.imaging.lattice import pixel_rings
from rtplan.imaging.raster import contains, coverage, ring_area


def ellipse(centre, half, turn=0.0, count=4000) -> np.ndarray:
    t = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    flat = np.stack([half[0] * np.sin(t), half[1] * np.cos(t)], axis=1)
    c, s = np.cos(turn), np.sin(turn)
    return flat @ np.array([[c, s], [-s, c]]) + centre


def test_the_area_of_an_ellipse_is_its_closed_form() -> None:
    ring = ellipse((20.3, 18.7), (15.2, 11.1), 0.4)
    assert coverage([ring], (45, 45)).sum() == pytest.approx(np.pi * 15.2 * 11.1, rel=1e-5)
    assert coverage([ring], (45, 45)).sum() == pytest.approx(abs(ring_area(ring)), rel=1e-12)


def test_every_pixel_against_fine_sampling() -> None:
    ring = ellipse((7.2, 8.9), (5.3, 4.1), 0.7, 37)
    fine = (np.stack(np.meshgrid(np.arange(16 * 40), np.arange(18 * 40), indexing="ij"), -1) + 0.5) / 40 - 0.5
    inside = contains(ring, fine.reshape(-1, 2)).reshape(16, 40, 18, 40).mean(axis=(1, 3))
    np.testing.assert_allclose(coverage([ring], (16, 18)), inside, atol=4e-3)


@pytest.mark.parametrize("turned", [False, True])
def test_holes_and_islands_alternate_whatever_their_sense(turned: bool) -> None:
    rings = [ellipse((20, 20), (half, half)) for half in (15.0, 8.0, 3.0)]
    if turned:
        rings[1] = rings[1][::-1]
    total = coverage(rings, (41, 41))
    assert total.sum() == pytest.approx(np.pi * (225.0 - 64.0 + 9.0), rel=1e-5)
    assert total[20, 20] == pytest.approx(1.0)
    assert total[20, 26] == pytest.approx(0.0, abs=1e-12)


def test_what_lies_beyond_the_lattice_is_cut() -> None:
    ring = np.array([[-10.0, -10.0], [-10.0, 50.0], [50.0, 50.0], [50.0, -10.0]])
    np.testing.assert_allclose(coverage([ring], (5, 7)), 1.0)
    np.testing.assert_allclose(coverage([ring + 100.0], (5, 7)), 0.0)
    half = coverage([ring + np.array([0.0, 13.0])], (5, 7))  # the left side at column 3
    np.testing.assert_allclose(half, np.tile([0, 0, 0, 0.5, 1, 1, 1], (5, 1)))


def test_a_keyhole_contour_keeps_its_hole() -> None:
    outer = [(0, 0), (0, 10), (10, 10), (10, 0), (0, 0)]
    inner = [(3, 3), (6, 3), (6, 6), (3, 6), (3, 3)]
    assert coverage([np.array(outer + inner, float)], (12, 12)).sum() == pytest.approx(100.0 - 9.0)


def test_crossing_rings_combine_by_exclusive_or() -> None:
    square = np.array([[-0.5, -0.5], [-0.5, 5.5], [5.5, 5.5], [5.5, -0.5]])
    total = coverage([square, square + 3.0], (10, 10))
    assert total.sum() == pytest.approx(36 + 36 - 2 * 9)
    assert total[4, 4] == pytest.approx(0.0)


def test_the_rings_of_a_random_mask_are_the_mask() -> None:
    mask = np.random.default_rng(0).random((30, 40)) > 0.5
    rings = pixel_rings(mask)
    assert sum(ring_area(ring) for ring in rings) == pytest.approx(mask.sum())
    np.testing.assert_allclose(coverage(rings, mask.shape), mask, atol=1e-12)


def test_pixels_that_touch_at_a_corner_have_rings_of_their_own() -> None:
    assert len(pixel_rings(np.eye(6, dtype=bool))) == 6
    assert len(pixel_rings(np.eye(6, dtype=bool)[::-1])) == 6


def test_no_ring_no_coverage() -> None:
    assert not coverage([], (3, 3)).any()
    assert not coverage([np.zeros((2, 2))], (3, 3)).any()
