"""One digital patient from a DICOM folder to an out folder, and the refusals on the way."""

import os
import shutil
from dataclasses import replace

import pytest

from rtplan.case.manifest import Manifest
from rtplan.case.rendering import report_again
from rtplan.case.run import Place, as_plain_outputs, read, run_case
from rtplan.case.settings import CaseSettings, parse_margin
from rtplan.errors import DicomError, FormatError, OutputError, RtplanError, UnknownName
from rtplan.io.patient import read_patient
from rtplan.io.patient_write import write_patient
from rtplan.phantom.cohort import make_patient

SETTINGS = CaseSettings(protocol="prostate_boost_flame", beams=3, grid_mm=8.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("dicom") / "patient"
    patient = make_patient("valid", 5, spacing_zyx_mm=(6.0, 4.0, 4.0), contrasts=("T2w",))
    kept = {name: patient.structure(name) for name in ("External", "Rectum", "Bladder", "GTVp", "zGas")}
    target = replace(patient.structure("PTVp"), name="PTVp_7700")
    write_patient(replace(patient, structures={**kept, target.name: target}), place)
    return place


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "out"
    return run_case(Place(folder, out), SETTINGS), out


def test_the_out_folder_is_as_agreed(done):
    patient, out = done
    names = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file() and p.suffix != ".dcm"}
    assert {"report.html", "report.pdf", "findings.json", "findings.csv", "notices.json"} < names
    assert {"manifest.json", "dvh/dvh_CT.csv", "dvh/dvh_SynCT.csv", "volumes/dose_SynCT.mha"} < names
    for arm in ("CT", "CT0", "CTpop", "CTpop_bone", "CTstrat", "SynCT"):
        assert arm in patient.doses
        assert (out / "dicom" / f"RD_{arm}.dcm").is_file()
        assert (out / "dicom" / f"RD_{arm}_EQD2.dcm").is_file()
    assert (out / "dicom" / "RS.dcm").is_file()
    assert (out / "dicom" / "RP.dcm").is_file()
    assert not (out / "dicom" / "CT").exists()  # what came is not written again


def test_every_step_left_a_record_and_the_manifest_holds_what_made_the_result(done):
    _, out = done
    manifest = Manifest.model_validate_json((out / "manifest.json").read_text(encoding="utf-8"))
    assert [step.name for step in manifest.steps][-1] == "CompareArms"
    assert {item.role for item in manifest.inputs} == {"CT", "MR", "RTSTRUCT"}
    assert manifest.weights[0].name == "synct_mr_pelvis"
    data = {item.path for item in manifest.data_files}
    assert {"protocols/prostate_boost_flame.toml", "models/surface/rectum.toml"} <= data
    written = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()} - {"manifest.json"}
    assert {item.path for item in manifest.outputs} == written


def test_the_paired_question_is_answered(done):
    patient, _ = done
    risks = {(f.arm, f.quantity): f for f in patient.findings if f.metric == "NTCP"}
    assert risks["CT", "value"].value is not None
    difference = risks["SynCT", "difference"]
    assert difference.reference_arm == "CT"
    expected = risks["SynCT", "value"].value - risks["CT", "value"].value
    assert difference.value == pytest.approx(expected, abs=1e-12)


def test_what_was_written_comes_back_through_the_same_door(done, folder, tmp_path):
    patient, out = done
    both = tmp_path / "both"
    shutil.copytree(folder, both / "in", ignore=shutil.ignore_patterns("RS.dcm"))
    for name in ("RS.dcm", "RP.dcm", "RD_CT.dcm"):
        shutil.copy(out / "dicom" / name, both / name)
    again = read_patient(both)
    assert set(again.structures) == {n for n, s in patient.structures.items() if s.kind != "CONTROL"}
    for beam, other in zip(again.plan.beams, patient.plan.beams, strict=True):
        assert beam.fluence.mu == pytest.approx(other.fluence.mu, rel=1e-5)
    (dose,) = again.doses.values()
    assert dose.array == pytest.approx(patient.doses["CT"].array, abs=1e-3)


def test_the_report_comes_again_from_the_out_folder_alone(done, tmp_path):
    _, out = done
    shutil.copytree(out, tmp_path / "copy")
    before = as_plain_outputs(tmp_path / "copy")
    for name in ("report.html", "report.pdf"):
        (tmp_path / "copy" / name).write_bytes(b"spoilt")
    report_again(tmp_path / "copy")
    assert as_plain_outputs(tmp_path / "copy") == before  # page and PDF come again, and nothing else moves


def keys(folder, path, *, known=True):
    identity = read_patient(folder).identity.patient_id
    path.write_text(f"patient_id,pseudonym\n{identity if known else 'somebody'},Study 07\n")
    return path, identity


def test_a_pseudonym_stands_in_the_report_and_its_table_is_copied_nowhere(done, folder, tmp_path):
    _, out = done
    shutil.copytree(out, tmp_path / "copy")
    table, identity = keys(folder, tmp_path / "key.csv")
    page, _ = report_again(tmp_path / "copy", pseudonyms=table)
    assert "Patient Study 07" in page.read_text(encoding="utf-8")
    assert read(Place(folder, out, pseudonyms=table)).key == "Study 07"
    names = {path.name for path in (tmp_path / "copy").rglob("*")}
    assert not [name for name in names if identity in name or name == "key.csv"]
    for path in (tmp_path / "copy").rglob("*"):
        if path.suffix in (".html", ".json", ".csv"):
            assert identity not in path.read_text(encoding="utf-8")


def test_a_patient_without_pseudonym_is_refused_without_his_id(done, folder, tmp_path):
    _, out = done
    table, identity = keys(folder, tmp_path / "key.csv", known=False)
    before = (out / "report.html").read_bytes()
    for attempt in (
        lambda: report_again(out, pseudonyms=table),
        lambda: run_case(Place(folder, tmp_path / "new", pseudonyms=table), SETTINGS),
    ):
        with pytest.raises(UnknownName, match="not in the table") as refused:
            attempt()
        assert identity not in str(refused.value)
    assert (out / "report.html").read_bytes() == before
    assert not (tmp_path / "new").exists()


def test_same_input_same_findings(done, folder, tmp_path):
    _, out = done
    run_case(Place(folder, tmp_path / "again"), SETTINGS)
    for name in ("findings.json", "findings.csv", "notices.json"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()


def test_resume_keeps_what_is_finished_and_another_question_is_asked_anew(done, folder):
    _, out = done
    before = os.stat(out / "report.html").st_mtime_ns
    said = []
    run_case(Place(folder, out, resume=True), SETTINGS, say=said.append)
    assert os.stat(out / "report.html").st_mtime_ns == before
    assert any("Finished before" in text for text in said)


def test_the_plan_can_be_made_on_the_synthetic_ct(folder, tmp_path):
    settings = replace(SETTINGS, arms=("CT", "SynCT"), plan_on="SynCT")
    patient = run_case(Place(folder, tmp_path / "out"), settings)
    assert patient.plan.made_on == "SynCT"
    assert {f.reference_arm for f in patient.findings if f.quantity == "difference"} == {"CT"}


def test_a_cut_body_gives_differences_and_no_file_with_absolute_dose(data, tmp_path):
    settings = CaseSettings(protocol="sts_preop_50gy", arms=("CT", "CT0", "SynCT"), beams=3, grid_mm=8.0)
    patient = run_case(Place(data / "sts/dicom/STS_010", tmp_path / "out"), settings)
    assert any(f.quantity == "difference" and f.value is not None for f in patient.findings)
    absolute = [f for f in patient.findings if f.quantity == "value" and f.unit == "Gy"]
    assert absolute
    assert {f.verdict for f in absolute} == {"not_evaluable"}
    names = {path.name for path in (tmp_path / "out").rglob("*")}
    assert {"RS.dcm", "CT_SynCT", "SynCT.mha", "report.pdf"} < names
    assert not [name for name in names if name.startswith(("RD_", "RP", "dose_", "dvh_"))]


def test_notices_name_files_as_seen_from_the_folder(done, folder):
    _, out = done
    for name in ("notices.json", "report.html", "manifest.json"):
        assert str(folder.parent) not in (out / name).read_text(encoding="utf-8"), name


def test_the_manifest_names_the_source_of_every_file_of_numbers(done):
    _, out = done
    manifest = Manifest.model_validate_json((out / "manifest.json").read_text(encoding="utf-8"))
    assert [item.path for item in manifest.data_files if not item.source] == []
    sources = " ".join(item.source for item in manifest.data_files)
    assert "doi:10.1016/j.ijrobp.2009.03.078" in sources


def test_no_identity_in_any_text_file(done, folder):
    _, out = done
    identity = read_patient(folder).identity
    assert identity.name == "Phantom^valid0005"  # what must not appear is really there to leak
    texts = [p for p in out.rglob("*") if p.suffix in (".json", ".csv", ".html")]
    assert len(texts) > 5
    for path in texts:
        text = path.read_text(encoding="utf-8")
        assert identity.name not in text, path.name
        assert identity.patient_id not in text, path.name


def test_an_occupied_out_folder_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(OutputError, match="not empty"):
        run_case(Place(tmp_path / "absent", tmp_path), SETTINGS)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda place: None, RtplanError),  # missing folder
        (lambda place: place.mkdir(), DicomError),  # empty folder
        (lambda place: (place.mkdir(), (place / "notes.txt").write_text("no")), DicomError),
    ],
)
def test_a_bad_folder_is_one_clear_message_and_nothing_is_written(tmp_path, make, error):
    make(tmp_path / "in")
    with pytest.raises(error) as refused:
        run_case(Place(tmp_path / "in", tmp_path / "out"), SETTINGS)
    assert "What to do" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_unknown_names_list_the_known_ones(tmp_path):
    with pytest.raises(UnknownName, match="prostate_chhip_60gy"):
        run_case(Place(tmp_path, tmp_path / "out"), CaseSettings(protocol="nosuch"))
    with pytest.raises(UnknownName, match="CTstrat"):
        CaseSettings(protocol="x", arms=("CT", "PET"))
    with pytest.raises(UnknownName, match="CTstrat"):
        CaseSettings(protocol="x", plan_on="PET")
    with pytest.raises(UnknownName, match="as_reference"):
        CaseSettings(protocol="x", gas="helium")
    with pytest.raises(UnknownName, match="pencil, cone"):
        CaseSettings(protocol="x", algorithm="monte")


@pytest.mark.parametrize("text", ["PTV", "=5", "PTV=a", "PTV=1,2", "PTV=-3", "PTV=nan"])
def test_a_margin_that_does_not_parse_is_refused(text):
    with pytest.raises(FormatError, match="NAME=MM"):
        parse_margin(text)
