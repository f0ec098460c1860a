"""The manifest of a batch (``batch.sqlite``): who waits, runs, is done, has failed; survives every crash."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rtplan.batch.members import Member
from rtplan.batch.outcome import Outcome
from rtplan.errors import BatchError, FormatError, OutputError
from rtplan.evaluation.batch_state import BatchPatient, BatchState, State

NAME, SCHEMA = "batch.sqlite", 1
#: What may follow a state. ``running`` goes back to ``waiting`` when a machine failed, never a patient.
NEXT: Mapping[State, tuple[State, ...]] = {
    "waiting": ("running", "failed"),
    "running": ("done", "failed", "waiting"),
    "done": (),
    "failed": (),
}
_TABLES = """
CREATE TABLE IF NOT EXISTS batch (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS patients (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0,
    fault TEXT CHECK (fault IN ('patient', 'infrastructure')),
    reason TEXT, worker TEXT, seconds REAL, cpu_seconds REAL, peak_mib REAL, held_mib REAL,
    started TEXT, finished TEXT,
    parts TEXT NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX IF NOT EXISTS keys ON patients (key) WHERE key <> '';
"""
_GONE = "He is no longer in the list or folder of patients."


class BatchManifest:
    """The manifest, open for the one process that owns the batch.

    Every change is one transaction on disk before the next thing happens (write-ahead log, full
    synchronisation): after a kill or a power cut the file holds all changes that were told, and no half one.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / NAME
        with _sound(self.path):
            self._base = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self._base.row_factory = sqlite3.Row
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.executescript(_TABLES)

    def close(self) -> None:
        """Close the file; what was told stays."""
        with _sound(self.path):
            self._base.close()

    def begin(self, settings: Mapping[str, Any], members: Sequence[Member], results: Path) -> None:
        """Take up the batch: new patients wait, interrupted ones wait again, finished ones stay.

        Parameters
        ----------
        settings : mapping
            What decides the results.
        members : sequence of Member
            As they are in the source now.
        results : Path
            Folder of the patients' out folders: who is done but not there waits again.

        Raises
        ------
        OutputError
            If the folder holds a batch that was asked otherwise.
        """
        kept = self._told("settings")
        if kept is not None and json.loads(kept) != json.loads(json.dumps(settings)):
            before = json.loads(kept)
            changed = sorted(n for n in {*before, *settings} if before.get(n) != settings.get(n))
            raise OutputError(
                f"The batch in the out folder was asked otherwise ({', '.join(changed)}).",
                where=str(results.parent),
                action="choose another --out, or the settings that it was begun with.",
            )
        same = self._told("rtplan_version") == version("rtplan")
        before_rows = {p.key: p for p in _patients(self._base) if p.key}
        with _sound(self.path), self._base:
            self._base.execute("BEGIN IMMEDIATE")
            self._base.execute("DELETE FROM patients")
            for member in members:
                old = before_rows.pop(member.key, None)
                done = old is not None and old.state == "done" and same
                there = done and (results / member.key / "manifest.json").is_file()
                self._put(_renumbered(old, member) if old is not None and there else _fresh(member))
            for number, old in enumerate(before_rows.values(), start=len(members) + 1):
                self._put(_left(old, number))
            self._tell(schema=str(SCHEMA), rtplan_version=version("rtplan"), settings=json.dumps(settings))
            self._tell(began=now(), dashboard="")

    def dashboard(self, address: str) -> None:
        """Note the dashboard's address."""
        with _sound(self.path), self._base:
            self._tell(dashboard=address)

    def start(self, number: int) -> int:
        """Move a patient from waiting to running; return the number of this attempt."""
        self._move(number, "running", attempts="attempts + 1", started=now(), finished=None, worker=None)
        row = self._base.execute("SELECT attempts FROM patients WHERE number = ?", (number,)).fetchone()
        return int(row["attempts"])

    def end(self, number: int, outcome: Outcome) -> None:
        """Move a running patient to done or failed, with what the run said."""
        self._move(
            number,
            "done" if outcome.state == "done" else "failed",
            fault=None if outcome.state == "done" else outcome.fault,
            **self._facts(outcome),
        )

    def back(self, number: int, outcome: Outcome, *, counts: bool) -> None:
        """Move a running patient back to waiting after a fault of the machines.

        Parameters
        ----------
        counts : bool
            Whether the attempt counts; it does not where all patients suffer the same outage.
        """
        kept = {} if counts else {"attempts": "attempts - 1"}
        self._move(number, "waiting", fault="infrastructure", **kept, **self._facts(outcome))

    def interrupted(self) -> None:
        """Move everybody who runs back to waiting: the batch ends before them."""
        with _sound(self.path), self._base:
            self._base.execute(
                "UPDATE patients SET state = 'waiting', attempts = attempts - 1 WHERE state = 'running'"
            )

    def waiting(self) -> tuple[int, ...]:
        """Return the numbers of those who wait, in order."""
        rows = self._base.execute("SELECT number FROM patients WHERE state = 'waiting' ORDER BY number")
        return tuple(int(row["number"]) for row in rows)

    def state(self) -> BatchState:
        """Return the whole batch."""
        return _state(self._base, running=True)

    def _facts(self, outcome: Outcome) -> dict[str, Any]:
        return {
            "reason": outcome.reason,
            "worker": outcome.worker,
            "seconds": outcome.seconds,
            "cpu_seconds": outcome.cpu_seconds,
            "peak_mib": outcome.peak_mib,
            "held_mib": outcome.held_mib,
            "finished": now(),
            "parts": json.dumps(dict(outcome.parts)),
        }

    def _move(self, number: int, to: State, *, attempts: str = "attempts", **columns: Any) -> None:
        """Change a patient's state in one transaction; refuse a step that `NEXT` does not know."""
        origins = [state for state, after in NEXT.items() if to in after]
        sets = ", ".join([f"state = ?, attempts = {attempts}", *(f"{name} = ?" for name in columns)])
        marks = ", ".join("?" for _ in origins)
        with _sound(self.path), self._base:
            done = self._base.execute(
                f"UPDATE patients SET {sets} WHERE number = ? AND state IN ({marks})",
                (to, *columns.values(), number, *origins),
            )
        if done.rowcount != 1:
            raise BatchError(f"Patient {number} cannot become {to}: the manifest says otherwise.")

    def _put(self, patient: BatchPatient) -> None:
        plain = patient.as_dict() | {"parts": json.dumps(dict(patient.parts))}
        names = ", ".join(plain)
        marks = ", ".join("?" for _ in plain)
        self._base.execute(f"INSERT INTO patients ({names}) VALUES ({marks})", tuple(plain.values()))

    def _tell(self, **facts: str) -> None:
        for item in facts.items():
            self._base.execute("INSERT OR REPLACE INTO batch (name, value) VALUES (?, ?)", item)

    def _told(self, name: str) -> str | None:
        row = self._base.execute("SELECT value FROM batch WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row["value"])


def read_state(out: Path, *, running: bool) -> BatchState:
    """Return a batch as its manifest says, without changing anything; also while it runs.

    Raises
    ------
    FormatError
        If there is no batch, or the file is none of ours.
    """
    path = out / NAME
    if not path.is_file():
        raise FormatError(
            f"There is no batch here (no {NAME}).", where=str(out), action="give the --out of a batch."
        )
    try:
        base = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10.0)
        try:
            base.row_factory = sqlite3.Row
            return _state(base, running=running)
        finally:
            base.close()
    except (sqlite3.Error, KeyError, ValueError) as broken:
        raise FormatError(
            f"The manifest of the batch cannot be read ({type(broken).__name__}).", where=str(path)
        ) from None


def now() -> str:
    """Return the time in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _state(base: sqlite3.Connection, *, running: bool) -> BatchState:
    told = {row["name"]: row["value"] for row in base.execute("SELECT name, value FROM batch")}
    if told["schema"] != str(SCHEMA):
        raise ValueError("schema")
    return BatchState(
        rtplan_version=told["rtplan_version"],
        settings=json.loads(told["settings"]),
        began=told["began"],
        dashboard=told["dashboard"],
        patients=tuple(_patients(base)),
        running=running,
    )


def _patients(base: sqlite3.Connection) -> Iterator[BatchPatient]:
    for row in base.execute("SELECT * FROM patients ORDER BY number"):
        yield BatchPatient(**{**dict(row), "parts": json.loads(row["parts"])})


def _fresh(member: Member) -> BatchPatient:
    if member.fault is not None:
        return BatchPatient(member.number, member.key, "failed", fault="patient", reason=member.fault)
    return BatchPatient(member.number, member.key, "waiting")


def _renumbered(old: BatchPatient, member: Member) -> BatchPatient:
    return BatchPatient(**{**old.as_dict(), "number": member.number})


def _left(old: BatchPatient, number: int) -> BatchPatient:
    """Return the row of one who is gone from the source: done he stays, else he has failed."""
    changed: dict[str, Any] = {"number": number}
    if old.state != "done":
        changed |= {"state": "failed", "fault": "patient", "reason": _GONE}
    return BatchPatient(**{**old.as_dict(), **changed})


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """Say what is wrong with the manifest as an error of ours."""
    try:
        yield
    except sqlite3.OperationalError as failed:
        raise BatchError(
            f"The manifest of the batch cannot be written ({failed}).",
            where=str(path),
            action="free space and look after the disk; --resume goes on.",
        ) from None
    except sqlite3.DatabaseError:
        raise FormatError(
            "The manifest of the batch is damaged.", where=str(path), action="choose another --out."
        ) from None
