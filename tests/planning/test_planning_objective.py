"""Terms of the objective: closed forms, and that a limit's excess is 0 exactly where it is met."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rtplan.dosimetry import outcome
from rtplan.dosimetry.parameters import load_set
from rtplan.errors import ModelError
from rtplan.planning.objective import FORMS, Limit, Term, eqd2, excess_gy, generalised_mean, total

DOSE = torch.tensor([10.0, 20.0, 30.0, 40.0], dtype=torch.float64)
ALL = torch.arange(4)
RECTUM = load_set("rectum_bleeding_g2_quantec2010")


def term(form: str, level: float, **more: float) -> Term:
    return Term(form, ALL, torch.tensor(level, dtype=torch.float64), 1.0, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (term("under", 25.0), (15.0**2 + 5.0**2) / 4),
        (term("over", 25.0), (5.0**2 + 15.0**2) / 4),
        (term("volume", 15.0, fraction=0.25), (5.0**2 + 15.0**2) / 4),  # the hottest voxel is spared
        (term("volume", 15.0, fraction=0.75), 0.0),
        (term("volume", 15.0, fraction=1.0), 0.0),
        (term("volume", 15.0), (5.0**2 + 15.0**2 + 25.0**2) / 4),
        (term("mean", 20.0), 25.0),
        (term("mean", 30.0), 0.0),
        (term("geud", 20.0, a=1.0), 25.0),
    ],
)
def test_terms_have_their_closed_form(made: Term, wanted: float) -> None:
    assert FORMS[made.form](DOSE, made).item() == pytest.approx(wanted)


def test_total_is_the_weighted_sum_relative_to_the_scale() -> None:
    terms = (term("under", 25.0).heavier(3.0), term("mean", 20.0))
    assert total(DOSE, terms, 10.0).item() == pytest.approx((3.0 * 62.5 + 25.0) / 100.0)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_exact(form: str) -> None:
    dose = DOSE.clone().requires_grad_()
    level = 0.0 if form == "ntcp" else 17.0
    made = replace(term(form, level, a=4.0, alpha_beta_gy=3.0, fractions=20), model=RECTUM)
    assert torch.autograd.gradcheck(lambda d: FORMS[made.form](2.0 * d, made), (dose,))


def test_a_risk_term_is_the_risk_that_is_reported() -> None:
    made = replace(term("ntcp", 0.0), model=RECTUM, fractions=5)
    dose = torch.full((4,), 35.0, dtype=torch.float64)
    assert FORMS["ntcp"](dose, made).item() == pytest.approx(24.503**2, rel=1e-4)  # the set's own check
    uneven = torch.linspace(5.0, 42.0, 30, dtype=torch.float64)
    risk = outcome.ntcp(RECTUM, (uneven.numpy(), np.ones(30)), 5)
    assert FORMS["ntcp"](uneven, made).item() == pytest.approx((100.0 * risk) ** 2)
    above = replace(made, dose_gy=torch.tensor(0.9, dtype=torch.float64))
    assert FORMS["ntcp"](uneven, above).item() == 0.0
    with pytest.raises(ModelError, match="parameter set"):
        FORMS["ntcp"](dose, term("ntcp", 0.0))


def test_generalised_mean_is_mean_and_nears_maximum_without_overflow() -> None:
    assert generalised_mean(DOSE, 1.0).item() == pytest.approx(25.0)
    assert generalised_mean(DOSE.float(), 200.0).item() == pytest.approx(40.0, rel=0.01)
    assert generalised_mean(DOSE * 0.0, 8.0).item() == pytest.approx(0.0, abs=1e-5)


def test_eqd2_is_the_dose_itself_at_2_gray_a_fraction() -> None:
    assert eqd2(torch.tensor(70.0), 3.0, 35).item() == pytest.approx(70.0)
    assert eqd2(torch.tensor(35.0), 3.0, 5).item() == pytest.approx(70.0)


@given(seed=st.integers(0, 10_000), fraction=st.floats(0.0, 1.0), level=st.floats(1.0, 60.0))
def test_a_limit_is_broken_exactly_where_too_many_voxels_are_too_hot(
    seed: int, fraction: float, level: float
) -> None:
    dose = np.random.default_rng(seed).uniform(0, 60, 57).astype(np.float32)
    limit = Limit("volume", level, fraction)
    broken = int((dose > level).sum()) > int(fraction * dose.size)
    assert (excess_gy(torch.tensor(dose), limit, 20) > 1e-4) == broken


def test_mean_limits_on_eqd2() -> None:
    limit = Limit("mean", 60.0, alpha_beta_gy=3.0)
    assert excess_gy(torch.full((5,), 35.0), limit, 5) == pytest.approx(10.0)
    assert excess_gy(torch.full((5,), 35.0), Limit("geud", 35.0, a=8.0), 5) == pytest.approx(0.0, abs=1e-4)
