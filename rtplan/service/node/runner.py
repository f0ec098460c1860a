"""Runs jobs one after the other, each in a process of its own: what befalls it does not befall the node."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rtplan.errors import RtplanError
from rtplan.io.network.facts import facts_of
from rtplan.io.network.storing import Item
from rtplan.service.node.config import RuleSettings
from rtplan.service.node.jobs import SNAPSHOT, WORK, Desk
from rtplan.service.node.metrics import Counters

#: Folder of the results below the node's own; what the process leaves in its job's folder.
RESULTS, OUTCOME, WORKER_LOG = "results", "outcome.json", "worker.log"
WORKER = "rtplan.service.node.worker"


class Runner:
    """Takes the jobs that wait.

    Parameters
    ----------
    desk : Desk
        Configuration, folder, database and journal.
    salt : str
        Enters the patient's pseudonym in the results.
    counters : Counters
        Counts outcomes.
    finished : callable
        Called after a job whose results are to be sent.
    """

    def __init__(self, desk: Desk, salt: str, counters: Counters, finished: Callable[[], None]) -> None:
        self._desk, self._salt, self._counters, self._finished = desk, salt, counters, finished
        self.stopping = threading.Event()
        (desk.folder / RESULTS).mkdir(exist_ok=True)

    def recover(self) -> int:
        """Let jobs that ran when the node ended wait again, and remove what no row speaks of."""
        database, folder = self._desk.database, self._desk.folder
        count = database.change("UPDATE job SET state = 'waiting' WHERE state = 'running'")
        known = {row["folder"] for row in database.all("SELECT folder FROM job")}
        for stray in (folder / WORK).iterdir():
            if stray.name not in known:
                shutil.rmtree(stray, ignore_errors=True)
        for stray in (folder / RESULTS).glob(".*"):
            shutil.rmtree(stray, ignore_errors=True)
        return count

    def run_next(self) -> bool:
        """Run the job that waits longest; return whether there was one."""
        job = self._desk.database.one("SELECT * FROM job WHERE state = 'waiting' ORDER BY id LIMIT 1")
        if job is None:
            return False
        self._desk.database.change(
            "UPDATE job SET state = 'running', runs = runs + 1 WHERE id = ?", job["id"]
        )
        self._desk.journal.audit("run", job=job["folder"], study=job["study_key"], number=job["runs"] + 1)
        rule = RuleSettings.model_validate_json(job["rule"])
        state, why = self._run(job, rule)
        if state == "stopped":
            self._desk.database.change(
                "UPDATE job SET state = 'waiting', runs = runs - 1 WHERE id = ?", job["id"]
            )
        elif state == "crashed":
            self._crashed(job, why)
        else:
            self._settle(job, rule, state, why)
        return True

    def _run(self, job: sqlite3.Row, rule: RuleSettings) -> tuple[str, str]:
        """Run the process; return how it ended (done, refused, crashed, stopped) and why."""
        place = self._desk.folder / WORK / job["folder"]
        outcome = place / OUTCOME
        outcome.unlink(missing_ok=True)
        node = self._desk.config.node
        order = {
            "folder": str(place / SNAPSHOT),
            "out": str(self._desk.folder / RESULTS / job["folder"]),
            "outcome": str(outcome),
            "rule": rule.model_dump(mode="json", by_alias=True),
            "salt": self._salt,
            "device": node.device,
            "threads": node.threads,
        }
        with (place / WORKER_LOG).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", WORKER], stdin=subprocess.PIPE, stdout=log, stderr=log
            )
            assert process.stdin is not None
            with process.stdin:  # it ends itself when this pipe closes: with the node
                try:
                    process.stdin.write(json.dumps(order).encode() + b"\n")
                    process.stdin.flush()
                except OSError:
                    pass
                ended = self._watch(process, node.timeouts.job_s)
        if ended:
            return ended, f"after {node.timeouts.job_s:g} s" if ended == "crashed" else ""
        return _said(outcome, process.returncode)

    def _watch(self, process: subprocess.Popen[bytes], most_s: float) -> str:
        end = time.monotonic() + most_s
        while process.poll() is None:
            if self.stopping.wait(0.05) or time.monotonic() > end:
                process.kill()
                process.wait()
                return "stopped" if self.stopping.is_set() else "crashed"
        return ""

    def _crashed(self, job: sqlite3.Row, why: str) -> None:
        """Try again what broke without a word of its own; give it up after so many times."""
        most = self._desk.config.node.retry.runs
        state = "failed" if job["runs"] + 1 >= most else "waiting"
        self._desk.database.change("UPDATE job SET state = ?, why = ? WHERE id = ?", state, why, job["id"])
        self._counters.add("rtplan_node_runs_total", "crashed")
        self._desk.journal.audit("run crashed", job=job["folder"], why=why, then=state)

    def _settle(self, job: sqlite3.Row, rule: RuleSettings, state: str, why: str) -> None:
        """Write down how a job ended together with what is to be sent."""
        items: list[Item] = []
        if state == "done":
            try:
                items = results_of(self._desk.folder / RESULTS / job["folder"], rule.send)
            except RtplanError as unreadable:
                state, why = "failed", type(unreadable).__name__
        with self._desk.database.transaction() as db:
            db.execute("UPDATE job SET state = ?, why = ? WHERE id = ?", (state, why, job["id"]))
            send_later(db, self._desk.folder, job["id"], items, rule.send_to)
        self._counters.add("rtplan_node_runs_total", state)
        self._desk.journal.audit(f"run {state}", job=job["folder"], why=why, results=len(items))
        self._finished()


def send_later(
    db: sqlite3.Connection, folder: Path, job: int, items: Sequence[Item], targets: Sequence[str]
) -> None:
    """Write down, within a transaction, what is to be sent where."""
    now = time.time()
    for target in targets:
        for item in items:
            path = item.path.relative_to(folder).as_posix()
            db.execute(
                "INSERT OR IGNORE INTO outgoing (sop_uid, target, job, class_uid, path, state, due, since)"
                " VALUES (?, ?, ?, ?, ?, 'waiting', ?, ?)",
                (item.sop_uid, target, job, item.class_uid, path, now, now),
            )


def results_of(folder: Path, kinds: Sequence[str]) -> list[Item]:
    """Return the DICOM objects of a finished run, or those of some modalities."""
    found = []
    for path in sorted((folder / "dicom").rglob("*.dcm")):
        facts = facts_of(path)
        if not kinds or facts.modality in kinds:
            found.append(Item(path, facts.class_uid, facts.sop_uid))
    return found


def _said(outcome: Path, code: int) -> tuple[str, str]:
    try:
        said = json.loads(outcome.read_text(encoding="utf-8"))
        return str(said["state"]), str(said["error"])
    except (OSError, ValueError, KeyError):
        return "crashed", f"signal {-code}" if code < 0 else f"exit {code}"
