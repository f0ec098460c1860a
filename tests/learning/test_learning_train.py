"""The training loop: it learns, resumes, repeats itself, and the critic can be left out."""

import csv
import itertools
import json
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from rtplan.errors import ModelError, OutputError
from rtplan.learning import loop
from rtplan.learning import run as runs
from rtplan.learning.pairs import load_pair, pair_of, save_pair
from rtplan.learning.train import SynctJob, train, validate
from rtplan.learning.zoo import load_model


@pytest.fixture(scope="module")
def pair(tiny):
    return pair_of(tiny(), (4.0, 4.0, 4.0), ("T2w",), "test")


def weights(folder):
    return load_file(folder / "weights.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_tiny_network_learns_one_pair_by_heart(pair, settings, tmp_path):
    plan = settings(optimise__steps=60, optimise__validate_every=20, optimise__rate=1e-2)
    start = validate(runs.begin(plan, tmp_path).generator, [pair], plan)
    path = train(plan, [(1.0, [pair])], [pair], tmp_path)
    end = validate(load_model(str(path)).network, [pair], plan)
    assert end < 0.5 * start
    with (tmp_path / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["step"]) for row in rows] == [20, 40, 60]
    assert min(float(row["validation_hu"]) for row in rows) == pytest.approx(end, rel=0.05)


def test_a_resumed_run_equals_an_uninterrupted_one(pair, settings, tmp_path, monkeypatch):
    plan = settings(
        network={"channels": (4, 8, 12), "dropout": 0.2}, loss__adversarial=0.02, loss__adversarial_from=0.3
    )
    groups = [(1.0, [pair])]
    train(plan, groups, [pair], tmp_path / "whole")

    class Stop(Exception):
        pass

    real = loop.keep

    def stop_after_first(*arguments):
        real(*arguments)
        raise Stop

    monkeypatch.setattr(loop, "keep", stop_after_first)
    with pytest.raises(Stop):
        train(plan, groups, [pair], tmp_path / "parts")
    monkeypatch.undo()
    assert json.loads((tmp_path / "parts" / "state.json").read_text())["step"] == 4
    train(plan, groups, [pair], tmp_path / "parts", resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_a_seed_decides_and_a_second_run_is_the_same(pair, settings, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(settings(seed=seed, optimise__steps=3), [(1.0, [pair])], [], tmp_path / name)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_the_adversarial_switch(pair, settings, tmp_path):
    groups = [(1.0, [pair])]
    off = settings(optimise__steps=4, loss__adversarial=0.0, loss__adversarial_from=0.0)
    assert runs.begin(off, tmp_path).critic is None
    train(off, groups, [], tmp_path / "off")
    assert not any(key.startswith("critic") for key in load_file(tmp_path / "off" / "state-a.safetensors"))
    for kind in ("hinge", "lsgan"):
        on = settings(
            optimise__steps=4,
            loss__adversarial=0.05,
            loss__adversarial_from=0.5,
            loss__kind=kind,
            loss__feature=0.1,
            optimise__validate_every=2,
        )
        train(on, groups, [], tmp_path / kind)
        with (tmp_path / kind / "log.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        assert float(rows[0]["critic"]) == 0.0  # L1 alone at first
        assert float(rows[1]["critic"]) != 0.0
        assert not same(weights(tmp_path / "off"), weights(tmp_path / kind))


def test_the_squared_error_fades_over_its_steps(pair, settings, tmp_path):
    plan = settings(loss__square=2.0, loss__square_steps=4, loss__gradient=0.0)
    plain = settings(loss__gradient=0.0)
    job, bare = (SynctJob(one, [(1.0, [pair])], []) for one in (plan, plain))
    run, batch = runs.begin(plan, tmp_path), job.draw(0)
    extra = []
    for step in (0, 2, 4, 6):
        run.step = step
        extra.append((job.loss(run, batch)[0] - bare.loss(run, batch)[0]).item())
    assert extra[0] > 0.01
    assert extra[1:] == pytest.approx([extra[0] / 2, 0.0, 0.0], rel=1e-3, abs=1e-7)


def test_the_entropy_of_bone_joins_the_loss_by_its_weight(pair, settings, tmp_path):
    jobs = [SynctJob(settings(loss__entropy=w), [(1.0, [pair])], []) for w in (0.0, 0.1, 0.2)]
    run, batch = runs.begin(settings(), tmp_path), jobs[0].draw(0)
    none, once, twice = (job.loss(run, batch)[0].item() for job in jobs)
    assert once > none
    assert twice - none == pytest.approx(2 * (once - none), rel=1e-3)


def test_steps_without_finite_gradients_are_skipped_and_counted(pair, settings, tmp_path):
    plan = settings(optimise__steps=2)
    run = runs.begin(plan, tmp_path)
    before = {key: value.clone() for key, value in run.generator.state_dict().items()}
    job = SynctJob(plan, [(1.0, [pair])], [])
    batch = job.draw(0)
    batch.ct[..., 0] = float("nan")
    loop._step(run, job, batch)
    assert run.skipped == 1
    assert same(before, run.generator.state_dict())
    batches = itertools.repeat(batch, 30)
    with pytest.raises(ModelError, match="not finite"):
        list(map(partial(loop._step, run, job), batches))


def test_a_used_folder_is_refused_and_another_networks_checkpoint_too(pair, settings, tmp_path):
    plan = settings(optimise__steps=1)
    train(plan, [(1.0, [pair])], [], tmp_path)
    with pytest.raises(OutputError, match="resume"):
        train(plan, [(1.0, [pair])], [], tmp_path)
    other = settings(optimise__steps=2, network={"channels": (4, 8)})
    with pytest.raises(ModelError, match="another network"):
        train(other, [(1.0, [pair])], [], tmp_path, resume=True)
    with pytest.raises(ModelError, match="no checkpoint"):
        train(plan, [(1.0, [pair])], [], tmp_path / "empty", resume=True)
    with pytest.raises(ModelError, match="no patient"):
        train(plan, [], [], tmp_path / "none")


def test_a_pair_survives_its_file(pair, tmp_path):
    save_pair(pair, tmp_path / "p.npz")
    back = load_pair(tmp_path / "p.npz")
    assert back.name == pair.name
    assert (back.ct == pair.ct).all()
    assert (back.both == pair.both).all()
    assert (back.mr["T2w"] == pair.mr["T2w"]).all()
    assert pair.bone.sum() > 50
