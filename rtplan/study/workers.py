"""Patients spread over worker processes of one thread each; an interruption leaves nothing half done."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from types import FrameType

from threadpoolctl import threadpool_limits

from rtplan.evaluation.study_file import StudyPatient
from rtplan.planning.device import set_threads
from rtplan.study.members import Member
from rtplan.study.one import run_member
from rtplan.study.settings import StudySettings

#: What is said of a patient whose process ended, which the system does when memory runs out.
DIED = "The process that worked on him ended unexpectedly (memory may have run out)."


def run_members(
    members: Sequence[Member], settings: StudySettings, patients: Path, *, resume: bool
) -> Generator[StudyPatient]:
    """Run the patients and give each one's outcome as he is finished, in no fixed order.

    Parameters
    ----------
    members : sequence of Member
        Who is run.
    patients : Path
        Folder of the patients' out folders.
    resume : bool
        Keep finished results.

    Yields
    ------
    StudyPatient
        Done or failed. A process that dies makes its patients fail; the others go on in a new one.

    Notes
    -----
    With one worker everything runs in this process. When the caller is interrupted the workers are told
    to stop; what they had not finished goes, what was finished stays.
    """
    if settings.workers == 1 or len(members) <= 1:
        for member in members:
            yield run_member(member, settings, patients, resume=resume)
        return
    waiting = list(members)
    while waiting:
        yield from _pool(waiting, settings, patients, resume)


def _pool(
    waiting: list[Member], settings: StudySettings, patients: Path, resume: bool
) -> Generator[StudyPatient]:
    """Run the waiting patients, taking them from the list, until all are done or a process dies."""
    context = multiprocessing.get_context("spawn")
    others = {child.pid for child in multiprocessing.active_children()}
    pool = ProcessPoolExecutor(settings.workers, mp_context=context, initializer=_prepare)
    running: dict[Future[StudyPatient], Member] = {}
    try:
        while waiting or running:
            try:
                while waiting and len(running) < settings.workers:
                    future = pool.submit(run_member, waiting[0], settings, patients, resume=resume)
                    running[future] = waiting.pop(0)
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                rows = [(future, future.result()) for future in finished]
            except BrokenProcessPool:
                yield from _after_a_death(running)
                return
            for future, row in rows:
                del running[future]
                yield row
    finally:
        if running:
            for child in multiprocessing.active_children():
                if child.pid not in others:
                    child.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


def _after_a_death(running: dict[Future[StudyPatient], Member]) -> Generator[StudyPatient]:
    """Give those that were finished as they are; those that a process died on have failed."""
    for future, member in running.items():
        if future.done() and future.exception() is None:
            yield future.result()
        else:
            yield StudyPatient(member.number, member.key, "failed", DIED)
    running.clear()


def _prepare() -> None:
    """Make a worker: one thread, deaf to the terminal's interrupt, and tidy when told to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_threads(1)
    threadpool_limits(limits=1)


def _stop(number: int, frame: FrameType | None) -> None:
    with suppress(ValueError):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _end_with_parent() -> None:
    """End this worker when the process that it works for is gone, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)  # what it had not finished is cleared when the study goes on
