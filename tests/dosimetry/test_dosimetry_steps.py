"""The two steps that read a dose: goals, differences, risk, and what is said where they cannot."""

from dataclasses import replace

import numpy as np
import pytest

from rtplan.domain import Dose, Grid, Image, Mask, Notice, Patient, Structure
from rtplan.dosimetry.protocol import load_protocol
from rtplan.imaging.vary import ContourVariation
from rtplan.pipeline import Step, run
from rtplan.steps.estimate_outcome import EstimateOutcome
from rtplan.steps.evaluate_protocol import EvaluateProtocol

FLAME = load_protocol("prostate_boost_flame")


@pytest.fixture
def patient():
    grid = Grid.axial((20, 24, 24), (3.0, 2.5, 2.5), (-30.0, -30.0, -30.0), "1.2.3")
    k, j, i = np.indices(grid.shape)
    far = np.sqrt((k - 10.0) ** 2 + (j - 12.0) ** 2 + (i - 12.0) ** 2)

    def ball(name, kind, centre, radius):
        near = (k - 10.0) ** 2 + (j - centre) ** 2 + (i - 12.0) ** 2 < radius**2
        return Structure(name, kind, Mask(grid, near))

    structures = [
        ball("PTVp_7700", "PTV", 12, 4),
        ball("GTVp", "GTV", 12, 2),
        ball("Rectum", "ORGAN", 18, 4),
        ball("External", "EXTERNAL", 12, 9),
    ]
    dose = 80.0 * np.exp(-0.5 * (far / 8.0) ** 2)
    images = {a: Image(grid, np.zeros(grid.shape)) for a in ("CT", "CT0", "SynCT")}
    doses = {
        "CT": Dose(grid, dose, fractions=35),
        "CT0": Dose(grid, dose * 1.01, fractions=35),
        "SynCT": Dose(grid, dose * 1.001, fractions=35),
    }
    return Patient("P1", images, {s.name: s for s in structures}, doses=doses)


def one(patient, **wanted):
    found = [f for f in patient.findings if all(getattr(f, k) == v for k, v in wanted.items())]
    assert len(found) == 1, found
    return found[0]


def test_are_steps():
    assert isinstance(EvaluateProtocol(FLAME), Step)
    assert isinstance(EstimateOutcome(FLAME), Step)


def test_goals_on_the_reference_decide_and_differences_are_paired(patient):
    done = run([EvaluateProtocol(FLAME)], patient)
    mean = {
        arm: one(done, arm=arm, structure="GTVp", metric="Mean[Gy]", quantity="value").value
        for arm in patient.doses
    }
    change = one(done, arm="CT0", structure="GTVp", metric="Mean[Gy]", quantity="difference")
    assert change.reference_arm == "CT"
    assert change.value == pytest.approx(mean["CT0"] - mean["CT"], abs=1e-12)
    assert change.value == pytest.approx(0.01 * mean["CT"], rel=1e-4)
    goal = one(done, arm="CT", structure="Rectum", metric="V50Gy[%]@EQD2(3)", quantity="value")
    assert goal.verdict in ("met", "missed")
    assert goal.verdict == ("met" if goal.value < 50 else "missed")
    assert one(done, arm="SynCT", structure="Rectum", metric=goal.metric, quantity="value").verdict == "none"


def test_an_unverified_goal_decides_nothing(patient):
    done = EvaluateProtocol(FLAME)(patient)
    coverage = one(done, arm="CT", structure="PTVp_7700", metric="V95%[%]", quantity="value")
    assert coverage.verified is False
    assert coverage.verdict == "none"
    assert coverage.detail["would_be"] == "missed"


def test_missing_structure_is_not_evaluable(patient):
    done = EvaluateProtocol(FLAME)(patient)
    bladder = [f for f in done.findings if f.structure == "Bladder"]
    assert len(bladder) == 4
    assert {f.verdict for f in bladder} == {"not_evaluable"}
    assert all("no structure Bladder" in f.reason for f in bladder)


def test_withheld_absolute_leaves_differences(patient):
    cut = patient.with_notices(Notice("BODY_TRUNCATED", "warn", "The skin is cut."))
    done = EstimateOutcome(FLAME)(EvaluateProtocol(FLAME)(cut))
    values = [f for f in done.findings if f.quantity == "value"]
    assert {f.verdict for f in values} == {"not_evaluable"}
    assert {f.value for f in values} == {None}
    changes = [f for f in done.findings if f.quantity == "difference"]
    assert len(changes) > 10
    assert all(f.value is not None for f in changes)


def test_risk_has_an_interval_and_the_difference_a_narrow_one(patient):
    done = EstimateOutcome(FLAME, samples=512)(patient)
    ct = one(done, arm="CT", metric="NTCP")
    assert ct.interval95[0] < ct.value < ct.interval95[1]
    change = one(done, arm="SynCT", metric="NTCP", quantity="difference")
    assert change.value == pytest.approx(
        one(done, arm="SynCT", metric="NTCP", quantity="value").value - ct.value
    )
    width = change.interval95[1] - change.interval95[0]
    assert width < 0.2 * (ct.interval95[1] - ct.interval95[0])
    assert ct.dose_kind == "EQD2(3)"
    assert ct.detail["alpha_beta_gy"] == 3.0


def test_organ_cut_by_the_view_absent_or_of_another_site(patient):
    grid = patient.images["CT"].grid
    mask = np.zeros(grid.shape, bool)
    mask[:6, 10:14, 10:14] = True
    cut = patient.with_structures(Structure("Rectum", "ORGAN", Mask(grid, mask)))
    assert "cut by the field of view" in EstimateOutcome(FLAME)(cut).findings[0].reason
    absent = replace(patient, structures={n: s for n, s in patient.structures.items() if n != "Rectum"})
    assert "no structure Rectum" in EstimateOutcome(FLAME)(absent).findings[0].reason
    elsewhere = FLAME.model_copy(update={"site": "breast"})
    assert "site" in EstimateOutcome(elsewhere)(patient).findings[0].reason


def test_without_ct_the_differences_are_a_spread(patient):
    alone = replace(
        patient,
        images={n: i for n, i in patient.images.items() if n != "CT"},
        doses={n: d for n, d in patient.doses.items() if n != "CT"},
    )
    done = EvaluateProtocol(FLAME)(alone)
    change = one(done, arm="CT0", structure="GTVp", metric="Mean[Gy]", quantity="difference")
    assert change.reference_arm == "SynCT"
    assert change.detail["spread"] is True


def test_protocol_without_a_model_says_so(patient):
    done = EstimateOutcome(load_protocol("sts_preop_50gy"))(patient)
    assert done.findings[0].verdict == "not_evaluable"


def test_the_budget_says_what_was_and_what_was_not_sampled(patient):
    plain = one(EstimateOutcome(FLAME, samples=256)(patient), arm="SynCT", metric="NTCP", quantity="value")
    parts = plain.detail["budget"]
    assert parts["parameters"]["share"] == 1.0
    assert parts["parameters"]["interval95"] == list(plain.interval95)
    assert "--dose-samples 0" in parts["dose"]["reason"]
    assert "no published variation" in parts["contours"]["reason"]
    assert len(parts["alpha_beta"]) == 6
    dose = patient.doses["SynCT"]
    described = replace(dose.source, description="40 samples")
    samples = {
        f"SynCT#{k:03d}": replace(dose, array=dose.array * f, source=described)
        for k, f in enumerate(np.linspace(0.98, 1.02, 40))
    }
    done = EstimateOutcome(FLAME, samples=256)(patient.with_samples(samples))
    assert not [f for f in done.findings if "#" in (f.arm or "")]
    sampled = one(done, arm="SynCT", metric="NTCP", quantity="value")
    assert sampled.value == plain.value
    parts = sampled.detail["budget"]
    assert parts["dose"]["method"] == "40 samples"
    assert parts["dose"]["interval95"][0] < sampled.value < parts["dose"]["interval95"][1]
    assert parts["together"]["sources"] == ["parameters", "dose"]
    assert 0.0 < parts["dose"]["share"] < 1.0
    assert "only SynCT" in one(done, arm="CT", metric="NTCP").detail["budget"]["dose"]["reason"]
    change = one(done, arm="SynCT", metric="NTCP", quantity="difference").detail["budget"]
    assert change["dose"]["share"] > parts["dose"]["share"]


def test_contours_are_varied_where_the_user_says_how(patient):
    contours = ContourVariation(0.6, 8.0)
    done = EstimateOutcome(FLAME, samples=256, contours=contours)(patient)
    value = one(done, arm="SynCT", metric="NTCP", quantity="value")
    parts = value.detail["budget"]
    low, high = parts["contours"]["interval95"]
    assert low < value.value < high
    assert 0.0 < parts["contours"]["share"] < 1.0
    assert "SD 0.6 mm" in parts["contours"]["method"]
    assert "unverified" in parts["contours"]["method"]
    wide = value.interval95[1] - value.interval95[0]
    assert wide > parts["parameters"]["interval95"][1] - parts["parameters"]["interval95"][0]
    change = one(done, arm="SynCT", metric="NTCP", quantity="difference")
    assert change.interval95[1] - change.interval95[0] < 0.1 * wide
    exact = one(EstimateOutcome(FLAME, samples=256)(patient), arm="SynCT", metric="NTCP", quantity="value")
    assert value.value == exact.value
    assert parts["parameters"]["interval95"] == pytest.approx(exact.interval95, abs=0.003)


def test_contours_that_leave_the_dose_are_not_varied_and_said_so(patient):
    done = EstimateOutcome(FLAME, samples=64, contours=ContourVariation(10.0, 12.0))(patient)
    reason = one(done, arm="CT", metric="NTCP").detail["budget"]["contours"]["reason"]
    assert "leaves the dose grid" in reason
