"""A dose network learns one case by heart, resumes, falls when asked, and refuses what it has not seen."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rtplan import resources
from rtplan.domain import Grid
from rtplan.errors import FormatError, ModelError
from rtplan.learning import loop
from rtplan.learning.dose_job import LEAST, DoseJob
from rtplan.learning.dose_settings import DoseSettings
from rtplan.learning.dose_terms import Course
from rtplan.learning.doses import CHANNELS, FEASIBLE, dose_case_of
from rtplan.learning.loop import learn
from rtplan.learning.predict_dose import predict_case, predict_dose
from rtplan.learning.run import begin
from rtplan.learning.settings import parse, task_of
from rtplan.learning.volume_job import VolumeSample, sorted_l1
from rtplan.learning.zoo import Model, load_model, network_of

COURSE = Course(70.0, 35)


@pytest.fixture(scope="module")
def case(head):
    return dose_case_of(head())


@pytest.fixture(scope="module")
def trained(head, case, dose_settings, tmp_path_factory):
    """A network that knows one case by heart: its folder."""
    out = tmp_path_factory.mktemp("dose") / "run"
    plan = dose_settings(optimise={"steps": 90, "rate": 1e-2, "validate_every": 30})
    learn(plan, DoseJob(plan, [case], [case]), out)
    return out


def weights(folder):
    return load_file(folder / "weights.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_one_case_is_learned_by_heart(trained, case):
    with (trained / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["step"]) for row in rows] == [30, 60, 90]
    zero = float(case.dose[case.mask(FEASIBLE)].mean())
    assert float(rows[-1]["validation_gy"]) < 0.15 * zero
    assert float(rows[-1]["dvh_gy"]) > 0.0
    card = load_model(str(trained / "model.toml")).card
    assert card.task == "dose"
    assert tuple(spec.name for spec in card.inputs) == CHANNELS
    assert card.training.steps == 90


def test_a_prediction_lies_on_the_patients_grid_and_in_the_possible_dose(trained, head):
    model = load_model(str(trained / "model.toml"))
    patient = head()
    for tta in (False, True):
        dose = predict_dose(model, patient, tta=tta)
        possible = patient.structures[FEASIBLE].region
        dose.demand_same_grid(possible)
        assert dose.fractions == 35
        assert dose.array[~possible.array].max() == 0.0
        assert dose.array.min() >= 0.0
        error = np.abs(dose.array - patient.doses["CT"].array)[possible.array].mean()
        assert error < (5.0 if not tta else 12.0)


def test_the_mean_over_mirror_images_commutes_with_the_mirror(trained, head):
    """Of the mirrored patient it says the mirrored dose; without the mirror images it need not."""
    model = load_model(str(trained / "model.toml"))
    ours, theirs = (predict_dose(model, head(mirror=m), tta=True).array for m in (False, True))
    plain = [predict_dose(model, head(mirror=m)).array for m in (False, True)]
    assert np.abs(theirs[..., ::-1] - ours).mean() < 0.3
    assert np.abs(plain[1][..., ::-1] - plain[0]).mean() > 2 * np.abs(theirs[..., ::-1] - ours).mean()


def test_another_task_site_or_grid_is_refused(trained, head):
    model = load_model(str(trained / "model.toml"))
    patient = head()
    for update in ({"task": "synct"}, {"site": "pelvis"}):
        other = Model(model.card.model_copy(update=update), model.network, model.sha256)
        with pytest.raises(ModelError, match="not for this dose"):
            predict_dose(other, patient)
    other = Model(
        model.card.model_copy(update={"inputs": model.card.inputs[1:]}), model.network, model.sha256
    )
    with pytest.raises(ModelError, match="channels"):
        predict_dose(other, patient)
    for spacing in ((2.5, 6.0, 6.0), (2.5, 2.0, 2.0)):
        grid = Grid.axial((12, 20, 24), spacing, (-46.0, -38.0, 5.0), "head")
        with pytest.raises(ModelError, match="voxels from"):
            predict_dose(model, head(grid=grid))


def test_a_resumed_run_equals_an_uninterrupted_one(case, head, dose_settings, tmp_path, monkeypatch):
    plan = dose_settings()
    job = DoseJob(plan, [case, dose_case_of(head(seed=2))], [case])
    learn(plan, job, tmp_path / "whole")

    class Stop(Exception):
        pass

    real = loop.keep

    def stop_after_first(*arguments):
        real(*arguments)
        raise Stop

    monkeypatch.setattr(loop, "keep", stop_after_first)
    with pytest.raises(Stop):
        learn(plan, job, tmp_path / "parts")
    monkeypatch.undo()
    learn(plan, job, tmp_path / "parts", resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_a_training_begins_with_the_weights_of_a_model(trained, case, dose_settings, tmp_path):
    known = load_model(str(trained / "model.toml"))
    plan = dose_settings(optimise={"steps": 1, "rate": 0.0})
    job = DoseJob(plan, [case], [case])
    learn(plan, job, tmp_path / "on", weights=known.network.state_dict())
    learn(plan, job, tmp_path / "new")
    errors = [job.validate(load_model(str(tmp_path / name / "model.toml")).network) for name in ("on", "new")]
    assert errors[0] == pytest.approx(job.validate(known.network), rel=1e-3)
    assert errors[1] > 2 * errors[0]
    other = dose_settings(network={"name": "folded_unet", "channels": (4, 8), "stem": (2, 2, 2)})
    with pytest.raises(ModelError, match="another network"):
        learn(other, DoseJob(other, [case], []), tmp_path / "other", weights=known.network.state_dict())


def test_the_rate_stays_until_the_final_fall_is_asked_for(case, dose_settings, tmp_path):
    plan = dose_settings(
        optimise={"steps": 1000, "schedule": "constant", "validate_every": 2, "warm_up": 0.002}
    )
    seen = []

    def report(line):
        seen.append(line)
        if line.startswith("step 4,"):
            (tmp_path / "finish.json").write_text(json.dumps({"steps": 4}))

    learn(plan, DoseJob(plan, [case], []), tmp_path, report=report)
    with (tmp_path / "log.csv").open() as stream:
        rates = {int(row["step"]): float(row["rate"]) for row in csv.DictReader(stream)}
    assert list(rates) == [2, 4, 6, 8, 9]  # asked for after step 4, begun at 5
    assert rates[2] == rates[4] == 1e-3
    assert 0.0 < rates[8] < rates[6] < 1e-3
    assert rates[9] == 0.0
    assert not (tmp_path / "finish.json").exists()
    assert any("final fall" in line for line in seen)


def test_every_patient_comes_once_in_an_epoch(head, dose_settings):
    plan = dose_settings(augment={"mirror_chance": 0.0, "upside_chance": 0.0, "ct_dropout": 1.0})
    cases = [dose_case_of(head(seed=seed)) for seed in (1, 2, 3)]
    job = DoseJob(plan, cases, [])
    sums = {round(float(case.dose.sum()) / 70.0): case.name for case in cases}
    assert len(sums) == 3
    for epoch in range(3):
        drawn = [one for at in range(3) for one in job.draw(3 * epoch + at)]
        assert {sums[round(float(one.dose.double().sum()))] for one in drawn} == {"pt_1", "pt_2", "pt_3"}
        assert not any(one.inputs[0, CHANNELS.index("ct")].any() for one in drawn)
        assert all(n % 4 == 0 for one in drawn for n in one.dose.shape[2:])


def test_a_batch_is_the_mean_of_its_samples(head, dose_settings, tmp_path):
    cases = [dose_case_of(head(seed=seed)) for seed in (1, 2)]
    one, two = (dose_settings(optimise={"steps": 2, "batch": n, "precision": "f32"}) for n in (1, 2))
    run = begin(one, tmp_path)
    single = DoseJob(one, cases, [])
    apart = [single.loss(run, single.draw(step))[0].item() for step in (0, 1)]
    both = DoseJob(two, cases, [])
    assert both.loss(run, both.draw(0))[0].item() == pytest.approx(np.mean(apart), rel=1e-3)


def test_equal_histograms_have_no_sorted_error():
    """Two voxels of a target swap their doses: the L1 sees it, the sorted doses do not."""
    x = torch.zeros(1, len(CHANNELS), 1, 1, 4)
    x[0, CHANNELS.index("PTV_7000"), 0, 0, :3] = 1.0
    dose = torch.tensor([1.0, 0.5, 0.25, 0.0]).reshape(1, 1, 1, 1, 4)
    rng = np.random.default_rng(1)
    swapped = dose[..., [1, 0, 2, 3]]
    assert sorted_l1(swapped, VolumeSample(x, dose, COURSE), LEAST, rng) == 0.0
    assert sorted_l1(dose + 0.3, VolumeSample(x, dose, COURSE), LEAST, rng) == pytest.approx(0.3)


def test_bf16_gradients_are_close_to_f32(head, dose_settings, tmp_path):
    case = dose_case_of(head())
    gradients = {}
    for precision in ("bf16", "f32"):
        plan = dose_settings(optimise={"steps": 2, "precision": precision})
        run = begin(plan, tmp_path)
        job = DoseJob(plan, [case], [])
        job.loss(run, job.draw(0))[0].backward()
        gradients[precision] = torch.cat([p.grad.flatten() for p in run.generator.parameters()])
    assert torch.isfinite(gradients["bf16"]).all()
    likeness = torch.nn.functional.cosine_similarity(gradients["bf16"], gradients["f32"], dim=0)
    assert likeness > 0.99


def test_nothing_to_learn_from_is_refused(case, dose_settings):
    with pytest.raises(ModelError, match="no patient"):
        DoseJob(dose_settings(), [], [case])
    with pytest.raises(ModelError, match="no dose"):
        DoseJob(dose_settings(), [replace(case, dose=None)], [])


def test_settings_know_their_task(tmp_path):
    path = tmp_path / "train.toml"
    path.write_text('task = "dose"\nname = "x"\n')
    assert task_of(path) == "dose"
    with pytest.raises(FormatError, match="wrong at"):
        parse(path, DoseSettings)
    path.write_text("name = \n")
    assert task_of(path) == "synct"


@pytest.mark.parametrize(
    ("name", "millions"), [("train", 3.0), ("small", 5.65), ("base", 16.6), ("c3d", 28.3)]
)
def test_the_presets_can_be_read_and_have_their_size(name, millions):
    plan = parse(resources.shelf("models") / "dose_openkbp" / f"{name}.toml", DoseSettings)
    with torch.device("meta"):
        network = network_of(plan.network, plan.inputs, plan.outputs)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, rel=0.1)
    assert plan.data[0].hold_out_every == 5


def test_a_case_is_padded_and_cut_back(case, dose_settings, tmp_path):
    run = begin(dose_settings(), tmp_path)
    for unit in ((4, 4, 4), (16, 16, 16)):
        assert predict_case(run.ema, case, unit).shape == case.labels.shape


def test_the_first_losses_are_the_recorded_ones(head, dose_settings, tmp_path):
    """Total loss of four steps without a change of the weights, as it was before the jobs shared a base."""
    plan = dose_settings(optimise={"steps": 6, "batch": 2, "precision": "f32"})
    job = DoseJob(plan, [dose_case_of(head(seed=seed)) for seed in (1, 2, 3)], [])
    run, seen = begin(plan, tmp_path), []
    for run.step in range(4):
        seen.append(job.loss(run, job.draw(run.step))[0].item())
    assert seen == pytest.approx([0.678527, 0.678504, 0.679678, 0.675831], rel=1e-4)
