"""A study of three digital patients: files, agreement by hand, resume, interruption, refusals."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from rtplan.case.cohort_table import read_cohort
from rtplan.case.digital import Scenario
from rtplan.case.manifest import Manifest
from rtplan.case.tables import read_findings
from rtplan.errors import FormatError, OutputError, StructureError, UnknownName
from rtplan.evaluation.agreement import Judging
from rtplan.evaluation.limits import Bootstrap
from rtplan.evaluation.study_file import read_study
from rtplan.io.index import pseudonym
from rtplan.study.judge import judge_again, statistics_of
from rtplan.study.run import run_study
from rtplan.study.settings import StudySettings

FAST = Bootstrap(resamples=499)


def test_the_folder_is_as_agreed(done):
    study, out, told = done
    keys = [pseudonym(f"study{seed:04d}") for seed in (1, 2, 3)]
    assert [patient.key for patient in study.patients] == keys
    assert {p.name for p in out.iterdir()} == {"patients", "study.json", "cohort.parquet"}
    for key in keys:
        there = {
            p.relative_to(out / "patients" / key).as_posix() for p in (out / "patients" / key).rglob("*.*")
        }
        assert {"findings.json", "findings.csv", "notices.json", "manifest.json", "dvh/dvh_CT.csv"} == {
            name for name in there if "dvh_CT0" not in name and "dvh_CTstrat" not in name
        }
    assert [(patient.state, count, of) for patient, count, of in told] == [
        ("done", 1, 3), ("done", 2, 3), ("done", 3, 3),
    ]  # fmt: skip
    assert all(patient.seconds > 0 for patient in study.patients)
    assert read_study(out) == study


def test_the_manifest_of_a_digital_patient_says_who_he_is(done):
    _, out, _ = done
    manifest = Manifest.model_validate_json(
        (out / "patients" / pseudonym("study0002") / "manifest.json").read_text(encoding="utf-8")
    )
    assert manifest.settings["patient"]["id"] == "study0002"
    assert [step.name for step in manifest.steps][-1] == "CompareArms"
    assert {item.path for item in manifest.data_files} >= {
        "models/ntcp/rectum_bleeding_g2_quantec2010.toml", "models/tcp/prostate_walsh2016.toml",
    }  # fmt: skip


def test_every_question_of_the_study_has_a_row(done):
    study, _, _ = done
    asked = {(row.structure, row.metric) for row in study.cohort if row.arm == "CT0" and row.n == 3}
    assert asked >= {
        ("Body", "MAE[HU]"), ("SoftTissue", "MAE[HU]"), ("Bone", "ME[HU]"), ("Body", "Gamma3%/2mm[%]"),
        ("PTVp_6000", "Mean[Gy]"), ("PTVp_6000", "D98%[Gy]"), ("PTVp_6000", "D2%[Gy]"),
        ("PTVpsv_4800", "D98%[Gy]"), (None, "IsocentreDose[%]"), ("Rectum", "V57Gy[%]"),
        ("Rectum", "NTCP"), ("Prostate", "TCP"),
    }  # fmt: skip
    assert {row.arm for row in study.cohort} == {"CT0", "CTstrat"}
    assert {row.arm for row in study.risks} == {"CT", "CT0", "CTstrat"}


def test_agreement_is_that_of_the_patients_findings(done):
    study, out, _ = done
    differences = []
    for patient in study.patients:
        risks = {
            f.arm: f.value
            for f in read_findings(out / "patients" / patient.key)
            if (f.metric, f.quantity) == ("NTCP", "value")
        }
        differences.append(risks["CT0"] - risks["CT"])
    (row,) = [r for r in study.cohort if (r.arm, r.metric, r.scale) == ("CT0", "NTCP", "as_is")]
    assert row.mean == pytest.approx(np.mean(differences), abs=1e-15)
    assert row.upper == pytest.approx(np.mean(differences) + 1.959964 * np.std(differences, ddof=1), rel=1e-6)
    assert row.verdict in ("equivalent", "different", "cannot_tell")
    assert row.sample_size is not None
    (tcp,) = [r for r in study.cohort if (r.arm, r.metric, r.scale) == ("CT0", "TCP", "as_is")]
    assert (tcp.verdict, tcp.verified) == ("none", False)


def test_the_table_holds_every_finding(done):
    study, out, _ = done
    table = read_cohort(out / "cohort.parquet")
    assert list(table) == [patient.key for patient in study.patients]
    for key, rows in table.items():
        findings = tuple(replace(f, patient=key) for f in read_findings(out / "patients" / key))
        assert rows == findings


def test_a_finished_study_is_judged_again_without_running_anybody(done, small, tmp_path):
    study, out, _ = done
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    stamps = {p: p.stat().st_mtime_ns for p in (copy / "patients").rglob("*") if p.is_file()}
    other = replace(small, judging=Judging(margin=None, bootstrap=FAST))
    again = run_study(other, copy, resume=True, pages=False)
    assert {p: p.stat().st_mtime_ns for p in (copy / "patients").rglob("*") if p.is_file()} == stamps
    assert {row.verdict for row in again.cohort} == {"none"}
    assert [patient.seconds for patient in again.patients] == [patient.seconds for patient in study.patients]
    assert [row.mean for row in again.cohort] == [row.mean for row in study.cohort]


def test_an_interrupted_study_goes_on_and_ends_the_same(done, small, tmp_path):
    study, out, _ = done
    half = tmp_path / "half"
    for key in (patient.key for patient in study.patients[:2]):
        shutil.copytree(out / "patients" / key, half / "patients" / key)
    shutil.copy(out / "study.json", half)

    def stop(patient, count, of):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(small, half, resume=True, pages=False, tell=stop)
    begun = read_study(half)
    assert not begun.finished
    assert [patient.state for patient in begun.patients] == ["done", "waiting", "waiting"]
    (half / "patients" / ".partial-0123").mkdir()  # what a killed process leaves
    key = study.patients[2].key
    shutil.copytree(out / "patients" / key, half / "patients" / key)
    ended = run_study(small, half, resume=True, pages=False)
    assert ended.finished
    assert ended.cohort == study.cohort
    assert not list((half / "patients").glob(".partial*"))


def test_what_was_asked_otherwise_is_not_gone_on_with(done, small):
    _, out, _ = done
    with pytest.raises(OutputError, match="not empty"):
        run_study(small, out)
    with pytest.raises(OutputError, match=r"otherwise .*scenario"):
        run_study(replace(small, scenario=Scenario(2.0)), out, resume=True, pages=False)
    with pytest.raises(OutputError, match=r"otherwise .*beams"):
        run_study(replace(small, case=replace(small.case, beams=5)), out, resume=True, pages=False)


def test_a_folder_of_other_things_is_refused(small, tmp_path):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="not empty"):
        run_study(small, tmp_path, resume=True, pages=False)
    with pytest.raises(OutputError, match="is a file"):
        run_study(small, tmp_path / "mine.txt", resume=True, pages=False)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"protocol": "no_such"}, UnknownName),
        ({"protocol": "headneck_nrg_hn004"}, StructureError),
        ({"outcome": ("no_such",)}, UnknownName),
        ({"model": "no_such", "arms": ("CT", "SynCT")}, UnknownName),
    ],
)
def test_unusable_questions_write_nothing(small, tmp_path, change, error):
    out = tmp_path / "out"
    with pytest.raises(error):
        run_study(replace(small, case=replace(small.case, **change)), out)
    assert not out.exists()


def test_contradicting_settings_are_refused(small, tmp_path):
    for changes in (
        {"phantoms": 0},
        {"folder": tmp_path},
        {"folder": tmp_path, "phantoms": 0, "scenario": Scenario(1.0)},
        {"workers": 0},
        {"case": replace(small.case, arms=("CT",))},
        {"case": replace(small.case, arms=("CT0", "CTstrat"))},
    ):
        with pytest.raises(FormatError):
            replace(small, **changes)


def test_the_protocols_margin_holds_where_none_is_given(small):
    plain = StudySettings(case=small.case, phantoms=3)
    assert plain.with_margin_of(0.5).judging.margin == pytest.approx(0.005)
    assert plain.with_margin_of(None).judging.margin is None
    assert small.with_margin_of(0.5).judging.margin == 0.01
    assert json.loads(json.dumps(statistics_of(small.judging)))["margin_pp"] == 1.0


def test_an_older_or_unfinished_study_is_judged_without_running_anybody(done, tmp_path):
    study, out, _ = done
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    plain = json.loads((copy / "study.json").read_text(encoding="utf-8"))
    plain |= {"finished": False, "cohort": [], "risks": [], "rtplan_version": "0.0"}
    del plain["settings"]["gas"]
    plain["patients"].append({"number": 4, "key": "k", "state": "waiting", "reason": None, "seconds": None})
    (copy / "study.json").write_text(json.dumps(plain), encoding="utf-8")
    again = judge_again(copy, Judging(margin=0.01, precision=0.001, bootstrap=FAST), "prostate_chhip_60gy")
    assert again.finished
    assert again.cohort == study.cohort
    assert "PATIENTS_NOT_RUN" in {notice.code for notice in again.notices}
    assert (copy / "report.html").is_file()
    with pytest.raises(FormatError, match="not prostate_boost_flame"):
        judge_again(copy, Judging(), "prostate_boost_flame")
