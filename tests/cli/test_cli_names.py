"""rtplan names, and --names of the commands that read structures."""

import json

import numpy as np
import pydicom
import pytest

from rtplan.cli import _run
from rtplan.domain import Dose, Grid, Identity, Image, Mask, Structure
from rtplan.io import rtdose, rtstruct
from rtplan.io.nifti import write_volume


@pytest.fixture
def folder(tmp_path):
    grid = Grid.axial((12, 20, 20), (3.0, 2.0, 2.0), (-20.0, -20.0, -20.0), "2.25.7")
    inner = np.zeros(grid.shape, bool)
    inner[3:9, 5:15, 5:15] = True
    listed = [Structure(name, "ORGAN", Mask(grid, inner)) for name in ("Rektum", "Knie")]
    listed.append(Structure("PTV alt", "PTV", Mask(grid, inner)))
    image = Image(grid, np.zeros(grid.shape), "CT")
    rtstruct.write(listed, tmp_path / "in" / "rs.dcm", image=image, identity=Identity("P"))
    write_volume(Dose(grid, np.full(grid.shape, 30.0)), tmp_path / "dose.mha")
    (tmp_path / "map.toml").write_text('[names]\n"PTV alt" = "PTVp_6000"\n', encoding="utf-8")
    return tmp_path


def said(capsys, *words):
    assert _run([str(word) for word in words], debug=True) == 0
    return capsys.readouterr().out


def test_the_draft_is_printed_or_written_once(folder, capsys):
    printed = said(capsys, "names", folder / "in")
    assert '"Rektum" = "Rectum"' in printed
    assert '# "PTV alt" = "PTV"' in printed
    out = folder / "names.toml"
    assert "1 mapped, 1 targets to name, 1 not known" in said(capsys, "names", folder / "in", "--out", out)
    assert out.read_text(encoding="utf-8") == printed
    assert _run(["names", str(folder / "in"), "--out", str(out)], debug=False) == 1
    assert "there already" in capsys.readouterr().err
    mapped = json.loads(said(capsys, "names", folder / "in", "--names", folder / "map.toml", "--json"))[
        "names"
    ]
    assert {"PTVp_6000", "Rectum"} <= {line["tg263"] for line in mapped}


def test_dvh_takes_names_of_the_file_and_of_the_map(folder, capsys):
    common = (
        "dvh",
        "--dose",
        folder / "dose.mha",
        "--structures",
        folder / "in" / "rs.dcm",
        "--metric",
        "Mean[Gy]",
    )
    plain = json.loads(said(capsys, *common, "--structure", "Rektum", "--json"))["findings"]
    assert [(f["structure"], round(f["value"], 3)) for f in plain] == [("Rektum", 30.0)]
    mapped = (*common, "--names", folder / "map.toml")
    for name in ("PTVp_6000", "PTV alt"):
        (found,) = json.loads(said(capsys, *mapped, "--structure", name, "--json"))["findings"]
        assert found["structure"] == "PTVp_6000"
    goals = json.loads(
        said(capsys, *mapped, "--protocol", "prostate_chhip_60gy", "--fractions", "20", "--json")
    )["findings"]
    values = {f["structure"] for f in goals if f["value"] is not None}
    assert {"Rectum", "PTVp_6000"} <= values


def test_check_takes_a_map(folder, capsys):
    def kept(*more):
        _run(["check", str(folder / "in"), "--json", *more], debug=True)
        notices = json.loads(capsys.readouterr().out)["notices"]
        return {n["where"]["structure"] for n in notices if n["code"] == "NAME_KEPT"}

    assert kept() == {"PTV alt"}
    assert kept("--names", str(folder / "map.toml")) == set()


@pytest.mark.parametrize(("summation", "warned"), [("PLAN", False), ("BEAM", True)])
def test_dvh_says_when_the_dose_is_of_a_part_of_a_plan(folder, capsys, summation, warned):
    done = rtdose.write(
        Dose(
            Grid.axial((12, 20, 20), (3.0, 2.0, 2.0), (-20.0, -20.0, -20.0), "2.25.7"),
            np.full((12, 20, 20), 9.0),
        ),
        folder / "rd.dcm",
        identity=Identity("P"),
        plan_uid="2.25.9",
    )
    ds = pydicom.dcmread(done.path)
    ds.DoseSummationType = summation
    ds.save_as(done.path)
    words = ("dvh", "--dose", done.path, "--structures", folder / "in" / "rs.dcm", "--structure", "Rektum")
    assert _run([str(word) for word in words], debug=True) == 0
    assert ("not the dose of a whole plan" in capsys.readouterr().err) == warned
