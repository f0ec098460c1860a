"""A boost network's own error: read off its card, and a change of risk is judged by it."""

import pytest

from rtplan.case.boost_error import D98_FIGURE, NTCP_FIGURE, own_error
from rtplan.domain import Finding
from rtplan.learning.card import Figure
from rtplan.learning.zoo import load_card
from rtplan.report.own_error import OwnError, change_told, ntcp_of
from rtplan.resources import find


def figure(metric, value, data="30 pelves"):
    return Figure(metric=metric, data=data, value=value, interval95=(0.0, 9.0), n=30)


def card(*figures):
    return load_card(find("models", "dose_prostate_boost")).model_copy(update={"figure": figures})


def risk(value, model="rectum_bleeding"):
    return Finding("NTCP", value, "", "EstimateOutcome", model=model)


def test_of_several_sets_of_patients_the_largest_error_counts_and_all_are_named():
    named = NTCP_FIGURE.format(model="rectum_bleeding")
    error = own_error(
        card(
            figure(named, 0.7),
            figure(named, 1.1, "20 real glands"),
            figure(D98_FIGURE, 0.9),
            figure("mean absolute rectum D2cc[Gy]", 5.0, "elsewhere"),
        )
    )
    assert error == OwnError({"rectum_bleeding": 1.1}, 0.9, ("30 pelves", "20 real glands"))
    assert "1.1 percentage points" in error.words
    assert "0.9 Gy" in error.words
    assert "elsewhere" not in error.words


def test_a_card_without_figures_says_so():
    error = own_error(card())
    assert error == OwnError()
    assert "not stated" in error.words
    assert change_told(risk(0.1), risk(0.2), error) == "−10.0 points: error unknown"


@pytest.mark.parametrize(("value", "judged"), [(0.111, "within"), (0.089, "within"), (0.112, "more than")])
def test_a_change_is_judged_by_the_error(value, judged):
    error = OwnError({"rectum_bleeding": 1.15}, None, ("30 pelves",))
    assert f": {judged} the network's error" in change_told(risk(value), risk(0.1), error)


def test_nothing_is_compared_with_another_model_or_with_nothing():
    error = OwnError({"rectum_bleeding": 1.0}, None, ("30 pelves",))
    assert change_told(risk(0.1), None, error) == ""
    assert change_told(risk(0.1), risk(0.1, model="other"), error) == ""
    missing = Finding("NTCP", None, "", "EstimateOutcome", verdict="not_evaluable", reason="no rectum")
    assert ntcp_of([missing, risk(0.3)]) == risk(0.3)
    assert ntcp_of([missing]) is None
