"""rtplan plan: DICOM in, a plan and the dose of the written plan out; refusals leave nothing behind."""

import json
from dataclasses import replace

import numpy as np
import pytest

from rtplan import cli
from rtplan.domain import Grid, Identity, Image, Mask, Patient, Structure
from rtplan.domain.nomenclature import kind_of
from rtplan.io import rtdose, rtplan, rtplan_delivery
from rtplan.io.patient_write import write_patient
from rtplan.planning.apertures import beams_of
from rtplan.planning.beam import load_beam
from rtplan.planning.density import load_curve
from rtplan.planning.engine import Engine

FLAME = ("--protocol", "prostate_boost_flame")
FAST = ("--beams", "5", "--grid", "5", "--climb", "0", "--quiet")
GRID = Grid.axial((30, 60, 80), (4.0, 3.0, 3.0), (-118.5, -88.5, -58.0), "1.2.3")
X, Y, Z = np.moveaxis(GRID.to_patient(np.stack(np.indices(GRID.shape), axis=-1)), -1, 0)
REGIONS = {
    "External": (X / 108) ** 2 + (Y / 78) ** 2 < 1,
    "PTVp_7700": X**2 + Y**2 + Z**2 < 20**2,
    "GTVp": (X - 6) ** 2 + (Y + 5) ** 2 + Z**2 < 8**2,
    "Rectum": (X**2 + (Y - 30) ** 2 < 11**2) & (np.abs(Z) < 45),
}


def patient(*names, **regions):
    hu = np.where(REGIONS["External"], 20.0, -1000.0)
    masks = {name: regions.get(name, REGIONS.get(name)) for name in (*REGIONS, *regions) if name not in names}
    made = Patient(images={"CT": Image(GRID, hu)})
    return made.with_structures(*(Structure(n, kind_of(n), Mask(GRID, m)) for n, m in masks.items()))


def leave(*arguments):
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return left.value.code


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("in") / "patient"
    write_patient(patient(), place)
    return place


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "plan"
    assert leave("plan", folder, *FLAME, *FAST[:4], "--climb", "2", "--out", out) == 0
    return out


def findings(out):
    return json.loads((out / "findings.json").read_text())["findings"]


def test_the_out_folder_holds_plan_dose_findings_and_report(done):
    assert {p.name for p in done.iterdir()} >= {
        "dicom",
        "dvh",
        "findings.json",
        "findings.csv",
        "notices.json",
        "manifest.json",
        "report.html",
        "report.pdf",
    }
    assert {p.name for p in (done / "dicom").iterdir()} >= {"RP.dcm", "RS.dcm", "RD_CT.dcm"}
    manifest = json.loads((done / "manifest.json").read_text())
    assert manifest["command"] == "plan"
    names = [step["name"] for step in manifest["steps"]]
    assert names == ["FindBody", "AddMargins", "OptimisePlan", "RaiseBoost", "DeliverPlan"]
    assert {"protocols/prostate_boost_flame.toml", "models/machines/generic_mlc120.toml"} <= {
        file["path"] for file in manifest["data_files"]
    }
    assert all("verified" in file for file in manifest["data_files"])


def test_the_reported_dose_is_that_of_the_written_plan(done):
    plan = rtplan_delivery.read(done / "dicom" / "RP.dcm")
    read = rtdose.read(done / "dicom" / "RD_CT.dcm")
    assert read.plan_uids == (plan.source_uid,)
    engine = Engine(load_beam("generic_6mv"), load_curve("matrad_default"))
    made = patient()
    body = made.structure("External").region
    beams = beams_of(plan, "generic_6mv", 6.0)
    again = engine.calculate(beams, [made.images["CT"]], body, read.dose.grid)[0]
    inside = again.array > 20.0
    np.testing.assert_allclose(again.array[inside], read.dose.array[inside], rtol=0.01)


def test_targets_limits_and_boost_are_told(done):
    found = {(f["structure"], f["metric"]): f for f in findings(done)}
    assert found["PTVp_7700", "D50%[Gy]"]["value"] == pytest.approx(77.0, rel=0.03)
    assert found["PTVp_7700", "V95%[%] outside limited organs"]["value"] > 90.0
    assert found["Rectum", "V75Gy[%]@EQD2(3)"]["verdict"] == "met"
    guard = found["Rectum outside the PTV", "Excess of D0.03cc outside the PTV <= 77 Gy"]
    assert guard["source"] == "rtplan design choice"
    boost = found["GTVp", "Boost[Gy]"]
    assert boost["detail"]["bound_by"] in ("prescription", "limits", "reach", "coverage")
    assert boost["source"].startswith("FLAME")
    assert found[None, "Gamma 2%/2mm delivered against ideal"]["value"] > 60.0
    assert abs(found["PTVp_7700", "Mean[Gy] delivered - ideal"]["value"]) < 2.0
    assert found[None, "MU per fraction"]["value"] > 100.0
    limits = {f["source"] for f in findings(done) if f["structure"] == "Rectum" and f["limit"]}
    assert limits
    assert all("QUANTEC" in source and "rtplan design choice" in source for source in limits)


def test_an_ideal_plan_of_fluence_maps_mimics_a_dose_and_tells_what_was_denied(
    folder, done, tmp_path, capsys
):
    out, promised = tmp_path / "plan", done / "dicom" / "RD_CT.dcm"
    asked = ("plan", folder, *FLAME, *FAST, "--ideal", "--mimic", promised, "--out", out, "--json")
    assert leave(*asked) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {"findings", "notices", "out"} <= set(printed)
    assert rtplan.read_summary(out / "dicom" / "RP.dcm").ours
    told = {(f["structure"], f["metric"]): f for f in printed["findings"]}
    assert not any("delivered" in metric for _, metric in told)
    assert abs(told["PTVp_7700", "Mean[Gy] given - promised"]["value"]) < 1.5
    assert told[None, "Gamma 2%/2mm given against promised"]["value"] > 50.0
    assert (None, "V95%[%] worst scenario") not in told
    worst = told["PTVp_7700", "V95%[%] worst scenario"]
    assert worst["detail"]["shift_mm"] == 3.0
    assert worst["value"] <= worst["detail"]["as_planned"]


def test_a_dose_of_another_patient_is_refused_without_telling_who(folder, done, tmp_path, capsys):
    other = replace(patient(), identity=Identity(patient_id="SECRET-4711", name="Doe^Jane"))
    dose = rtdose.read(done / "dicom" / "RD_CT.dcm").dose
    write_patient(other.with_doses(CT=dose), tmp_path / "other")
    (promised,) = (tmp_path / "other").glob("RD*.dcm")
    asked = ("plan", folder, *FLAME, *FAST, "--mimic", promised, "--out", tmp_path / "out")
    assert leave(*asked) == 1
    told = capsys.readouterr().err
    assert "another patient" in told
    assert "SECRET" not in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: patient("PTVp_7700"), "There is no target to plan for"),
        (lambda: patient(PTVp_7700=(X - 100) ** 2 + Y**2 + Z**2 < 20**2), "lies outside the body"),
    ],
    ids=["no target", "target outside the body"],
)
def test_what_cannot_be_planned_is_refused_and_nothing_written(tmp_path, capsys, made, words):
    write_patient(made(), tmp_path / "in")
    assert leave("plan", tmp_path / "in", *FLAME, *FAST, "--out", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told
    assert not (tmp_path / "out").exists()


def test_a_ct_that_cuts_the_body_is_refused(tmp_path, capsys):
    made = patient()
    half = GRID.crop((0, 0, 0), (30, 60, 55))
    cut = Patient(images={"CT": Image(half, made.images["CT"].array[:, :, :55])}).with_structures(
        *(Structure(s.name, s.kind, Mask(half, s.region.array[:, :, :55])) for s in made.structures.values())
    )
    write_patient(cut, tmp_path / "in")
    assert leave("plan", tmp_path / "in", *FLAME, *FAST, "--out", tmp_path / "out") == 1
    assert "images that are cut" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_wrong_words_and_folders_are_refused(folder, done, tmp_path, capsys):
    assert leave("plan", folder, *FLAME, "--beams", "8", "--out", tmp_path / "out") == 1
    assert "Known: 5, 7, 9, 11, arc" in capsys.readouterr().err
    assert leave("plan", folder, *FLAME, "--grid", "50", "--out", tmp_path / "out") == 1
    assert leave("plan", folder, *FLAME, "--plan-on", "SynCT", "--out", tmp_path / "out", "--quiet") == 1
    assert leave("plan", folder, *FLAME, "--out", done) == 1
    assert "not empty" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
