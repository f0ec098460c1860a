"""The node's objects on disk: taken whole and once, answered when durable, found again after a crash."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rtplan.errors import DicomError
from rtplan.io.network.answers import Incoming
from rtplan.io.network.contexts import stored_classes
from rtplan.io.network.facts import Facts, content_of, facts_of
from rtplan.io.network.references import CLASS_CONFLICT, NO_SUCH, Reference
from rtplan.io.network.spool import SUFFIX
from rtplan.service.node.committer import Committer, Entry, Row, sync_folder, write
from rtplan.service.node.database import Database
from rtplan.service.node.keys import INSTANCE_DIGITS, hashed

#: Folders below the node's own.
INCOMING, RECEIVED, RETURNED, DAMAGED = "incoming", "received", "returned", "damaged"
FOLDERS = (INCOMING, RECEIVED, RETURNED, DAMAGED)
#: Status of a C-STORE response, with its comment (PS3.4 B.2.3).
SUCCESS = (0x0000, "")
FULL, TOO_LARGE = (0xA700, "the disk is full"), (0xA701, "larger than this node takes")
OTHER_OBJECT, OTHER_BYTES = (0xA900, "not what the command says"), (0xC111, "UID is stored with other bytes")
UNREADABLE, NO_CLASS = (0xC000, "cannot be read"), (0x0122, "class is not taken")
FAILURES = (FULL, TOO_LARGE, OTHER_OBJECT, OTHER_BYTES, UNREADABLE, NO_CLASS)
_STRIPES = 64


@dataclass(frozen=True)
class Found:
    """What a start found: temporary files removed, objects adopted, rows without file, damaged files."""

    removed: int = 0
    adopted: int = 0
    missing: int = 0
    damaged: int = 0


class Store:
    """Takes objects from the listener.

    Parameters
    ----------
    folder : Path
        The node's; its sub-folders are made.
    database : Database
        What is known of each object.
    key : bytes
        Of the node, for names.
    """

    def __init__(self, folder: Path, database: Database, key: bytes) -> None:
        self.folder, self._database, self._key = folder, database, key
        self._classes = stored_classes()
        self._locks = tuple(threading.Lock() for _ in range(_STRIPES))
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
        sync_folder(folder)
        self._durable: set[Path] = set()  # folders whose own names are on disk
        self._committer = Committer(database)

    def take(self, incoming: Incoming) -> tuple[int, str]:
        """Store one object; return status and comment. Success: it is on disk and in the database."""
        spool = incoming.spool
        if spool.failure or spool.path is None:
            return TOO_LARGE if spool.failure == "size" else FULL
        if incoming.class_uid not in self._classes:
            return NO_CLASS
        try:
            facts = facts_of(spool.path)
        except DicomError:
            return UNREADABLE
        if (facts.class_uid, facts.sop_uid) != (incoming.class_uid, incoming.sop_uid):
            return OTHER_OBJECT
        with self._locks[hash(facts.sop_uid) % _STRIPES]:
            known = self._database.one("SELECT sha256, path FROM instance WHERE sop_uid = ?", facts.sop_uid)
            if known is not None and (self.folder / known["path"]).exists():
                return SUCCESS if known["sha256"] == spool.sha256 else OTHER_BYTES
            return self._keep(incoming, facts)

    def _keep(self, incoming: Incoming, facts: Facts) -> tuple[int, str]:
        spool = incoming.spool
        own = self._database.one("SELECT 1 FROM outgoing WHERE sop_uid = ?", facts.sop_uid) is not None
        path = self._path(facts, own=own)
        try:
            spool.sync()
            path.parent.mkdir(exist_ok=True)
            spool.taken(path)
            row = self._row(facts, path, own=own, content=(incoming.syntax, spool.sha256, spool.size))
            row = replace(row, peer=incoming.caller.ae_title)
            above = () if path.parent in self._durable else (path.parent.parent,)
            self._committer.commit(Entry(row, facts.study_uid, (path.parent, *above)))
            self._durable.add(path.parent)
        except (OSError, sqlite3.Error):
            path.unlink(missing_ok=True)  # it was not there before: nobody was told of it
            return FULL
        return SUCCESS

    def reconcile(self) -> Found:
        """Bring disk and database together after whatever happened before this start."""
        parts = list((self.folder / INCOMING).glob(f"*{SUFFIX}"))
        for part in parts:
            part.unlink()
        known = {row["path"] for row in self._database.all("SELECT path FROM instance")}
        on_disk = {
            path.relative_to(self.folder).as_posix(): path
            for name in (RECEIVED, RETURNED)
            for path in (self.folder / name).glob("*/*.dcm")
        }
        entries: list[Entry] = []
        damaged = 0
        for name in sorted(on_disk.keys() - known):
            try:
                entries.append(self._adopted(on_disk[name], own=name.startswith(RETURNED)))
            except DicomError:
                damaged += 1
                on_disk[name].rename(self.folder / DAMAGED / on_disk[name].name)
        write(self._database, entries)
        return Found(len(parts), len(entries), len(known - on_disk.keys()), damaged)

    def kept(self, references: Sequence[Reference]) -> tuple[list[Reference], list[Reference]]:
        """Return which instances are truly on disk with the bytes that were received, and which are not."""
        kept, lost = [], []
        for reference in references:
            why = self._why_not(reference)
            if why:
                lost.append(Reference(reference.class_uid, reference.sop_uid, why))
            else:
                kept.append(reference)
        return kept, lost

    def stop(self) -> None:
        """End after all that waits."""
        self._committer.stop()

    def _why_not(self, reference: Reference) -> int:
        row = self._database.one(
            "SELECT class_uid, sha256, bytes, path FROM instance WHERE sop_uid = ?", reference.sop_uid
        )
        if row is None:
            return NO_SUCH
        if row["class_uid"] != reference.class_uid:
            return CLASS_CONFLICT
        try:
            _, sha256, count = content_of(self.folder / row["path"])
        except DicomError:
            return NO_SUCH
        return 0 if (sha256, count) == (row["sha256"], row["bytes"]) else NO_SUCH

    def _adopted(self, path: Path, *, own: bool) -> Entry:
        facts = facts_of(path)
        return Entry(
            self._row(facts, path, own=own, content=content_of(path)), facts.study_uid, (path.parent,)
        )

    def _row(self, facts: Facts, path: Path, *, own: bool, content: tuple[str, str, int]) -> Row:
        syntax, sha256, count = content
        return Row(
            sop_uid=facts.sop_uid,
            class_uid=facts.class_uid,
            study_key=hashed(self._key, facts.study_uid),
            series_uid=facts.series_uid,
            modality=facts.modality,
            syntax=syntax,
            sha256=sha256,
            bytes=count,
            path=path.relative_to(self.folder).as_posix(),
            peer="",
            at=time.time(),
            own=int(own),
        )

    def _path(self, facts: Facts, *, own: bool) -> Path:
        """Return where an object lies: nothing in its path says whose it is."""
        place = self.folder / (RETURNED if own else RECEIVED) / hashed(self._key, facts.study_uid)
        return place / f"{hashed(self._key, facts.sop_uid, INSTANCE_DIGITS)}.dcm"
