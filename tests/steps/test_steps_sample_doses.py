"""SampleDoses on a cylinder: same plan and grid, never arms, what is given by rule is left alone, seeds."""

from dataclasses import replace

import numpy as np
import pytest

from rtplan.case.settings import CaseSettings
from rtplan.domain import Grid, Image, Mask, Patient, Plan, Prescription, Structure
from rtplan.domain.nomenclature import SUPPORT, kind_of
from rtplan.dosimetry.protocol import load_protocol
from rtplan.errors import DoseError
from rtplan.pipeline import Step
from rtplan.planning.openfield import open_field
from rtplan.steps import sample_doses
from rtplan.steps.estimate_outcome import EstimateOutcome
from rtplan.steps.recalculate_arms import RecalculateArms
from rtplan.steps.sample_doses import SampleDoses

GRID = Grid.axial((24, 36, 48), (4.0, 4.0, 4.0), (-94.0, -70.0, -46.0), "1.2.3")
X, Y, Z = np.moveaxis(GRID.to_patient(np.stack(np.indices(GRID.shape), axis=-1)), -1, 0)
REGIONS = {
    "External": (X / 80) ** 2 + (Y / 60) ** 2 < 1,
    "PTVp_7700": X**2 + Y**2 + Z**2 < 24**2,
    "Rectum": X**2 + (Y - 34) ** 2 + (Z / 2) ** 2 < 12**2,
}
FLAME = load_protocol("prostate_boost_flame")


@pytest.fixture(scope="module")
def patient() -> Patient:
    skin = REGIONS["External"]
    images = {
        "CT": Image(GRID, np.where(skin, 21.0, -1000.0)),
        "SynCT": Image(GRID, np.where(skin, 20.0, -1000.0)),
    }
    beams = tuple(
        open_field((60.0, 60.0), (0.0, 0.0, 0.0), mu=2100.0, gantry_deg=angle) for angle in (0.0, 90.0, 225.0)
    )
    structures = [Structure(n, kind_of(n), Mask(GRID, mask)) for n, mask in REGIONS.items()]
    given = Patient(images=images, plan=Plan(Prescription({"PTVp_7700": 77.0}, 35), beams))
    return RecalculateArms(grid_mm=6.0)(given.with_structures(*structures))


@pytest.fixture(scope="module")
def done(patient: Patient) -> Patient:
    return SampleDoses(count=40, residuals="digital")(patient)


def test_is_a_step_that_does_nothing_unless_asked(patient: Patient) -> None:
    assert isinstance(SampleDoses(), Step)
    assert SampleDoses()(patient) is patient


def test_samples_are_doses_of_the_same_plan_and_never_arms(patient: Patient, done: Patient) -> None:
    assert list(done.samples)[::39] == ["SynCT#000", "SynCT#039"]
    assert done.arms == patient.arms
    assert done.doses.keys() == patient.doses.keys()
    assert done.images.keys() == patient.images.keys()
    nominal = done.doses["SynCT"]
    for dose in done.samples.values():
        assert dose.grid.same_as(nominal.grid)
        assert dose.fractions == 35
        assert "40 samples" in dose.source.description
        assert "'digital'" in dose.source.description
    inside = nominal.array > 0.5 * nominal.array.max()
    spread = np.std([d.array[inside] / nominal.array[inside] for d in done.samples.values()], axis=0)
    assert 0.001 < spread.mean() < 0.03


def test_no_residual_gives_the_arm_s_own_dose(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    def unchanged(image, *_):
        while True:
            yield image

    monkeypatch.setattr(sample_doses, "samples", unchanged)
    done = SampleDoses(count=40)(patient)
    assert np.allclose(done.samples["SynCT#007"].array, patient.doses["SynCT"].array, atol=1e-4)


def test_what_all_arms_share_by_rule_is_not_sampled(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def watched(image, within, *_):
        seen["within"] = within.array
        while True:
            yield image

    monkeypatch.setattr(sample_doses, "samples", watched)
    gas = np.abs(X) + np.abs(Y) + np.abs(Z) < 10
    ruled = {
        name: image.with_array(np.where(gas, 0.0, image.array)) for name, image in patient.images.items()
    }
    support = Structure(SUPPORT, "CONTROL", Mask(GRID, Z > -30))
    SampleDoses(count=40)(patient.with_images(**ruled).with_structures(support))
    assert np.array_equal(seen["within"], REGIONS["External"] & ~gas & (Z > -30))


def test_the_seed_decides(patient: Patient, done: Patient) -> None:
    again = SampleDoses(count=40, residuals="digital")(patient).samples["SynCT#000"].array
    assert np.array_equal(again, done.samples["SynCT#000"].array)
    other = SampleDoses(count=40, residuals="digital", sample_seed=2)(patient).samples["SynCT#000"].array
    assert not np.array_equal(again, other)


def test_the_budget_of_the_synthetic_ct_has_a_part_for_the_dose(done: Patient) -> None:
    found = EstimateOutcome(FLAME, samples=256)(done).findings
    value = next(f for f in found if f.arm == "SynCT" and f.quantity == "value")
    parts = value.detail["budget"]
    assert 0.0 < parts["dose"]["share"] < 1.0
    assert "40 samples" in value.interval_method
    assert parts["dose"]["interval95"][0] < parts["dose"]["interval95"][1]


def test_too_few_samples_and_no_synthetic_ct(patient: Patient) -> None:
    with pytest.raises(DoseError, match="do not show"):
        SampleDoses(count=12)(patient)
    with pytest.raises(DoseError, match="do not show"):
        CaseSettings("prostate_boost_flame", dose_samples=12)
    bare = replace(patient, doses={"CT": patient.doses["CT"]})
    done = SampleDoses(count=40)(bare)
    assert [n.code for n in done.notices] == ["DOSE_NOT_SAMPLED"]
    value = next(f for f in EstimateOutcome(FLAME, samples=64)(done).findings if f.quantity == "value")
    assert "no synthetic CT" in value.detail["budget"]["dose"]["reason"]
