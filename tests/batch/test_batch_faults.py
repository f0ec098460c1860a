"""Real faults: kill -9 of a worker and of the batch, a full disk, an unplugged share, a lost scheduler."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import psutil
import pytest

from rtplan.batch.cluster import Site
from rtplan.batch.run import run_batch, status_of
from rtplan.batch.settings import Limits
from rtplan.cli import DONE, INTERRUPTED, REFUSED
from rtplan.errors import BatchError, FormatError

ASKED = ("--protocol", "prostate_boost_flame", "--arms", "CT,CT0", "--dashboard", "0")


class Watched:
    """The real process of a batch, and when each patient's results were first seen."""

    def __init__(self, source, out, *more):
        command = [sys.executable, "-m", "rtplan", "batch", str(source), "--out", str(out), *ASKED, *more]
        self.out, self.seen = out, {}
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def until(self, true, seconds=300.0):
        end = time.monotonic() + seconds
        while not true():
            self.look()
            assert time.monotonic() < end
            assert self.process.poll() is None, self.process.stderr.read()
            time.sleep(0.02)

    def look(self):
        for path in self.out.glob("patients/[!.]*/manifest.json"):
            self.seen.setdefault(path, path.stat().st_mtime_ns)
        return len(self.seen)

    def workers(self):
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if any("spawn_main" in word for word in child.cmdline())]

    def end(self, seconds=120.0):
        self.process.wait(timeout=seconds)
        said = self.process.stderr.read()
        self.process.stderr.close()
        assert "Mustermann" not in said
        assert "HOSP-" not in said
        assert "Traceback" not in said
        return self.process.returncode, said


def busy(out):
    return bool(list((out / "patients").glob(".partial-*")))


def whole(out, count):
    """Assert that the results are whole, and as many; nothing else lies there."""
    folders = list((out / "patients").iterdir())
    assert len(folders) == count
    assert all((folder / "manifest.json").is_file() for folder in folders)


def test_kill_9_of_a_worker_and_of_the_batch_lose_nothing_and_do_nothing_twice(clinic, asked, site, tmp_path):
    source, out = clinic(6, tmp_path / "in"), tmp_path / "out"
    batch = Watched(source, out, "--workers", "1")
    batch.until(lambda: batch.look() >= 1 and busy(out))
    with pytest.raises(BatchError, match="Another process"):  # a double start, here from another process
        run_batch(asked(source), out, site, resume=True)
    assert status_of(out).running
    (worker,) = batch.workers()
    worker.send_signal(signal.SIGKILL)
    before = batch.look()
    batch.until(lambda: batch.look() > before and busy(out))  # another worker took over
    assert [p for p in status_of(out).patients if p.fault == "infrastructure" and "died" in p.reason]
    family = [batch.process.pid, *(w.pid for w in batch.workers())]
    os.kill(batch.process.pid, signal.SIGKILL)
    assert batch.end()[0] == -signal.SIGKILL
    gone = time.monotonic() + 20.0
    while any(psutil.pid_exists(pid) for pid in family[1:]):  # workers end with their batch
        assert time.monotonic() < gone
        time.sleep(0.05)
    batch.look()
    state = status_of(out)
    assert not state.running
    assert state.counts["done"] < 6
    final = run_batch(asked(source), out, site, resume=True)
    assert final.counts["done"] == 6
    whole(out, 6)
    assert {path: path.stat().st_mtime_ns for path in batch.seen} == batch.seen  # nothing twice


@contextmanager
def small_disk(place, mib):
    """A real file system of so many MiB at a place; a function makes it larger."""
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("no file system can be mounted here (it needs root)")

    def grow():
        subprocess.run(["mount", "-o", "remount,size=400m", str(place)], check=True)

    try:
        yield grow
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_stops_the_batch_whole_and_more_space_lets_it_go_on(four, asked, site, tmp_path):
    with small_disk(tmp_path / "disk", 4) as grow:
        out = tmp_path / "disk" / "out"
        settings = asked(four, limits=Limits(attempts=2, patience_s=0.5))
        with pytest.raises(BatchError, match=r"[Dd]isk|full"):
            run_batch(settings, out, site)
        state = status_of(out)
        assert 1 <= state.counts["done"] < 4
        assert state.counts["failed"] == state.counts["running"] == 0
        whole(out, state.counts["done"])
        threading.Timer(1.0, grow).start()  # while the batch waits
        told = []
        settings = replace(settings, limits=Limits(attempts=2, patience_s=60.0))
        assert run_batch(settings, out, site, resume=True, tell=told.append).counts["done"] == 4
        assert any("waits again" in line for line in told)
        whole(out, 4)


def test_an_unplugged_share_is_waited_for_and_gone_for_good_it_stops_the_batch(clinic, asked, site, tmp_path):
    source, away, out = clinic(3, tmp_path / "share"), tmp_path / "away", tmp_path / "out"
    told = []

    def unplug(line):
        told.append(line)
        if "1 of 3" in line:
            source.rename(away)
            source.mkdir()  # the mount point stays, empty

    with pytest.raises(BatchError, match="cannot be reached"):
        run_batch(asked(source), out, site, tell=unplug)
    assert any("Waiting up to" in line for line in told)
    assert status_of(out).counts == {"waiting": 2, "running": 0, "done": 1, "failed": 0}
    with pytest.raises(FormatError, match="no patient"):
        run_batch(asked(source), out, site, resume=True)
    assert status_of(out).counts["waiting"] == 2
    source.rmdir()
    away.rename(source)
    assert run_batch(asked(source), out, site, resume=True).counts["done"] == 3


def test_one_folder_that_is_gone_is_that_patients_end_alone(clinic, asked, site, tmp_path):
    source = clinic(3, tmp_path / "in")

    def lose(line):
        if "1 of 3" in line:
            shutil.rmtree(source / "Mustermann^Max3")

    state = run_batch(asked(source), tmp_path / "out", site, tell=lose)
    assert [p.state for p in state.patients] == ["done", "done", "failed"]
    assert state.patients[2].attempts == 2
    assert "cannot be reached" in state.patients[2].reason


@pytest.mark.slow
def test_an_interrupt_is_tidy_and_the_batch_goes_on(clinic, asked, site, tmp_path):
    source, out = clinic(6, tmp_path / "in"), tmp_path / "out"
    batch = Watched(source, out, "--workers", "2")
    batch.until(lambda: batch.look() >= 1 and busy(out))
    os.kill(batch.process.pid, signal.SIGINT)
    code, said = batch.end()
    assert code == INTERRUPTED
    assert "--resume" in said
    state = status_of(out)
    assert state.counts["running"] == state.counts["failed"] == 0
    batch.look()
    assert run_batch(asked(source), out, site, resume=True).counts["done"] == 6
    whole(out, 6)
    assert {path: path.stat().st_mtime_ns for path in batch.seen} == batch.seen


@contextmanager
def processes(tmp_path):
    """A scheduler and a worker as processes of their own; gives the address and the scheduler."""
    file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file",
         str(file)],
        **quiet,
    )  # fmt: skip
    worker = subprocess.Popen(
        [*dask, "worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard",
         "--local-directory", str(tmp_path), "--death-timeout", "300"],
        **quiet,
    )  # fmt: skip
    try:
        end = time.monotonic() + 60.0
        while not file.is_file():
            assert time.monotonic() < end
            time.sleep(0.05)
        yield str(file), scheduler
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.wait(timeout=60)


@pytest.mark.slow
def test_a_scheduler_that_is_killed_loses_nothing(clinic, asked, tmp_path):
    source, out = clinic(6, tmp_path / "in"), tmp_path / "out"
    (tmp_path / "one").mkdir()
    with processes(tmp_path / "one") as (address, scheduler):
        batch = Watched(source, out, "--scheduler", address)
        batch.until(lambda: batch.look() >= 1 and busy(out))
        scheduler.send_signal(signal.SIGKILL)
        code, said = batch.end()
        assert code == REFUSED
        assert "scheduler is gone" in said
        assert status_of(out).counts["running"] == 0
    batch.look()
    (tmp_path / "two").mkdir()
    with processes(tmp_path / "two") as (address, _):
        patient = asked(source, limits=Limits(patience_s=300.0))
        state = run_batch(patient, out, Site(scheduler=address), resume=True)
    assert state.counts["done"] == 6
    whole(out, 6)
    assert {path: path.stat().st_mtime_ns for path in batch.seen} == batch.seen


@pytest.mark.slow
def test_memory_of_a_worker_is_flat_over_200_patients(clinic, tmp_path):
    source, out = clinic(200, tmp_path / "in"), tmp_path / "out"
    batch = Watched(source, out, "--workers", "1")
    assert batch.end(3000.0)[0] == DONE
    held = [p.held_mib for p in status_of(out).patients]
    early, late = sorted(held[10:40])[15], sorted(held[-30:])[15]
    assert late <= 1.05 * early
