"""Laws of gEUD: between minimum and maximum, rising with a, exact in 60 digits for any a."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rtplan.dosimetry.radiobiology import geud
from rtplan.errors import DoseError

PARTS = st.lists(
    st.tuples(st.one_of(st.just(0.0), st.floats(0.01, 120.0)), st.floats(1e-3, 100.0)), min_size=1, max_size=8
)
EXPONENT = st.one_of(
    st.floats(-1e3, 1e3),
    st.floats(-1e-3, 1e-3),
    st.sampled_from([0.0, 5e-324, 1e-300, 2e-290, -1e-12, 0.05, -0.05, 1e3, -1e3]),
)


def arrays(parts):
    return np.array([dose for dose, _ in parts]), np.array([volume for _, volume in parts])


def exact(doses, volumes, a):
    mpmath.mp.dps = 60
    share = [mpmath.mpf(float(v)) for v in volumes]
    share = [v / mpmath.fsum(share) for v in share]
    if min(doses) == 0 and a <= 0:
        return 0.0
    held = [mpmath.mpf(float(d)) for d in doses]
    if a == 0:
        return float(mpmath.exp(mpmath.fsum(v * mpmath.log(d) for v, d in zip(share, held, strict=True))))
    a = mpmath.mpf(a)
    parts = (v * mpmath.power(d, a) for v, d in zip(share, held, strict=True) if d > 0)
    return float(mpmath.power(mpmath.fsum(parts), 1 / a))


@given(PARTS, EXPONENT)
@settings(max_examples=400, deadline=None)
def test_equals_sixty_digits(parts, a):
    doses, volumes = arrays(parts)
    if 0.0 < abs(a) < 1e-30:  # 1/a leaves even mpmath's power without digits; the limit must hold
        assert float(geud(doses, volumes, a)) == pytest.approx(exact(doses, volumes, 0.0), rel=1e-9)
        return
    with np.errstate(under="ignore"):
        assert float(geud(doses, volumes, a)) == pytest.approx(
            exact(doses, volumes, a), rel=2e-11, abs=1e-300
        )


@given(PARTS, EXPONENT, EXPONENT)
@settings(max_examples=200, deadline=None)
def test_lies_between_the_extremes_and_rises_with_a(parts, a, b):
    doses, volumes = arrays(parts)
    low, high = (float(geud(doses, volumes, x)) for x in sorted((a, b)))
    assert doses.min() * (1 - 1e-9) <= low <= high * (1 + 1e-9)
    assert high <= doses.max() * (1 + 1e-9)


@given(PARTS, st.floats(-1e3, 1e3), st.floats(0.1, 10.0))
@settings(max_examples=100, deadline=None)
def test_scales_with_the_dose_and_not_with_the_volume(parts, a, factor):
    doses, volumes = arrays(parts)
    once = float(geud(doses, volumes, a))
    assert float(geud(doses * factor, volumes * 7.0, a)) == pytest.approx(factor * once, rel=1e-9)


@pytest.mark.parametrize("a", [-20.0, -0.01, 0.0, 0.01, 1.0, 12.0, 1000.0])
def test_torch_gives_the_same_and_a_finite_gradient(a):
    doses = np.array([3.0, 20.0, 41.0, 66.0])
    volumes = np.array([1.0, 2.0, 0.0, 0.5])
    there = torch.tensor(doses, requires_grad=True)
    found = geud(there, torch.tensor(volumes), a)
    found.backward()
    assert float(found.detach()) == pytest.approx(float(geud(doses, volumes, a)), rel=1e-12)
    step = 1e-6 * np.eye(4)
    slopes = [(geud(doses + s, volumes, a) - geud(doses - s, volumes, a)) / 2e-6 for s in step]
    assert np.allclose(there.grad.numpy(), slopes, atol=1e-6)


@pytest.mark.parametrize(
    ("doses", "volumes", "a"),
    [
        ([1.0, -1.0], [1.0, 1.0], 2.0),
        ([1.0, np.nan], [1.0, 1.0], 2.0),
        ([1.0, 2.0], [0.0, 0.0], 2.0),
        ([1.0, 2.0], [1.0, -0.5], 2.0),
        ([1.0, 2.0], [1.0, 1.0], np.nan),
        ([1.0, 2.0], [1.0, 1.0], np.inf),
    ],
)
def test_refuses_what_has_no_uniform_dose(doses, volumes, a):
    with pytest.raises(DoseError, match="gEUD"):
        geud(np.array(doses), np.array(volumes), a)
