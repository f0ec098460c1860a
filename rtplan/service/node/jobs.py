"""From quiet studies to jobs: a snapshot of the study's files, and a row that survives a kill."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rtplan.errors import NetworkError, RtplanError
from rtplan.service.node.config import FetchSettings, NodeConfig, RuleSettings
from rtplan.service.node.database import Database
from rtplan.service.node.journal import Journal
from rtplan.service.node.rules import rule_for, series_of

#: Folder of the jobs below the node's own, and of the snapshot in each.
WORK, SNAPSHOT = "work", "in"
#: A study that no rule fits is told of after so long (s).
PATIENCE_S = 60.0

Fetch = Callable[[FetchSettings, str], int]


@dataclass(frozen=True, eq=False)
class Desk:
    """What the parts of the node that work on the queue have in common."""

    config: NodeConfig
    folder: Path
    database: Database
    journal: Journal


class Dispatcher:
    """Looks at the studies that got something, and makes jobs of those that are quiet.

    Parameters
    ----------
    desk : Desk
        Configuration, folder, database and journal.
    fetch : callable
        Gets what is to be fetched and a Study Instance UID; returns how many objects came.
    """

    def __init__(self, desk: Desk, fetch: Fetch) -> None:
        self._desk, self._fetch = desk, fetch
        (desk.folder / WORK).mkdir(exist_ok=True)

    def look(self) -> int:
        """Look once at every study that waits; return how many became jobs."""
        now = time.time()
        rows = self._desk.database.all(
            "SELECT * FROM study WHERE state IN ('open', 'fetching') AND due <= ?", now
        )
        return sum(self._safely(row, now) for row in rows)

    def _safely(self, study: sqlite3.Row, now: float) -> int:
        """Look at a study; one that cannot be looked at waits and holds up no other."""
        try:
            return self._look_at(study, now)
        except (RtplanError, ValueError, OSError) as failed:
            why = type(failed).__name__
            self._desk.journal.audit("study waits", study=study["study_key"], why=why)
            self._set(study, study["state"], due=now + PATIENCE_S)
            return 0

    def _look_at(self, study: sqlite3.Row, now: float) -> int:
        if study["last"] > now + 1.0:  # the clock was set back
            self._set(study, "open", last=now, first=min(study["first"], now))
            return 0
        quiet = now - study["last"]
        shortest = min((rule.quiet_s for rule in self._desk.config.rule), default=PATIENCE_S)
        if study["state"] == "open" and quiet < shortest:
            return self._expired(study, now)
        rule = self._rule_of(study)
        if rule is None:
            if quiet >= PATIENCE_S:
                self._set(study, "unmatched")
                self._desk.journal.audit("no rule fits", study=study["study_key"])
            return 0
        if study["state"] == "open" and quiet < rule.quiet_s:
            return self._expired(study, now)
        if rule.fetch is not None and not study["fetched"]:
            self._fetch_for(study, rule, now)
            return 0
        self._queue(study, rule)
        return 1

    def _expired(self, study: sqlite3.Row, now: float) -> int:
        """Give up a study that never gets quiet: nobody knows whether it is whole."""
        longest = max((rule.longest_s for rule in self._desk.config.rule), default=float("inf"))
        if now - study["first"] > longest:
            self._set(study, "never quiet")
            self._desk.journal.audit(
                "never quiet", study=study["study_key"], after_s=round(now - study["first"])
            )
        return 0

    def _rule_of(self, study: sqlite3.Row) -> RuleSettings | None:
        rows = self._desk.database.all(
            "SELECT series_uid, modality, path, peer FROM instance WHERE study_key = ? AND own = 0"
            " ORDER BY path",
            study["study_key"],
        )
        return rule_for(self._desk.config.rule, series_of(self._desk.folder, map(dict, rows)))

    def _fetch_for(self, study: sqlite3.Row, rule: RuleSettings, now: float) -> None:
        self._set(study, "fetching")
        retry = self._desk.config.node.retry
        assert rule.fetch is not None
        try:
            count = self._fetch(rule.fetch, study["study_uid"])
        except NetworkError as failed:
            tries = study["tries"] + 1
            self._desk.journal.audit(
                "not fetched", study=study["study_key"], peer=rule.fetch.source, why=failed.message
            )
            if now - study["last"] > retry.give_up_h * 3600.0:
                self._set(study, "not fetched")
            else:
                self._set(
                    study, "fetching", tries=tries, due=now + wait_s(retry.first_s, retry.longest_s, tries)
                )
            return
        self._desk.journal.audit("fetched", study=study["study_key"], peer=rule.fetch.source, count=count)
        self._set(study, "open", fetched=1, tries=0, due=0.0, **({"last": time.time()} if count else {}))

    def _queue(self, study: sqlite3.Row, rule: RuleSettings) -> None:
        """Link the study's files into a new folder and make a job of it, in one transaction."""
        desk = self._desk
        with desk.database.transaction() as db:
            fresh = db.execute("SELECT last FROM study WHERE study_key = ?", (study["study_key"],)).fetchone()
            if fresh["last"] != study["last"]:
                return
            rows = db.execute(
                "SELECT path FROM instance WHERE study_key = ? AND own = 0", (study["study_key"],)
            ).fetchall()
            folder = desk.folder / WORK / secrets.token_hex(6)
            snapshot([desk.folder / row["path"] for row in rows], folder / SNAPSHOT)
            db.execute(
                "INSERT INTO job (study_key, folder, rule, state, at) VALUES (?, ?, ?, 'waiting', ?)",
                (study["study_key"], folder.name, rule.model_dump_json(by_alias=True), time.time()),
            )
            db.execute("UPDATE study SET state = 'queued' WHERE study_key = ?", (study["study_key"],))
        desk.journal.audit(
            "queued", study=study["study_key"], job=folder.name, count=len(rows), protocol=rule.protocol
        )

    def _set(self, study: sqlite3.Row, state: str, **more: float) -> None:
        names = "".join(f", {name} = ?" for name in more)
        self._desk.database.change(
            f"UPDATE study SET state = ?{names} WHERE study_key = ?",
            state,
            *more.values(),
            study["study_key"],
        )


def snapshot(files: list[Path], folder: Path) -> None:
    """Link files into a new folder; copy them where the file system has no links."""
    folder.mkdir(parents=True)
    for path in files:
        try:
            os.link(path, folder / path.name)
        except FileNotFoundError:
            continue
        except OSError:
            shutil.copyfile(path, folder / path.name)


def wait_s(first_s: float, longest_s: float, tries: int) -> float:
    """Return how long is waited after so many failures.

    Examples
    --------
    >>> [wait_s(10.0, 60.0, tries) for tries in (1, 2, 3, 4, 5000)]
    [10.0, 20.0, 40.0, 60.0, 60.0]
    """
    return float(min(first_s * 2.0 ** min(tries - 1, 60), longest_s))
