"""rtplan predict-dose: an RTDOSE that says it is predicted, goals and risk; refusals write nothing."""

import json
import re
import shutil

import numpy as np
import pydicom
import pytest

from rtplan import cli
from rtplan.case.boost_error import NTCP_FIGURE
from rtplan.case.predict_dose import demand_free
from rtplan.domain import Grid, Image, Mask, Patient, Structure
from rtplan.domain.nomenclature import kind_of
from rtplan.errors import OutputError
from rtplan.io import rtdose
from rtplan.io.patient_write import write_patient
from rtplan.learning.boost_familiar import FILE
from rtplan.learning.boost_settings import BoostSettings
from rtplan.learning.card import Figure
from rtplan.learning.run import begin, finish, keep
from rtplan.learning.zoo import load_model, save_card

GRID = Grid.axial((32, 60, 80), (4.0, 3.0, 3.0), (-118.5, -88.5, -62.0), "1.2.3")
X, Y, Z = np.moveaxis(GRID.to_patient(np.stack(np.indices(GRID.shape), axis=-1)), -1, 0)
REGIONS = {
    "External": (X / 108) ** 2 + (Y / 78) ** 2 < 1,
    "PTVp_7700": X**2 + Y**2 + Z**2 < 20**2,
    "GTVp": (X - 6) ** 2 + (Y + 5) ** 2 + Z**2 < 8**2,
    "Rectum": (X**2 + (Y - 30) ** 2 < 11**2) & (np.abs(Z) < 45),
    "Bladder": X**2 + Y**2 + (Z - 36) ** 2 < 15**2,
}


def write(place, *without):
    hu = np.where(REGIONS["External"], 20.0, -1000.0)
    made = Patient(images={"CT": Image(GRID, hu)})
    names = [name for name in REGIONS if name not in without]
    write_patient(
        made.with_structures(*(Structure(n, kind_of(n), Mask(GRID, REGIONS[n])) for n in names)), place
    )
    return place


def leave(*arguments):
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return left.value.code


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network of a few weights that has learned nothing: it answers with the open fields, about."""
    out = tmp_path_factory.mktemp("model") / "boost"
    told = {
        "schema": 1,
        "name": "tiny_boost",
        "task": "dose",
        "site": "prostate",
        "network": {"name": "folded_unet", "channels": (4, 8), "norm": "group", "stem": (2, 2, 2)},
        "spacing_zyx_mm": (4.0, 4.0, 4.0),
        "patch_zyx": (16, 24, 32),
        "data": [{"cohort": "train", "seed": 1, "patients": 1}],
        "optimise": {"steps": 1},
    }
    out.mkdir()
    run = begin(BoostSettings.model_validate(told), out)
    for parameter in run.ema.head[-1].parameters():
        parameter.data.zero_()
    keep(run, [{"l1": 0.0}], 1.0)
    made = finish(run)
    card = load_model(str(made)).card
    named = NTCP_FIGURE.format(model="rectum_bleeding_g2_quantec2010")
    stated = Figure(metric=named, data="two pelves", value=8.4, interval95=(8.0, 9.0), n=2)
    save_card(out, card.model_copy(update={"figure": (stated,)}))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("in") / "patient")


def call(folder, model, out, *more):
    return (
        "predict-dose",
        folder,
        "--protocol",
        "prostate_boost_flame",
        "--model",
        model,
        "--out",
        out,
        *more,
    )


def test_the_dose_says_that_it_is_predicted_and_lies_in_the_body(
    folder, model, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("rtplan.case.boost_sweep.STOPS", 3)
    out = tmp_path / "new" / "RD.dcm"
    assert leave(*call(folder, model, out, "--risk", "--sweep", "--json", "--quiet")) == 0
    told = json.loads(capsys.readouterr().out)
    header = pydicom.dcmread(out)
    assert header.DoseSummationType == "PREDICTED"
    assert "ReferencedRTPlanSequence" not in header
    assert "predicted" in header.SeriesDescription
    assert "NOT PLANNED" in header.ImageComments
    assert "tiny_boost" in header.ImageComments
    dose = rtdose.read(out).dose
    assert dose.fractions == 35
    assert dose.kind == "physical"
    points = np.rint(GRID.to_index(dose.grid.to_patient(np.argwhere(dose.array > 0)))).astype(int)
    assert (np.abs(points - np.clip(points, 0, np.array(GRID.shape) - 1)) <= 1).all()
    found = {(f["structure"], f["metric"]): f for f in told["findings"]}
    assert found["PTVp_7700", "D50%[Gy]"]["value"] == pytest.approx(77.0, abs=1.5)
    assert found["Rectum", "NTCP"]["value"] > 0.0
    assert found["Rectum", "V50Gy[%]@EQD2(3)"]["limit"] == "< 50"
    assert all(f["detail"]["dose"] == "predicted, not planned" for f in told["findings"])
    assert any(n["code"] == "DOSE_PREDICTED" for n in told["notices"])
    assert [s["own"] for s in told["sweep"]].count(True) == 1
    medians = [s["gtv_gy"]["D50%"] for s in told["sweep"]]
    assert medians[0] + 5.0 < medians[1] < medians[2] - 5.0  # 77, 87.4 and 95 Gy prescribed
    page = (out.parent / "RD_sweep.html").read_text()
    assert page.count('type="radio"') == len(told["sweep"]) == page.count("<img ")
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="https?:', page)
    assert "Predicted, not planned" in page
    assert "errs by 8.4 percentage points of NTCP (rectum_bleeding_g2_quantec2010) on average" in page
    assert page.count(" points: ") == len(told["sweep"]) - 1  # beside each risk but the protocol's own
    assert sorted(path.name for path in out.parent.iterdir()) == ["RD.dcm", "RD_sweep.html"]


def test_what_is_told_on_the_terminal(folder, model, tmp_path, capsys):
    out = tmp_path / "RD.dcm"
    assert leave(*call(folder, model, out, "--beams", "9", "--no-mirror", "--quiet")) == 0
    said = capsys.readouterr()
    assert "PREDICTED, NOT PLANNED" in said.out
    assert "NTCP" not in said.out
    assert "no plan gives it" in said.err
    assert leave(*call(folder, model, out, "--quiet")) == 1
    assert "there already" in capsys.readouterr().err
    before = out.read_bytes()
    assert leave(*call(folder, model, out, "--overwrite", "--quiet")) == 0
    assert out.read_bytes() != before  # seven fields now, mirrored


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--protocol", "prostate_chhip_60gy"), "20"),
        (("--protocol", "headneck_openkbp"), "prostate"),
        (("--beams", "5"), "7 and 9 fields"),
        (("--model", "dose_openkbp"), "head_and_neck"),
        (("--out", "dose.nii.gz"), ".dcm"),
    ],
)
def test_what_the_network_has_not_seen_is_refused(
    folder, model, tmp_path, capsys, monkeypatch, change, words
):
    monkeypatch.chdir(tmp_path)
    assert leave(*call(folder, model, "RD.dcm", *change, "--quiet")) == 1
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("refuse", [False, True])
def test_a_pelvis_unlike_those_learned_is_warned_of_or_refused(folder, model, tmp_path, capsys, refuse):
    place = shutil.copytree(model.parent, tmp_path / "model")
    sha256 = load_model(str(place / "model.toml")).sha256
    limit = 1.0 if refuse else 1e6
    (place / FILE).write_text(
        f'schema = 1\nmodel = "tiny"\nweights_sha256 = "{sha256}"\ndata = "one"\ndate = "2026-11-24"\n'
        'script = "tests"\n[familiar]\nnames = ["Rectum back"]\nmean = [-90.0]\nsd = [5.0]\n'
        f"precision = [[1.0]]\nwarn = 1.0\nrefuse = {limit}\npatients = 2\n",
        encoding="utf-8",
    )
    out = tmp_path / "out" / "RD.dcm"
    assert leave(*call(folder, place / "model.toml", out)) == int(refuse)
    said = capsys.readouterr()
    assert "Rectum back" in " ".join((said.out + said.err).split())
    assert out.exists() is not refuse


@pytest.mark.parametrize("name", ["PTVp_7700", "GTVp", "Rectum"])
def test_a_patient_without_targets_is_refused(model, tmp_path, capsys, name):
    place = write(tmp_path / "in", name)
    assert leave(*call(place, model, tmp_path / "out" / "RD.dcm", "--quiet")) == 1
    assert name in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_protocol_with_two_prescriptions_for_one_target_is_refused(folder, model, tmp_path, capsys):
    from rtplan import resources

    text = resources.find("protocols", "prostate_boost_flame").read_text(encoding="utf-8")
    twice = text + '\n[[prescription]]\ntarget = "GTVp"\ndose_gy = 90.0\nto = "up_to"\n'
    path = tmp_path / "twice.toml"
    path.write_text(twice, encoding="utf-8")
    assert leave(*call(folder, model, tmp_path / "RD.dcm", "--protocol", path, "--quiet")) == 1
    assert "GTVp" in capsys.readouterr().err
    assert not (tmp_path / "RD.dcm").exists()


def test_the_page_of_an_earlier_sweep_is_not_overwritten_unasked(tmp_path):
    (tmp_path / "RD_sweep.html").write_text("an earlier one", encoding="utf-8")
    demand_free(tmp_path / "RD.dcm", overwrite=False)
    demand_free(tmp_path / "RD.dcm", overwrite=True, page=True)
    with pytest.raises(OutputError, match="there already"):
        demand_free(tmp_path / "RD.dcm", overwrite=False, page=True)
