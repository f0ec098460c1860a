"""SynthesiseCT: it sees only the MR; on the reference's grid; the reference's values outside the support."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rtplan import pipeline
from rtplan.domain import Grid, Image, Mask, Patient, Registration, Structure
from rtplan.errors import GeometryMismatch, ModelError
from rtplan.imaging.resample import covered, resample
from rtplan.learning.card import Card, InputSpec, NetworkSpec, OutputSpec, TrainingSpec
from rtplan.learning.predict import synthesise
from rtplan.learning.zoo import load_model, network_of, save_model
from rtplan.steps.synthesise_ct import SynthesiseCT

_PLACE = Path(__file__).parents[1] / "learning" / "conftest.py"


@pytest.fixture(scope="module")
def tiny():
    spec = importlib.util.spec_from_file_location("learning_conftest", _PLACE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_patient


@pytest.fixture(scope="module")
def step(tmp_path_factory):
    """The step with an untrained tiny network."""
    torch.manual_seed(6)
    card = Card(
        name="tiny",
        task="synct",
        site="pelvis",
        network=NetworkSpec(channels=(4, 8, 12)),
        inputs=(
            InputSpec(name="mr", kind="mr", normalise="zscore_body", roles=("T2w", "T1w")),
            InputSpec(name="body", kind="body"),
        ),
        outputs=(OutputSpec(name="hu", unit="HU", clip=(-1024, 3071)),),
        spacing_zyx_mm=(4.0, 4.0, 4.0),
        patch_zyx=(8, 24, 24),
        training=TrainingSpec(data=("none",), seed=6, hours=0.0, steps=0, hardware="test"),
    )
    state = network_of(card.network, card.inputs, card.outputs).state_dict()
    return SynthesiseCT(model=str(save_model(tmp_path_factory.mktemp("m"), card, state)))


def test_without_the_ct_the_synthetic_ct_is_byte_identical(tiny, step):
    patient = tiny()
    alone = Patient(images={"T2w": patient.images["T2w"]})
    with_ct, without = (step(p).images["SynCT"].array for p in (patient, alone))
    assert with_ct.tobytes() == without.tobytes()


def test_another_ct_changes_nothing_inside_the_support(tiny, step):
    patient = tiny()
    ct = patient.images["CT"]
    wild = patient.with_images(CT=ct.with_array(np.random.default_rng(1).normal(0, 900, ct.array.shape)))
    assert step(patient).images["SynCT"].array.tobytes() == step(wild).images["SynCT"].array.tobytes()


def test_on_a_reference_of_another_grid_outside_the_support_the_reference_stands(tiny, step):
    patient = tiny()
    grid = Grid.axial((10, 40, 44), (5.0, 3.2, 3.2), (-80.0, -66.0, 4.0), "1.2.3")
    ct = Image(grid, np.full(grid.shape, 77.0))
    made = step(patient.with_images(CT=ct))
    arm = made.images["SynCT"]
    assert arm.grid.same_as(grid)
    box = covered(grid, patient.images["T2w"].grid).array
    assert 0 < box.sum() < box.size
    assert (arm.array[~box] == 77.0).all()
    network = synthesise(load_model(step.model), patient.images["T2w"])
    wanted = resample(network, grid, outside=-1024.0).array
    assert arm.array[box].tobytes() == wanted[box].tobytes()
    assert (made.structures["zSupport"].region.array == box).all()


def test_a_stored_support_is_obeyed(tiny, step):
    patient = tiny()
    grid = patient.images["CT"].grid
    half = np.zeros(grid.shape, bool)
    half[:6] = True
    given = patient.with_structures(Structure("zSupport", "CONTROL", Mask(grid, half)))
    arm = step(given).images["SynCT"].array
    assert (arm[6:] == patient.images["CT"].array[6:]).all()
    assert not (arm[:6] == patient.images["CT"].array[:6]).all()


def test_frames_need_a_registration(tiny, step):
    patient = tiny()
    ct = patient.images["CT"]
    other = replace(ct, grid=Grid(ct.grid.shape, ct.grid.affine, "7.7"))
    apart = patient.with_images(CT=other)
    with pytest.raises(GeometryMismatch):
        step(apart)
    matrix = np.eye(4)
    matrix[2, 3] = 8.0  # two slices up
    joined = replace(apart, registrations=(Registration("1.2.3", "7.7", matrix),))
    arm = step(joined).images["SynCT"].array
    alone = step(patient).images["SynCT"].array
    np.testing.assert_allclose(arm[4:], alone[2:-2], atol=1.0)


def test_it_runs_in_the_pipeline_with_its_record(tiny, step):
    done = pipeline.run((step,), Patient(images={"T1w": tiny().images["T2w"]}))
    assert done.arms == ("SynCT",)
    assert done.history[0].weights_sha256 == load_model(step.model).sha256
    assert "T1w" in done.images["SynCT"].source.description
    left = pipeline.run((step,), Patient(images={"CT": tiny().images["CT"]}))
    assert left.notices[0].code == "STEP_SKIPPED"
    with pytest.raises(ModelError, match="Dixon_F"):
        step(Patient(images={"Dixon_F": tiny().images["T2w"]}))
