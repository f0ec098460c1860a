"""Makes received objects durable in groups: one thread, one transaction for all that wait."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from rtplan.service.node.database import Database

#: So many objects are made durable together at most.
GROUP = 256


@dataclass(frozen=True)
class Row:
    """One received object as the database keeps it."""

    sop_uid: str
    class_uid: str
    study_key: str
    series_uid: str
    modality: str
    syntax: str
    sha256: str
    bytes: int
    path: str
    peer: str
    at: float
    own: int


@dataclass(frozen=True)
class Entry:
    """A row, its study, and the folders whose names must be on disk before it counts."""

    row: Row
    study_uid: str
    folders: tuple[Path, ...]


class Committer:
    """Takes entries from many threads; each waits until its own is durable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: queue.SimpleQueue[tuple[Entry, Future[None]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def commit(self, entry: Entry) -> None:
        """Return when the entry is on disk.

        Raises
        ------
        Exception
            If it cannot be: the disk is full, the database is.
        """
        done: Future[None] = Future()
        self._waiting.put((entry, done))
        done.result()

    def stop(self) -> None:
        """End after all that waits."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            group = [first]
            while len(group) < GROUP and not self._waiting.empty():
                following = self._waiting.get()
                if following is None:
                    self._waiting.put(None)
                    break
                group.append(following)
            self._settle(group)

    def _settle(self, group: Sequence[tuple[Entry, Future[None]]]) -> None:
        entries = [entry for entry, _ in group]
        try:
            for folder in dict.fromkeys(folder for entry in entries for folder in entry.folders):
                sync_folder(folder)
            write(self._database, entries)
        except Exception as failed:  # whoever waits is told; this thread goes on
            for _, done in group:
                done.set_exception(failed)
        else:
            for _, done in group:
                done.set_result(None)


_INSERT = (
    f"INSERT OR REPLACE INTO instance ({', '.join(field.name for field in fields(Row))}) "
    f"VALUES ({', '.join('?' * len(fields(Row)))})"
)
_STUDY = """INSERT INTO study (study_key, study_uid, first, last, peer, state) VALUES (?, ?, ?, ?, ?, 'open')
ON CONFLICT (study_key) DO UPDATE SET last = excluded.last, peer = excluded.peer,
first = CASE WHEN state IN ('open', 'fetching') THEN first ELSE excluded.first END,
state = CASE WHEN state = 'fetching' THEN state ELSE 'open' END"""


def write(database: Database, entries: Iterable[Entry]) -> None:
    """Write rows, and that their studies have something new, in one transaction."""
    with database.transaction() as db:
        for entry in entries:
            row = entry.row
            db.execute(_INSERT, astuple(row))
            if not row.own:
                db.execute(_STUDY, (row.study_key, entry.study_uid, row.at, row.at, row.peer))


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder onto the disk, where the system can (POSIX)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
