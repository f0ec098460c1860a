"""The node's memory: one SQLite file that survives a kill and a power cut."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rtplan.errors import OutputError

SCHEMA = 1
_TABLES = """
CREATE TABLE instance (
  sop_uid TEXT PRIMARY KEY, class_uid TEXT NOT NULL, study_key TEXT NOT NULL, series_uid TEXT NOT NULL,
  modality TEXT NOT NULL, syntax TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL,
  path TEXT NOT NULL, peer TEXT NOT NULL, at REAL NOT NULL, own INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX instance_study ON instance (study_key);
CREATE TABLE study (
  study_key TEXT PRIMARY KEY, study_uid TEXT NOT NULL, first REAL NOT NULL, last REAL NOT NULL,
  peer TEXT NOT NULL, state TEXT NOT NULL, fetched INTEGER NOT NULL DEFAULT 0,
  tries INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE INDEX study_state ON study (state);
CREATE TABLE job (
  id INTEGER PRIMARY KEY, study_key TEXT NOT NULL, folder TEXT NOT NULL, rule TEXT NOT NULL,
  state TEXT NOT NULL, runs INTEGER NOT NULL DEFAULT 0, at REAL NOT NULL,
  why TEXT NOT NULL DEFAULT '') STRICT;
CREATE INDEX job_state ON job (state);
CREATE TABLE outgoing (
  sop_uid TEXT NOT NULL, target TEXT NOT NULL, job INTEGER NOT NULL, class_uid TEXT NOT NULL,
  path TEXT NOT NULL, state TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL,
  since REAL NOT NULL, why TEXT NOT NULL DEFAULT '', asked TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (sop_uid, target)) STRICT, WITHOUT ROWID;
CREATE INDEX outgoing_due ON outgoing (target, state, due);
CREATE TABLE promise (
  id INTEGER PRIMARY KEY, peer TEXT NOT NULL, transaction_uid TEXT NOT NULL, asked TEXT NOT NULL,
  state TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL, since REAL NOT NULL) STRICT;
"""


class Database:
    """One connection, used by several threads in turn.

    Raises
    ------
    OutputError
        If the file is damaged or was written by another version of rtplan.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.row_factory = sqlite3.Row
            for setting in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000"):
                self._connection.execute(f"PRAGMA {setting}")
            self._open()
        except sqlite3.Error as wrong:
            raise OutputError(
                f"The node's queue cannot be read ({type(wrong).__name__}).",
                where=str(path),
                action="restore it from a copy, or move it away: objects on disk are found again.",
            ) from None

    def _open(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            with self.transaction() as db:
                for statement in _TABLES.strip().split(";\n"):
                    db.execute(statement.rstrip(";"))
                db.execute(f"PRAGMA user_version={SCHEMA}")
        elif version != SCHEMA:
            raise OutputError(
                f"The node's queue has schema {version}, {SCHEMA} is wanted.",
                where=str(self.path),
                action="use the version of rtplan that wrote it, or another folder.",
            )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for changes that are made and on disk together, or not at all."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def all(self, question: str, *values: Any) -> Sequence[sqlite3.Row]:
        """Return the rows that a question gives."""
        with self._lock:
            return self._connection.execute(question, values).fetchall()

    def one(self, question: str, *values: Any) -> sqlite3.Row | None:
        """Return the first row that a question gives."""
        with self._lock:
            row: sqlite3.Row | None = self._connection.execute(question, values).fetchone()
            return row

    def change(self, statement: str, *values: Any) -> int:
        """Make one change, on disk when this returns; return how many rows it made."""
        with self.transaction() as db:
            return db.execute(statement, values).rowcount

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
