"""The manifest: which steps between states exist, what a new start keeps, what a kill leaves."""

import itertools
import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from rtplan.batch.manifest import NAME, NEXT, BatchManifest, read_state
from rtplan.batch.members import Member
from rtplan.batch.outcome import Outcome
from rtplan.errors import BatchError, FormatError, OutputError

ASKED = {"protocol": "p", "beams": 7}
DONE = Outcome("done", worker="w", seconds=2.0, parts={"Read": 1.0})
BROKEN = Outcome("failed", "infrastructure", "The disk is full.", outage="disk")


def people(count):
    return [Member(number, f"k{number}", "phantom", seed=number) for number in range(1, count + 1)]


def begun(out, members, asked=ASKED):
    manifest = BatchManifest(out)
    manifest.begin(asked, members, out / "patients")
    return manifest


def finish(out, key):
    (out / "patients" / key).mkdir(parents=True)
    (out / "patients" / key / "manifest.json").write_text("{}", encoding="utf-8")


def states(manifest):
    return {patient.key: patient.state for patient in manifest.state().patients}


def test_only_the_steps_of_the_table_exist(tmp_path):
    moves = {"running": lambda m: m.start(1), "done": lambda m: m.end(1, DONE)}
    moves["failed"] = lambda m: m.end(1, Outcome("failed", "patient", "no"))
    moves["waiting"] = lambda m: m.back(1, BROKEN, counts=True)
    for turn, (state, to) in enumerate(itertools.product(NEXT, NEXT)):
        (tmp_path / f"{turn}").mkdir()
        manifest = begun(tmp_path / f"{turn}", people(1))
        if state != "waiting":
            manifest.start(1)
        if state in ("done", "failed"):
            moves[state](manifest)
        if to in NEXT[state]:
            moves[to](manifest)
            assert states(manifest) == {"k1": to}
        else:
            with pytest.raises(BatchError, match="manifest says otherwise"):
                moves[to](manifest)
            assert states(manifest) == {"k1": state}
        manifest.close()


def test_attempts_count_but_those_of_an_outage_do_not(tmp_path):
    manifest = begun(tmp_path, people(1))
    assert manifest.start(1) == 1
    manifest.back(1, BROKEN, counts=True)
    assert manifest.start(1) == 2
    manifest.back(1, BROKEN, counts=False)
    assert manifest.start(1) == 2
    manifest.interrupted()
    assert manifest.start(1) == 2
    (patient,) = manifest.state().patients
    assert (patient.fault, patient.reason) == ("infrastructure", "The disk is full.")
    manifest.end(1, DONE)
    (patient,) = manifest.state().patients
    assert (patient.fault, patient.reason, patient.parts) == (None, None, {"Read": 1.0})
    manifest.close()


def test_a_new_start_keeps_who_is_done_and_lets_the_others_wait(tmp_path):
    manifest = begun(tmp_path, people(4))
    for number in (1, 2, 3):
        manifest.start(number)
    manifest.end(1, DONE)
    manifest.end(2, DONE)
    manifest.end(3, Outcome("failed", "patient", "no"))
    finish(tmp_path, "k1")  # the results of k2 are gone
    manifest.close()
    renumbered = [Member(1, "k0", "phantom"), *(Member(n + 1, f"k{n}", "phantom") for n in (1, 2, 3))]
    manifest = begun(tmp_path, renumbered)
    assert states(manifest) == {
        "k0": "waiting",
        "k1": "done",
        "k2": "waiting",
        "k3": "waiting",
        "k4": "failed",
    }
    rows = {patient.key: patient for patient in manifest.state().patients}
    assert (rows["k1"].number, rows["k1"].seconds) == (2, 2.0)
    assert "no longer" in rows["k4"].reason
    manifest.close()


def test_another_question_is_refused(tmp_path):
    begun(tmp_path, people(1)).close()
    with pytest.raises(OutputError, match="asked otherwise \\(beams\\)"):
        begun(tmp_path, people(1), ASKED | {"beams": 9})


def test_a_reader_sees_it_while_it_is_open_and_changes_nothing(tmp_path):
    manifest = begun(tmp_path, people(2))
    manifest.start(2)
    seen = read_state(tmp_path, running=True)
    assert seen.counts == {"waiting": 1, "running": 1, "done": 0, "failed": 0}
    manifest.close()
    with pytest.raises(FormatError, match="no batch"):
        read_state(tmp_path / "none", running=False)
    (tmp_path / NAME).write_bytes(b"no database" * 100)
    with pytest.raises(FormatError):
        read_state(tmp_path, running=False)
    with pytest.raises((FormatError, BatchError)):
        BatchManifest(tmp_path)


WRITER = """
import sys
from pathlib import Path
from rtplan.batch.manifest import BatchManifest
from rtplan.batch.members import Member
from rtplan.batch.outcome import Outcome
out = Path(sys.argv[1])
manifest = BatchManifest(out)
manifest.begin({}, [Member(n, f"k{n}", "phantom") for n in range(1, 5001)], out / "patients")
for number in range(1, 5001):
    manifest.start(number)
    print(number, "running", flush=True)
    manifest.end(number, Outcome("done"))
    print(number, "done", flush=True)
"""


def test_after_kill_9_the_file_holds_every_change_that_was_told(tmp_path):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    told = {}
    for line in itertools.islice(writer.stdout, 100):
        number, state = line.split()
        told[int(number)] = state
    os.kill(writer.pid, signal.SIGKILL)
    for line in writer.stdout.read().splitlines():  # told before the kill came
        number, state = line.split()
        told[int(number)] = state
    writer.wait()
    writer.stdout.close()
    base = sqlite3.connect(tmp_path / NAME)
    kept = dict(base.execute("SELECT number, state FROM patients"))
    base.close()
    order = ("waiting", "running", "done")
    behind = [n for n, state in told.items() if order.index(kept[n]) < order.index(state)]
    assert not behind
    assert len(kept) == 5000
    assert sum(state == "running" for state in kept.values()) <= 1
