"""From MR to synthetic CT: tilted grids, odd sizes, determinism, refusals, checked weights."""

import numpy as np
import pytest
import torch

from rtplan.domain import Grid, Image
from rtplan.errors import FormatError, ModelError, StructureError, UnknownName
from rtplan.learning.card import Card, Limits, TrainingSpec
from rtplan.learning.channels import channels_of, choose_mr, demand_contrast, normalised, unit_scale
from rtplan.learning.predict import predict_array, synthesise
from rtplan.learning.zoo import load_card, load_model, network_of, save_model


@pytest.fixture
def shelf(settings, tmp_path):
    """A folder with an untrained tiny network and its card."""
    plan = settings()
    torch.manual_seed(5)
    card = Card(
        name="tiny",
        task="synct",
        site="pelvis",
        network=plan.network,
        inputs=plan.inputs,
        outputs=plan.outputs,
        spacing_zyx_mm=plan.spacing_zyx_mm,
        patch_zyx=plan.patch_zyx,
        training=TrainingSpec(data=("none",), seed=5, hours=0.0, steps=0, hardware="test"),
    )
    return save_model(tmp_path, card, network_of(card.network, card.inputs, card.outputs).state_dict())


def tilted(shape, spacing):
    """Return a grid turned by 20° about x and 10° about z, shifted, in a frame of its own."""
    a, b = np.deg2rad([20.0, 10.0])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    axes = np.array([[0, 0, 1.0], [0, 1, 0], [1, 0, 0]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_z @ axes * np.array(spacing)
    affine[:3, 3] = (-40.0, 25.0, 300.0)
    return Grid(shape, affine, "9.9")


@pytest.mark.parametrize("shape", [(12, 40, 48), (7, 51, 37)])
def test_the_answer_lies_on_the_mrs_own_grid_also_when_tilted(shelf, tiny, shape):
    model = load_model(str(shelf))
    grid = tilted(shape, (4.5, 3.3, 3.1))
    mr = tiny(shape=shape, spacing=(4.5, 3.3, 3.1), grid=grid).images["T2w"]
    ct = synthesise(model, mr)
    assert ct.grid.same_as(mr.grid)
    assert ct.modality == "CT"
    body = channels_of(mr, model.card).native_body.array
    assert (ct.array[~body] == -1024).all()
    assert (ct.array[body] > -1024).any()
    assert (ct.array == np.round(ct.array)).all()


def test_the_same_mr_gives_the_same_bytes_and_another_one_does_not(shelf, tiny):
    model = load_model(str(shelf))
    mr = tiny().images["T2w"]
    first = synthesise(model, mr).array.tobytes()
    assert synthesise(load_model(str(shelf)), mr).array.tobytes() == first
    assert synthesise(model, tiny(seed=2).images["T2w"]).array.tobytes() != first


def test_the_scale_of_the_mr_does_not_matter(shelf, tiny):
    """Normalisation by the body's percentiles: a scanner that counts seven times higher says the same."""
    model = load_model(str(shelf))
    mr = tiny().images["T2w"]
    a, b = (synthesise(model, mr.with_array(mr.array * factor)).array for factor in (1.0, 8.0))
    np.testing.assert_allclose(a, b, atol=2.0)


def test_windows_agree_with_one_shot_for_a_pointwise_network():
    """A network without reach must not notice the windows, nor their seams, nor the mirror."""
    rng = np.random.default_rng(3)
    channels = rng.normal(size=(2, 19, 33, 41)).astype(np.float32)
    channels[:, :3] = 0.0

    class Point(torch.nn.Module):
        def forward(self, x):
            return (2.0 * x[:, :1] + x[:, 1:]).float()

    for mirror in (False, True):
        hu = predict_array(Point(), channels, (8, 16, 16), overlap=0.5, mirror=mirror)
        np.testing.assert_allclose(hu[3:], 1000 * (2 * channels[0] + channels[1])[3:], rtol=1e-4, atol=0.1)


def test_normalisation_laws():
    rng = np.random.default_rng(4)
    array = rng.gamma(3.0, 50.0, (8, 20, 20)).astype(np.float32)
    body = np.zeros(array.shape, bool)
    body[2:6, 4:16, 4:16] = True
    unit = unit_scale(array, body)
    assert np.percentile(unit[body], [0.5, 99.5]) == pytest.approx([0.0, 1.0], abs=1e-5)
    z = normalised("zscore_body", unit, body)
    assert (z[~body] == 0).all()
    assert z[body].mean() == pytest.approx(0.0, abs=1e-4)
    assert z[body].std() == pytest.approx(1.0, abs=1e-3)
    brighter = unit_scale(3 * array + 20, body)
    np.testing.assert_allclose(normalised("zscore_body", brighter, body), z, atol=1e-3)
    np.testing.assert_array_equal(normalised("unit_body", unit, body), unit)
    with pytest.raises(ModelError, match="no normalisation"):
        normalised("none", unit, body)
    with pytest.raises(ModelError, match="same signal"):
        unit_scale(np.full_like(array, 7.0), body)


def test_an_mr_that_is_none_is_refused(shelf, tiny):
    model = load_model(str(shelf))
    mr = tiny().images["T2w"]
    nan = mr.array.copy()
    nan[3, 4, 5] = np.nan
    few = Grid.axial((4, 40, 48), (4.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    coarse = Grid.axial(mr.grid.shape, (12.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    small = Grid.axial(mr.grid.shape, (4.0, 0.5, 0.5), (0.0, 0.0, 0.0))
    spot = np.zeros_like(mr.array)
    spot[4:8, 19:24, 19:24] = 400.0
    cases = {
        "not finite": mr.with_array(nan),
        "constant": mr.with_array(np.full_like(mr.array, 3.0)),
        "slices": Image(few, mr.array[:4], modality="MR"),
        "coarser": Image(coarse, mr.array, modality="MR"),
        "field of view": Image(small, mr.array, modality="MR"),
        "No body": mr.with_array(spot),
        "no contrast": mr.with_array(np.where(mr.array > 60, 300 + mr.array / 100, 0)),
        "image is a CT": tiny().images["CT"],
    }
    for words, image in cases.items():
        with pytest.raises((ModelError, StructureError), match=words):
            synthesise(model, image)
    with pytest.raises(ModelError, match="is body"):
        demand_contrast(mr, channels_of(mr, model.card).native_body, Limits(body_fraction_min=0.9))


def test_weights_of_another_hash_are_refused(shelf):
    file = shelf.parent / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match="SHA-256"):
        load_model(str(shelf))
    file.unlink()
    with pytest.raises(ModelError, match="missing"):
        load_model(str(shelf))


def test_weights_of_another_network_or_place_are_refused(shelf):
    text = shelf.read_text()
    shelf.write_text(text.replace("[4, 8, 12]", "[4, 8, 16]"))
    with pytest.raises(ModelError, match="do not fit"):
        load_model(str(shelf))
    shelf.write_text(text.replace('"weights.safetensors"', '"../weights.safetensors"'))
    with pytest.raises(ModelError, match="beside it"):
        load_model(str(shelf))
    shelf.write_text(text.replace('task = "synct"', 'task = "magic"'))
    with pytest.raises(FormatError, match="task"):
        load_model(str(shelf))
    with pytest.raises(UnknownName):
        load_model("nosuch")


def test_a_card_survives_its_file(shelf):
    card = load_card(shelf)
    assert card.weights.bytes == (shelf.parent / "weights.safetensors").stat().st_size
    assert card.inputs[0].roles == ("T2w", "T1w")
    assert Card.model_validate(card.model_dump(by_alias=True)) == card


def test_the_role_is_chosen_by_the_cards_order(tiny):
    images = dict(tiny().images)
    assert choose_mr(images, ("Dixon_IP", "T2w")) == "T2w"
    with pytest.raises(ModelError, match="has T2w"):
        choose_mr(images, ("T1w",))
