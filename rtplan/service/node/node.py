"""The node as a whole: opened on its folder, started, watched, stopped."""

from __future__ import annotations

import os
import shutil
import ssl
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from rtplan.errors import OutputError
from rtplan.io.network.calling import Calling
from rtplan.io.network.listener import Door, Listener
from rtplan.io.network.parties import MIB, Limits
from rtplan.io.network.spool import SpoolPlace
from rtplan.io.network.tls import Certificates, client_context, server_context
from rtplan.service.node.addresses import callers_of
from rtplan.service.node.config import NodeConfig, NodeSettings
from rtplan.service.node.database import Database
from rtplan.service.node.health import HealthServer
from rtplan.service.node.jobs import Desk
from rtplan.service.node.journal import Journal
from rtplan.service.node.keys import own_key
from rtplan.service.node.metrics import Counters
from rtplan.service.node.receiving import Reception
from rtplan.service.node.store import INCOMING, Store
from rtplan.service.node.workshop import Workshop

DATABASE, LOCK = "node.sqlite", "node.lock"
#: States of results that somebody should look at.
_STUCK = {
    "refused": "are not taken by their destination",
    "given up": "could not be delivered in time",
    "lost": "have no file any more",
}


class Node:
    """A node on its folder; nothing listens before `start`.

    Parameters
    ----------
    config : NodeConfig
        What it is told to be.
    log : text stream, optional
        Of the log; stderr when absent.
    quiet : bool
        No log.

    Raises
    ------
    OutputError
        If the folder cannot be used, or another node uses it.
    FormatError
        If the address of a peer or a certificate cannot be used.
    """

    def __init__(self, config: NodeConfig, log: TextIO | None = None, *, quiet: bool = False) -> None:
        self.config = config
        settings = config.node
        self.folder = settings.folder
        self._started, self._running = time.monotonic(), False
        callers, contexts = callers_of(config.peer), contexts_of(settings)
        with ExitStack() as opened:
            self._lock = _take(self.folder)
            opened.callback(os.close, self._lock)
            self.key = own_key(self.folder)
            self.journal = Journal(self.folder, log, quiet=quiet)
            opened.callback(self.journal.close)
            self.database = Database(self.folder / DATABASE)
            opened.callback(self.database.close)
            self.store = Store(self.folder, self.database, self.key)
            opened.callback(self.store.stop)
            self.found = self.store.reconcile()
            self.counters = Counters()
            desk = Desk(config, self.folder, self.database, self.journal)
            calling = Calling(settings.ae_title, limits_of(settings), contexts[1])
            self.workshop = Workshop(
                desk, self.store, calling, self._place(), self.counters, self.key.decode()
            )
            reception = Reception(callers, self.store, self.journal, self.counters)
            door = Door(
                settings.ae_title,
                (settings.host, settings.port),
                limits_of(settings),
                self._place(),
                contexts[0],
                settings.storage_commitment,
            )
            self._health = None
            if settings.metrics_port is not None:
                address = (settings.metrics_host, settings.metrics_port)
                self._health = HealthServer(address, self.wrong, self._metrics)
                opened.callback(self._health.server_close)
            self._listener = Listener(
                door, reception.callbacks(self.workshop.commit, self.workshop.committed)
            )
            self._opened = opened.pop_all()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._listener.port

    @property
    def metrics_port(self) -> int | None:
        """The port of health and metrics."""
        return None if self._health is None else int(self._health.server_port)

    def start(self) -> None:
        """Begin to listen."""
        found = self.found
        self.journal.audit(
            "start", ae=self.config.node.ae_title, port=self.port, adopted=found.adopted,
            missing=found.missing, damaged=found.damaged, unfinished=found.removed,
        )  # fmt: skip
        if self._health is not None:
            self._health.start()
        self._listener.start()
        self.workshop.start()
        self._running = True

    def stop(self) -> None:
        """Accept nothing more, let associations end, and close everything."""
        self._listener.stop(self.config.node.timeouts.stop_s)
        self.workshop.stop()
        if self._health is not None:
            self._health.stop()
        self.journal.audit("stop")
        self._opened.close()

    def wrong(self) -> Mapping[str, str]:
        """Return what an operator should look at, by subject."""
        wrong = {}
        free = shutil.disk_usage(self.folder).free
        if free < self.config.node.disk_reserve_mib * MIB:
            wrong["disk"] = (
                f"{free / MIB:.0f} MiB are free, the reserve is {self.config.node.disk_reserve_mib:.0f}"
            )
        if self.found.missing:
            wrong["objects"] = f"{self.found.missing} files are missing"
        for state, what in _STUCK.items():
            row = self.database.one("SELECT COUNT(*) AS count FROM outgoing WHERE state = ?", state)
            if row is not None and row["count"]:
                wrong[f"results {state}"] = f"{row['count']} {what}"
        if self._running and not (self.workshop.alive() and self._listener.alive):
            wrong["threads"] = "a thread has ended; restart the node"
        if self.workshop.trouble:
            wrong["queue"] = f"it waits ({self.workshop.trouble})"
        return wrong

    def _place(self) -> SpoolPlace:
        settings = self.config.node
        return SpoolPlace(
            self.folder / INCOMING, int(settings.max_object_mib * MIB), int(settings.disk_reserve_mib * MIB)
        )

    def _metrics(self) -> str:
        (instances,) = self.database.one("SELECT COUNT(*) FROM instance") or (0,)
        gauges: dict[str, dict[str, float]] = {
            "rtplan_node_associations": {"": self._listener.active},
            "rtplan_node_instances": {"": instances},
            "rtplan_node_disk_free_bytes": {"": shutil.disk_usage(self.folder).free},
            "rtplan_node_up_seconds": {"": round(time.monotonic() - self._started, 3)},
        }
        for name, table in (("studies", "study"), ("jobs", "job"), ("outgoing", "outgoing")):
            rows = self.database.all(f"SELECT state, COUNT(*) AS count FROM {table} GROUP BY state")
            gauges[f"rtplan_node_{name}"] = {row["state"]: row["count"] for row in rows}
        return self.counters.text(gauges)


def contexts_of(settings: NodeSettings) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """Return what TLS is done with as listener and as caller; None without TLS.

    Raises
    ------
    FormatError
        If a certificate is missing or cannot be used.
    """
    if settings.tls is None:
        return None, None
    files = Certificates(settings.tls.cert, settings.tls.key, settings.tls.ca)
    return server_context(files), client_context(files)


def limits_of(settings: NodeSettings) -> Limits:
    """Return what one peer may cost."""
    waits = settings.timeouts
    return Limits(
        associations=settings.max_associations,
        object_bytes=int(settings.max_object_mib * MIB),
        pdu_bytes=settings.max_pdu_kib * 2**10,
        association_s=waits.association_s,
        pdu_s=waits.pdu_s,
        idle_s=waits.idle_s,
        object_s=waits.object_s,
        connect_s=waits.connect_s,
        answer_s=waits.answer_s,
    )


def _take(folder: Path) -> int:
    """Make the folder and take it for this process alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as failed:
        raise OutputError(
            f"The node's folder cannot be used ({failed.strerror}).",
            where=str(folder),
            action="choose another folder in [node], one that the node's user may write to.",
        ) from None
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # no POSIX: SQLite's own locks remain
        return handle
    except OSError:
        os.close(handle)
        raise OutputError(
            "Another node runs on this folder.",
            where=str(folder),
            action="stop it, or choose another folder.",
        ) from None
    return handle
