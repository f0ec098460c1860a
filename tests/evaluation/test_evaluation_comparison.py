"""Comparing two results: a change is seen when it is larger than its tolerance, and only then."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest

from rtplan.domain import Finding, Notice
from rtplan.errors import FormatError
from rtplan.evaluation.comparison import RELATIVE, TOLERANCES, Results, compare

GOAL = Finding(
    "V57Gy[%]", 12.0, "%", "EvaluateProtocol", arm="CT", structure="Rectum", limit="<= 15", verdict="met"
)
RISK = Finding("NTCP", 0.05, "1", "EstimateOutcome", arm="CT", model="a", interval95=(0.02, 0.09))
ABSENT = Finding("D2%[Gy]", None, "Gy", "EvaluateProtocol", verdict="not_evaluable", reason="no dose")


def run(*findings, notices=(), kind="run", **facts):
    return Results(kind, facts, findings, notices)


def test_a_run_is_the_same_as_itself_in_any_order():
    findings = (GOAL, RISK, ABSENT)
    for order in itertools.permutations(findings):
        found = compare(run(*findings, settings={"seed": 1}), run(*order, settings={"seed": 1}))
        assert found.same_results
        assert (found.compared, found.facts) == (3, ())


@pytest.mark.parametrize("unit", [*TOLERANCES, "Gy/MU"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_what_exceeds_the_tolerance_of_its_unit_is_seen_and_what_does_not_is_not(unit, sign):
    value = 40.0
    limit = TOLERANCES.get(unit, RELATIVE * value)
    before = Finding("Mean", value, unit, "EvaluateProtocol")
    within, beyond = (
        compare(run(before), run(dataclasses.replace(before, value=value + sign * share * limit)))
        for share in (0.98, 1.02)
    )
    assert within.same_results
    (change,) = beyond.findings
    assert change.kind == "value"
    assert change.change == pytest.approx(sign * 1.02 * limit)
    assert change.size == pytest.approx(1.02, rel=1e-3)


def test_a_tolerance_that_is_given_counts_for_its_unit_alone():
    far = dataclasses.replace(GOAL, value=12.4), dataclasses.replace(RISK, value=0.06)
    found = compare(run(GOAL, RISK), run(*far), {"%": 0.5})
    assert [change.about.metric for change in found.findings] == ["NTCP"]
    assert found.tolerances["Gy"] == TOLERANCES["Gy"]
    assert compare(run(GOAL, RISK), run(*far), {"%": 0.5, "1": 0.02}).same_results
    assert not compare(run(GOAL), run(dataclasses.replace(GOAL, value=12.0 + 1e-12)), {"%": 0.0}).same_results
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(FormatError, match="tolerance of Gy"):
            compare(run(GOAL), run(GOAL), {"Gy": wrong})


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (GOAL, dataclasses.replace(GOAL, value=15.5, verdict="missed"), "verdict"),
        (GOAL, dataclasses.replace(GOAL, verdict="wish_met"), "verdict"),
        (GOAL, dataclasses.replace(GOAL, limit="<= 20"), "other"),
        (GOAL, dataclasses.replace(GOAL, verified=True), "other"),
        (RISK, dataclasses.replace(RISK, interval95=(0.02, 0.11)), "value"),
        (RISK, dataclasses.replace(RISK, interval95=None), "value"),
        (ABSENT, dataclasses.replace(ABSENT, reason="no structure"), "other"),
        (ABSENT, dataclasses.replace(ABSENT, value=1.0, verdict="none", reason=None), "verdict"),
    ],
)
def test_every_kind_of_change_is_named(before, after, kind):
    (change,) = compare(run(before), run(after)).findings
    assert change.kind == kind
    plain = change.as_finding().as_dict()
    assert json.loads(json.dumps(plain))["detail"]["change"] == kind
    assert plain["quantity"] == "difference"


def test_what_one_alone_has_is_lost_or_new():
    found = compare(run(GOAL, RISK), run(GOAL, ABSENT))
    assert {change.kind: change.about.metric for change in found.findings} == {
        "lost": "NTCP",
        "new": "D2%[Gy]",
    }
    assert found.compared == 1
    assert found.counts() == {"verdict": 0, "lost": 1, "new": 1, "value": 0, "other": 0}
    reasons = {c.kind: c.as_finding().reason for c in found.findings}
    assert reasons == {"lost": "only in the first", "new": "only in the second"}


def test_the_exchange_of_both_turns_every_change_round():
    rng = np.random.default_rng(4)
    a = [dataclasses.replace(GOAL, structure=f"S{n}", value=float(v)) for n, v in enumerate(rng.random(9))]
    b = [
        dataclasses.replace(f, value=f.value + float(d))
        for f, d in zip(a[1:], rng.normal(0, 0.02, 8), strict=True)
    ]
    there, back = compare(run(*a), run(*b)), compare(run(*b), run(*a))
    forward = {c.about.structure: c.change for c in there.findings}
    assert {c.about.structure: c.change and -c.change for c in back.findings} == pytest.approx(forward)
    assert [c.kind for c in there.findings].count("lost") == [c.kind for c in back.findings].count("new") == 1
    sizes = [c.size for c in there.findings if c.kind == "value"]
    assert sizes == sorted(sizes, reverse=True)


def test_patients_are_told_apart_in_cohorts_alone():
    mine, other = (dataclasses.replace(GOAL, patient=key) for key in ("a1", "b2"))
    assert compare(run(mine), run(other)).same_results
    found = compare(run(mine, kind="cohort"), run(other, kind="cohort"))
    assert [change.kind for change in found.findings] == ["lost", "new"]
    with pytest.raises(FormatError, match="run is compared with a cohort"):
        compare(run(mine), run(mine, kind="cohort"))


def test_findings_about_the_same_are_paired_by_their_order():
    twice = GOAL, dataclasses.replace(GOAL, value=13.0)
    assert compare(run(*twice), run(*twice)).same_results
    (change,) = compare(run(*twice), run(GOAL, GOAL)).findings
    assert change.change == pytest.approx(-1.0)


def test_facts_that_differ_are_listed_and_a_step_that_came_stands_for_its_settings():
    before = {"settings": {"seed": 1, "arms": ["CT"]}, "steps": {"Segment": "run", "Segment.size": 3}}
    after = {"settings": {"seed": 2, "arms": ["CT"]}, "steps": {"Register": "run", "Register.step": 1}}
    changes = compare(run(**before), run(**after)).facts
    assert {(c.section, c.name, c.before, c.after) for c in changes} == {
        ("settings", "seed", 1, 2),
        ("steps", "Segment", "run", None),
        ("steps", "Register", None, "run"),
    }


def test_notices_are_compared_without_their_files():
    warn = Notice("FOV_TRUNCATED", "warn", "The body is cut.", file="a/1.dcm")
    again = dataclasses.replace(warn, file="b/1.dcm", uid="1.2")
    assert compare(run(notices=(warn,)), run(notices=(again,))).same_results
    worse = dataclasses.replace(warn, severity="refuse")
    found = compare(run(notices=(warn, warn)), run(notices=(warn, worse)))
    assert sorted((c.kind, c.notice.severity) for c in found.notices) == [("lost", "warn"), ("new", "refuse")]
