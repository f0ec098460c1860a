"""rtplan spacer from DICOM to its out folder: what is written, read back, refused, foretold."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rtplan.case.run import Place
from rtplan.case.settings import CaseSettings
from rtplan.case.spacer import Question, run_spacer
from rtplan.case.spacer_predict import predict_spacer
from rtplan.case.spacing import SpacerSettings
from rtplan.case.tables import read_findings
from rtplan.domain import Finding, Patient
from rtplan.errors import DoseError, ModelError, OutputError, StructureError, UnknownName
from rtplan.imaging.contour import mask_on
from rtplan.io.patient import read_patient, write_patient
from rtplan.phantom.cohort import make_patient
from rtplan.planning.spacer import load_gel
from rtplan.report.spacer import prediction_line, verdict_line

PROTOCOL = "prostate_boost_flame"


def settings(**more: float) -> SpacerSettings:
    case = CaseSettings(PROTOCOL, beams=3, grid_mm=8.0)
    return SpacerSettings(case, gel_samples=0, cell_mm=6.0, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def digital() -> Patient:
    patient = make_patient("valid", 2, spacing_zyx_mm=(5.0, 3.5, 3.5), contrasts=())
    ptv = replace(patient.structures["PTVp"], name="PTVp_7700")
    return replace(
        patient, structures={**{n: s for n, s in patient.structures.items() if n != "PTVp"}, ptv.name: ptv}
    )


@pytest.fixture(scope="module")
def folder(digital: Patient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("spacer") / "dicom"
    write_patient(digital, place)
    return place


@pytest.fixture(scope="module")
def made(folder: Path) -> tuple[Path, tuple[Finding, ...]]:
    out = folder.parent / "out"
    return out, run_spacer(Place(folder, out), settings(), Question())


def test_the_folder_is_whole_and_says_what_the_call_says(made: tuple[Path, tuple[Finding, ...]]) -> None:
    out, findings = made
    files = {"report.html", "report.pdf", "findings.json", "findings.csv", "notices.json", "manifest.json"}
    assert {p.name for p in out.iterdir()} == files | {"dicom", "dvh"}
    assert [f.metric for f in read_findings(out)] == [f.metric for f in findings]
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["command"] == "spacer"
    assert any(d["path"] == "models/spacer/relative_v70_25.toml" for d in manifest["data_files"])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "By which rule" in page
    assert {p.name for p in (out / "dvh").iterdir()} == {"dvh_CT.csv", "dvh_Spacer.csv"}
    relative, *_ = (f for f in findings if f.metric == "SpacerBenefit")
    assert relative.detail["baseline"] > 1.0
    assert "Without a gel" in page
    assert f"{relative.detail['baseline']:.2f}" in page
    assert verdict_line(findings).split(":")[0] in page


def test_the_gel_and_what_it_moved_come_back_through_the_door(
    digital: Patient, made: tuple[Path, tuple[Finding, ...]]
) -> None:
    after = read_patient(made[0] / "dicom" / "spacer")
    (image,) = after.images.values()
    gel = mask_on(after.structure("Spacer"), image.grid).array
    assert gel.sum() * image.grid.voxel_cc == pytest.approx(10.0, rel=0.15)
    assert np.median(image.array[gel]) == pytest.approx(load_gel().hu.value, abs=1.0)
    before = mask_on(digital.structures["Rectum"], digital.images["CT"].grid)
    moved = mask_on(after.structure("Rectum"), image.grid)
    assert moved.array.sum() == pytest.approx(before.array.sum(), rel=0.02)
    assert len(after.doses) == 1
    assert {p.name for p in (made[0] / "dicom" / "without").iterdir()} >= {"RS.dcm", "RP.dcm", "RD_CT.dcm"}


def test_the_rectum_gets_less_and_without_samples_nothing_is_decided(
    made: tuple[Path, tuple[Finding, ...]],
) -> None:
    found = {(f.structure, f.metric, f.quantity, f.model): f for f in made[1] if f.arm == "Spacer"}
    change = found["Rectum", "D2cc[Gy]", "difference", None]
    assert change.value is not None
    assert change.value < -3.0
    rule = found["Rectum", "SpacerBenefit", "difference", "relative_v70_25"]
    assert rule.verdict == "cannot_tell"
    assert found["Spacer", "Volume[cc]", "value", None].value == pytest.approx(10.0, rel=0.15)


def test_what_cannot_be_done_leaves_nothing(digital: Patient, folder: Path) -> None:
    out = folder.parent / "none"
    with pytest.raises(UnknownName):
        run_spacer(Place(folder, out), settings(), Question(rule="no_such_rule"))
    with pytest.raises(StructureError, match="between"):
        settings(volume_cc=90.0)
    bare = folder.parent / "bare"
    structures = {n: s for n, s in digital.structures.items() if n != "Rectum"}
    write_patient(replace(digital, structures=structures), bare)
    with pytest.raises(StructureError, match="Rectum"):
        run_spacer(Place(bare, out), settings(), Question())
    assert not out.exists()
    with pytest.raises(OutputError, match="not empty"):
        run_spacer(Place(folder, folder), settings(), Question())


def test_a_patient_without_targets_has_no_plan_to_compare(digital: Patient, folder: Path) -> None:
    bare, out = folder.parent / "targetless", folder.parent / "none"
    structures = {n: s for n, s in digital.structures.items() if n not in ("PTVp_7700", "GTVp")}
    write_patient(replace(digital, structures=structures), bare)
    with pytest.raises(DoseError, match="No plan can"):
        run_spacer(Place(bare, out), settings(), Question())
    assert not out.exists()


def test_a_prediction_plans_nothing_and_never_decides_by_itself(folder: Path) -> None:
    out = folder.parent / "foretold"
    findings = predict_spacer(Place(folder, out), settings(), Question("delta_v55_paetkau"))
    assert {p.name for p in out.iterdir()} == {
        "findings.json",
        "findings.csv",
        "notices.json",
        "manifest.json",
    }
    assert findings[0].model == "delta_v55_paetkau"
    assert all(f.verdict in ("none", "not_evaluable") and f.verified is False for f in findings)
    assert 0.0 <= findings[0].detail["probability"] <= 1.0
    assert "not planned" in prediction_line(findings)
    allowed = predict_spacer(
        Place(folder, out, overwrite=True), settings(), Question("delta_v55_paetkau", allow_unverified=True)
    )
    assert allowed[0].verdict in ("met", "missed", "cannot_tell")
    other = replace(settings(), case=CaseSettings("prostate_chhip_60gy"))
    with pytest.raises(ModelError, match="no predictor"):
        predict_spacer(Place(folder, folder.parent / "none"), other, Question())
