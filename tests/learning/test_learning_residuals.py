"""Samples of a synthetic CT: marginals and correlation as measured, coverage, seeds, refusals."""

from itertools import islice

import numpy as np
import pytest
from scipy import special

from rtplan import resources
from rtplan.domain import Grid, Image, Mask
from rtplan.errors import GeometryMismatch, ModelError, UnknownName
from rtplan.learning.residuals import load_residuals, samples
from rtplan.learning.zoo import load_card

SHAPE = (20, 30, 30)


@pytest.fixture(scope="module", params=["digital", "real"])
def residuals(request):
    return load_residuals("synct_mr_pelvis", request.param)


def image(hu):
    grid = Grid.axial(SHAPE, (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), "1")
    return Image(grid, np.full(SHAPE, hu, np.float32))


def whole(like):
    return Mask(like.grid, np.ones(SHAPE, bool))


def test_shipped_sets_are_calibrated_on_patients_left_out_and_held_out(residuals):
    assert residuals.left_out.mean == pytest.approx(0.9, abs=0.005)
    assert residuals.held_out.mean == pytest.approx(0.9, abs=0.03)
    assert not set(residuals.left_out.patients) & set(residuals.held_out.patients)


def test_digital_sets_are_of_patients_that_were_not_trained_on():
    digital = load_residuals("synct_mr_pelvis", "digital")
    seeds = [int(p.removeprefix("valid")) for p in (*digital.left_out.patients, *digital.held_out.patients)]
    assert min(seeds) >= 101
    assert len(set(seeds)) == 12
    assert load_card(resources.find("models", "synct_mr_pelvis")).training.data


@pytest.mark.parametrize("hu", [45.0, 250.0])
def test_many_samples_have_the_measured_quantiles(residuals, hu):
    like = image(hu)
    drawn = np.stack([s.array[::5, ::5, ::5] for s in islice(samples(like, whole(like), residuals, 1), 80)])
    tissue = residuals.tissue[int(residuals.classes(np.array([hu]))[0])]
    values = np.array(tissue.quantiles_hu)
    middle = values[residuals.levels.index(0.5)]
    for level in (0.1, 0.25, 0.5, 0.75, 0.9):
        wanted = middle + residuals.factor * (values[residuals.levels.index(level)] - middle)
        below = float((drawn - hu <= wanted).mean())
        assert below == pytest.approx(level, abs=0.06)


def test_samples_hang_together_as_measured(residuals):
    like = image(45.0)
    drawn = np.stack([s.array for s in islice(samples(like, whole(like), residuals, 2), 40)])
    tissue = residuals.tissue[int(residuals.classes(np.array([45.0]))[0])]
    values = np.array(tissue.quantiles_hu)
    middle = values[residuals.levels.index(0.5)]
    nodes = special.ndtri(np.array(residuals.levels))
    scores = np.interp(drawn - 45.0, middle + residuals.factor * (values - middle), nodes)
    how = residuals.correlation
    for n in (1, 3, 8):
        found = float((scores[:, :, n:] * scores[:, :, :-n]).mean())
        near = (1.0 - how.nugget) * np.exp(-2.0 * n / how.length_mm)
        wanted = how.offset["soft"] + (1.0 - how.offset["soft"]) * near
        assert found == pytest.approx(wanted, abs=0.08)


def test_only_what_was_guessed_changes_and_the_seed_decides(residuals):
    like = image(45.0)
    some = np.zeros(SHAPE, bool)
    some[5:15, 10:25, 10:25] = True
    first, second = islice(samples(like, Mask(like.grid, some), residuals, 1), 2)
    again = next(samples(like, Mask(like.grid, some), residuals, 1))
    assert np.array_equal(first.array, again.array)
    assert not np.array_equal(first.array, second.array)
    assert (first.array[~some] == 45.0).all()
    assert (first.array[some] != 45.0).mean() > 0.99
    assert first.array.min() >= -1024.0
    nothing = next(samples(like, Mask(like.grid, np.zeros(SHAPE, bool)), residuals, 1))
    assert np.array_equal(nothing.array, like.array)


def test_refusals(residuals, tmp_path):
    like = image(0.0)
    other = Grid.axial((3, 3, 3), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    with pytest.raises(GeometryMismatch):
        next(samples(like, Mask(other, np.ones((3, 3, 3), bool)), residuals, 1))
    with pytest.raises(UnknownName, match="digital, real"):
        load_residuals("synct_mr_pelvis", "marsian")
    with pytest.raises(ModelError, match="no measured residuals"):
        load_residuals("dose_openkbp", "real")
    folder = resources.find("models", "synct_mr_pelvis").parent
    for name in ("model.toml", "residuals.toml"):
        (tmp_path / name).write_text((folder / name).read_text(encoding="utf-8"), encoding="utf-8")
    card = tmp_path / "model.toml"
    text = card.read_text(encoding="utf-8")
    sha = load_card(card).weights.sha256
    card.write_text(text.replace(sha, "0" * 64), encoding="utf-8")
    with pytest.raises(ModelError, match="other weights"):
        load_residuals(str(card), "real")
