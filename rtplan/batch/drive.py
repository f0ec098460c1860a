"""The loop of a batch: few patients in flight, each end into the manifest, faults of machines tried again."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from rtplan.batch.manifest import BatchManifest
from rtplan.batch.members import Member
from rtplan.batch.outage import somebody, wait_out
from rtplan.batch.outcome import Outcome, died
from rtplan.batch.stages import Plan, chain
from rtplan.batch.task import PATIENTS, Order
from rtplan.errors import BatchError

#: Gets a line of text.
Tell = Callable[[str], None]
#: How often the scheduler is looked at, and how long a share may take to show what another machine wrote.
_TICK_S, _SHARE_S = 1.0, 5.0


@dataclass(frozen=True)
class Flight:
    """One patient on his way: the future of his last task, and those before it that must live as long."""

    number: int
    attempt: int
    last: Future
    before: tuple[Future, ...] = ()


class Drive:
    """Sends patients to the cluster and writes down how they end.

    Parameters
    ----------
    client : Client
        Of the cluster.
    plan : Plan
        Which tasks a patient is made of.
    manifest : BatchManifest
        Open.
    members : mapping of int to Member
        By number.
    order : Order
        What each worker is told.
    tell : callable
        Gets a line of text for each patient that ends.

    Notes
    -----
    No more patients are in flight than there are threads, and a few to follow at once: ten thousand futures
    would be held by the scheduler for nothing.
    """

    def __init__(
        self,
        client: Client,
        plan: Plan,
        manifest: BatchManifest,
        members: Mapping[int, Member],
        order: Order,
        tell: Tell,
    ) -> None:
        self.client, self.plan, self.manifest = client, plan, manifest
        self.members, self.order, self.tell = members, order, tell
        self.limits = order.settings.limits
        self.queue = deque(manifest.waiting())
        self.flying: dict[int, Flight] = {}
        self.ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.total = len(members)
        self.over = self.total - len(self.queue)
        self.outages: dict[int, int] = {}
        self.quiet_since = time.monotonic()

    def run(self) -> None:
        """Run until nobody waits.

        Raises
        ------
        BatchError
            If the scheduler is lost, no worker comes, or a disk or share stays away; resumable.
        """
        try:
            while self.queue or self.flying:
                self._send()
                try:
                    number = self.ended.get(timeout=_TICK_S)
                except queue.Empty:
                    self._look()
                    continue
                self._land(self.flying.pop(number))
        finally:
            futures = [f for flight in self.flying.values() for f in (flight.last, *flight.before)]
            if futures and self.client.status == "running":
                self.client.cancel(futures, force=True)
            self.manifest.interrupted()

    def _send(self) -> None:
        depth = self.plan.depth(self.client)
        while self.queue and len(self.flying) < depth:
            number = self.queue.popleft()
            attempt = self.manifest.start(number)
            futures = chain(self.client, self.plan, self.members[number], self.order, attempt)
            self.flying[number] = Flight(number, attempt, futures[-1], tuple(futures[:-1]))
            futures[-1].add_done_callback(lambda _, n=number: self.ended.put(n))

    def _land(self, flight: Flight) -> None:
        """Write down how a patient ended, or send him again."""
        outcome = self._outcome(flight)
        self.quiet_since = time.monotonic()
        if outcome.fault == "infrastructure" and self._again(flight, outcome):
            return
        self.manifest.end(flight.number, outcome)
        self.over += 1
        self.tell(self._words(flight.number, outcome))

    def _again(self, flight: Flight, outcome: Outcome) -> bool:
        """Put a patient back whom a machine failed; say whether he gets another attempt."""
        member, again = self.members[flight.number], flight.attempt < self.limits.attempts
        others = [m for m in self.members.values() if m.path != member.path]
        alone = outcome.outage == "share" and not member.reachable and somebody(others)
        outage = bool(outcome.outage) and not alone
        if not (again or outage):
            return False
        self.manifest.back(flight.number, outcome, counts=not outage)
        self.tell(f"patient {flight.number}: {outcome.reason} He waits again.")
        if outage:
            self._outlast(member, outcome)
        self.queue.append(flight.number)
        return True

    def _outlast(self, member: Member, outcome: Outcome) -> None:
        """Wait until the outage is over; when he meets it again and again though it seems over, stop."""
        results = self.order.out / PATIENTS
        self.outages[member.number] = self.outages.get(member.number, 0) + 1
        if self.outages[member.number] > self.limits.attempts:
            raise BatchError(
                f"{outcome.reason} The batch stops; nothing is lost.",
                where=str(self.order.out),
                action="look after it, then call again with --resume.",
            )
        wait_out(results, list(self.members.values()), self.limits.patience_s, outcome, self.tell)

    def _outcome(self, flight: Flight) -> Outcome:
        status = flight.last.status
        if status == "finished":
            outcome: Outcome = flight.last.result()
            return self._seen(flight, outcome)
        if status == "error":
            failure = flight.last.exception()
            if isinstance(failure, KilledWorker):
                return died(str(getattr(failure.last_worker, "name", "")))
            raise BatchError(
                f"A worker cannot run rtplan ({type(failure).__name__}).",
                action="install the same rtplan on every worker; --resume goes on.",
            )
        if self.client.status != "running":
            raise self._lost()
        return Outcome("failed", "infrastructure", "The scheduler gave the patient back.")

    def _seen(self, flight: Flight, outcome: Outcome) -> Outcome:
        """Return the outcome; that of a worker whose results are not here is none."""
        results = self.order.out / PATIENTS / self.members[flight.number].key / "manifest.json"
        end = time.monotonic() + _SHARE_S
        while outcome.state == "done" and not results.is_file():
            if time.monotonic() > end:
                reason = "His worker does not see the same out folder."
                return replace(
                    outcome, state="failed", fault="infrastructure", reason=reason, outage="worker"
                )
            time.sleep(0.1)
        return outcome

    def _look(self) -> None:
        """Look, since nothing has ended for a while, whether the scheduler is there and somebody works."""
        if self.client.status != "running":
            raise self._lost()
        if self.plan.workers(self.client):
            self.quiet_since = time.monotonic()
        elif time.monotonic() - self.quiet_since > self.limits.patience_s:
            raise BatchError(
                f"No worker has been there for {self.limits.patience_s:.0f} s.",
                action="look after the workers or the queue, then call again with --resume.",
            )

    def _lost(self) -> BatchError:
        return BatchError(
            "The scheduler is gone; nothing is lost.",
            action="start it again and call again with --resume; finished patients are kept.",
        )

    def _words(self, number: int, outcome: Outcome) -> str:
        end = "done" if outcome.state == "done" else f"failed: {outcome.reason}"
        key = self.members[number].key
        took = "" if outcome.seconds is None else f", {outcome.seconds:.0f} s"
        return f"{self.over} of {self.total}: patient {number} ({key}){took}, {end}"
