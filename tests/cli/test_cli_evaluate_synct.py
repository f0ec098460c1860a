"""rtplan evaluate synct: finished images, networks, folds; figures in the JSON are those of plain code."""

import json

import numpy as np
import pytest
import torch

from rtplan.cli import main
from rtplan.domain import Grid, Image
from rtplan.io.nifti import write_volume
from rtplan.learning.card import Card, InputSpec, NetworkSpec, OutputSpec, TrainingSpec
from rtplan.learning.zoo import network_of, save_model

SHAPE, SPACING = (10, 30, 32), (4.0, 3.0, 3.0)


def call(*arguments):
    with pytest.raises(SystemExit) as leave:
        main([str(argument) for argument in arguments])
    return leave.value.code


def write_pair(folder, name, seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-15:15, -16:16] * 3.0
    r, bone = np.hypot(y / 38, x / 42), np.hypot(y, x - 14) < 11
    ct = np.where(r < 1, 40, -1000) + np.where(bone, 500, 0)
    mr = np.where(r < 1, 300, 0) - np.where(bone, 220, 0) + np.where((r < 1) & (r > 0.8), 250, 0)
    ct, mr = (np.repeat(a[None], SHAPE[0], axis=0) for a in (ct, mr))
    ct = (ct + rng.normal(0, 9, SHAPE)).astype(np.int16)
    mr = (mr + np.abs(rng.normal(0, 6, SHAPE))).astype(np.uint16)
    np.savez(folder / f"{name}.npz", ct=ct, mr=mr, spacing_zyx=SPACING)
    return ct


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Three pairs, an image of each that is 25 HU too high, and an untrained network."""
    home = tmp_path_factory.mktemp("synct")
    (home / "pairs").mkdir()
    (home / "made").mkdir()
    for seed, name in enumerate("abc"):
        ct = write_pair(home / "pairs", name, seed)
        write_volume(
            Image(Grid.axial(SHAPE, SPACING, (0.0, 0.0, 0.0)), ct + 25.0), home / "made" / f"{name}.nii.gz"
        )
    torch.manual_seed(1)
    mr = InputSpec(name="mr", kind="mr", normalise="unit_body", roles=("T1w", "MR"))
    card = Card(
        name="untrained",
        task="synct",
        site="limb",
        network=NetworkSpec(channels=(4, 8)),
        inputs=(mr, InputSpec(name="body", kind="body")),
        outputs=(OutputSpec(name="hu", unit="HU", clip=(-1024, 3071)),),
        spacing_zyx_mm=SPACING,
        patch_zyx=(8, 24, 24),
        training=TrainingSpec(data=("none",), seed=1, hours=0.0, steps=0, hardware="test"),
    )
    save_model(home / "net", card, network_of(card.network, card.inputs, card.outputs).state_dict())
    (home / "folds.toml").write_text(
        'schema = 1\nof = "pairs"\nseed = 1\n[fold]\n1 = ["a", "c"]\n2 = ["b"]\n'
    )
    return home


def test_images_that_are_25_hu_too_high_score_25_in_every_mask(place, tmp_path, capsys):
    code = call(
        "evaluate", "synct", "--data", place / "pairs", "--images", place / "made", "--only", "a,b",
        "--save", tmp_path / "out", "--json", "--quiet", "--threads", 1,
    )  # fmt: skip
    assert code == 0
    said = json.loads(capsys.readouterr().out)
    found = {(f["metric"], f["model"]): f for f in said["findings"]}
    for mask in ("MAE", "MAE intersection", "MAE ct_body", "MAE union", "ME", "MAE bone", "ME soft"):
        assert found[f"{mask}, median", "made"]["value"] == pytest.approx(25.0)
    assert found["PSNR, mean", "made"]["value"] == pytest.approx(20 * np.log10(4095 / 25))
    assert found["Dice bone, mean", "made"]["value"] == 1.0
    assert found["MAE, mean", "lookup"]["value"] > 5.0
    assert set(said["cases"]) == {"a", "b"}
    assert said["cases"]["a"]["lookup"]["MAE"] > 5.0
    kept = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert kept["cases"] == said["cases"]


def test_each_fold_is_scored_by_its_own_network(place, capsys):
    net = place / "net" / "model.toml"
    folds = ("--data", place / "pairs", "--folds", place / "folds.toml", "--threads", 1)
    assert call("evaluate", "synct", *folds, "--fold", 1, "--model", net, "--json", "--quiet") == 0
    assert set(json.loads(capsys.readouterr().out)["cases"]) == {"a", "c"}
    assert call("evaluate", "synct", *folds, "--model", net, "--model", net, "--style", "synthrad2023") == 0
    seen = capsys.readouterr()
    assert "untrained + untrained" in seen.out
    assert "better than lookup" in seen.out
    assert [line.split(":")[0].strip() for line in seen.err.splitlines()] == ["a", "c", "b"]


def test_a_ct_that_lies_beside_its_mr_is_laid_on_it_when_asked(place, tmp_path, capsys):
    """An image that lies on the MR is wrong against a CT 9 mm to its side, and right when that is moved."""
    (tmp_path / "pairs").mkdir()
    (tmp_path / "made").mkdir()
    for seed, name in enumerate("ab"):
        ct = write_pair(tmp_path / "pairs", name, seed)
        with np.load(tmp_path / "pairs" / f"{name}.npz") as file:
            mr = file["mr"]
        moved = np.roll(ct, 3, axis=2)
        np.savez(tmp_path / "pairs" / f"{name}.npz", ct=moved, mr=mr, spacing_zyx=SPACING)
        grid = Grid.axial(SHAPE, SPACING, (0.0, 0.0, 0.0))
        write_volume(Image(grid, ct.astype(float)), tmp_path / "made" / f"{name}.nii.gz")
    errors = {}
    for align in ((), ("--align",)):
        order = ("--data", tmp_path / "pairs", "--images", tmp_path / "made", "--json", "--quiet", *align)
        assert call("evaluate", "synct", *order) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["aligned"] is bool(align)
        assert all(f["detail"]["aligned"] is bool(align) for f in said["findings"])
        errors[bool(align)] = said["cases"]["a"]["figures"]["MAE"]
    assert errors[True] < 0.3 * errors[False]


def test_contradictions_are_refused(place, capsys):
    base = ("evaluate", "synct", "--data", place / "pairs")
    net = place / "net" / "model.toml"
    cases = {
        "There is no style": ("--style", "brain"),
        "as many --model": ("--folds", place / "folds.toml", "--model", net),
        "leave --only": ("--folds", place / "folds.toml", "--fold", 1, "--only", "a", "--model", net),
        "need the file of --folds": ("--fold", 1, "--model", net),
        "no synthetic CT of this case": ("--images", place / "pairs"),
        "not in the folder": ("--only", "z", "--model", net),
    }
    for words, more in cases.items():
        assert call(*base, *more, "--quiet") == 1
        assert words in capsys.readouterr().err
