"""Predictions from geometry: a cohort that follows a law, a patient unlike it, files that are not whole."""

from pathlib import Path

import numpy as np
import pytest

from rtplan import resources
from rtplan.dosimetry.protocol import load_protocol, read_model
from rtplan.errors import FormatError, ModelError
from rtplan.planning.nearness import DISTANCES_MM, Nearness
from rtplan.planning.spacer import load_rule, read_by
from rtplan.planning.stratify import (
    Cohort,
    Evidence,
    Predictor,
    digest,
    features_of,
    judge_predicted,
    load_predictor,
    predict,
)

FEATURES = ("rectum_within_3mm_percent", "target_overlap_depth_mm")
V55, V70 = (read_by(load_rule(name), 35) for name in ("delta_v55_paetkau", "relative_v70_25"))
OUTPUTS = (f"{V55}|without", f"{V55}|with", f"{V70}|without", f"{V70}|fall")


def cohort(noise: float, count: int = 40) -> Predictor:
    """Patients whose V55 is 0.8 of the share within 3 mm without, and a tenth with a gel; V70 half."""
    rng = np.random.default_rng(3)
    near, depth = rng.uniform(2.0, 10.0, count), rng.uniform(0.0, 6.0, count)
    without = 0.8 * near + noise * rng.standard_normal(count)
    table = np.stack([near, depth, without, 0.1 * without, 0.5 * without, np.full(count, 90.0)], axis=1)
    rows = tuple(tuple(round(float(v), 4) for v in row) for row in table)
    made = Cohort(patients="a law", planner_commit="none", settings="none", sha256=digest(rows))
    return Predictor(
        schema=1, description="", protocol="p", fractions=35, features=FEATURES, outputs=OUTPUTS, cohort=made,
        verified=False, source={"citation": "a law"}, rows=rows,
    )  # type: ignore[arg-type]  # fmt: skip


def test_a_law_is_found_and_its_noise_is_the_interval() -> None:
    sharp = predict(cohort(0.0), np.array([6.0, 3.0]))
    assert sharp.best[OUTPUTS[0]] == pytest.approx(4.8, abs=0.15)
    blurred = predict(cohort(0.5), np.array([6.0, 3.0]))
    spread = [float(np.std(p.draws[OUTPUTS[0]])) for p in (sharp, blurred)]
    assert spread[0] < 0.2
    assert spread[1] == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize(("near", "answer"), [(8.5, "benefits"), (2.5, "does_not"), (4.86, "cannot_tell")])
def test_the_rule_reads_the_draws(near: float, answer: str) -> None:
    judged, probability = judge_predicted(
        load_rule("delta_v55_paetkau"), predict(cohort(0.4), np.array([near, 3.0])), decides=False
    )
    assert judged.answer == answer
    assert probability is not None
    bounds = {"benefits": (0.97, 1.0), "does_not": (0.0, 0.03), "cannot_tell": (0.1, 0.9)}[answer]
    assert bounds[0] <= probability <= bounds[1]


@pytest.mark.parametrize(("near", "answer"), [(8.5, "benefits"), (1.4, "does_not"), (2.6, "cannot_tell")])
def test_who_is_foretold_to_have_little_gains_nothing_relatively(near: float, answer: str) -> None:
    judged, probability = judge_predicted(
        load_rule("relative_v70_25"), predict(cohort(0.2), np.array([near, 3.0])), decides=False
    )
    assert judged.answer == answer
    assert judged.value == pytest.approx(90.0, abs=0.1)
    assert judged.baseline == pytest.approx(0.4 * near, abs=0.15)
    assert probability is not None
    bounds = {"benefits": (0.97, 1.0), "does_not": (0.0, 0.03), "cannot_tell": (0.1, 0.95)}[answer]
    assert bounds[0] <= probability <= bounds[1]


def test_nothing_falls_by_more_than_all() -> None:
    over = cohort(0.4)
    rows = tuple((*row[:-1], 100.0 - row[0]) for row in over.rows)
    grown = over.model_copy(update={"rows": rows})
    found = predict(grown, np.array([0.0, 3.0]))
    assert found.best[OUTPUTS[3]] <= 100.0
    assert found.draws[OUTPUTS[3]].max() <= 100.0


def test_a_rule_of_another_dose_does_not_read_the_cohorts() -> None:
    known = load_rule("delta_v55_paetkau")
    other = known.model_copy(update={"metric": "V60Gy[%]"})
    found = predict(cohort(0.1), np.array([6.0, 3.0]))
    assert judge_predicted(other, found, decides=False)[0].answer == "not_evaluable"
    renamed = known.model_copy(update={"name": "ours", "at_least": 4.0})
    assert judge_predicted(renamed, found, decides=False)[0].answer == "benefits"  # 4.3 points


def test_a_patient_unlike_the_cohort_gets_no_answer() -> None:
    found = predict(cohort(0.1), np.array([30.0, 3.0]))
    assert found.outside == ("rectum_within_3mm_percent",)
    judged, _ = judge_predicted(load_rule("delta_v55_paetkau"), found, decides=False)
    assert judged.answer == "cannot_tell"
    assert "unlike" in judged.reason


def test_a_rule_that_the_cohort_does_not_tell_is_not_evaluable() -> None:
    judged, probability = judge_predicted(
        load_rule("delta_ntcp"), predict(cohort(0.1), np.array([6.0, 3.0])), decides=False
    )
    assert judged.answer == "not_evaluable"
    assert probability is None


def test_draws_repeat_with_their_seed() -> None:
    one, same, other = (predict(cohort(0.3), np.array([5.0, 1.0]), seed=s, draws=50) for s in (1, 1, 2))
    key = OUTPUTS[0]
    np.testing.assert_array_equal(one.draws[key], same.draws[key])
    assert not np.array_equal(one.draws[key], other.draws[key])


def test_the_lesion_is_asked_for_where_it_is_used() -> None:
    near = Nearness({"PTV": np.linspace(0.0, 1.0, len(DISTANCES_MM))}, {"PTV": -2.0}, {"Rectum": 60.0})
    predictor = cohort(0.1).model_copy(update={"features": ("lesion_distance_mm", FEATURES[1])})
    with pytest.raises(ModelError, match="boost"):
        features_of(predictor, Evidence(near, "PTV"))
    assert features_of(cohort(0.1), Evidence(near, "PTV"))[1] == 2.0


def test_the_shipped_predictor_is_whole_and_another_protocol_has_none(tmp_path: Path) -> None:
    shipped = load_predictor(load_protocol("prostate_boost_flame"))
    assert not shipped.verified
    assert len(shipped.rows) >= 30
    others = load_protocol("prostate_boost_flame").model_copy(update={"fractions": 20})
    with pytest.raises(ModelError, match="35 fractions"):
        load_predictor(others)
    with pytest.raises(ModelError, match="no predictor"):
        load_predictor(load_protocol("prostate_chhip_60gy"))
    text = resources.find("models/spacer", "predictor_prostate_boost_flame").read_text(encoding="utf-8")
    first = f"{shipped.rows[0][0]!r}"
    changed = tmp_path / "changed.toml"
    changed.write_text(text.replace(first, "9.99", 1), encoding="utf-8")
    with pytest.raises(FormatError, match="hash"):
        read_model(Predictor, changed)
