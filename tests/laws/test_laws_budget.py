"""Laws of the uncertainty budget: known shares, paired intervals, sets without an interval, α/β apart."""

import numpy as np
import pytest
from scipy import stats

from rtplan.dosimetry.budget import (
    ALPHA_BETA_GY,
    alpha_beta_row,
    draw,
    free_parameters,
    interval95,
    lots,
    probabilities,
)
from rtplan.dosimetry.exposure import alone
from rtplan.dosimetry.outcome import evaluate
from rtplan.dosimetry.parameters import Parameter, load_set, names
from rtplan.dosimetry.parts import Answers, Exposure, Told, budget_of
from rtplan.dosimetry.shares import first_order, pair_of_designs

RECTUM = load_set("rectum_bleeding_g2_quantec2010")
DOSES = np.array([10.0, 30.0, 50.0, 65.0, 75.0])
VOLUMES = np.array([0.35, 0.25, 0.20, 0.12, 0.08])
TOLD = Told({"parameters": "p", "dose": "d", "contours": "c"}, {"dose": "no d", "contours": "no c"})


def shares_of(function, columns, groups, samples=8192):
    a, b = pair_of_designs(columns, samples, seed=3)
    mixed = {}
    for name, own in groups.items():
        swapped = a.copy()
        swapped[:, own] = b[:, own]
        mixed[name] = function(swapped)
    return first_order(function(a), function(b), mixed)


def ishigami(unit):
    x = np.pi * (2.0 * unit - 1.0)
    return np.sin(x[:, 0]) + 7.0 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


def test_ishigami_shares():
    found = shares_of(ishigami, 3, {"x1": [0], "x2": [1], "x3": [2]})
    assert found["x1"] == pytest.approx(0.3139, abs=0.01)
    assert found["x2"] == pytest.approx(0.4424, abs=0.01)
    assert found["x3"] == pytest.approx(0.0, abs=0.01)
    other = stats.sobol_indices(
        func=lambda x: ishigami((x.T / np.pi + 1.0) / 2.0)[None],
        n=8192,
        dists=[stats.uniform(-np.pi, 2.0 * np.pi)] * 3,
        rng=np.random.default_rng(1),
    )
    assert np.allclose(list(found.values()), other.first_order.ravel(), atol=0.02)


def test_shares_of_a_sum_are_the_variances_and_sum_to_one():
    table = np.linspace(-1.0, 1.0, 40)

    def sum_of_three(unit):
        return 2.0 * unit[:, 0] + table[np.floor(unit[:, 1] * 40).astype(int)] + 0.5 * unit[:, 2]

    found = shares_of(sum_of_three, 3, {"a": [0], "b": [1], "c": [2]})
    variances = {"a": 4.0 / 12.0, "b": float(np.var(table)), "c": 0.25 / 12.0}
    for name, variance in variances.items():
        assert found[name] == pytest.approx(variance / sum(variances.values()), abs=0.01)
    assert sum(found.values()) == pytest.approx(1.0, abs=0.02)


def test_no_variance_has_no_shares():
    assert shares_of(lambda unit: np.ones(len(unit)), 2, {"a": [0]}) == {"a": None}


def exposure(*doses):
    """Return an arm with samples of the dose: the DVH scaled by 1 and by each factor."""
    return Exposure([[(DOSES * factor, VOLUMES)] for factor in (1.0, *doses)])


def test_two_sources_alone_together_and_their_shares():
    factors = np.linspace(0.97, 1.03, 41)
    arm = Answers(RECTUM, lots(RECTUM, 2048, 1), exposure(*factors))
    budget = budget_of(arm, TOLD)
    parts = budget.detail
    variances = {name: parts[name]["sd"] ** 2 for name in ("parameters", "dose")}
    assert parts["dose"]["interval95"][0] < evaluate(RECTUM, (DOSES, VOLUMES), use_eqd2=False).value
    assert parts["together"]["sd"] ** 2 == pytest.approx(sum(variances.values()), rel=0.15)
    for name, variance in variances.items():
        assert parts[name]["share"] == pytest.approx(variance / sum(variances.values()), abs=0.1)
    assert parts["together"]["interval95"] == pytest.approx(budget.interval95)
    assert parts["contours"] == {"interval95": None, "reason": "no c"}
    assert budget.method == "p; d; contours no c"


def test_the_dose_alone_is_that_of_its_samples():
    factors = np.linspace(0.99, 1.01, 41)
    budget = budget_of(Answers(RECTUM, lots(RECTUM, 64, 1), exposure(*factors)), TOLD)
    risks = [evaluate(RECTUM, (DOSES * f, VOLUMES), use_eqd2=False).value for f in factors]
    assert budget.detail["dose"]["interval95"] == pytest.approx(interval95(np.array(risks)))
    assert budget.detail["dose"]["sd"] == pytest.approx(np.std(risks, ddof=1))


def test_a_paired_difference_is_surer_than_an_unpaired_one():
    drawn, other = lots(RECTUM, 2048, 1), lots(RECTUM, 2048, 99)
    reference = Answers(RECTUM, drawn, exposure())
    arm = Answers(RECTUM, drawn, Exposure([[(DOSES * 1.005, VOLUMES)]]))
    paired = budget_of(arm, TOLD, reference)
    unpaired = budget_of(arm, TOLD, Answers(RECTUM, other, exposure()))
    widths = [b.interval95[1] - b.interval95[0] for b in (paired, unpaired)]
    assert widths[0] < 0.2 * widths[1]
    assert paired.interval95[0] > 0.0
    assert paired.method.startswith("paired, ")


def test_the_reference_of_a_difference_keeps_the_samples_of_its_own_dose():
    """Both arms share dose samples: where the second dose is the first, nothing is left of the interval."""
    factors = np.linspace(0.95, 1.05, 41)
    drawn = lots(RECTUM, 256, 1)
    same = budget_of(
        Answers(RECTUM, drawn, exposure(*factors)), TOLD, Answers(RECTUM, drawn, exposure(*factors))
    )
    assert same.interval95 == (0.0, 0.0)
    assert same.detail["dose"]["share"] is None


@pytest.mark.parametrize("name", ["n", "m", "td50_gy"])
def test_twice_the_published_interval_makes_a_wider_one(name):
    given = RECTUM.parameters[name]
    low, high = given.ci95
    doubled = Parameter(value=given.value, ci95=(2 * low - given.value, 2 * high - given.value))
    wider = RECTUM.model_copy(update={"parameters": {**RECTUM.parameters, name: doubled}})
    widths = []
    for item in (RECTUM, wider):
        budget = alone(item, (DOSES, VOLUMES), 35, lots(item))
        widths.append(budget.interval95[1] - budget.interval95[0])
    assert widths[1] > 1.05 * widths[0]


@pytest.mark.parametrize("name", names())
def test_a_set_without_a_published_interval_has_none(name):
    item = load_set(name)
    drawn = lots(item, 16, 1)
    assert (drawn.first is None) == (not free_parameters(item))
    budget = alone(item, (DOSES, 50.0 * VOLUMES), 25, drawn)
    if free_parameters(item):
        low, high = budget.interval95
        assert high > low
        assert "conservative" in budget.detail["parameters"]["method"]
    else:
        assert budget.interval95 is None
        assert budget.method == "no published interval"
        assert budget.detail["parameters"] == {"interval95": None, "reason": "no published interval"}
        assert budget.detail["together"]["interval95"] is None


def test_two_piece_normals_have_their_published_quantiles_and_stay_above_nought():
    values = draw(RECTUM, 4096).values
    for name, parameter in RECTUM.parameters.items():
        quantiles = np.quantile(values[name], [0.025, 0.5, 0.975])
        wanted = (parameter.ci95[0], parameter.value, parameter.ci95[1])
        assert np.allclose(quantiles, wanted, rtol=0.01)
    broad = Parameter(value=0.05, ci95=(-0.5, 0.15))
    item = RECTUM.model_copy(update={"parameters": {**RECTUM.parameters, "n": broad}})
    assert (draw(item, 512).values["n"] > 0.0).all()
    negative = Parameter(value=-5.0, ci95=(-7.0, -4.0))
    item = RECTUM.model_copy(update={"parameters": {**RECTUM.parameters, "n": negative}})
    assert np.median(draw(item, 512).values["n"]) == pytest.approx(-5.0, rel=0.01)


def test_alpha_beta_is_a_row_of_its_own():
    row = alpha_beta_row(RECTUM, (DOSES, VOLUMES), 20)
    assert [item["alpha_beta_gy"] for item in row] == list(ALPHA_BETA_GY)
    assert row[2]["value"] == pytest.approx(evaluate(RECTUM, (DOSES, VOLUMES), 20).value, rel=1e-9)
    values = [item["value"] for item in row]
    assert values == sorted(values, reverse=True)
    assert alpha_beta_row(RECTUM, (DOSES, VOLUMES), 20, use_eqd2=False) == []
    assert alpha_beta_row(load_set("rectum_late_g2_tucker2007"), (DOSES, VOLUMES), 20) == []


def test_lots_are_seeded_and_independent():
    one, again, other = lots(RECTUM, 256, 1), lots(RECTUM, 256, 1), lots(RECTUM, 256, 2)
    assert np.array_equal(one.first.values["n"], again.first.values["n"])
    assert not np.array_equal(one.first.values["n"], other.first.values["n"])
    assert abs(np.corrcoef(one.first.values["n"], one.second.values["n"])[0, 1]) < 0.1
    assert np.array_equal(
        probabilities(RECTUM, (DOSES, VOLUMES), 20, one.first),
        Answers(RECTUM, one, Exposure([[_seen20()]])).at((0, None, None)),
    )


def _seen20():
    return DOSES * (1.0 + DOSES / 20.0 / 3.0) / (1.0 + 2.0 / 3.0), VOLUMES


def test_the_interval_of_forty_samples_holds_95_percent_of_further_ones():
    rng = np.random.default_rng(1)
    held = []
    for _ in range(4000):
        low, high = interval95(rng.standard_normal(40))
        held.append(stats.norm.cdf(high) - stats.norm.cdf(low))
    assert np.mean(held) == pytest.approx(0.95, abs=0.003)


def test_drawn_doses_are_the_samples_and_not_the_arm_itself():
    drawn = lots(RECTUM, 128, 1)
    all_alike = Answers(RECTUM, drawn, exposure(*np.full(40, 1.1)))
    hotter = Answers(RECTUM, drawn, Exposure([[(DOSES * 1.1, VOLUMES)]]))
    assert np.array_equal(all_alike.at((0, 0, None)), hotter.at((0, None, None)))
    assert not np.array_equal(all_alike.at((0, None, None)), hotter.at((0, None, None)))


def test_shares_of_2000_points_hardly_depend_on_the_seed():
    """The documentation promises 3 %."""
    factors = 1.0 + 0.01 * stats.norm.ppf((np.arange(40) + 0.5) / 40.0)
    found = []
    for seed in range(5):
        arm = Answers(RECTUM, lots(RECTUM, 2000, seed), exposure(*factors))
        parts = budget_of(arm, TOLD).detail
        found.append([parts[name]["share"] for name in ("parameters", "dose")])
    assert np.ptp(np.array(found), axis=0).max() < 0.03
