"""Cases, channels, loss and prediction of the boost network: what each channel holds, laws of the rest."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rtplan.errors import FormatError, ModelError
from rtplan.learning.boost import (
    BODY,
    CHANNELS,
    Anatomy,
    Levels,
    boost_case_of,
    boost_channels,
    load_boost,
    save_boost,
    start_of,
    windowed,
)
from rtplan.learning.boost_job import LEAST, BoostJob
from rtplan.learning.boost_settings import BoostSettings
from rtplan.learning.dose_terms import Course, MeanTerm, mean_terms
from rtplan.learning.loop import learn
from rtplan.learning.predict_boost import (
    answer,
    high_error,
    normalised,
    predict_boost,
    predicted_gy,
    seam,
    swept_gy,
)
from rtplan.learning.run import begin
from rtplan.learning.volume_job import VolumeSample, sorted_l1
from rtplan.learning.zoo import Model, load_model

COURSE = Course(77.0, 35)
SHAPE, SPACING = (12, 16, 24), (4.0, 4.0, 4.0)
Z, Y, X = ((i - 0.5 * (n - 1)) * mm for i, n, mm in zip(np.indices(SHAPE), SHAPE, SPACING, strict=True))


def made(*, side=4.0, seed=1, boost_gy=95.0, dose=True):
    """A case of spheres: gland, a boost to one side, rectum behind; plates and dose fall off round them."""
    ptv = (Z**2 + Y**2 + X**2 < 15**2).astype(np.float32)
    gtv = (Z**2 + Y**2 + (X - side) ** 2 < 6**2).astype(np.float32)
    organs = {
        "Rectum": (Y - 22) ** 2 + X**2 < 7**2,
        "Bladder": (Z - 20) ** 2 + Y**2 + X**2 < 9**2,
        BODY: (Y / 31) ** 2 + (X / 46) ** 2 < 1,
    }
    near = np.exp(-np.maximum(np.sqrt(Z**2 + Y**2 + X**2) - 15.0, 0.0) / 14.0)
    small = np.exp(-np.maximum(np.sqrt(Z**2 + Y**2 + (X - side) ** 2) - 6.0, 0.0) / 8.0)
    plates = np.stack([near, small]).astype(np.float32) * organs[BODY]
    anatomy = Anatomy(ptv, gtv, organs, organs[BODY].astype(np.float32), plates)
    rng = np.random.default_rng(seed)
    planned = 77.0 * (plates[0] ** 1.3 + (boost_gy / 77.0 - 1.0) * plates[1])
    planned = (planned * (1.0 + 0.002 * rng.standard_normal(SHAPE))).astype(np.float32)
    return boost_case_of("one", anatomy, Levels(77.0, boost_gy, 35), SPACING, planned if dose else None)


def channel(x, name):
    return x[CHANNELS.index(name)].numpy()


def settings(**changes):
    told = {
        "schema": 1,
        "name": "tiny",
        "task": "dose",
        "site": "prostate",
        "network": {"name": "folded_unet", "channels": (8, 16), "norm": "group", "stem": (2, 2, 2)},
        "spacing_zyx_mm": SPACING,
        "patch_zyx": SHAPE,
        "data": [{"cohort": "train", "seed": 1, "patients": 1}],
        "loss": {"dvh": 0.1, "dvh_from": 5},
        "augment": {"shift_voxels": 0},
        "optimise": {"steps": 2, "rate": 5e-3, "validate_every": 40},
    }
    return BoostSettings.model_validate(told | changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network that knows one case by heart: its folder."""
    out = tmp_path_factory.mktemp("boost") / "run"
    plan = settings(optimise={"steps": 160, "rate": 5e-3, "validate_every": 40})
    learn(plan, BoostJob(plan, [made()], [made()]), out)
    return load_model(str(out / "model.toml"))


def test_each_channel_is_what_its_name_says():
    case = made()
    x = boost_channels(case)
    assert x.shape == (len(CHANNELS), *SHAPE)
    assert np.allclose(channel(x, "ptv"), Z**2 + Y**2 + X**2 < 15**2)
    assert np.array_equal(channel(x, "Rectum") > 0, (Y - 22) ** 2 + X**2 < 7**2)
    assert not channel(x, "Urethra").any()
    gtv, ptv = case.mask("gtv"), case.mask("ptv")
    wanted = np.where(gtv, 95.0 / 77.0, np.where(ptv, 1.0, 0.0))
    assert np.allclose(channel(x, "level"), wanted, atol=5e-3)
    assert np.allclose(channel(x, "density"), np.where(case.mask(BODY), 0.0, -1.0), atol=5e-3)
    assert np.allclose(channel(x, "boost_level"), 5.0 * (95.0 / 77.0 - 1.0))
    assert not channel(x, "few_fractions").any()
    assert boost_channels(replace(case, fractions=5))[CHANNELS.index("few_fractions")].all()
    other = boost_channels(replace(case, boost_gy=80.0))
    changed = [name for name, a, b in zip(CHANNELS, x, other, strict=True) if not torch.equal(a, b)]
    assert changed == ["level", "boost_level"]


def test_distances_are_those_between_voxel_centres():
    """Brute force over all pairs of voxels, mm."""
    case = made()
    x = boost_channels(case)
    places = np.stack([Z, Y, X], axis=-1).reshape(-1, 3).astype(np.float32)
    seen = np.random.default_rng(1).choice(len(places), 500, replace=False)
    for name, mask in (("ptv", case.mask("ptv")), ("gtv", case.mask("gtv")), ("rectum", case.mask("Rectum"))):
        inside = mask.ravel()
        outward = np.sqrt(((places[seen, None] - places[inside][None]) ** 2).sum(-1)).min(1)
        inward = np.sqrt(((places[seen, None] - places[~inside][None]) ** 2).sum(-1)).min(1)
        wanted = np.clip(outward - inward, -60.0, 60.0)
        assert np.abs(channel(x, f"distance_{name}").ravel()[seen] * 60.0 - wanted).max() < 0.3


def test_a_boost_smaller_than_a_voxel_still_has_one():
    gtv = np.zeros(SHAPE, np.float32)
    gtv[6, 8, 12] = 0.1
    anatomy = Anatomy(gtv * 10, gtv, {BODY: np.ones(SHAPE, bool)}, gtv, np.zeros((2, *SHAPE), np.float32))
    case = boost_case_of("small", anatomy, Levels(40.0, 45.0, 5), SPACING)
    assert np.argwhere(case.mask("gtv")).tolist() == [[6, 8, 12]]
    assert not replace(case, parts=np.zeros_like(case.parts)).mask("gtv").any()


def test_the_mirror_image_of_a_case_has_the_mirrored_channels():
    ours, theirs = boost_channels(made(side=8.0)).flip(-1), boost_channels(made(side=-8.0))
    assert (ours - theirs).abs().max() < 0.01
    assert (boost_channels(made(side=8.0)) - theirs).abs().max() > 0.5


def test_a_case_is_kept_whole(tmp_path):
    case = made()
    save_boost(case, tmp_path / "a" / "one.npz")
    again = load_boost(tmp_path / "a" / "one.npz")
    assert torch.equal(boost_channels(again), boost_channels(case))
    assert np.array_equal(again.dose, case.dose)
    assert (again.gland_gy, again.boost_gy, again.fractions, again.name) == (77.0, 95.0, 35, "one")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["one.npz"]
    (tmp_path / "no.npz").write_bytes(b"PK nothing")
    np.savez(tmp_path / "other.npz", facts=np.frombuffer(b'{"form": "x"}', np.uint8))
    for name in ("no", "other"):
        with pytest.raises(FormatError):
            load_boost(tmp_path / f"{name}.npz")


def test_one_case_is_learned_by_heart_and_open_fields_are_not_enough(trained):
    case = made()
    planned = case.dose.astype(np.float32)
    open_fields = predict_boost(_nothing, case, SHAPE)
    assert high_error(open_fields, planned) > 0.01
    learned = predict_boost(trained.network, case, SHAPE)
    assert high_error(learned, planned) < 0.5 * high_error(open_fields, planned)
    assert learned[~case.mask(BODY)].max() == 0.0
    assert learned.min() >= 0.0
    gy = predicted_gy(trained, case)
    own = case.mask("ptv") & ~case.mask("gtv")
    assert np.median(gy[own]) == pytest.approx(77.0, rel=1e-3)


class _Nothing(torch.nn.Module):
    def forward(self, x):
        return torch.zeros_like(x[:, :1])


class _One(torch.nn.Module):
    def forward(self, x):
        return torch.ones_like(x[:, :1])


_nothing = _Nothing()


def test_a_window_holds_what_the_case_has_there_and_air_beyond():
    case = made()
    start = start_of(case, (8, 8, 8))
    assert start == (2, 4, 8)
    assert start_of(case, (8, 8, 8), (1, 0, -2)) == (3, 4, 6)
    inner = windowed(case, start, (8, 8, 8))
    assert np.array_equal(inner.dose, case.dose[2:10, 4:12, 8:16])
    assert torch.equal(boost_channels(inner), boost_channels(case)[:, 2:10, 4:12, 8:16])
    wide = windowed(case, (-2, -1, -3), (16, 18, 30))
    assert torch.equal(boost_channels(wide)[:, 2:14, 1:17, 3:27], boost_channels(case))
    x = boost_channels(wide)[:, 0]
    for name, value in (("ptv", 0.0), (BODY, 0.0), ("distance_gtv", 1.0), ("density", -1.0)):
        assert (x[CHANNELS.index(name)] == value).all(), name


def test_beyond_the_window_stand_the_open_fields_and_the_seam_is_continuous():
    """A network that adds one everywhere: one more in the middle, nothing beyond, a ramp between."""
    case = made()
    more = predict_boost(_One(), case, (8, 8, 12)) - predict_boost(_nothing, case, (8, 8, 12))
    body = case.mask(BODY)
    z, y, x = start_of(case, (8, 8, 12))
    assert more[6, 8, 12] == pytest.approx(1.0, abs=1e-3)
    outside = np.ones(SHAPE, bool)
    outside[z : z + 8, y : y + 8, x : x + 12] = False
    assert not more[outside].any()
    assert more[6, 8, x : x + 4] == pytest.approx([0.25, 0.5, 0.75, 1.0], abs=1e-3)
    assert body[6, 8, x : x + 4].all()
    assert seam((8, 8, 12)).max() == 1.0


def test_the_network_says_what_a_first_guess_lacks():
    """In the boost its own level, far away the open fields, between them a fall by e every 6 mm."""
    case = made()
    x = boost_channels(case)[None]
    beyond = (answer(_nothing, x)[0, 0] - x[0, CHANNELS.index("plate_ptv")]).numpy()
    assert np.allclose(beyond[case.mask("gtv")], 95.0 / 77.0 - 1.0, atol=1e-4)
    assert np.abs(beyond[np.abs(X) > 40]).max() < 1e-2
    at = (Y.flat[np.abs(Y).argmin()] == Y) & (Z.flat[np.abs(Z).argmin()] == Z) & (X > 12) & case.mask(BODY)
    line = beyond[at]
    assert line[1:] / line[:-1] == pytest.approx(np.exp(-4.0 / 6.0), rel=0.05)


def test_a_prediction_has_the_glands_median_and_scales(trained):
    """Normalisation: of a dose and of its double the same; without dose in the gland a refusal."""
    case = made()
    dose = case.dose.astype(np.float32)
    assert np.allclose(normalised(dose, case), normalised(2.0 * dose, case), rtol=1e-6)
    with pytest.raises(ModelError, match="next to no dose"):
        normalised(np.zeros_like(dose), case)
    low, high = swept_gy(trained, case, (80.0, 95.0))
    assert low.shape == high.shape == SHAPE


def test_the_mean_over_mirror_images_commutes_with_the_mirror(trained):
    one, other = (predicted_gy(trained, made(side=side)) for side in (8.0, -8.0))
    assert np.abs(one[..., ::-1] - other).mean() < 0.2
    plain = [predicted_gy(trained, made(side=side), tta=False) for side in (8.0, -8.0)]
    assert np.abs(plain[0][..., ::-1] - plain[1]).mean() > np.abs(one[..., ::-1] - other).mean()


def test_another_task_site_or_channels_are_refused(trained):
    for update in ({"task": "synct"}, {"site": "head_and_neck"}, {"inputs": trained.card.inputs[1:]}):
        other = Model(trained.card.model_copy(update=update), trained.network, trained.sha256)
        with pytest.raises(ModelError):
            predicted_gy(other, made())


def test_every_case_comes_once_in_an_epoch_and_needs_a_dose():
    plan = settings(augment={"mirror_chance": 0.0, "upside_chance": 0.0, "shift_voxels": 0})
    cases = [replace(made(seed=seed), name=str(seed)) for seed in (1, 2, 3)]
    job = BoostJob(plan, cases, [])
    sums = {float(torch.from_numpy(c.dose.astype(np.float32)).sum()): c.name for c in cases}
    for epoch in range(2):
        drawn = [one for at in range(3) for one in job.draw(3 * epoch + at)]
        assert {sums[float(one.dose.sum())] for one in drawn} == {"1", "2", "3"}
    with pytest.raises(ModelError, match="no dose"):
        BoostJob(plan, [made(dose=False)], [])
    with pytest.raises(ModelError, match="no patient"):
        BoostJob(plan, [], [])


def test_equal_histograms_have_no_sorted_error():
    x = torch.zeros(1, len(CHANNELS), 1, 1, 4)
    x[0, CHANNELS.index("ptv"), 0, 0, :3] = 1.0
    dose = torch.tensor([1.0, 0.5, 0.25, 0.0]).reshape(1, 1, 1, 1, 4)
    rng = np.random.default_rng(1)
    assert sorted_l1(dose[..., [1, 0, 2, 3]], VolumeSample(x, dose, COURSE), LEAST, rng) == 0.0
    assert sorted_l1(dose + 0.3, VolumeSample(x, dose, COURSE), LEAST, rng) == pytest.approx(0.3)
    assert sorted_l1(dose, VolumeSample(torch.zeros_like(x), dose, COURSE), LEAST, rng) == 0.0


def test_means_are_added_to_the_loss_and_told_in_the_log():
    """With the terms the loss is larger by just them; a boost counts from where the planner gives it."""
    terms = (
        MeanTerm(structure="Rectum", exponent=11.0, weight=0.5, alpha_beta_gy=3.0),
        MeanTerm(structure="gtv", exponent=-20.0, weight=0.25),
    )
    totals = []
    for means in ((), terms):
        plan = settings(loss={"means": means}, optimise={"steps": 2, "precision": "f32"})
        job = BoostJob(plan, [made()], [])
        run = begin(plan, None)
        batch = job.draw(0)
        total, seen = job.loss(run, batch)
        totals.append(float(total.detach()))
    found, one = answer(run.generator, batch[0].inputs).detach(), batch[0]
    weight = {"Rectum": (one.inputs[:, CHANNELS.index("Rectum")][:, None])}
    part = one.inputs[:, CHANNELS.index("gtv")][:, None]
    weight["gtv"] = torch.where(part >= 0.02, part, torch.zeros_like(part))
    wanted = float(mean_terms(found, one.dose, weight.__getitem__, one.course, terms))
    assert wanted > 0.0
    assert totals[1] - totals[0] == pytest.approx(wanted, rel=1e-4)
    assert seen["means_percent"] == pytest.approx(100.0 * wanted, rel=1e-4)


def test_the_first_losses_are_the_recorded_ones(tmp_path):
    """Total loss of four steps without a change of the weights, as it was before the jobs shared a base."""
    plan = settings(
        optimise={"steps": 6, "batch": 2, "precision": "f32"}, loss={"dvh": 0.1}, augment={"shift_voxels": 2}
    )
    job = BoostJob(plan, [made(seed=1), made(seed=2, side=-3.0), made(seed=3, boost_gy=90.0)], [])
    run, seen = begin(plan, tmp_path), []
    for run.step in range(4):
        seen.append(job.loss(run, job.draw(run.step))[0].item())
    assert seen == pytest.approx([0.144272, 0.145190, 0.147064, 0.142524], rel=1e-4)


class Striped(torch.nn.Module):
    """Answers 1 in every second plane of an axis of its window, whatever it sees."""

    def __init__(self, axis, height=1.0):
        super().__init__()
        self.axis, self.height = axis, height

    def forward(self, x):
        stripes = (torch.arange(x.shape[self.axis]) % 2 == 0) * self.height
        return torch.zeros_like(x[:, :1]) + stripes.reshape([-1 if n == self.axis else 1 for n in range(5)])


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_views_of_a_case_fold_other_voxels_together(axis):
    """What depends on where a voxel lies in the window alone is averaged away by the views."""
    case = made()
    window = SHAPE
    plain, meant = (
        predict_boost(Striped(axis), case, window, tta=tta)
        - predict_boost(Striped(axis, 0.0), case, window, tta=tta)
        for tta in (False, True)
    )
    inside = tuple(slice(n // 2 - 1, n // 2 + 1) for n in SHAPE)
    assert np.ptp(plain[inside]) == pytest.approx(1.0, abs=0.02)
    assert np.allclose(meant[inside], 0.5, atol=0.02)
