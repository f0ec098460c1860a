"""Random fields: mean, variance and correlation as asked, seeded, on anisotropic lattices."""

from itertools import islice

import numpy as np
import pytest

from rtplan.errors import RtplanError
from rtplan.imaging.random_field import axis_factor, gaussian_fields

SHAPE, SPACING = (20, 28, 36), (3.0, 2.0, 1.5)


def drawn(correlation, seed=1, length=6.0, count=60):
    fields = gaussian_fields(SHAPE, SPACING, length, np.random.default_rng(seed), correlation=correlation)
    return np.stack(list(islice(fields, count)))


@pytest.mark.parametrize(
    ("correlation", "law"),
    [("exponential", lambda h: np.exp(-h / 6.0)), ("gaussian", lambda h: np.exp(-0.5 * (h / 6.0) ** 2))],
)
def test_the_correlation_is_the_one_asked_for_along_every_axis(correlation, law):
    fields = drawn(correlation)
    assert fields.mean() == pytest.approx(0.0, abs=0.03)
    assert fields.var() == pytest.approx(1.0, abs=0.04)
    for axis, step in enumerate(SPACING, start=1):
        moved = np.moveaxis(fields, axis, 0)
        for n in (1, 2, 5):
            found = float((moved[n:] * moved[:-n]).mean())
            assert found == pytest.approx(float(law(n * step)), abs=0.05)


def test_fields_are_seeded_and_differ_from_each_other():
    one, again = drawn("exponential", count=2), drawn("exponential", count=2)
    assert np.array_equal(one, again)
    assert abs(np.corrcoef(one[0].ravel(), one[1].ravel())[0, 1]) < 0.2
    assert not np.array_equal(one, drawn("exponential", seed=2, count=2))


def test_a_length_of_nought_is_refused():
    with pytest.raises(RtplanError, match="above 0"):
        next(gaussian_fields(SHAPE, SPACING, 0.0, np.random.default_rng(1)))


def test_factors_give_the_correlation_on_uneven_places():
    places = np.array([0.0, 1.0, 2.5, 7.0, 20.0, 21.0])
    factor = axis_factor(places, 5.0)
    wanted = np.exp(-0.5 * ((places[:, None] - places[None, :]) / 5.0) ** 2)
    assert np.allclose(factor @ factor.T, wanted, atol=1e-4)
