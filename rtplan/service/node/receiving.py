"""What the listener asks of the node: who may call, where objects go, and what is told of it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence

from rtplan.io.network.answers import Callbacks, Incoming
from rtplan.io.network.parties import Caller
from rtplan.io.network.references import Reference
from rtplan.service.node.addresses import Callers
from rtplan.service.node.journal import Journal
from rtplan.service.node.metrics import Counters
from rtplan.service.node.store import SUCCESS, Store

Commit = Callable[[Caller, str, Sequence[Reference]], int]
Committed = Callable[[Caller, str, Sequence[Reference], Sequence[Reference]], None]


class Reception:
    """Answers the listener's callbacks and keeps count of them."""

    def __init__(self, callers: Callers, store: Store, journal: Journal, counters: Counters) -> None:
        self._callers, self._store, self._journal, self._counters = callers, store, journal, counters
        self._lock = threading.Lock()
        self._since: dict[Caller, Counter[str]] = {}

    def callbacks(self, commit: Commit, committed: Committed) -> Callbacks:
        """Return what the listener is given."""
        return Callbacks(
            may_connect=self._callers.may_connect,
            may_associate=self._callers.why_not,
            store=self.store,
            commit=commit,
            committed=committed,
            tell=self.tell,
        )

    def store(self, incoming: Incoming) -> tuple[int, str]:
        """Take one object, count it, and return status and comment."""
        title = incoming.caller.ae_title
        fresh = incoming.spool.path
        status = self._store.take(incoming)
        if status != SUCCESS:
            self._counters.add("rtplan_node_not_stored_total", f"{status[0]:04X}")
            self._journal.audit(
                "not stored", ae=title, address=incoming.caller.address, sop_class=incoming.class_uid,
                status=f"{status[0]:04X}", why=status[1],
            )  # fmt: skip
            return status
        if fresh is not None and incoming.spool.path is None:
            self._counters.add("rtplan_node_received_total", title)
            self._counters.add("rtplan_node_received_bytes_total", title, incoming.spool.size)
            self._count(incoming.caller, incoming.class_uid)
        else:
            self._counters.add("rtplan_node_duplicates_total", title)
            self._count(incoming.caller, "duplicates")
        return status

    def tell(self, what: str, caller: Caller) -> None:
        """Write down what became of a connection or an association."""
        kind, _, why = what.partition(": ")
        if kind == "refused" and why != "association":
            self._counters.add("rtplan_node_refused_total", why)
            self._journal.audit("refused", why=why, ae=caller.ae_title, address=caller.address)
        elif kind == "failed":
            self._journal.audit("failed", what=why, ae=caller.ae_title, address=caller.address)
        elif what in ("released", "aborted"):
            self._counters.add("rtplan_node_associations_total", what)
            self._ended(what, caller)
        elif what in ("accepted", "echo"):
            self._journal.audit(what, ae=caller.ae_title, address=caller.address)

    def _count(self, caller: Caller, what: str) -> None:
        with self._lock:
            self._since.setdefault(caller, Counter())[what] += 1

    def _ended(self, how: str, caller: Caller) -> None:
        with self._lock:
            counts = self._since.pop(caller, Counter())
        for what, count in sorted(counts.items()):
            self._journal.audit(
                "received", ae=caller.ae_title, address=caller.address, sop_class=what, count=count
            )
        self._journal.audit(how, ae=caller.ae_title, address=caller.address)
