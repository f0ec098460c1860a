"""What a case asks of the budget: samples only where wanted, refused early where they cannot be drawn."""

import pytest

from rtplan.case.assemble import clinical_steps
from rtplan.case.provenance import data_files_of
from rtplan.case.settings import CaseSettings, parse_variation
from rtplan.dosimetry.protocol import load_protocol
from rtplan.errors import FormatError, ModelError, StructureError, UnknownName
from rtplan.imaging.vary import ContourVariation
from rtplan.steps.estimate_outcome import EstimateOutcome
from rtplan.steps.recalculate_arms import RecalculateArms
from rtplan.steps.sample_doses import SampleDoses

PROTOCOL = load_protocol("prostate_boost_flame")


def steps_of(**asked):
    settings = CaseSettings("prostate_boost_flame", **asked)
    return {type(step): step for step in clinical_steps(PROTOCOL, settings)}


def test_nothing_is_sampled_unless_asked():
    steps = steps_of()
    assert SampleDoses not in steps
    assert steps[EstimateOutcome].contours is None


def test_what_is_asked_reaches_the_steps():
    steps = steps_of(dose_samples=64, residuals="digital", seed=5, contours=ContourVariation(2.0, 15.0))
    assert steps[SampleDoses] == SampleDoses(count=64, residuals="digital", sample_seed=5)
    assert steps[EstimateOutcome].contours == ContourVariation(2.0, 15.0)
    names = [step.__name__ for step in steps]
    assert names.index("RecalculateArms") < names.index("SampleDoses") < names.index("EstimateOutcome")


def test_arms_and_samples_are_calculated_by_one_algorithm_and_the_manifest_holds_its_kernel():
    steps = steps_of(dose_samples=64, algorithm="cone")
    assert steps[RecalculateArms].algorithm == steps[SampleDoses].algorithm == "cone"
    asked, plain = (CaseSettings("prostate_boost_flame", algorithm=name) for name in ("cone", "pencil"))
    kernel = "models/kernels/water_6mv.toml"
    assert kernel in {file.path for file in data_files_of(asked)}
    assert kernel not in {file.path for file in data_files_of(plain)}
    assert asked.plain()["algorithm"] == "cone"


def test_what_cannot_be_sampled_is_refused_before_anything_is_reckoned():
    with pytest.raises(UnknownName, match="no residuals"):
        steps_of(dose_samples=40, residuals="imagined")
    with pytest.raises(ModelError, match="no measured residuals"):
        steps_of(dose_samples=40, model="dose_openkbp")


def test_the_residuals_stand_in_the_manifest_where_they_are_used():
    asked = CaseSettings("prostate_boost_flame", dose_samples=40)
    assert any(f.path == "models/synct_mr_pelvis/residuals.toml" for f in data_files_of(asked))
    plain = CaseSettings("prostate_boost_flame")
    assert not any("residuals" in f.path for f in data_files_of(plain))
    assert asked.plain()["dose_samples"] == 40


@pytest.mark.parametrize("text", ["2", "2,x", "2,15,3"])
def test_a_variation_of_another_form_is_refused(text):
    with pytest.raises(FormatError, match="SD,LENGTH"):
        parse_variation(text)
    with pytest.raises(StructureError):
        parse_variation("0,15")
