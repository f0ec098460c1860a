"""Rows of agreement made of findings: who counts, the logit scale, verdicts, what is written and read."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from rtplan.domain import Finding
from rtplan.errors import FormatError
from rtplan.evaluation.agreement import Agreement, Judging, verdict_of
from rtplan.evaluation.cohort import agree, risks_of_arms
from rtplan.evaluation.limits import Bootstrap
from rtplan.evaluation.paired import holm, t_test, tost
from rtplan.evaluation.study_file import StudyFile, StudyPatient, read_study

MODEL = "rectum_bleeding_g2_quantec2010"
FAST = Bootstrap(resamples=499)
RISK = {"structure": "Rectum", "metric": "NTCP", "unit": "1", "step": "EstimateOutcome", "model": MODEL}


def risk(arm, value, reference=None, verified=True):
    more = {"reference_arm": reference, "quantity": "difference"} if reference else {}
    if value is None:
        more |= {"verdict": "not_evaluable", "reason": "cut"}
    return Finding(value=value, arm=arm, verified=verified, **RISK, **more)


def patient(base, changes, verified=True):
    found = [risk("CT", base, verified=verified)]
    for arm, change in changes.items():
        found += [risk(arm, base + change, verified=verified), risk(arm, change, "CT", verified)]
    return found


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(11)
    return {
        f"p{k:02d}": patient(float(b), {"SynCT": float(s), "CT0": float(w)})
        for k, (b, s, w) in enumerate(
            zip(
                rng.uniform(0.02, 0.06, 36), rng.normal(0, 4e-4, 36), rng.normal(-3e-3, 2e-3, 36), strict=True
            )
        )
    }


def by(rows, arm, scale="as_is", metric="NTCP"):
    (found,) = [r for r in rows if (r.arm, r.scale, r.metric) == (arm, scale, metric)]
    return found


def test_rows_come_in_the_order_of_the_arms_with_their_numbers(cohort):
    rows = agree(cohort, Judging(bootstrap=FAST))
    assert [(r.arm, r.scale) for r in rows] == [
        ("CT0", "as_is"), ("CT0", "logit"), ("SynCT", "as_is"), ("SynCT", "logit"),
    ]  # fmt: skip
    values = np.array([findings[2].value for findings in cohort.values()])
    row = by(rows, "SynCT")
    assert (row.n, row.left_out, row.unit, row.model) == (36, 0, "1", MODEL)
    assert row.mean == pytest.approx(values.mean())
    assert row.max_abs == pytest.approx(np.abs(values).max())
    assert row.p95_abs == pytest.approx(np.percentile(np.abs(values), 95))
    assert row.p_t == pytest.approx(t_test(values))
    assert row.verdict == "none"
    assert "no margin" in row.reason


def test_the_logit_row_is_the_log_odds_ratio(cohort):
    row = by(agree(cohort, Judging(bootstrap=FAST)), "CT0", "logit")
    wanted = []
    for findings in cohort.values():
        base, arm = findings[0].value, findings[3].value
        wanted.append(math.log(arm / (1 - arm)) - math.log(base / (1 - base)))
    assert row.mean == pytest.approx(np.mean(wanted))
    assert row.max_abs == pytest.approx(np.max(np.abs(wanted)))


def test_verdicts_follow_the_users_margin(cohort):
    rows = agree(cohort, Judging(margin=0.002, precision=0.0002, bootstrap=FAST))
    good, bad = by(rows, "SynCT"), by(rows, "CT0")
    assert good.verdict == "equivalent"
    assert bad.verdict == "different"
    assert good.p_tost_holm == pytest.approx(holm([bad.p_tost, good.p_tost])[1])
    values = np.array([findings[2].value for findings in cohort.values()])
    assert good.p_tost == pytest.approx(tost(values, 0.002))
    assert good.sample_size > 3
    assert good.sample_size_equivalent <= 36
    assert bad.sample_size_equivalent is None
    narrow = by(agree(cohort, Judging(margin=float(good.upper), bootstrap=FAST)), "SynCT")
    assert narrow.verdict == "cannot_tell"


def test_the_margin_on_the_logit_scale_is_the_smaller_side_at_the_mean_risk(cohort):
    row = by(agree(cohort, Judging(margin=0.01, bootstrap=FAST)), "SynCT", "logit")
    base = np.mean([findings[0].value for findings in cohort.values()])
    sides = [abs(math.log(p / (1 - p)) - math.log(base / (1 - base))) for p in (base - 0.01, base + 0.01)]
    assert row.margin == pytest.approx(min(sides))
    assert row.p_tost is not None
    assert row.verdict == "none"


def test_unverified_models_get_no_verdict_unless_asked():
    found = {f"p{k}": patient(0.5 + 0.01 * k, {"SynCT": 1e-4 * (-1) ** k * k}, False) for k in range(9)}
    (row, _) = agree(found, Judging(margin=0.05, bootstrap=FAST))
    assert row.verdict == "none"
    assert "not verified" in row.reason
    (row, _) = agree(found, Judging(margin=0.05, bootstrap=FAST, allow_unverified=True))
    assert row.verdict == "equivalent"


def test_patients_that_are_not_evaluable_are_left_out_and_counted(cohort):
    some = dict(list(cohort.items())[:6])
    some["cut"] = [risk("CT", None)]
    some["failed arm"] = [risk("CT", 0.03), risk("SynCT", None, "CT"), risk("CT0", None, "CT")]
    row = by(agree(some, Judging(bootstrap=FAST)), "SynCT")
    assert (row.n, row.left_out) == (6, 2)
    two = dict(list(cohort.items())[:2])
    row = by(agree(two, Judging(margin=0.01, bootstrap=FAST)), "SynCT")
    assert row.lower is None
    assert row.sd > 0.0
    assert row.verdict == "none"
    assert "need 3" in row.reason
    assert agree({}, Judging()) == ()


def test_equal_differences_cannot_be_judged():
    found = {f"p{k}": patient(0.03, {"SynCT": 0.0}) for k in range(5)}
    row = by(agree(found, Judging(margin=0.01, bootstrap=FAST)), "SynCT")
    assert (row.lower, row.upper, row.upper_ci95) == (0.0, 0.0, None)
    assert row.verdict == "cannot_tell"
    assert "equal" in row.reason


def test_figures_have_a_range_and_no_limits():
    gamma = {
        str(k): [
            Finding(
                "Gamma2%/2mm[%]", 95.0 + k, "%", "CompareArms", arm="SynCT", reference_arm="CT",
                structure="Body", quantity="difference",
            )
        ]
        for k in range(4)
    }  # fmt: skip
    (row,) = agree(gamma, Judging(margin=0.01, bootstrap=FAST))
    assert row.figure
    assert (row.n, row.minimum, row.maximum, row.mean) == (4, 95.0, 98.0, 96.5)
    assert (row.lower, row.p_t, row.verdict) == (None, None, "none")


def test_verdict_of_intervals():
    inside = ((-0.4, -0.2), (0.2, 0.4))
    assert verdict_of(*inside, 0.5) == "equivalent"
    assert verdict_of(*inside, 0.3) == "cannot_tell"
    assert verdict_of(*inside, 0.1) == "different"
    assert verdict_of((-0.9, -0.6), (0.1, 0.2), 0.5) == "different"
    assert verdict_of(None, None, 0.5) == "cannot_tell"


@pytest.mark.parametrize("margin", [0.0, -0.01, 1.5])
def test_a_margin_outside_0_to_100_pp_is_refused(margin):
    with pytest.raises(FormatError, match="pp"):
        Judging(margin=margin)


def test_risks_of_arms_are_ranges(cohort):
    first, *_ = risks_of_arms(cohort)
    values = [findings[0].value for findings in cohort.values()]
    assert (first.arm, first.n) == ("CT", 36)
    assert (first.minimum, first.maximum) == (min(values), max(values))


def test_a_study_comes_back_as_it_was_written(cohort, tmp_path):
    study = StudyFile(
        finished=True,
        rtplan_version="0",
        settings={"protocol": "x"},
        statistics={"margin_pp": None},
        patients=(StudyPatient(1, "abc", "done", None, 3.5), StudyPatient(2, "", "failed", "no CT")),
        cohort=agree(cohort, Judging(margin=0.01, bootstrap=FAST)),
        risks=risks_of_arms(cohort),
    )
    text = json.dumps(study.as_dict(), allow_nan=False)
    (tmp_path / "study.json").write_text(text, encoding="utf-8")
    assert read_study(tmp_path) == study
    for broken in ("{", "{}", text.replace('"cohort"', '"other"'), text.replace('"p95_abs"', '"p96"')):
        (tmp_path / "study.json").write_text(broken, encoding="utf-8")
        with pytest.raises(FormatError):
            read_study(tmp_path)
    with pytest.raises(FormatError, match="no field"):
        Agreement.from_dict(replace(study.cohort[0]).as_dict() | {"colour": 1})
