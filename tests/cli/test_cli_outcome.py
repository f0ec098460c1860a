"""rtplan outcome as a user meets it: what is printed, what is refused, and with which word."""

import json
from pathlib import Path

import numpy as np
import pytest

from rtplan import resources
from rtplan.cli import _run
from rtplan.domain import Dose, Grid, Mask, Structure
from rtplan.dosimetry.outcome import ntcp
from rtplan.dosimetry.parameters import load_set
from rtplan.io.nifti import write_labels, write_volume

QUANTEC = ("--model", "rectum_bleeding_g2_quantec2010", "--samples", 64)
SETS = Path(__file__).parents[1] / "laws" / "sets"
DOSES = np.arange(0.0, 63.0, 0.5)
VOLUME = 100.0 * np.clip(1.0 - DOSES / 60.0, 0.0, 1.0) ** 1.5


@pytest.fixture
def export(tmp_path):
    rows = "\n".join(f"{100 * d:.1f}\t{v:.4f}" for d, v in zip(DOSES, VOLUME, strict=True))
    head = "#PatientName:Doe\n#PatientId:0815\n#Dosename:boost\n"
    path = tmp_path / "export.txt"
    blocks = [f"#RoiName:{n}\n#Unit: cGy\n{rows}\n" for n in ("Rektum", "Harnblase", "Parotis re")]
    path.write_text(head + "".join(blocks), encoding="latin-1")
    return path


@pytest.fixture
def files(tmp_path):
    grid = Grid.axial((20, 24, 24), (2.0, 2.0, 2.0), (-20.0, -20.0, -20.0))
    inner = np.zeros(grid.shape, bool)
    inner[6:14, 6:16, 12:20] = True
    labels = tmp_path / "labels.nii.gz"
    write_labels([Structure(n, "ORGAN", Mask(grid, inner)) for n in ("Rectum",)], grid, labels)
    for name, factor in (("dose", 1.0), ("ct", 0.99), ("boost", 0.7)):
        dose = Dose(grid, factor * np.broadcast_to(np.linspace(20.0, 66.0, 24), grid.shape))
        write_volume(dose, tmp_path / f"{name}.nii.gz")
    return tmp_path


def run(capsys, *words, code=0):
    found = _run(["outcome", *(str(word) for word in words)], debug=code == 0)
    said = capsys.readouterr()
    assert found == code, said.err
    return said


def findings(capsys, *words):
    return json.loads(run(capsys, *words, "--json").out)["findings"]


def test_says_which_dose_went_in_with_and_without_eqd2(export, capsys):
    said = run(capsys, "--dvh", export, *QUANTEC, "--fractions", 20)
    assert "EQD2 of each voxel, α/β = 3 Gy, 20 fractions (at most 2.99 Gy per fraction)" in said.out
    assert "Gy EQD2(3)" in said.out
    assert "verified; doi:10.1016/j.ijrobp.2009.03.078" in said.out
    assert "fitted at 1.8-2 Gy" in said.err
    off = run(capsys, "--dvh", export, *QUANTEC, "--fractions", 20, "--no-eqd2")
    assert "NOT converted to EQD2" in off.out
    assert "switched off" in off.err
    only = findings(capsys, "--dvh", export, *QUANTEC, "--fractions", 20)[0]
    assert only["dose_kind"] == "EQD2(3)"
    assert only["structure"] == "Rectum"
    detail = only["detail"]
    assert (detail["eqd2_used"], detail["alpha_beta_gy"], detail["fractions"]) == (True, 3.0, 20)
    mids, parts = 0.5 * (DOSES[1:] + DOSES[:-1]), -np.diff(VOLUME)
    truth = ntcp(load_set(QUANTEC[1]), (mids, parts), 20)
    assert only["value"] == pytest.approx(truth, abs=1e-5)
    assert "Doe" not in said.out + said.err


def test_what_is_unknown_or_of_another_organ_site_or_endpoint_is_refused(export, capsys):
    dvh = ("--dvh", export)
    refusals = [
        ((*dvh, *QUANTEC), "number of fractions is unknown"),
        ((*dvh, *QUANTEC, "--fractions", 20, "--structure", "Bladder"), "is for Rectum"),
        ((*dvh, *QUANTEC, "--fractions", 20, "--site", "head_and_neck"), "site prostate, not for head"),
        ((*dvh, *QUANTEC, "--fractions", 20, "--endpoint", "acute"), "not 'acute'"),
        ((*dvh, *QUANTEC, "--fractions", 20, "--structure", "Blob"), "Known: Harnblase (Bladder)"),
        ((*dvh, *QUANTEC, "--fractions", 20, "--factor", "smoker"), "knows no factor"),
        ((*dvh, "--model", "prostate_magic", "--fractions", 20), "rectum_bleeding_g2_quantec2010"),
        ((*dvh, "--model", "rectal_wall_bleeding_g2_soehn2007", "--fractions", 20), "Rectal_Wall"),
    ]
    for words, said in refusals:
        assert said in run(capsys, *words, code=1).err
    assert "0815" not in run(capsys, *dvh, *QUANTEC, code=1).err
    tucker = (*dvh, "--model", "rectum_late_g2_tucker2007")
    assert "number of fractions is unknown" in run(capsys, *tucker, code=1).err
    assert findings(capsys, *tucker, "--no-eqd2")[0]["detail"]["fractions"] is None
    assert findings(capsys, *dvh, *QUANTEC, "--fractions", 20, "--site", "Prostate")[0]["value"] > 0
    run(capsys, *dvh, *QUANTEC, "--fractions", 20, "--fractions", 5, code=2)
    run(capsys, *dvh, *QUANTEC, "--factor", "age=old", code=2)


def test_outside_its_population_a_set_warns(export, capsys):
    words = ("--dvh", export, "--model", "bladder_acute_urgency_mavroidis2018", "--fractions", 20)
    said = run(capsys, *words, "--site", "prostate")
    assert "fitted for the site prostate_bed, used for prostate" in said.err
    assert "after prostatectomy" in said.err
    assert "no published interval" in said.out
    inside = run(capsys, *words, "--site", "prostate_bed")
    assert "used for" not in inside.err
    unverified = run(capsys, "--dvh", export, "--model", "rectum_late_g2_tucker2007", "--fractions", 30)
    assert "NOT VERIFIED" in unverified.out
    assert "not verified against their paper" in unverified.err


def test_the_other_side_of_a_paired_organ_is_the_same_organ(export, capsys):
    words = ("--dvh", export, "--model", "parotid_flow_dijkema2010", "--fractions", 30)
    assert findings(capsys, *words, "--structure", "Parotid_R")[0]["structure"] == "Parotid_R"


def test_a_users_own_set_with_factors(export, capsys):
    text = (SETS / "logistic_geud_pneumonitis.toml").read_text(encoding="utf-8")
    own = export.parent / "own.toml"
    own.write_text(text.replace('"Lungs"', '"Rectum"'), encoding="utf-8")
    words = ("--dvh", export, "--model", own, "--fractions", 30)
    plain = findings(capsys, *words)[0]
    smoker = findings(capsys, *words, "--factor", "current_smoker")[0]
    neither = findings(capsys, *words, "--factor", "current_smoker=0")[0]
    odds = [f["value"] / (1 - f["value"]) for f in (plain, smoker)]
    assert odds[1] / odds[0] == pytest.approx(0.62)
    assert neither["value"] == plain["value"]
    assert smoker["detail"]["factors"] == {"current_smoker": 1.0}
    assert (plain["interval95"], smoker["interval95"] is None) == (None, False)
    shown = run(capsys, *words, "--factor", "current_smoker")
    assert "factors        current_smoker = 1" in shown.out
    assert "current_smoker 0.62 (95 % 0.4 to 0.95), NOT VERIFIED; pyCERR" in shown.out
    assert set(smoker["detail"]["odds_ratios"]) == {"current_smoker"}
    assert neither["detail"]["odds_ratios"] == {}


def test_a_comparison_gives_the_paired_difference_with_the_same_draws(files, capsys):
    common = ("--structures", files / "labels.nii.gz", *QUANTEC, "--fractions", 20)
    dose, ct = files / "dose.nii.gz", files / "ct.nii.gz"
    value, change = findings(capsys, "--dose", dose, *common, "--against", ct)
    base = findings(capsys, "--dose", ct, *common)[0]
    assert change["quantity"] == "difference"
    assert change["value"] == pytest.approx(value["value"] - base["value"], abs=1e-12)
    low, high = change["interval95"]
    assert low < change["value"] < high
    assert high - low < 0.2 * (value["interval95"][1] - value["interval95"][0])
    assert change["interval_method"].startswith("paired")
    assert "pp" in run(capsys, "--dose", dose, *common, "--against", ct).out


def test_tcp_is_shown_only_beside_a_reference(files, capsys):
    own = files / "tcp.toml"
    text = resources.find("models/tcp", "prostate_walsh2016").read_text(encoding="utf-8")
    own.write_text(text.replace('"Prostate"', '"Rectum"'), encoding="utf-8")
    common = ("--dose", files / "dose.nii.gz", "--structures", files / "labels.nii.gz", "--model", own,
              "--fractions", 20)  # fmt: skip
    alone = findings(capsys, *common)
    assert [f["value"] for f in alone] == [None]
    assert "only as its difference" in alone[0]["reason"]
    missing, change = findings(capsys, *common, "--against", files / "ct.nii.gz")
    assert missing["verdict"] == "not_evaluable"
    assert change["value"] > 0
    assert change["detail"]["ratio"] > 1
    assert change["verified"] is False


def test_a_course_above_the_range_of_the_lq_model_is_flagged(files, capsys):
    common = ("--structures", files / "labels.nii.gz", *QUANTEC)
    one = run(capsys, "--dose", files / "dose.nii.gz", *common, "--fractions", 5)
    assert "extrapolated above 6 Gy per fraction" in one.err
    two = ("--dose", files / "dose.nii.gz", "--dose", files / "boost.nii.gz", *common)
    said = run(capsys, *two, "--fractions", 30, "--fractions", 4)
    assert "course 2" in said.err
    assert "extrapolated above 6 Gy per fraction" in said.err
    assert "extrapolated" not in run(capsys, *two, "--fractions", 30, "--fractions", 20).err


def test_an_organ_that_the_dose_does_not_cover_is_not_evaluable(export, capsys):
    text = export.read_text(encoding="latin-1").replace(
        "#Unit", "#Roi volume fraction outside grid: 12%\n#Unit"
    )
    export.write_text(text, encoding="latin-1")
    only = findings(capsys, "--dvh", export, *QUANTEC, "--fractions", 20)[0]
    assert only["value"] is None
    assert "88 %" in only["reason"]
    assert "not evaluable" in run(capsys, "--dvh", export, *QUANTEC, "--fractions", 20).out


def test_a_table_in_percent_cannot_serve_a_model_of_cc(tmp_path, capsys):
    table = tmp_path / "p.csv"
    table.write_text("# type: differential\ndose_gy,volume_percent\n50,60\n60,40\n", encoding="utf-8")
    words = ("--dvh", table, "--fractions", 30)
    assert "in % of an unknown volume" in run(
        capsys, *words, "--model", "prostate_walsh2016", "--against", table, code=1
    ).err  # fmt: skip
    assert findings(capsys, *words, *QUANTEC)[0]["value"] > 0
