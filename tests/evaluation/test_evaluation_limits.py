"""Limits of agreement against closed forms, BCa against the published formula, and sample sizes."""

import math

import numpy as np
import pytest
from scipy import stats

from rtplan.errors import FormatError
from rtplan.evaluation.limits import (
    Z95,
    Bootstrap,
    closed_interval,
    limits_of_agreement,
    patients_for,
    patients_to_show,
    standard_error,
)

FAST = Bootstrap(resamples=999)


def test_limits_are_mean_and_196_standard_deviations_by_hand():
    (made,) = limits_of_agreement([np.array([1.0, 2.0, 3.0, 4.0, 10.0])], FAST)
    assert made.mean == 4.0
    assert made.sd == pytest.approx(math.sqrt(50.0 / 4.0))
    assert made.upper == pytest.approx(4.0 + 1.959963985 * math.sqrt(12.5))
    assert made.lower == pytest.approx(4.0 - 1.959963985 * math.sqrt(12.5))
    assert made.reason is None


def test_bca_agrees_with_the_published_interval_on_many_normal_differences():
    # Exact normal scores: mean 0.3, SD 2, no luck of a draw in the sample itself.
    n = 2000
    scores = stats.norm.ppf((np.arange(n) + 0.5) / n)
    sample = 0.3 + 2.0 * scores / scores.std(ddof=1)
    (made,) = limits_of_agreement([sample], Bootstrap(resamples=4999, seed=3))
    for limit, interval in ((made.lower, made.lower_ci95), (made.upper, made.upper_ci95)):
        closed = closed_interval(limit, made.sd, n)
        width = closed[1] - closed[0]
        assert interval == pytest.approx(closed, abs=0.06 * width)
    # Bland and Altman's rounded form: √(3 s²/n).
    assert standard_error(made.sd, n) == pytest.approx(math.sqrt(3.0 * made.sd**2 / n), rel=0.02)


def test_the_interval_holds_the_true_limit_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    samples = list(rng.standard_normal((300, 60)))
    made = limits_of_agreement(samples, FAST)
    held = np.mean([one.upper_ci95[0] <= Z95 <= one.upper_ci95[1] for one in made])
    assert 0.89 <= held <= 0.98


def test_units_and_signs_do_not_matter():
    sample = np.random.default_rng(1).gamma(2.0, 1.0, 40)
    plain, small, turned = limits_of_agreement([sample, 1e-7 * sample, -sample], FAST)
    assert small.upper_ci95 == pytest.approx([1e-7 * x for x in plain.upper_ci95], rel=1e-9)
    assert turned.lower == pytest.approx(-plain.upper)
    assert turned.lower_ci95 == pytest.approx((-plain.upper_ci95[1], -plain.upper_ci95[0]), rel=0.05)


def test_the_same_seed_gives_the_same_interval_and_another_seed_nearly_so():
    sample = np.random.default_rng(2).standard_normal(36)
    first, again = (limits_of_agreement([sample], Bootstrap(999, 7))[0] for _ in range(2))
    other = limits_of_agreement([sample], Bootstrap(999, 8))[0]
    assert first == again
    assert first.upper_ci95 != other.upper_ci95
    assert first.upper_ci95 == pytest.approx(other.upper_ci95, abs=0.2)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_have_no_limits_and_a_reason(n):
    (made,) = limits_of_agreement([np.arange(n, dtype=float)], FAST)
    assert made.lower is None
    assert made.lower_ci95 is None
    assert f"there are {n}" in made.reason


def test_equal_differences_have_limits_but_no_interval():
    (made,) = limits_of_agreement([np.full(12, 0.1)], FAST)
    assert (made.lower, made.upper, made.sd) == (pytest.approx(0.1), pytest.approx(0.1), 0.0)
    assert made.upper_ci95 is None
    assert "equal" in made.reason


def test_a_difference_that_is_not_finite_is_refused():
    with pytest.raises(FormatError, match="finite"):
        limits_of_agreement([np.array([1.0, math.nan, 2.0])], FAST)


def test_samples_of_several_lengths_keep_their_places():
    rng = np.random.default_rng(4)
    samples = [rng.normal(k, 1.0, 10 + 5 * (k % 3)) for k in range(9)]
    together = limits_of_agreement(samples, FAST)
    alone = [limits_of_agreement([sample], FAST)[0] for sample in samples]
    for one, other in zip(together, alone, strict=True):
        assert one.mean == other.mean
        assert one.upper_ci95 == pytest.approx(other.upper_ci95)


@pytest.mark.parametrize("wanted", [0.9, 0.5, 0.1])
def test_the_sample_size_is_the_first_that_is_precise_enough(wanted):
    n = patients_for(wanted, 1.7)
    assert closed_interval(0.0, 1.7, n)[1] <= wanted < closed_interval(0.0, 1.7, n - 1)[1]


def test_equivalence_needs_patients_only_where_the_limits_lie_inside():
    assert patients_to_show(1.0, 0.5, 0.3) is None  # 0.5 + 0.588 > 1
    n = patients_to_show(1.0, -0.2, 0.3)
    reach = 0.2 + Z95 * 0.3
    assert closed_interval(reach, 0.3, n)[1] < 1.0 <= closed_interval(reach, 0.3, n - 1)[1]
    assert patients_to_show(1.0, 0.0, 0.0) == 3
    with pytest.raises(FormatError):
        patients_for(0.0, 1.0)


def test_small_samples_are_corrected_outwards():
    # Plain percentiles of resampled limits lie too far in, since a resample has less spread than its sample.
    samples = list(np.random.default_rng(9).standard_normal((20, 12)))
    made = limits_of_agreement(samples, FAST)
    draws = np.random.default_rng(1).integers(0, 12, (999, 12))
    outward = []
    for sample, one in zip(samples, made, strict=True):
        drawn = sample[draws]
        plain = np.percentile(drawn.mean(1) + Z95 * drawn.std(1, ddof=1), 97.5)
        outward.append(one.upper_ci95[1] - plain)
    assert np.mean(outward) > 0.1
