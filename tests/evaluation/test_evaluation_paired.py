"""Paired tests against their definitions, Holm by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from rtplan.errors import FormatError
from rtplan.evaluation.paired import holm, t_test, tost, wilcoxon

SAMPLE = np.array([0.3, -0.1, 0.4, 0.2, 0.05, 0.6, -0.2, 0.15])


def test_t_by_its_formula():
    t = SAMPLE.mean() / (SAMPLE.std(ddof=1) / math.sqrt(len(SAMPLE)))
    assert t_test(SAMPLE) == pytest.approx(2.0 * stats.t.sf(abs(t), len(SAMPLE) - 1), rel=1e-12)


def test_wilcoxon_counts_signed_ranks():
    # All eight positive: only one of 2^8 sign patterns is as extreme on each side.
    assert wilcoxon(np.arange(1.0, 9.0)) == pytest.approx(2.0 / 2**8)
    assert wilcoxon(np.zeros(5)) is None


@pytest.mark.parametrize("margin", [0.2, 0.5, 1.0])
def test_tost_is_the_larger_one_sided_p_and_its_90_percent_interval(margin):
    n, mean, se = len(SAMPLE), SAMPLE.mean(), SAMPLE.std(ddof=1) / math.sqrt(len(SAMPLE))
    above = stats.t.sf((mean + margin) / se, n - 1)
    below = stats.t.cdf((mean - margin) / se, n - 1)
    p = tost(SAMPLE, margin)
    assert p == pytest.approx(max(above, below), rel=1e-12)
    half = stats.t.ppf(0.95, n - 1) * se
    assert (p < 0.05) == (-margin < mean - half and mean + half < margin)


def test_no_spread_or_too_few_give_no_p_and_a_margin_must_be_positive():
    assert t_test(np.full(5, 0.2)) is None
    assert t_test(np.array([1.0])) is None
    assert tost(np.full(5, 0.2), 1.0) is None
    with pytest.raises(FormatError, match="margin"):
        tost(SAMPLE, 0.0)


def test_holm_by_hand():
    # Sorted 0.005 x5, 0.01 x4, 0.03 x3, 0.04 x2 (0.08, not below 0.09), 0.8 x1.
    made = holm([0.01, 0.8, 0.005, 0.04, 0.03])
    assert made == pytest.approx([0.04, 0.8, 0.025, 0.09, 0.09])
    assert holm([]) == []
    assert holm([None, 0.5, None]) == [None, 0.5, None]
    assert holm([0.6, 0.7]) == [1.0, 1.0]
