"""The threads that work on the queue: one looks at studies, one runs jobs, one for each destination sends."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence

from rtplan.io.network.calling import Calling
from rtplan.io.network.parties import Caller
from rtplan.io.network.references import Reference
from rtplan.io.network.spool import SpoolPlace
from rtplan.service.node.courier import Courier
from rtplan.service.node.destinations import DicomDestination, WebDestination, peer_of, web_peer_of
from rtplan.service.node.fetching import Fetcher
from rtplan.service.node.jobs import Desk, Dispatcher
from rtplan.service.node.metrics import Counters
from rtplan.service.node.runner import Runner
from rtplan.service.node.store import Store

#: How often the studies are looked at (s): a fifth of the shortest quiet time, within these.
TICKS_S = (0.05, 1.0)
#: Status of an N-ACTION response: taken; not taken.
TAKEN, NOT_TAKEN = 0x0000, 0x0110


class Workshop:
    """Works on the queue until it is stopped.

    Parameters
    ----------
    desk : Desk
        Configuration, folder, database and journal.
    store : Store
        The objects.
    calling : Calling
        As whom peers are called.
    place : SpoolPlace
        Where fetched data sets are written to.
    counters : Counters
        Of the node.
    salt : str
        Enters pseudonyms.
    """

    def __init__(
        self, desk: Desk, store: Store, calling: Calling, place: SpoolPlace, counters: Counters, salt: str
    ) -> None:
        self._desk = desk
        config = desk.config
        peers = {peer.ae_title: peer_of(peer) for peer in config.peer if peer.port}
        webs = {web.name: web_peer_of(web, config.node) for web in config.web}
        keeping = {peer.ae_title for peer in config.peer if peer.storage_commitment}
        destinations: list[DicomDestination | WebDestination] = [
            DicomDestination(calling, peer, name in keeping) for name, peer in peers.items()
        ]
        destinations += [WebDestination(server) for server in webs.values()]
        self._couriers = {to.name: Courier(desk, to, store.kept, counters) for to in destinations}
        self.fetcher = Fetcher(calling, peers, webs, store, place)
        self._dispatcher = Dispatcher(desk, self.fetcher.fetch)
        self._runner = Runner(desk, salt, counters, self._wake)
        self._ready, self._stopping = threading.Event(), threading.Event()
        self.trouble = ""
        shortest = min((rule.quiet_s for rule in config.rule), default=TICKS_S[1])
        self._tick_s = min(max(shortest / 5.0, TICKS_S[0]), TICKS_S[1])
        self._threads = [
            threading.Thread(target=self._loop, args=(self._look,), name="dispatcher", daemon=True),
            threading.Thread(target=self._loop, args=(self._run,), name="runner", daemon=True),
        ]

    def start(self) -> None:
        """Go on where the last process ended."""
        again = self._runner.recover()
        if again:
            self._desk.journal.audit("jobs run again", count=again)
        for thread in (*self._threads, *self._couriers.values()):
            thread.start()
        self._ready.set()

    def stop(self) -> None:
        """End the running job (it runs again at the next start) and what is being sent."""
        self._stopping.set()
        self._runner.stopping.set()
        self._ready.set()
        for courier in self._couriers.values():
            courier.stop()
        for thread in (*self._threads, *self._couriers.values()):
            thread.join(self._desk.config.node.timeouts.stop_s)

    def commit(self, caller: Caller, transaction: str, references: Sequence[Reference]) -> int:
        """Take a request for storage commitment; it is answered by another association."""
        if caller.ae_title not in self._couriers or not references:
            return NOT_TAKEN
        asked = json.dumps([(one.class_uid, one.sop_uid) for one in references])
        now = time.time()
        self._desk.database.change(
            "INSERT INTO promise (peer, transaction_uid, asked, state, due, since)"
            " VALUES (?, ?, ?, 'waiting', ?, ?)",
            caller.ae_title, transaction, asked, now, now,
        )  # fmt: skip
        self._couriers[caller.ae_title].wake.set()
        return TAKEN

    def committed(
        self, caller: Caller, transaction: str, kept: Sequence[Reference], lost: Sequence[Reference]
    ) -> None:
        """Take a peer's answer to a request of ours."""
        courier = self._couriers.get(caller.ae_title)
        if courier is not None:
            courier.committed(transaction, kept, lost)

    def alive(self) -> bool:
        """Whether every thread still works."""
        return all(thread.is_alive() for thread in (*self._threads, *self._couriers.values()))

    def _loop(self, work: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                work()
                self.trouble = ""
            except Exception as failed:  # a full disk, say: nothing is lost, it is tried again
                self.trouble = type(failed).__name__
                self._desk.journal.log("the queue waits", why=self.trouble)
                self._stopping.wait(1.0)

    def _look(self) -> None:
        if self._dispatcher.look():
            self._ready.set()
        self._stopping.wait(self._tick_s)

    def _run(self) -> None:
        self._ready.wait(5.0)
        self._ready.clear()
        while not self._stopping.is_set() and self._runner.run_next():
            pass

    def _wake(self) -> None:
        for courier in self._couriers.values():
            courier.wake.set()
