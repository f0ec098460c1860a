"""Brings results to one destination: each once, again after failures, with storage commitment where asked."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from rtplan.errors import DicomError, NetworkError
from rtplan.io.modules import Stamp
from rtplan.io.network.references import Reference
from rtplan.io.network.storing import Item
from rtplan.service.node.jobs import Desk, wait_s
from rtplan.service.node.metrics import Counters

#: So many objects go in one association.
TOGETHER = 200
#: The queue is looked at after so long (s) at the latest.
LONGEST_PAUSE_S = 1.0
#: Failures that will not pass: class not taken, not authorised, no context accepted.
FINAL = (0x0122, 0x0124, -1)

Tell = Callable[[Item, int, str], None]
Keep = Callable[[Sequence[Reference]], tuple[list[Reference], list[Reference]]]


Committed = Callable[[str, Sequence[Reference], Sequence[Reference]], None]


class Destination(Protocol):
    """Where results go: a DICOM peer or a DICOMweb server."""

    @property
    def name(self) -> str:
        """What it is called in the configuration."""

    @property
    def commits(self) -> bool:
        """Whether it is asked for storage commitment."""

    def send(self, items: Sequence[Item], tell: Tell) -> None:
        """Send items in order, telling of each; raise NetworkError when it breaks off."""

    def ask(self, transaction: str, references: Sequence[Reference], committed: Committed) -> None:
        """Ask for storage commitment."""

    def report(self, transaction: str, kept: Sequence[Reference], lost: Sequence[Reference]) -> None:
        """Answer a request for storage commitment."""


class Courier(threading.Thread):
    """One thread for one destination: a peer that hangs holds up no other.

    Parameters
    ----------
    desk : Desk
        Configuration, folder, database and journal.
    destination : Destination
        Where results go.
    keep : callable
        Says which instances are on disk.
    counters : Counters
        Counts what was delivered.
    """

    def __init__(self, desk: Desk, destination: Destination, keep: Keep, counters: Counters) -> None:
        super().__init__(name=f"courier {destination.name}", daemon=True)
        self._desk, self._to, self._keep, self._counters = desk, destination, keep, counters
        self.wake, self.stopping = threading.Event(), threading.Event()

    def run(self) -> None:
        """Deliver what is due until the node stops."""
        while not self.stopping.is_set():
            self.wake.clear()
            try:
                self.deliver()
            except Exception as failed:  # a full disk, say: nothing is lost, it is tried again
                self._desk.journal.log("courier waits", target=self._to.name, why=type(failed).__name__)
                self.stopping.wait(LONGEST_PAUSE_S)
            self.wake.wait(self._pause_s())

    def stop(self) -> None:
        """End after the object that is on its way."""
        self.stopping.set()
        self.wake.set()

    def deliver(self) -> None:
        """Send, ask for and answer whatever is due now."""
        self._answer()
        while self._send_some() and not self.stopping.is_set():
            pass
        if self._to.commits:
            self._ask()

    def _pause_s(self) -> float:
        row = self._desk.database.one(
            "SELECT MIN(due) AS due FROM (SELECT due FROM outgoing WHERE target = ?"
            " AND state IN ('waiting', 'stored', 'asked')"
            " UNION ALL SELECT due FROM promise WHERE peer = ? AND state = 'waiting')",
            self._to.name, self._to.name,
        )  # fmt: skip
        if row is None or row["due"] is None:
            return LONGEST_PAUSE_S
        return float(min(max(row["due"] - time.time(), 0.05), LONGEST_PAUSE_S))

    def _send_some(self) -> bool:
        """Send a load; return whether all of it went well and more may be due."""
        rows = self._desk.database.all(
            "SELECT * FROM outgoing WHERE target = ? AND state = 'waiting' AND due <= ?"
            " ORDER BY job, path LIMIT ?",
            self._to.name, time.time(), TOGETHER,
        )  # fmt: skip
        waiting = {
            Item(self._desk.folder / row["path"], row["class_uid"], row["sop_uid"]): row for row in rows
        }
        for item in [item for item in waiting if not item.path.is_file()]:
            self._change(waiting.pop(item), state="lost", why="its file is gone")
        sent = 0

        def tell(item: Item, status: int, comment: str) -> None:
            nonlocal sent
            sent += self._told(waiting.pop(item), status)
            if self.stopping.is_set():
                raise NetworkError("The node stops.")

        try:
            if waiting:
                self._to.send(list(waiting), tell)
        except (NetworkError, DicomError) as failed:
            if not self.stopping.is_set():
                self._put_off(list(waiting.values()), failed.message)
                self._desk.journal.audit(
                    "not sent", target=self._to.name, count=len(waiting), why=failed.message
                )
        if sent:
            self._desk.journal.audit("sent", target=self._to.name, count=sent)
        return bool(rows) and sent == len(rows)

    def _told(self, row: sqlite3.Row, status: int) -> int:
        """Write down what a peer said of one object; return whether it has it now."""
        if status == 0 or 0xB000 <= status <= 0xBFFF:
            self._change(row, state="stored" if self._to.commits else "sent", due=time.time(), why="")
            self._counters.add("rtplan_node_sent_total", self._to.name)
            return 1
        why = "no context" if status < 0 else f"status {status:04X}"
        if status in FINAL:
            self._change(row, state="refused", why=why)
            self._desk.journal.audit(
                "refused by peer", target=self._to.name, sop_class=row["class_uid"], why=why
            )
        else:
            self._put_off([row], why)
        self._counters.add("rtplan_node_send_failures_total", self._to.name)
        return 0

    def _put_off(self, rows: Sequence[sqlite3.Row], why: str) -> None:
        """Try again later, or give up."""
        retry, now = self._desk.config.node.retry, time.time()
        for row in rows:
            tries = row["tries"] + 1
            over = now - row["since"] > retry.give_up_h * 3600.0
            due = now + wait_s(retry.first_s, retry.longest_s, tries)
            self._change(row, state="given up" if over else "waiting", tries=tries, due=due, why=why)

    def _ask(self) -> None:
        """Ask for commitment to what is stored, and again where no answer came."""
        rows = self._desk.database.all(
            "SELECT * FROM outgoing WHERE target = ? AND state IN ('stored', 'asked') AND due <= ? LIMIT ?",
            self._to.name, time.time(), TOGETHER,
        )  # fmt: skip
        if not rows:
            return
        retry, transaction = self._desk.config.node.retry, Stamp().uid()
        for row in rows:
            due = time.time() + wait_s(retry.first_s, retry.longest_s, row["tries"] + 1)
            self._change(row, state="asked", asked=transaction, tries=row["tries"] + 1, due=due)
        try:
            asked = [Reference(row["class_uid"], row["sop_uid"]) for row in rows]
            self._to.ask(transaction, asked, self.committed)
        except NetworkError as failed:
            self._desk.journal.audit("not asked to keep", target=self._to.name, why=failed.message)

    def committed(self, transaction: str, kept: Sequence[Reference], lost: Sequence[Reference]) -> None:
        """Take the answer to a request of ours."""
        for references, state in ((kept, "committed"), (lost, "waiting")):
            for reference in references:
                self._desk.database.change(
                    "UPDATE outgoing SET state = ?, due = ? WHERE sop_uid = ? AND target = ? AND asked = ?"
                    " AND state = 'asked'",
                    state, time.time(), reference.sop_uid, self._to.name, transaction,
                )  # fmt: skip
        self._desk.journal.audit("kept by peer", target=self._to.name, kept=len(kept), lost=len(lost))
        self._counters.add("rtplan_node_commitments_total", "got")
        self.wake.set()

    def _answer(self) -> None:
        """Answer requests for storage commitment from what is on disk now."""
        rows = self._desk.database.all(
            "SELECT * FROM promise WHERE peer = ? AND state = 'waiting' AND due <= ?",
            self._to.name,
            time.time(),
        )
        for row in rows:
            asked = [Reference(*pair) for pair in json.loads(row["asked"])]
            kept, lost = self._keep(asked)
            retry, state, due = self._desk.config.node.retry, "done", row["due"]
            try:
                self._to.report(row["transaction_uid"], kept, lost)
                self._desk.journal.audit("promised", peer=self._to.name, kept=len(kept), lost=len(lost))
                self._counters.add("rtplan_node_commitments_total", "answered")
            except NetworkError as failed:
                over = time.time() - row["since"] > retry.give_up_h * 3600.0
                state = "given up" if over else "waiting"
                due = time.time() + wait_s(retry.first_s, retry.longest_s, row["tries"] + 1)
                self._desk.journal.audit("not promised", peer=self._to.name, why=failed.message)
            self._desk.database.change(
                "UPDATE promise SET state = ?, due = ?, tries = tries + 1 WHERE id = ?", state, due, row["id"]
            )

    def _change(self, row: sqlite3.Row, **fields: str | float) -> None:
        names = ", ".join(f"{name} = ?" for name in fields)
        self._desk.database.change(
            f"UPDATE outgoing SET {names} WHERE sop_uid = ? AND target = ?",
            *fields.values(), row["sop_uid"], row["target"],
        )  # fmt: skip
