"""rtplan train and rtplan evaluate openkbp, end to end on tiny patients in the challenge's own files."""

import csv
import json

import numpy as np
import pytest

from rtplan.cli import main

EDGE = 128
START = (50, 52, 60)
ROIS = (
    "Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Esophagus", "Larynx", "Mandible",
    "PTV56", "PTV63", "PTV70",
)  # fmt: skip

SETTINGS = """
schema = 1
name = "tiny_dose"
task = "dose"
site = "head_and_neck"
network = {{name = "folded_unet", channels = [4, 8], stem = [2, 2, 2]}}
spacing_zyx_mm = [2.5, 4.0, 4.0]
patch_zyx = [4, 4, 4]
[[data]]
folder = "{folder}"
hold_out_every = 2
[limits]
spacing_zyx_mm_min = [2.0, 3.0, 3.0]
spacing_zyx_mm_max = [3.0, 5.0, 5.0]
[optimise]
steps = 4
validate_every = 2
"""


def call(*arguments):
    with pytest.raises(SystemExit) as leave:
        main([str(argument) for argument in arguments])
    return leave.value.code


def write_patient(path, seed, rois=("SpinalCord", "LeftParotid", "PTV56", "PTV70")):
    """One tiny patient [posterior, left, inferior]: balls in a cylinder."""
    rng = np.random.default_rng(seed)
    i, j, k = np.indices((20, 24, 12))
    body = np.hypot((i - 9.5) / 9.0, (j - 11.5) / 11.0) < 1.0
    labels = np.zeros(body.shape, np.uint16)
    dose = np.zeros(body.shape)
    for name in rois:
        at = rng.uniform((6, 7, 4), (14, 17, 8))
        ball = (np.sqrt((i - at[0]) ** 2 + (j - at[1]) ** 2 + (k - at[2]) ** 2) < 3.2) & body
        labels[ball] |= 1 << ROIS.index(name)
        if name.startswith("PTV"):
            dose[ball] = np.maximum(dose[ball], float(name[3:]))
    labels[body] |= 1 << 15
    dose = np.where(body, dose + rng.uniform(0, 5, body.shape), 0.0)
    np.savez(
        path,
        ct=np.where(body, 1050, 0).astype(np.int16),
        labels=labels,
        dose=dose.astype(np.float16),
        origin_index=np.array(START, np.int16),
        shape=np.array([EDGE] * 3, np.int16),
        voxel_mm=np.array([4.0, 4.0, 2.5], np.float32),
        rois=np.array(ROIS),
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Four patients, and a network that has hardly learned from two of them."""
    home = tmp_path_factory.mktemp("evaluate")
    (home / "data").mkdir()
    for number in (1, 2, 3, 4):
        write_patient(home / "data" / f"pt_{number}.npz", number)
    settings = home / "train.toml"
    settings.write_text(SETTINGS.format(folder=home / "data"))
    assert call("train", settings, "--out", home / "run", "--threads", 1, "--quiet") == 0
    return home


def test_the_scores_are_those_of_the_saved_doses(model, tmp_path, capsys):
    """Read the CSV as the challenge would, and score them with plain code."""
    out = tmp_path / "saved"
    code = call(
        "evaluate", "openkbp", "--data", model / "data", "--model", model / "run" / "model.toml",
        "--tta", "--save", out, "--json", "--quiet", "--threads", 1,
    )  # fmt: skip
    assert code == 0
    said = json.loads(capsys.readouterr().out)
    assert said["n"] == 4
    errors, pooled = [], []
    for number in (1, 2, 3, 4):
        with np.load(model / "data" / f"pt_{number}.npz") as file:
            labels, dose = file["labels"], file["dose"].astype(float)
        predicted = np.zeros((EDGE,) * 3)
        with (out / "doses" / f"pt_{number}.csv").open() as stream:
            for index, value in list(csv.reader(stream))[1:]:
                predicted.flat[int(index)] = float(value)
        box = tuple(slice(a, a + n) for a, n in zip(START, dose.shape, strict=True))
        whole = np.zeros((EDGE,) * 3)
        whole[box] = dose
        errors.append(np.abs(whole - predicted).sum() / ((labels >> 15) & 1).sum())
        inside = predicted[box]
        for bit, name in enumerate(ROIS):
            mask = (labels >> bit) & 1 == 1
            if not mask.any():
                continue
            shares = (1, 5, 99) if name.startswith("PTV") else (100 - 100 * 2 / mask.sum(),)
            pooled += [abs(np.percentile(inside[mask], s) - np.percentile(dose[mask], s)) for s in shares]
            if not name.startswith("PTV"):
                pooled.append(abs(inside[mask].mean() - dose[mask].mean()))
    assert said["dose_score"] == pytest.approx(np.mean(errors), abs=1e-3)
    assert said["dvh_score"] == pytest.approx(np.mean(pooled), abs=1e-3)
    assert said["findings"][0]["value"] == said["dose_score"]
    low, high = said["findings"][0]["interval95"]
    assert low < said["dose_score"] < high
    assert said["seconds_per_patient"] > 0.0
    assert set(said["per_metric"]) == {
        f"{metric} {roi}" for roi in ("SpinalCord", "LeftParotid") for metric in ("D_0.1_cc", "mean")
    } | {f"{metric} {roi}" for roi in ("PTV56", "PTV70") for metric in ("D_99", "D_95", "D_1")}
    kept = json.loads((out / "scores.json").read_text())
    assert kept["dose_score"] == said["dose_score"]
    assert set(kept["patients"]) == {"pt_1", "pt_2", "pt_3", "pt_4"}
    for name in ("errors.png", "worst.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")


def test_the_words_name_both_scores(model, capsys):
    arguments = ("--model", model / "run" / "model.toml", "--threads", 1)
    assert call("evaluate", "openkbp", "--data", model / "data", *arguments) == 0
    seen = capsys.readouterr()
    assert "OpenKBP dose score" in seen.out
    assert "OpenKBP DVH score" in seen.out
    assert "predicted, not planned" in seen.out
    assert "pt_1" in seen.err


def test_what_cannot_be_evaluated_is_refused_and_leaves_nothing(model, tmp_path, capsys):
    card = model / "run" / "model.toml"
    assert call("evaluate", "brain", "--data", model / "data", "--model", card) == 2
    assert "No such command" in capsys.readouterr().err
    assert call("evaluate", "openkbp", "--data", tmp_path, "--model", card) == 1
    assert "no OpenKBP patient" in capsys.readouterr().err
    data = tmp_path / "data"
    data.mkdir()
    write_patient(data / "pt_5.npz", 5)
    write_patient(data / "pt_6.npz", 6, rois=("PTV70",))  # no organ: another site for all one knows
    out = tmp_path / "out"
    assert call("evaluate", "openkbp", "--data", data, "--model", card, "--save", out, "--threads", 1) == 1
    assert "organs" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    assert call("evaluate", "openkbp", "--data", data, "--model", "synct_mr_pelvis", "--threads", 1) == 1
    assert "synct" in capsys.readouterr().err
