"""rtplan train, synct and models: from settings to weights to a synthetic CT file, and the refusals."""

import json

import numpy as np
import pytest

from rtplan import cli
from rtplan.io.nifti import read_volume, write_volume

SETTINGS = """
schema = 1
name = "tiny"
site = "pelvis"
network = {channels = [4, 8]}
inputs = [
    {name = "mr", kind = "mr", normalise = "zscore_body", roles = ["T1w", "MR"]},
    {name = "body", kind = "body"},
]
outputs = [{name = "hu", unit = "HU", clip = [-1024, 3071]}]
spacing_zyx_mm = [4.0, 4.0, 4.0]
patch_zyx = [8, 24, 24]
[[data]]
kind = "npz"
folder = "PAIRS"
roles = ["T1w"]
exclude = ["b"]
[[validation]]
kind = "npz"
folder = "PAIRS"
roles = ["T1w"]
only = ["b"]
[optimise]
steps = 4
validate_every = 2
"""


def leave(*arguments):
    with pytest.raises(SystemExit) as left:
        cli.main([str(a) for a in arguments])
    return left.value.code


def pair(seed):
    """Return the arrays of a small round body with a bone."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-20:20, -24:24] * 3.0
    r, bone = np.hypot(y / 50, x / 60), np.hypot(y, x - 20) < 12
    ct = np.where(r < 1, 40, -1000) + np.where(bone, 500, 0)
    mr = np.where(r < 1, 300, 0) - np.where(bone, 220, 0) + np.where((r < 1) & (r > 0.8), 250, 0)
    ct, mr = (np.repeat(a[None], 12, axis=0) for a in (ct, mr))
    noise = np.abs(rng.normal(0, 6, mr.shape))
    return ct.astype(np.int16), (mr + noise).astype(np.uint16)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train a tiny network through the command line; return its folder."""
    place = tmp_path_factory.mktemp("train")
    (place / "pairs").mkdir()
    for seed, name in enumerate(("a", "b")):
        ct, mr = pair(seed)
        np.savez(place / "pairs" / f"{name}.npz", ct=ct, mr=mr, spacing_zyx=np.array([4.0, 3.0, 3.0]))
    settings = place / "train.toml"
    settings.write_text(SETTINGS.replace("PAIRS", (place / "pairs").as_posix()))
    assert leave("train", settings, "--out", place / "out", "--quiet") == 0
    assert leave("train", settings, "--out", place / "out", "--quiet") == 1
    assert leave("train", settings, "--out", place / "out", "--quiet", "--resume") == 0
    assert (place / "out" / "log.csv").read_text().count("\n") == 3
    assert len(list((place / "out" / "cache").rglob("*.npz"))) == 2
    return place


def test_a_file_in_a_file_out_on_the_mrs_grid(trained, tiny, capsys):
    mr = tiny().images["T2w"]
    write_volume(mr, trained / "mr.nii.gz")
    model = trained / "out" / "model.toml"
    order = ("synct", trained / "mr.nii.gz", "--out", trained / "ct.mha", "--model", model, "--json")
    assert leave(*order) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["findings"] == []
    assert said["model"]["name"] == "tiny"
    ct = read_volume(trained / "ct.mha", kind="CT")
    assert ct.grid.same_as(read_volume(trained / "mr.nii.gz").grid, 1e-3)
    assert ct.array.min() == -1024
    assert leave(*order) == 1
    assert "there already" in capsys.readouterr().err


def test_a_dicom_folder_in_and_out(trained, tiny):
    from rtplan.domain import Patient
    from rtplan.io.image import read_series
    from rtplan.io.image_write import write_series

    image = tiny().images["T2w"]
    write_series(image, trained / "dicom", Patient().identity, description="t1 tse")
    model = trained / "out" / "model.toml"
    assert leave("synct", trained / "dicom", "--out", trained / "made", "--model", model) == 0
    made, mr = read_series(trained / "made"), read_series(trained / "dicom")
    assert made.modality == "CT"
    assert made.grid.same_as(mr.grid)
    assert made.grid.frame_of_reference == mr.grid.frame_of_reference


def test_a_wrong_hash_is_refused(trained, tiny, capsys):
    write_volume(tiny().images["T2w"], trained / "mr2.nii.gz")
    copy = trained / "bad"
    copy.mkdir()
    text = (trained / "out" / "model.toml").read_text()
    (copy / "model.toml").write_text(text.replace('sha256 = "', 'sha256 = "0'))
    (copy / "weights.safetensors").write_bytes((trained / "out" / "weights.safetensors").read_bytes())
    order = ("synct", trained / "mr2.nii.gz", "--out", trained / "x.mha", "--model", copy / "model.toml")
    assert leave(*order) == 1
    assert "SHA-256" in capsys.readouterr().err
    assert not (trained / "x.mha").exists()


def test_the_shelf_is_listed_and_shown(capsys):
    assert leave("models", "--json") == 0
    listed = json.loads(capsys.readouterr().out)["models"]
    assert set(listed) == {"networks", "ntcp", "tcp", "beams", "curves", "machines", "spacer", "kernels"}
    assert "synct_mr_pelvis" in listed["networks"]
    assert leave("models", "networks", "show", "synct_mr_pelvis") == 0
    assert "Intended use" in capsys.readouterr().out
    assert leave("models", "nosuch") == 2
    assert leave("models", "show", "nosuch") == 1
    assert "synct_mr_pelvis" in capsys.readouterr().err


def test_a_fingerprint_becomes_settings_that_train(tmp_path, capsys):
    (tmp_path / "pairs").mkdir()
    for seed, name in enumerate("ab"):
        ct, mr = pair(seed)
        np.savez(tmp_path / "pairs" / f"{name}.npz", ct=ct, mr=mr, spacing_zyx=[4.0, 3.0, 3.0])
    out = tmp_path / "plan" / "train.toml"
    assert leave("fingerprint", tmp_path / "pairs", "--out", out, "--memory", 1, "--quiet") == 0
    text = out.read_text()
    assert text.startswith("# Planned from 2 pairs")
    out.write_text(text.replace("steps = 20000", "steps = 1"))
    assert leave("train", out, "--out", tmp_path / "net", "--quiet", "--threads", 1) == 0
    assert (tmp_path / "net" / "weights.safetensors").is_file()
    assert leave("fingerprint", tmp_path / "pairs", "--out", out) == 1
    assert "there already" in capsys.readouterr().err
