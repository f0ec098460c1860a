"""A batch on a real scheduler: files, failures as rows, going on, nothing twice, pools, no names anywhere."""

import json
import shutil
import sqlite3
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from distributed import Client

from rtplan.batch import drive
from rtplan.batch.cluster import Site
from rtplan.batch.lock import BATCH, held
from rtplan.batch.run import run_batch, status_of
from rtplan.batch.settings import Limits
from rtplan.batch.stages import plan_of
from rtplan.case.manifest import Manifest
from rtplan.case.tables import read_findings
from rtplan.errors import BatchError, OutputError, RtplanError
from rtplan.io.index import pseudonym


@pytest.fixture(scope="module")
def done(four, asked, scheduler, tmp_path_factory):
    out = tmp_path_factory.mktemp("batch") / "out"
    told = []
    return run_batch(asked(four), out, Site(scheduler=scheduler), tell=told.append), out, told


@pytest.fixture(scope="module")
def two(four, tmp_path_factory):
    """Return a list of two of the four."""
    path = tmp_path_factory.mktemp("list") / "list.txt"
    path.write_text("".join(f"{four}/Mustermann^Max{n}\n" for n in (1, 2)), encoding="utf-8")
    return path


def stamps(out):
    return {path: path.stat().st_mtime_ns for path in out.glob("patients/*/manifest.json")}


def test_every_patient_has_a_whole_folder_and_a_row(done):
    state, out, told = done
    keys = [pseudonym(f"HOSP-{number:04d}") for number in (1, 2, 3, 4)]
    assert [(p.key, p.state, p.attempts) for p in state.patients] == [(key, "done", 1) for key in keys]
    assert {p.name for p in (out / "patients").iterdir()} == set(keys)
    for key in keys:
        manifest = Manifest.model_validate_json((out / "patients" / key / "manifest.json").read_text("utf-8"))
        assert manifest.command == "batch"
        assert (out / "patients" / key / "report.html").is_file()
    assert {p.name for p in out.iterdir()} == {
        "patients", "batch.sqlite", "batch.lock", "cohort.parquet", "report.html",
    }  # fmt: skip
    assert [line.split(":")[0] for line in told[1:]] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4"]
    row = state.patients[0]
    assert row.seconds > 0
    assert row.peak_mib >= row.held_mib > 0
    assert next(iter(row.parts)) == "Read"
    assert list(row.parts)[-1] == "Write"
    assert 0.0 < sum(row.parts.values()) <= row.seconds


def test_the_table_holds_every_finding_of_every_patient(done):
    state, out, _ = done
    table = pq.read_table(out / "cohort.parquet").to_pylist()
    for patient in state.patients:
        mine = [row for row in table if row["patient"] == patient.key]
        findings = read_findings(out / "patients" / patient.key)
        assert [(r["metric"], r["value"]) for r in mine] == [(f.metric, f.value) for f in findings]
    assert len(table) > 0


def test_going_on_with_a_finished_batch_touches_nobody(done, four, asked, site):
    _, out, _ = done
    before = stamps(out)
    again = run_batch(asked(four), out, site, resume=True)
    assert again.counts["done"] == 4
    assert stamps(out) == before


def test_who_was_finished_when_the_batch_died_is_not_run_again(done, four, asked, site, tmp_path):
    _, out, _ = done
    shutil.copytree(out, tmp_path / "copy")
    base = sqlite3.connect(tmp_path / "copy" / "batch.sqlite")
    with base:
        base.execute("UPDATE patients SET state = 'running' WHERE number = 2")  # died before it was told
    base.close()
    before = stamps(tmp_path / "copy")
    state = run_batch(asked(four), tmp_path / "copy", site, resume=True)
    assert state.counts["done"] == 4
    assert stamps(tmp_path / "copy") == before
    assert set(state.patients[1].parts) == {"Read", "Finished before with the same inputs and settings"}


def test_a_corrupt_patient_is_a_row_and_not_the_end(clinic, asked, site, tmp_path):
    clinic(3, tmp_path / "in")
    spoilt = sorted((tmp_path / "in" / "Mustermann^Max2").rglob("*.dcm"))
    for path in spoilt[:5]:
        path.write_bytes(path.read_bytes()[:-1000])
    shutil.copytree(tmp_path / "in" / "Mustermann^Max1" / "CT", tmp_path / "in" / "Mustermann^Max3" / "other")
    state = run_batch(asked(tmp_path / "in"), tmp_path / "out", site)
    assert [p.state for p in state.patients] == ["done", "failed", "failed"]
    assert [p.fault for p in state.patients] == [None, "patient", "patient"]
    assert [p.attempts for p in state.patients] == [1, 1, 1]  # no second try: the data are what they are
    assert "2 patients" in state.patients[2].reason
    assert len(list((tmp_path / "out" / "patients").iterdir())) == 1
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file() and path.suffix != ".dcm":
            assert b"Mustermann" not in path.read_bytes(), path.name
            assert b"HOSP-" not in path.read_bytes() or "dicom" in path.parts, path.name
    assert "2 patients" in (tmp_path / "out" / "report.html").read_text("utf-8")
    shutil.rmtree(tmp_path / "in" / "Mustermann^Max2")  # mended
    clinic(2, tmp_path / "more")
    (tmp_path / "more" / "Mustermann^Max2").rename(tmp_path / "in" / "Mustermann^Max2")
    shutil.rmtree(tmp_path / "in" / "Mustermann^Max3" / "other")
    before = stamps(tmp_path / "out")
    again = run_batch(asked(tmp_path / "in"), tmp_path / "out", site, resume=True)
    assert again.counts["done"] == 3
    assert before.items() <= stamps(tmp_path / "out").items()


def test_mixed_dicom_and_digital_patients_go_the_same_way(clinic, asked, site, tmp_path):
    clinic(2, tmp_path / "in", mixed=True)
    for place in sorted((tmp_path / "in").iterdir()):
        for number, path in enumerate(sorted(place.rglob("*.dcm"))):
            path.rename(tmp_path / "in" / f"{place.name}_{number:03d}.dcm")
    state = run_batch(asked(tmp_path / "in"), tmp_path / "out", site)
    assert state.counts["done"] == 2
    assert not list((tmp_path / "out" / "patients").glob(".*"))


def test_cards_get_the_middle_steps_and_other_workers_the_rest(two, asked, done, pools, tmp_path):
    with pools(plain={}, card={"GPU": 1.0}) as cluster:
        with Client(cluster) as client:
            cuda = asked(two, case=replace(asked(two).case, device="cuda"))
            assert plan_of(client, cuda).split
            assert not plan_of(client, asked(two)).split
        site = Site(scheduler=cluster.scheduler_address)
        state = run_batch(asked(two), tmp_path / "out", site, split=True)
    assert state.counts["done"] == 2
    assert all("card" in p.worker.split() for p in state.patients)
    for patient in state.patients:  # the same numbers as in one piece
        mine, whole = (read_findings(o / "patients" / patient.key) for o in (tmp_path / "out", done[1]))
        assert mine == whole


def test_a_card_that_nobody_has_is_refused(four, asked, site, tmp_path):
    with pytest.raises(BatchError, match="no worker declares"):
        run_batch(asked(four, case=replace(asked(four).case, device="cuda")), tmp_path / "out", site)
    assert status_of(tmp_path / "out").counts["waiting"] == 4


def test_a_patient_goes_where_his_memory_is(two, asked, pools, tmp_path):
    with pools(little={"MEMORY": 1000.0}, much={"MEMORY": 8000.0}) as cluster:
        with Client(cluster) as client:
            whole = asked(two, limits=Limits(memory_mib=3000))
            assert plan_of(client, whole).whole == {"MEMORY": 3000.0}
            with pytest.raises(BatchError, match="8000 MiB"):
                plan_of(client, asked(two, limits=Limits(memory_mib=9000)))
        state = run_batch(whole, tmp_path / "out", Site(scheduler=cluster.scheduler_address))
    assert {patient.worker for patient in state.patients} == {"much"}


def test_no_more_patients_are_in_flight_than_workers_and_a_tenth(asked, four, pools):
    with pools(**{f"w{n}": {} for n in range(11)}) as cluster, Client(cluster) as client:
        assert plan_of(client, asked(four)).depth(client) == 12


def test_a_second_start_is_refused_and_a_foreign_folder_is_not_touched(four, asked, site, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with held(out / BATCH):
        for resume in (False, True):
            with pytest.raises(BatchError, match="Another process"):
                run_batch(asked(four), out, site, resume=resume)
        assert {p.name for p in out.iterdir()} == {BATCH}
    (out / "note.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="not empty"):
        run_batch(asked(four), out, site, resume=True)


def test_what_every_patient_would_be_refused_for_is_refused_at_once(asked, site, four, tmp_path):
    case = asked(four).case
    for wrong in (
        asked(four, case=replace(case, protocol="none")),
        asked(four, case=replace(case, tps="none")),
        asked(four, case=replace(case, outcome=("none",))),
        asked(None, phantoms=2, case=replace(case, protocol="sts_preop_50gy")),
        asked(tmp_path / "gone"),
    ):
        with pytest.raises(RtplanError):
            run_batch(wrong, tmp_path / "out", site)
        assert not (tmp_path / "out").exists()


def test_a_scheduler_that_is_not_there(four, asked, tmp_path):
    with pytest.raises(BatchError, match="cannot be reached"):
        run_batch(asked(four), tmp_path / "out", Site(scheduler="nonsense://127.0.0.1:1"))


def test_status_is_the_manifest(done):
    state, out, _ = done
    seen = status_of(out)
    assert not seen.running
    assert json.loads(json.dumps(seen.as_dict()))["counts"] == state.counts
    with held(out / BATCH):
        assert status_of(out).running


def test_a_worker_that_writes_elsewhere_is_found_out(two, asked, site, tmp_path, monkeypatch):
    monkeypatch.setattr(drive, "_SHARE_S", 0.2)

    def lose(line):  # what the worker of another file system would leave here: nothing
        for folder in (tmp_path / "out" / "patients").iterdir():
            shutil.rmtree(folder)

    real = drive.Drive._seen
    monkeypatch.setattr(drive.Drive, "_seen", lambda self, *given: (lose(""), real(self, *given))[1])
    with pytest.raises(BatchError, match="same out folder"):
        run_batch(asked(two), tmp_path / "out", site)
    assert status_of(tmp_path / "out").counts["done"] == 0
