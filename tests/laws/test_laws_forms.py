"""Laws of the outcome forms, on every shipped set and on a set of each form that no shipped set has."""

from pathlib import Path

import numpy as np
import pytest

from rtplan.dosimetry.budget import draw, interval95, probabilities
from rtplan.dosimetry.forms import FORMS
from rtplan.dosimetry.outcome import detail_of, evaluate, form_of, ntcp
from rtplan.dosimetry.parameters import load_set, names, with_factors
from rtplan.dosimetry.radiobiology import eqd2, geud, physical
from rtplan.errors import DoseError, FormatError, ModelError, UnknownName

EXAMPLES = {path.stem: path for path in sorted((Path(__file__).parent / "sets").glob("*.toml"))}
SETS = [load_set(name) for name in (*names(), *EXAMPLES.values())]
CHECKS = [(s, check) for s in SETS for check in s.check]
DOSES = np.array([10.0, 30.0, 50.0, 65.0, 75.0])
VOLUMES = np.array([0.35, 0.25, 0.20, 0.12, 0.08])
CC = 80.0


def example(name):
    return load_set(EXAMPLES[name])


def ready(item):
    """Return a set with all its clinical factors present."""
    return with_factors(item, dict.fromkeys(item.factors, 1.0))


def risk(item, doses, volumes=VOLUMES):
    return ntcp(item, (np.asarray(doses), np.asarray(volumes) * CC), eqd2=False)


def test_every_form_has_a_set_that_the_laws_run_on():
    assert {item.form for item in SETS} == set(FORMS)


@pytest.mark.parametrize(("item", "check"), CHECKS, ids=[f"{s.name}-{i}" for i, (s, _) in enumerate(CHECKS)])
def test_published_and_worked_examples(item, check):
    uniform = check.uniform_dose_gy is not None
    dose = ([check.uniform_dose_gy], [1.0]) if uniform else (check.doses_gy, check.volumes)
    assert ntcp(with_factors(item, check.factors), dose, check.fractions, eqd2=check.eqd2) == pytest.approx(
        check.expected, abs=check.tolerance
    )


@pytest.mark.parametrize("item", SETS, ids=lambda s: s.name)
def test_is_a_probability_that_rises_with_dose(item):
    risks = np.array([risk(ready(item), DOSES * f) for f in np.linspace(0.0, 3.0, 41)])
    assert ((risks >= 0) & (risks <= 1)).all()
    assert (np.diff(risks) >= 0).all()
    assert risks[-1] > risks[0]
    for part in range(len(DOSES)):  # more dose to any part harms no less
        more = DOSES + 5.0 * (np.arange(len(DOSES)) == part)
        assert risk(ready(item), more) >= risk(ready(item), DOSES)


@pytest.mark.parametrize("item", SETS, ids=lambda s: s.name)
def test_does_not_depend_on_how_the_histogram_is_cut(item):
    once = risk(ready(item), DOSES)
    order = np.array([3, 0, 4, 2, 1, 3, 0, 4, 2, 1])
    assert risk(ready(item), DOSES[order], VOLUMES[order] / 2) == pytest.approx(once, abs=1e-12)
    assert risk(ready(item), [*DOSES, 200.0], [*VOLUMES, 0.0]) == pytest.approx(once, abs=1e-12)


@pytest.mark.parametrize("item", [s for s in SETS if FORMS[s.form].half_at], ids=lambda s: s.name)
def test_a_uniform_d50_gives_one_half(item):
    half = item.values[FORMS[item.form].half_at]
    assert risk(item, [half], [1.0]) == pytest.approx(0.5, abs=1e-12)
    assert risk(item, [half, half], [0.2, 0.8]) == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("item", SETS, ids=lambda s: s.name)
def test_numpy_and_torch_agree_with_a_true_gradient(item):
    torch = pytest.importorskip("torch")
    item = ready(item)
    form = form_of(item)
    dose = torch.tensor(DOSES, dtype=torch.float64, requires_grad=True)
    volume = torch.tensor(VOLUMES * CC, dtype=torch.float64)
    value = form(dose, volume, item.values)
    assert value.dtype == torch.float64
    assert float(value.detach()) == pytest.approx(float(form(DOSES, VOLUMES * CC, item.values)), abs=1e-12)
    assert torch.autograd.gradcheck(lambda d: form(d, volume, item.values), (dose,), atol=1e-6)
    cold = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    form(cold, torch.full((3,), CC, dtype=torch.float64), item.values).backward()
    assert bool(torch.isfinite(cold.grad).all())


def with_values(item, **values):
    changed = {k: p.model_copy(update={"value": values.get(k, p.value), "ci95": None})
               for k, p in item.parameters.items()}  # fmt: skip
    return item.model_copy(update={"parameters": changed})


@pytest.mark.parametrize("item", [s for s in SETS if "n" in s.parameters], ids=lambda s: s.name)
def test_n_of_one_is_the_mean_dose_and_n_of_nought_the_maximum(item):
    mean = float(VOLUMES @ DOSES)
    assert risk(with_values(item, n=1.0), DOSES) == pytest.approx(risk(item, [mean], [1.0]), abs=1e-10)
    assert risk(with_values(item, n=1e-5), DOSES) == pytest.approx(risk(item, [75.0], [1.0]), abs=1e-3)


def test_relative_seriality_is_serial_or_parallel_in_its_limits():
    item = example("relative_seriality_example")
    single = np.array([risk(item, [d], [1.0]) for d in DOSES])
    serial = 1.0 - np.prod((1.0 - single) ** VOLUMES)  # s = 1: any subunit is enough, independent
    assert risk(with_values(item, s=1.0), DOSES) == pytest.approx(serial, abs=1e-12)
    hottest = single.max() * VOLUMES[-1] ** (1.0 / 400.0)
    assert risk(with_values(item, s=400.0), DOSES) == pytest.approx(hottest, rel=1e-9)
    parallel = np.exp(-np.exp(VOLUMES @ np.log(-np.log(single))))  # s -> 0: geometric mean of -log P
    assert risk(with_values(item, s=1e-6), DOSES) == pytest.approx(parallel, rel=1e-4)


def test_probit_and_logistic_of_gamma50_share_value_and_slope_at_d50():
    lkb, logit, linear = (load_set(n) for n in ("rectum_bleeding_g2_quantec2010", *(
        EXAMPLES[n] for n in ("log_logit_rectum", "logistic_geud_pneumonitis"))))  # fmt: skip
    linear = with_values(linear, gamma50=logit.values["gamma50"], td50_gy=76.9, n=0.09)
    step = 1e-4
    slopes = [
        (risk(s, [76.9 + step], [1.0]) - risk(s, [76.9 - step], [1.0])) / (2 * step)
        for s in (lkb, logit, linear)
    ]
    assert slopes == pytest.approx([logit.values["gamma50"] / 76.9] * 3, rel=1e-6)


def test_critical_volume_of_a_sharp_threshold_is_a_step_of_the_destroyed_share():
    item = with_values(example("critical_volume_example"), gamma50=200.0)
    assert risk(item, DOSES) == pytest.approx(risk(item, [0.0, 90.0], [0.6, 0.4]), abs=1e-6)


def test_population_alpha_is_an_integral_and_none_is_one_alpha():
    item = load_set("prostate_walsh2016")
    p = item.values
    doses, cc = np.array([30.0, 44.0]), np.array([4.0, 30.0])
    alpha = np.linspace(1e-6, 0.6, 200_001)
    weight = np.exp(-0.5 * ((alpha - p["alpha_per_gy"]) / p["sigma_alpha"]) ** 2)
    effect = doses * (1.0 + 2.0 / p["alpha_beta_gy"])
    cells = p["density_per_cc"] * (np.exp(-np.outer(alpha, effect)) @ cc)
    exact = float((weight * np.exp(-cells)).sum() / weight.sum())
    assert 0.05 < exact < 0.95
    assert ntcp(item, (doses, cc), eqd2=False) == pytest.approx(exact, abs=1e-5)
    one = with_values(item, sigma_alpha=0.0)
    killed = np.exp(-p["density_per_cc"] * float(np.exp(-p["alpha_per_gy"] * effect) @ cc))
    assert ntcp(one, (doses, cc), eqd2=False) == pytest.approx(killed, abs=1e-12)


def test_pycerr_converts_the_number_of_fractions():
    assert physical(eqd2(29.2318, 15, 10.0), 35, 10.0) == pytest.approx(32.0023, abs=1e-4)
    assert physical(eqd2(14.6125, 15, 10.0), 35, 10.0) == pytest.approx(15.3618, abs=1e-4)
    huang = with_values(example("logistic_bronchial_stenosis"), intercept=-3.13 + 1.5, per_gy=0.0688)
    for before, expected in ((29.2318, 0.63916), (14.6125, 0.36051)):
        converted = physical(eqd2(before, 15, 10.0), 35, 10.0)
        assert risk(huang, [converted], [1.0]) == pytest.approx(expected, abs=1e-4)


def odds(probability):
    return probability / (1.0 - probability)


def test_an_odds_ratio_multiplies_the_odds_of_a_logistic_at_every_dose():
    item = example("logistic_geud_pneumonitis")
    both = with_factors(item, {"current_smoker": 1.0, "pulmonary_comorbidity": 1.0, "former_smoker": 0.0})
    for dose in (5.0, 20.0, 34.4, 60.0):
        plain, changed = (odds(risk(s, [dose], [1.0])) for s in (item, both))
        assert changed / plain == pytest.approx(0.62 * 2.27, rel=1e-12)
    assert detail_of(both, evaluate(both, (DOSES, VOLUMES)))["factors"]["current_smoker"] == 1.0
    plain = example("logistic_bronchial_stenosis")
    changed = with_factors(plain.model_copy(update={"modifier": item.modifier}), {"current_smoker": 1.0})
    assert odds(risk(changed, DOSES)) / odds(risk(plain, DOSES)) == pytest.approx(0.62, rel=1e-12)


def test_an_odds_ratio_moves_the_half_dose_of_a_probit_as_appelt_says():
    item = load_set("rectum_bleeding_g2_quantec2010")
    raw = example("logistic_geud_pneumonitis").modifier[1]
    item = with_factors(item.model_copy(update={"modifier": (raw,)}), {raw.name: 1.0})
    gamma = 1.0 / (0.13 * np.sqrt(2.0 * np.pi))
    half = 76.9 * (1.0 - np.log(2.27) / (4.0 * gamma))
    assert risk(item, [half], [1.0]) == pytest.approx(0.5, abs=1e-12)
    assert not item.verified


def test_the_interval_of_an_odds_ratio_is_drawn_with_the_rest():
    item = example("logistic_geud_pneumonitis")
    assert draw(item) is None
    smoker = with_factors(item, {"current_smoker": 1.0})
    low, high = interval95(probabilities(smoker, (DOSES, VOLUMES), None, draw(smoker, 512)))
    ends = []
    for ratio in (0.4, 0.95):
        raw = {k: p.model_copy(update={"value": ratio, "ci95": None}) if k.startswith("odds") else p
               for k, p in smoker.parameters.items()}  # fmt: skip
        ends.append(risk(smoker.model_copy(update={"parameters": raw}), DOSES))
    assert (low, high) == pytest.approx(tuple(ends), abs=5e-3)


def test_a_factor_is_never_assumed_and_an_unknown_one_is_refused():
    item = example("logistic_esophagitis_factors")
    with pytest.raises(ModelError, match="female"):
        risk(item, DOSES)
    with pytest.raises(UnknownName, match="Known: female"):
        with_factors(item, {"smoker": 1.0})
    with pytest.raises(ModelError, match="1 or 0"):
        with_factors(example("logistic_geud_pneumonitis"), {"current_smoker": 0.5})
    cox = example("cox_bronchial_stenosis")
    raw = example("logistic_geud_pneumonitis").modifier
    with pytest.raises(ModelError, match="no D50"):
        risk(cox.model_copy(update={"modifier": raw}), DOSES)
    huge = raw[0].model_copy(update={"odds_ratio": raw[0].odds_ratio.model_copy(update={"value": 1e4})})
    absurd = example("logistic_geud_pneumonitis").model_copy(update={"modifier": (huge,)})
    with pytest.raises(ModelError, match="too large"):
        risk(with_factors(absurd, {"current_smoker": 1.0}), DOSES)


class Percent(tuple):
    volume_unit = "%"


def test_a_model_of_cc_refuses_volumes_in_percent_and_an_organ_too_small():
    item = example("logistic_esophagitis_d3cc")
    with pytest.raises(DoseError, match="cc"):
        evaluate(item, Percent((DOSES, VOLUMES * 100.0)), use_eqd2=False)
    with pytest.raises(DoseError, match="not defined"):
        evaluate(item, (DOSES, VOLUMES), use_eqd2=False)
    with pytest.raises(DoseError, match="cc"):
        evaluate(load_set("prostate_walsh2016"), Percent((DOSES, VOLUMES)), 35)
    plain = load_set("rectum_bleeding_g2_quantec2010")
    assert (
        evaluate(plain, Percent((DOSES, VOLUMES * 100.0)), 35).value
        == evaluate(plain, (DOSES, VOLUMES), 35).value
        == pytest.approx(ntcp(plain, (DOSES, VOLUMES), 35))
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('metric = "Mean[Gy]"', 'metric = "Mean[%]"', "cannot be a term"),
        ('metric = "Mean[Gy]"', 'metric = "Mean[Gy]"\nfactor = "age"', "either"),
        ('parameter = "per_gy"', 'parameter = "slope"', "no parameter"),
        ("schema = 1", "schema = 1\ngiven = {age = 1.0}", "belong to a patient"),
        ("schema = 1", "schema = 1\ncolour = 3", "colour"),
    ],
)
def test_a_users_own_file_is_read_by_its_path_or_refused_with_the_key(tmp_path, old, new, said):
    text = EXAMPLES["logistic_bronchial_stenosis"].read_text(encoding="utf-8")
    own = tmp_path / "own.toml"
    own.write_text(text, encoding="utf-8")
    assert load_set(str(own)).name == "own"
    own.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(FormatError, match=said):
        load_set(own)


def test_geud_and_eqd2_used_stand_in_the_detail():
    item = load_set("rectum_bleeding_g2_quantec2010")
    with_it = detail_of(item, evaluate(item, (DOSES, VOLUMES), 20))
    without = detail_of(item, evaluate(item, (DOSES, VOLUMES), 20, use_eqd2=False))
    assert (with_it["dose_kind"], with_it["eqd2_used"], with_it["fractions"]) == ("EQD2(3)", True, 20)
    assert with_it["geud_gy"] == pytest.approx(float(geud(eqd2(DOSES, 20, 3.0), VOLUMES, 1 / 0.09)))
    assert without["geud_gy"] == pytest.approx(61.318658, abs=1e-6)
    assert (without["dose_kind"], without["eqd2_used"]) == ("physical", False)
    assert any("switched off" in words for words in without["warnings"])
    assert with_it["max_per_fraction_gy"] == pytest.approx(3.75)
    assert with_it["max_gy"] == pytest.approx(float(eqd2(75.0, 20, 3.0)))
