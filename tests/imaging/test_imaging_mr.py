"""Bias correction flattens a known field; normalisation is exact."""

import numpy as np
import pytest

from rtplan.domain import Grid, Image, Mask
from rtplan.errors import GeometryMismatch
from rtplan.imaging.mr import correct_bias, normalise

GRID = Grid.axial((16, 50, 60), (5.0, 4.0, 4.0), (5.0, 6.0, 7.0), "f")


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two tissues in an ellipsoid, and a smooth field between 0.5 and 2."""
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n) for n in GRID.shape], indexing="ij")
    body = k**2 / 1.2 + j**2 / 0.8 + i**2 / 0.8 < 1
    tissue = np.where((np.sin(9 * i) * np.sin(8 * j) > 0) & body, 900.0, 400.0) * body
    field = np.exp(0.5 * i + 0.35 * j - 0.2 * k * i)
    return tissue, body, field


def test_a_known_field_is_flattened() -> None:
    tissue, body, field = scene()
    noise = np.random.default_rng(0).normal(0.0, 4.0, GRID.shape) * body
    image = Image(GRID, tissue * field + noise, "MR")
    fixed = correct_bias(image, Mask(GRID, body))
    bright = body & (tissue == 900.0)

    def spread(array: np.ndarray) -> float:
        return float(array[bright].std() / array[bright].mean())

    assert spread(image.array) > 0.2
    assert spread(fixed.array) < 0.25 * spread(image.array)
    assert np.median(fixed.array[body]) == pytest.approx(np.median(image.array[body]), rel=1e-4)
    np.testing.assert_array_equal(correct_bias(image, Mask(GRID, body)).array, fixed.array)


def test_normalised_signal_has_mean_0_and_spread_1() -> None:
    tissue, body, _ = scene()
    done = normalise(Image(GRID, 3.0 * tissue + 17.0, "MR"), Mask(GRID, body))
    assert done.array[body].mean() == pytest.approx(0.0, abs=1e-4)
    assert done.array[body].std() == pytest.approx(1.0, rel=1e-4)
    flat = normalise(Image(GRID, np.full(GRID.shape, 7.0), "MR"), Mask(GRID, body))
    assert not flat.array.any()


def test_what_cannot_be_corrected_is_refused() -> None:
    tissue, body, _ = scene()
    with pytest.raises(GeometryMismatch, match="for MR"):
        correct_bias(Image(GRID, tissue, "CT"))
    with pytest.raises(GeometryMismatch, match="empty"):
        normalise(Image(GRID, tissue, "MR"), Mask(GRID, np.zeros_like(body)))
