"""rtplan dvh, outcome, protocols: from files to findings, and their exit codes."""

import json

import numpy as np
import pytest

from rtplan import resources
from rtplan.cli import _run
from rtplan.domain import Dose, Grid, Mask, Structure
from rtplan.dosimetry.protocol import load_protocol
from rtplan.io.nifti import write_labels, write_volume


@pytest.fixture
def files(tmp_path):
    grid = Grid.axial((20, 24, 24), (2.0, 2.0, 2.0), (-20.0, -20.0, -20.0))
    inner = np.zeros(grid.shape, bool)
    inner[6:14, 6:16, 6:16] = True
    dose, labels = tmp_path / "dose.nii.gz", tmp_path / "labels.nii.gz"
    write_volume(Dose(grid, np.broadcast_to(np.linspace(20.0, 66.0, 24), grid.shape)), dose)
    write_labels([Structure("Rectum", "ORGAN", Mask(grid, inner))], grid, labels)
    return dose, labels, tmp_path


def findings(capsys, *words):
    assert _run([str(word) for word in words], debug=True) == 0
    return json.loads(capsys.readouterr().out)


def test_dvh_then_outcome_by_table_and_by_dose(files, capsys):
    dose, labels, folder = files
    common = ("--dose", dose, "--structures", labels, "--structure", "Rectum")
    out = folder / "rectum.csv"
    said = findings(
        capsys,
        "dvh",
        *common,
        "--metric",
        "Mean[Gy]",
        "--metric",
        "V95%[%]",
        "--rx",
        60,
        "--out",
        out,
        "--json",
    )
    mean, coverage = said["findings"]
    assert mean["value"] == pytest.approx(41.0, abs=0.01)
    assert mean["error_bound"] < 0.1
    assert coverage["value"] == 0.0
    assert said["settings"]["interpolation"] == "cubic"
    model = ("--model", "rectum_bleeding_g2_quantec2010", "--fractions", 20, "--samples", 64, "--json")
    table = findings(capsys, "outcome", "--dvh", out, *model)["findings"][0]
    direct = findings(capsys, "outcome", *common, *model)["findings"][0]
    assert table["value"] == pytest.approx(direct["value"], abs=2e-5)
    assert table["detail"]["alpha_beta_gy"] == 3.0
    assert table["interval95"][0] < table["value"] < table["interval95"][1]


def test_refusals(files, capsys):
    dose, labels, folder = files
    common = ["--dose", str(dose), "--structures", str(labels)]
    assert _run(["dvh", *common, "--metric", "D95[Gy]"], debug=False) == 1
    assert "character 4" in capsys.readouterr().err
    assert _run(["dvh", *common, "--structure", "Bladder"], debug=False) == 1
    assert "Known: Rectum" in capsys.readouterr().err
    model = ["--model", "bladder_contracture_burman1991", "--fractions", "20"]
    assert _run(["outcome", *common, "--structure", "Rectum", *model], debug=False) == 1
    assert "is for Bladder" in capsys.readouterr().err
    table = folder / "bad.csv"
    table.write_text("# type: cumulative\ndose_gy,volume_cc\n0,10\n10,12\n20,0\n", encoding="utf-8")
    assert _run(["outcome", "--dvh", str(table), *model], debug=False) == 1
    assert "rises" in capsys.readouterr().err
    table.write_text("dose_gy,volume_cc\n0,10\n10,0\n", encoding="utf-8")
    assert _run(["outcome", "--dvh", str(table), *model], debug=False) == 1
    assert _run(["outcome", *model], debug=False) == 2


def test_goals_from_files(files, capsys):
    dose, labels, _ = files
    common = ("--dose", dose, "--structures", labels, "--protocol", "prostate_boost_flame")
    goals = findings(capsys, "dvh", *common, "--json")["findings"]
    rectum = [f for f in goals if f["structure"] == "Rectum" and f["limit"]]
    assert len(rectum) == 5
    assert all(f["verdict"] in ("met", "missed") for f in rectum)
    assert any(f["verdict"] == "not_evaluable" and f["structure"] == "Bladder" for f in goals)


def test_protocols(capsys):
    assert _run(["protocols"], debug=True) == 0
    assert "prostate_chhip_60gy" in capsys.readouterr().out
    assert _run(["protocols", "show", "prostate_pace_b"], debug=True) == 0
    assert "NOT VERIFIED" in capsys.readouterr().out
    assert _run(["protocols", "show", "nothing"], debug=False) == 1


@pytest.mark.parametrize("name", resources.names("protocols"))
def test_a_protocol_is_shown_whole_in_80_columns(name, capsys):
    assert _run(["protocols", "show", name], debug=True) == 0
    told = capsys.readouterr().out
    assert max(len(line) for line in told.splitlines()) <= 80
    flat = " ".join(told.split())
    protocol = load_protocol(name)
    for goal in protocol.goal:
        assert f"{goal.structure} {goal.metric} {goal.limit}" in flat
    for entry in (*protocol.prescription, *protocol.derive, *protocol.goal):
        assert (entry.source or "no source") in flat
    assert ("NOT VERIFIED" in flat) == (
        not all(e.verified for e in (*protocol.prescription, *protocol.derive, *protocol.goal))
    )
