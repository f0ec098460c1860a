"""How a worker process is made ready: one thread, and deaf to the terminal's interrupt."""

from __future__ import annotations

import signal
import threading
from importlib import import_module
from typing import Any

from distributed import WorkerPlugin
from threadpoolctl import threadpool_limits

from rtplan.planning.device import set_threads


class OneThread(WorkerPlugin):
    """Lets numerics on a worker take one thread: patients are what runs side by side.

    Parameters
    ----------
    own : bool
        Whether the worker is a process of this batch alone: then its signals are set, too.
    """

    name = "rtplan-one-thread"

    def __init__(self, *, own: bool) -> None:
        self.own = own

    def setup(self, worker: Any) -> None:
        """Set threads and signals and load what patients need; called by Dask on each worker that comes."""
        import_module("rtplan.batch.task")
        set_threads(1)
        threadpool_limits(limits=1)
        if self.own and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
