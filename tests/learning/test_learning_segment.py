"""Segmentation: painting, learning, asking, and the rules of anatomy."""

import numpy as np
import pytest
import torch
from torch import nn

from rtplan.domain import Grid, Image
from rtplan.errors import FormatError, ModelError
from rtplan.learning.card import Card
from rtplan.learning.loop import learn
from rtplan.learning.predict_segment import entropy_of, segment, upright
from rtplan.learning.segment_job import SegmentJob
from rtplan.learning.segment_paint import centred, paint_sample
from rtplan.learning.segment_settings import PaintSettings, SegmentSettings
from rtplan.learning.segment_tidy import tidy
from rtplan.learning.segments import LABELS, SegmentCase, labelled, load_segments, save_segments
from rtplan.learning.zoo import Model, load_model

SPACING = (3.0, 2.0, 2.0)
WINDOW = (8, 24, 24)
STILL = PaintSettings(
    random_chance=0.0,
    spread=(0.0, 0.0),
    texture=(0.0, 0.0),
    nodules=(0.0, 0.0),
    noise=(0.0, 0.0),
    bias=(0.0, 0.0),
    gamma=(1.0, 1.0),
    rotate_deg=0.0,
    tilt_deg=0.0,
    scale=(1.0, 1.0),
    bend_mm=0.0,
    field_mm=(500.0, 500.0),
    shift_mm=0.0,
)


def ball(shape, middle, radius_mm, spacing=SPACING):
    index = np.indices(shape)
    far = [(index[a] - middle[a]) * spacing[a] for a in range(3)]
    return np.sqrt(sum(f * f for f in far)) < radius_mm


def tiny_case(seed=0):
    shape = (12, 32, 32)
    gland = ball(shape, (5.5, 15.5, 15.5), 14.0)
    back = gland & (np.indices(shape)[1] > 17)
    labels = labelled({"Prostate": gland, "Prostate_PZ": back}, shape)
    signal = np.array([0.1, 0.5, 1.0], np.float32)
    return SegmentCase(f"tiny{seed}", labels.copy(), labels, signal, SPACING)


def settings(**more):
    plain = {
        "schema": 1,
        "name": "tiny_segment",
        "task": "segment",
        "site": "pelvis",
        "network": {"channels": (4, 8), "dropout": 0.3},
        "inputs": ({"name": "mr", "kind": "mr", "normalise": "centred", "roles": ("T2w", "MR")},),
        "spacing_zyx_mm": SPACING,
        "patch_zyx": WINDOW,
        "data": ({"cohort": "train", "seed": 1, "patients": 1},),
        "optimise": {"steps": 60, "validate_every": 30, "rate": 2e-2, "ema": 0.9},
    }
    return SegmentSettings.model_validate(plain | more)


def image_of(array, affine=None, spacing=SPACING):
    grid = Grid.axial(array.shape, spacing, (0.0, 0.0, 0.0), "f")
    return Image(grid if affine is None else Grid(array.shape, affine, "f"), array, modality="MR")


def card(**more):
    plan = settings()
    plain = {
        k: getattr(plan, k) for k in ("name", "task", "site", "network", "inputs", "outputs", "patch_zyx")
    }
    return Card(
        **plain,
        schema=1,
        spacing_zyx_mm=SPACING,
        training={"data": ("none",), "seed": 1, "hours": 0, "steps": 0, "hardware": ""},
        **more,
    )


class Oracle(nn.Module):
    """Says the label whose number the voxel's signal is nearest to, once undone from its scaling."""

    def __init__(self, cuts):
        super().__init__()
        self.cuts = cuts

    def forward(self, x):
        place = torch.bucketize(x[:, 0].float().contiguous(), torch.tensor(self.cuts))
        return 12.0 * nn.functional.one_hot(place, len(LABELS)).permute(0, 4, 1, 2, 3).float()


def test_a_case_comes_back_from_its_file_and_another_file_is_refused(tmp_path):
    case = tiny_case()
    save_segments(case, tmp_path / "a.npz")
    back = load_segments(tmp_path / "a.npz")
    assert back.name == case.name
    assert back.spacing_zyx_mm == SPACING
    assert all(np.array_equal(getattr(back, k), getattr(case, k)) for k in ("tissue", "labels", "t2w"))
    np.savez(tmp_path / "b.npz", facts=np.frombuffer(b'{"form": "x"}', np.uint8), tissue=1, labels=1, t2w=1)
    with pytest.raises(FormatError, match="another form"):
        load_segments(tmp_path / "b.npz")


def test_a_gland_is_all_but_its_peripheral_zone():
    case = tiny_case()
    gland, back = case.labels > 0, case.labels == 2
    assert (case.labels[gland & ~back] == LABELS.index("Prostate_TZ")).all()
    assert back.any()


def test_a_still_painter_paints_the_signals_where_the_labels_are():
    case = tiny_case()
    image, where = paint_sample(case, case.labels.shape, np.random.default_rng(3), STILL)
    expected = np.stack([case.labels, case.labels[..., ::-1]])
    assert any(np.array_equal(where.numpy(), one) for one in expected)
    inside = [image[where == k].median().item() for k in range(3)]
    assert inside[0] < inside[1] < inside[2]


def test_the_same_draw_paints_the_same_and_another_another_shape():
    case = tiny_case()
    one, two, other = (
        paint_sample(case, WINDOW, np.random.default_rng(seed), PaintSettings()) for seed in (5, 5, 6)
    )
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[1], other[1])
    assert torch.isfinite(one[0]).all()


def test_a_turn_keeps_the_volume_and_a_scale_changes_it_by_its_cube():
    case = tiny_case()
    shape = case.labels.shape
    turned = STILL.model_copy(update={"rotate_deg": 40.0, "tilt_deg": 25.0})
    larger = STILL.model_copy(update={"scale": (1.2, 1.2)})
    before = float((case.labels > 0).sum())
    for rule, factor in ((turned, 1.0), (larger, 1.2**3)):
        counts = [
            float((paint_sample(case, shape, np.random.default_rng(s), rule)[1] > 0).sum()) for s in range(4)
        ]
        # drawn windows may lie anywhere: only those with the whole gland count
        assert max(counts) == pytest.approx(before * factor, rel=0.06)


def test_signal_is_scaled_by_the_middle_however_much_air_is_around():
    rng = np.random.default_rng(1)
    small = rng.uniform(50.0, 150.0, WINDOW).astype(np.float32)
    large = np.pad(small, [(0, 0), (20, 20), (20, 20)])
    middle = centred(large, WINDOW)[:, 20:-20, 20:-20]
    assert np.allclose(middle, centred(small, WINDOW), atol=1e-5)
    assert np.allclose(centred(3.0 * small + 7.0, WINDOW), centred(small, WINDOW), atol=1e-4)


def test_learning_finds_the_tiny_gland(tmp_path):
    plan = settings(paint=STILL)
    job = SegmentJob(plan, [tiny_case()], [tiny_case(1)])
    before = job.validate(_fresh(plan))
    path = learn(plan, job, tmp_path)
    model = load_model(str(path))
    after = job.validate(model.network)
    assert model.card.task == "segment"
    assert model.card.outputs[0].name == "Background"
    assert after < before - 20.0


def _fresh(plan):
    from rtplan.learning.run import begin

    return begin(plan, None).generator


def test_without_a_patient_there_is_no_training():
    with pytest.raises(ModelError, match="no patient"):
        SegmentJob(settings(), [], [])


@pytest.mark.parametrize("flips", [(), (0,), (1, 2)])
def test_organs_lie_where_they_are_on_flipped_and_leaning_grids(flips):
    shape, spacing = (14, 40, 44), (3.0, 1.5, 1.5)
    truth = ball(shape, (7, 18, 25), 14.0, spacing)
    array = np.where(truth, 400.0, np.random.default_rng(0).uniform(60.0, 140.0, shape))
    array[:, :3] = 10.0
    lean = np.deg2rad(15.0)
    turn = np.array([[1, 0, 0], [0, np.cos(lean), -np.sin(lean)], [0, np.sin(lean), np.cos(lean)]])
    grid = Grid.axial(shape, spacing, (-30.0, 20.0, 5.0), "f")
    affine = grid.affine.copy()
    affine[:3, :3] = turn @ affine[:3, :3]
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
        affine[:3, axis] *= -1
        array, truth = np.flip(array, axis), np.flip(truth, axis)
    model = Model(card(), Oracle([1.0]), "0")
    found = segment(model, image_of(np.ascontiguousarray(array), affine), passes=2)
    masks = {s.name: s.region.array for s in found.structures}
    overlap = 2 * (masks["Prostate"] & truth).sum() / (masks["Prostate"].sum() + truth.sum())
    assert overlap > 0.9
    assert {n.structure for n in found.notices if n.code == "NOT_FOUND"} >= {"Bladder", "Rectum"}
    lost = next(f for f in found.findings if f.structure == "Bladder")
    assert lost.verdict == "not_evaluable"
    assert lost.detail["probability"] < 0.5


def test_dropping_neurons_spreads_the_answers_and_one_pass_does_not():
    plan = settings()
    model = Model(card(), _fresh(plan), "0")
    array = np.random.default_rng(0).uniform(50, 200, (10, 30, 30)).astype(np.float32)
    many, again = (segment(model, image_of(array), passes=3, seed=2) for _ in range(2))
    other = segment(model, image_of(array), passes=3, seed=3)
    assert np.array_equal(many.probabilities, again.probabilities)
    assert not np.array_equal(many.probabilities, other.probabilities)
    single = [segment(model, image_of(array), passes=1, seed=s).probabilities for s in (1, 2)]
    assert np.array_equal(*single)


def test_entropy_is_one_without_an_idea_and_zero_when_sure():
    flat = np.full((len(LABELS), 1), 1.0 / len(LABELS), np.float32)
    sure = np.eye(len(LABELS), 1, dtype=np.float32)
    assert entropy_of(flat)[0] == pytest.approx(1.0, abs=1e-5)
    assert entropy_of(sure)[0] == pytest.approx(0.0, abs=1e-4)


def test_pieces_apart_go_and_are_told_and_heads_have_sides():
    shape = (12, 60, 60)
    grid = Grid.axial(shape, SPACING, (-59.0, 0.0, 0.0), "f")
    labels = np.zeros(shape, np.uint8)
    for middle, radius, name in (
        ((6, 30, 30), 16.0, "Prostate_TZ"),
        ((6, 5, 30), 5.0, "Prostate_TZ"),
        ((6, 30, 8), 13.0, "Femur_Heads"),
        ((6, 30, 52), 13.0, "Femur_Heads"),
    ):
        labels[ball(shape, middle, radius)] = LABELS.index(name)
    found = tidy(labels, grid)
    assert not found.masks["Prostate"][6, 5, 30]
    assert found.masks["Prostate"][6, 30, 30]
    told = [n for n in found.notices if n.code == "PIECES_REMOVED"]
    assert [n.structure for n in told] == ["Prostate"]
    assert np.argwhere(found.masks["Femur_Head_L"])[:, 2].min() > 30
    assert np.argwhere(found.masks["Femur_Head_R"])[:, 2].max() < 30
    assert set(found.missing) == {"Bladder", "Rectum", "SeminalVes"}


def test_a_series_that_is_not_axial_a_ct_and_another_network_are_refused():
    array = np.random.default_rng(0).uniform(50, 200, (20, 30, 30)).astype(np.float32)
    affine = Grid.axial(array.shape, SPACING, (0.0, 0.0, 0.0)).affine[:, [2, 1, 0, 3]]
    with pytest.raises(ModelError, match="not axial"):
        upright(image_of(array, affine))
    model = Model(card(), Oracle([1.0]), "0")
    with pytest.raises(ModelError, match="CT"):
        segment(model, Image(image_of(array).grid, array, modality="CT"))
    with pytest.raises(ModelError, match="not for segmentations"):
        segment(Model(card().model_copy(update={"task": "synct"}), model.network, "0"), image_of(array))
    broken = array.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(ModelError, match="finite"):
        segment(model, image_of(broken))
