"""rtplan study through its call: what is printed, exit codes, refusals; worker processes."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from rtplan.cli import DONE, INTERRUPTED, PARTLY, REFUSED, WRONG_CALL, main
from rtplan.evaluation.study_file import StudyPatient
from rtplan.study.members import Member
from rtplan.study.workers import DIED, run_members

ASKED = (
    "--protocol", "prostate_chhip_60gy", "--arms", "CT,CT0,CTstrat", "--beams", 3, "--grid-mm", 8,
    "--gamma", "3/2", "--workers", 1, "--outcome", "prostate_walsh2016", "--spacing", "8,5,5",
    "--resamples", 499,
)  # fmt: skip


def call(*arguments):
    with pytest.raises(SystemExit) as leave:
        main(["study", *(str(a) for a in arguments)])
    return int(leave.value.code or 0)


@pytest.fixture
def copy(done, tmp_path):
    shutil.copytree(done[1], tmp_path / "copy")
    return tmp_path / "copy"


def test_the_finished_study_is_printed(copy, capsys):
    assert call("--patients", "phantom:3", *ASKED, "--out", copy, "--resume", "--margin-pp", 1) == DONE
    said = capsys.readouterr()
    assert "3 of 3: patient 3" in said.err
    assert "NTCP of Rectum, rectum_bleeding_g2_quantec2010" in said.out
    (line,) = [line for line in said.out.splitlines() if line.startswith("CT0") and "equivalent" in line]
    assert line.split()[1] == "3"
    assert "On CT: " in said.out
    assert "No TCP set is verified" in said.out
    assert "PTVp_6000 D98%[Gy]" in said.out
    assert "DIGITAL" not in said.out
    assert "not for people" in said.out
    assert "Mean risk" in (copy / "report.html").read_text(encoding="utf-8")
    assert (copy / "report.pdf").read_bytes().startswith(b"%PDF")


def test_json_is_the_file(copy, capsys):
    assert call("--patients", "phantom:3", *ASKED, "--out", copy, "--resume", "--json") == DONE
    said = json.loads(capsys.readouterr().out)
    on_disk = json.loads((copy / "study.json").read_text(encoding="utf-8"))
    assert {name: said[name] for name in on_disk} == on_disk
    assert on_disk["statistics"]["margin_pp"] is None


def test_failed_patients_end_with_3(tmp_path, capsys):
    source = tmp_path / "pairs"
    source.mkdir()
    (source / "a.npz").write_bytes(b"no array")
    assert call(source, "--protocol", "sts_preop_50gy", "--out", tmp_path / "out", "--workers", 1) == PARTLY
    said = capsys.readouterr()
    assert "failed: patient 1" in said.out
    assert "0 of 1 patients" in said.out


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--patients", "phantom:0"), REFUSED, "phantom:N"),
        (("--patients", "people:3"), REFUSED, "phantom:N"),
        ((), REFUSED, "a folder of patients or of digital"),
        (("--patients", "phantom:3", "--margin-pp", "0"), REFUSED, "margin"),
        (("--patients", "phantom:3", "--margin-pp", "-1"), REFUSED, "margin"),
        (("--patients", "phantom:3", "--precision-pp", "0"), REFUSED, "precision"),
        (("--patients", "phantom:3", "--arms", "CT,CTx"), REFUSED, "no arm 'CTx'"),
        (("--patients", "phantom:3", "--preset", "slow"), REFUSED, "fast, full"),
        (("--patients", "phantom:3", "--gamma", "3"), REFUSED, "PERCENT/MM"),
        (("--patients", "phantom:3", "--spacing", "3,2"), REFUSED, "Z,Y,X"),
        (("--patients", "phantom:3", "--workers", "-1"), WRONG_CALL, ""),
    ],
)
def test_refusals(tmp_path, capsys, options, code, words):
    out = tmp_path / "out"
    assert call(*options, "--protocol", "prostate_chhip_60gy", "--out", out) == code
    said = capsys.readouterr()
    assert words in said.err
    assert "Traceback" not in said.err
    assert not out.exists()


def test_an_error_beyond_20_mm_is_refused_for_every_patient_before_anything_is_written(tmp_path, capsys):
    out = tmp_path / "out"
    asked = ("--patients", "phantom:3", "--protocol", "prostate_chhip_60gy", "--registration-error-mm", 50)
    assert call(*asked, "--out", out) == REFUSED
    assert "registration error" in capsys.readouterr().err
    assert not out.exists()


def test_worker_processes_give_every_patient_back(small, tmp_path):

    members = [Member(n, f"k{n}", "dicom", tmp_path, fault=f"fault {n}") for n in (1, 2, 3)]
    found = list(run_members(members, replace(small, workers=2), tmp_path, resume=False))
    assert {(row.number, row.state, row.reason) for row in found} == {
        (n, "failed", f"fault {n}") for n in (1, 2, 3)
    }
    assert all(isinstance(row, StudyPatient) for row in found)


@pytest.mark.slow
def test_an_interrupt_of_two_workers_leaves_whole_patients_only(tmp_path):
    out = tmp_path / "out"
    asked = [str(a) for a in (*ASKED, "--workers", 2, "--patients", "phantom:6", "--out", out)]
    process = subprocess.Popen([sys.executable, "-m", "rtplan", "study", *asked], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 300.0
    while not list(out.glob("patients/*/manifest.json")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == INTERRUPTED
    assert b"Traceback" not in said
    for folder in (out / "patients").iterdir():
        assert (folder / "manifest.json").is_file()
    stamps = {p: p.stat().st_mtime_ns for p in out.glob("patients/*/manifest.json")}
    assert call(*asked, "--resume", "--quiet") == DONE
    assert len(list(out.glob("patients/*/manifest.json"))) == 6
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in stamps.items())


@pytest.mark.slow
def test_a_process_that_dies_takes_its_patient_alone(small, tmp_path):
    members = [
        Member(1, "k1", "dicom", tmp_path, fault="fault 1"),
        Member(2, "k2", "phantom", seed=2),
        *(Member(n, f"k{n}", "dicom", tmp_path, fault=f"fault {n}") for n in (3, 4)),
    ]
    rows = {}
    for row in run_members(members, replace(small, workers=2), tmp_path, resume=False):
        if not rows:
            for child in multiprocessing.active_children():
                child.kill()
        rows[row.number] = row
    assert sorted(rows) == [1, 2, 3, 4]
    assert rows[2].reason == DIED
    assert [rows[n].reason for n in (1, 4)] == ["fault 1", "fault 4"]
