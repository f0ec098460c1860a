"""The larger presets, untrained: each builds, makes a step, is saved and answers."""

import numpy as np
import pytest

from rtplan import resources
from rtplan.learning.dose_job import DoseJob
from rtplan.learning.dose_settings import DoseSettings
from rtplan.learning.doses import dose_case_of
from rtplan.learning.loop import learn
from rtplan.learning.predict_dose import predict_dose
from rtplan.learning.settings import OptimiseSettings, parse
from rtplan.learning.zoo import load_model


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small", "base", "c3d"])
def test_a_preset_steps_and_is_saved(name, head, tmp_path):
    plan = parse(resources.shelf("models") / "dose_openkbp" / f"{name}.toml", DoseSettings)
    once = OptimiseSettings(steps=1, rate=plan.optimise.rate, validate_every=1)
    plan = plan.model_copy(update={"optimise": once})
    case = dose_case_of(head())
    path = learn(plan, DoseJob(plan, [case], [case]), tmp_path)
    model = load_model(str(path))
    assert model.card.training.steps == 1
    dose = predict_dose(model, head()).array
    assert np.isfinite(dose).all()
    assert dose.max() > 0.0
