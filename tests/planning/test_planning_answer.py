"""What rules say: thresholds, what there must be to begin with, intervals that straddle either."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtplan.planning.answer import benefit_of, judge, meets
from rtplan.planning.spacer import load_rule, rules

RELATIVE = load_rule("relative_v70_25")
ABSOLUTE = load_rule("delta_v55_paetkau")
BASELINE = load_rule("baseline_v55_paetkau")


@pytest.mark.parametrize(
    ("interval", "answer"),
    [
        ((26.0, 40.0), "benefits"),
        ((25.0, 25.0), "benefits"),
        ((10.0, 24.9), "does_not"),
        ((20.0, 30.0), "cannot_tell"),
    ],
)
def test_the_whole_interval_decides(interval: tuple[float, float], answer: str) -> None:
    assert judge(RELATIVE, 8.0, sum(interval) / 2, interval, decides=True).answer == answer


@pytest.mark.parametrize(
    ("baseline95", "interval", "answer"),
    [
        ((1.0, 3.0), (60.0, 90.0), "benefits"),
        ((0.8, 3.0), (60.0, 90.0), "cannot_tell"),
        ((0.8, 3.0), (10.0, 20.0), "does_not"),
        ((0.1, 0.9), (60.0, 90.0), "does_not"),
        ((0.1, 0.9), (20.0, 30.0), "does_not"),
    ],
)
def test_an_unsure_baseline_is_judged_by_its_ends(
    baseline95: tuple[float, float], interval: tuple[float, float], answer: str
) -> None:
    judged = judge(
        RELATIVE, sum(baseline95) / 2, sum(interval) / 2, interval, decides=True, baseline95=baseline95
    )
    assert judged.answer == answer
    assert ("without a spacer" in judged.reason) == (baseline95[0] < 1.0)


def test_next_to_nothing_cannot_fall_and_no_interval_tells_nothing() -> None:
    assert judge(RELATIVE, 0.99, 90.0, (80.0, 100.0), decides=True).answer == "does_not"
    assert judge(RELATIVE, 0.99, 90.0, None, decides=True).answer == "does_not"
    assert judge(RELATIVE, 1.0, 90.0, (80.0, 100.0), decides=True).answer == "benefits"
    assert judge(ABSOLUTE, 8.0, 5.0, None, decides=True).answer == "cannot_tell"
    assert judge(ABSOLUTE, 8.0, None, None, decides=True).answer == "not_evaluable"
    assert judge(RELATIVE, None, None, None, decides=True).answer == "not_evaluable"
    none = judge(RELATIVE, 0.0, None, None, decides=True)
    assert (none.answer, none.value) == ("does_not", 0.0)


def test_a_rule_on_the_baseline_needs_no_interval_of_a_plan_and_heeds_that_of_a_prediction() -> None:
    assert judge(BASELINE, 3.0, 3.0, None, decides=False).answer == "benefits"
    assert judge(BASELINE, 2.9, 2.9, None, decides=False).answer == "does_not"
    told = judge(BASELINE, 3.2, 3.2, (2.8, 3.6), decides=False, baseline95=(2.8, 3.6))
    assert told.answer == "cannot_tell"


@given(
    name=st.sampled_from(rules()),
    baseline=st.floats(0.0, 100.0),
    benefit=st.floats(0.0, 100.0),
    width=st.floats(0.0, 50.0),
)
def test_a_sure_answer_is_that_of_every_number_between(
    name: str, baseline: float, benefit: float, width: float
) -> None:
    rule = load_rule(name)
    low, high = (baseline, baseline + width / 10.0), (benefit, benefit + width)
    answer = judge(rule, baseline, benefit, high, decides=False, baseline95=low).answer
    met = {meets(rule, b, g) for b in low for g in high}
    assert {"benefits": {True}, "does_not": {False}, "cannot_tell": {True, False}}[answer] == met


def test_benefits_in_the_rules_units() -> None:
    assert benefit_of(RELATIVE, 8.0, 2.0) == pytest.approx(75.0)
    assert benefit_of(ABSOLUTE, 8.0, 2.0) == pytest.approx(6.0)
    assert benefit_of(BASELINE, 8.0, 2.0) == 8.0
    assert benefit_of(RELATIVE, 0.0, 0.0) is None
