"""Work in hand: a loopback server that ends only when nothing is being reckoned or drawn any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rtplan.service.loopback import Answer, LoopbackServer


class Work:
    """Counts what is being reckoned, so that the program ends only when nothing is.

    Threads that are in the midst of compiled code when Python ends would end it by an abort.
    """

    def __init__(self) -> None:
        self._none = threading.Condition()
        self._count, self._over = 0, False

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold while something is reckoned; raises RuntimeError after `end`."""
        with self._none:
            if self._over:
                raise RuntimeError("The server stops.")
            self._count += 1
        try:
            yield
        finally:
            with self._none:
                self._count -= 1
                self._none.notify_all()

    def end(self) -> None:
        """Begin nothing more, and wait for what has begun."""
        with self._none:
            self._over = True
            self._none.wait_for(lambda: self._count == 0)


class WorkingServer(LoopbackServer):
    """A loopback server that, when it is closed, waits for the work in hand.

    Parameters
    ----------
    answer : callable
        As of `LoopbackServer`.
    work : Work
        Where the answers count what they reckon.
    port : int
        0: any free one.
    """

    def __init__(self, answer: Answer, work: Work, *, port: int = 0) -> None:
        self.work = work
        super().__init__(answer, port=port)

    def server_close(self) -> None:
        """Close, and let no thread go on reckoning."""
        super().server_close()
        self.work.end()
