"""Every shipped set states what it is; uses outside are refused or said; TCP and cut organs in a run."""

from dataclasses import replace

import numpy as np
import pytest

from rtplan.domain import Dose, Grid, Image, Mask, Patient, Structure
from rtplan.dosimetry.outcome import evaluate
from rtplan.dosimetry.parameters import load_set, names
from rtplan.dosimetry.population import Use, cautions, refusal
from rtplan.dosimetry.protocol import OutcomeModel, load_protocol
from rtplan.errors import ModelError
from rtplan.steps.estimate_outcome import EstimateOutcome
from rtplan.steps.evaluate_protocol import EvaluateProtocol

SETS = [load_set(name) for name in names()]
CHHIP = load_protocol("prostate_chhip_60gy")
VERIFIED = {
    "rectum_bleeding_g2_quantec2010",
    "parotid_flow_dijkema2010",
    *(f"bladder_acute_{s}_mavroidis2018" for s in ("urgency", "leakage", "frequency", "nocturia")),
}
UNVERIFIED = ("burman1991", "liu2014", "tucker2007", "soehn2007", "peeters2006", "rancati2004",
              "semenenko2008", "eisbruch1999", "walsh2016")  # fmt: skip


@pytest.mark.parametrize("item", SETS, ids=lambda s: s.name)
def test_a_file_states_what_it_is(item):
    assert item.endpoint
    assert item.population.site
    assert item.source.citation
    assert any(w in item.organ_definition for w in ("organ", "wall", "one ", "both", "CTV", "whole"))
    if item.dose.kind == "EQD2":
        assert item.dose.alpha_beta_gy
    if item.verified:
        assert item.source.doi or "384 glands" in item.source.citation
    elif item.kind == "ntcp":
        assert any("not verified" in w for w in cautions(item, np.array([60.0]), 30))


def test_verified_are_those_of_the_issue_and_the_rest_go_by_name():
    assert {item.name for item in SETS if item.verified} == VERIFIED
    rest = {item.name for item in SETS if not item.verified}
    assert {name for name in rest if not any(mark in name for mark in UNVERIFIED)} == set()
    for mark in UNVERIFIED:
        assert any(mark in name for name in rest)
    for absent in ("schaake", "rancati2011", "kallman", "defraene", "gulliford", "groen"):
        assert not any(absent in item.name for item in SETS)
    asked = {o.model for p in ("prostate_chhip_60gy", "prostate_boost_flame", "headneck_openkbp")
             for o in load_protocol(p).outcome}  # fmt: skip
    assert asked <= VERIFIED


def test_a_wider_site_holds_a_narrower_one_and_a_refused_use_has_no_number():
    head = load_set("femur_head_necrosis_burman1991")
    assert head.population.site == "pelvis"
    assert refusal(head, Use("prostate")) is None
    assert refusal(head, Use("thorax")) is not None
    assert "Rectal_Wall" in refusal(load_set("rectal_wall_bleeding_g2_soehn2007"), Use(structure="Rectum"))
    with pytest.raises(ModelError, match="Rectum"):
        evaluate(head, ([50.0], [1.0]), 30, use=Use(structure="Rectum"))


@pytest.mark.parametrize(
    ("name", "gy", "fractions", "said"),
    [
        ("rectum_bleeding_g2_quantec2010", 60.0, 20, "fitted at"),
        ("rectum_bleeding_g2_quantec2010", 60.0, 30, ""),
        ("rectum_bleeding_g2_quantec2010", 35.0, 5, "extrapolated above 6"),
        ("rectum_late_g2_tucker2007", 60.0, 20, "does not state its fractionation"),
        ("rectum_late_g2_tucker2007", 60.0, 30, ""),
    ],
)
def test_fractionation_outside_the_population_is_said(name, gy, fractions, said):
    words = " ".join(cautions(load_set(name), np.array([10.0, gy]), fractions))
    if said:
        assert said in words
    else:
        assert "per fraction" not in words


@pytest.fixture
def patient():
    grid = Grid.axial((20, 24, 24), (3.0, 2.5, 2.5), (-30.0, -30.0, -30.0), "1.2.3")
    k, j, i = np.indices(grid.shape)

    def ball(name, centre, radius=5.0):
        near = (k - centre[0]) ** 2 + (j - centre[1]) ** 2 + (i - centre[2]) ** 2 < radius**2
        return Structure(name, "ORGAN", Mask(grid, near))

    organs = [ball("Rectum", (10, 17, 12)), ball("Bladder", (10, 6, 12)), ball("Prostate", (10, 12, 12), 4.0)]
    dose = 30.0 * np.exp(-0.5 * ((j - 12.0) / 8.0) ** 2) + 0 * k
    images = {arm: Image(grid, np.zeros(grid.shape)) for arm in ("CT", "SynCT")}
    doses = {"CT": Dose(grid, dose, fractions=20), "SynCT": Dose(grid, 1.01 * dose, fractions=20)}
    return Patient("P1", images, {s.name: s for s in organs}, doses=doses)


def asking(*models):
    return CHHIP.model_copy(update={"outcome": tuple(OutcomeModel(model=m) for m in models)})


def outcomes(patient, *models):
    return EstimateOutcome(asking(*models), samples=64)(patient).findings


def test_tcp_in_a_run_is_only_a_difference_to_the_reference(patient):
    found = outcomes(patient, "prostate_walsh2016")
    assert [(f.quantity, f.value is None) for f in found] == [("value", True), ("difference", False)]
    assert "only as its difference" in found[0].reason
    assert (found[1].arm, found[1].reference_arm, found[1].verified) == ("SynCT", "CT", False)
    assert found[1].value > 0
    assert found[1].detail["relative_only"]


def test_a_set_of_another_site_warns_or_is_not_evaluable(patient):
    found = outcomes(patient, "bladder_acute_urgency_mavroidis2018")
    assert all(f.value is not None for f in found)
    assert any("used for prostate" in w for w in found[0].detail["warnings"])
    refused = outcomes(patient, "parotid_flow_dijkema2010")
    assert refused[0].value is None
    assert "site head_and_neck" in refused[0].reason


def test_an_organ_cut_by_the_field_of_view_has_no_risk_but_its_absolute_dose(patient):
    rectum = patient.structures["Rectum"]
    cut = np.zeros(rectum.region.grid.shape, bool)
    cut[:12, 14:20, 9:15] = True
    structures = patient.structures | {"Rectum": replace(rectum, region=Mask(rectum.region.grid, cut))}
    patient = replace(patient, structures=structures)
    risk = outcomes(patient, "rectum_bleeding_g2_quantec2010")
    assert [f.value for f in risk] == [None]
    assert "cut by the field of view" in risk[0].reason
    goal = CHHIP.goal[0].model_copy(update={"structure": "Rectum", "metric": "D2cc[Gy]", "limit": "<= 60"})
    hot = [
        f
        for f in EvaluateProtocol(CHHIP.model_copy(update={"goal": (goal,)}))(patient).findings
        if f.structure == "Rectum" and f.metric == "D2cc[Gy]" and f.quantity == "value"
    ]
    assert {f.arm for f in hot} == {"CT", "SynCT"}
    assert all(f.value > 20.0 for f in hot)


def test_both_glands_are_evaluated_and_another_endpoint_is_not(patient):
    rectum = patient.structures["Rectum"]
    glands = {name: replace(rectum, name=name) for name in ("Parotid_L", "Parotid_R")}
    model = OutcomeModel(model="parotid_flow_dijkema2010")
    neck = CHHIP.model_copy(update={"site": "head_and_neck", "outcome": (model,)})
    found = EstimateOutcome(neck, samples=64)(replace(patient, structures=glands)).findings
    assert {f.structure for f in found if f.value is not None} == {"Parotid_L", "Parotid_R"}
    lone = EstimateOutcome(neck, samples=64)(patient).findings
    assert [f.value for f in lone] == [None]
    late = OutcomeModel(model="rectum_bleeding_g2_quantec2010", endpoint="late")
    acute = OutcomeModel(model="rectum_bleeding_g2_quantec2010", endpoint="acute")
    both = CHHIP.model_copy(update={"outcome": (late, acute)})
    found = EstimateOutcome(both, samples=64)(patient).findings
    assert {f.value is None for f in found} == {True, False}
    assert "not 'acute'" in found[-1].reason
