"""Threads of this machine: how many there are, and the same work on several things in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Thing = TypeVar("Thing")
Made = TypeVar("Made")


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    work: Callable[[Thing], Made],
    things: Sequence[Thing],
    threads: int,
    *,
    size: Callable[[Thing], float] | None = None,
    start: Callable[[], object] | None = None,
) -> list[Made]:
    """Return what the work makes of each thing, in the order of the things.

    Parameters
    ----------
    work : callable
        Made safe for several threads by its author.
    things : sequence
    threads : int
        At most this many work at once; 1 is the calling thread alone.
    size : callable, optional
        About how long a thing takes: the longest are begun first.
    start : callable, optional
        Called once in each new thread.

    Examples
    --------
    >>> in_order(abs, [-3, 1, -2], 2, size=abs)
    [3, 1, 2]
    """
    if min(threads, len(things)) < 2:
        return [work(thing) for thing in things]
    order = sorted(range(len(things)), key=lambda n: -size(things[n])) if size else range(len(things))
    with ThreadPoolExecutor(min(threads, len(things)), initializer=start) as pool:
        made = dict(zip(order, pool.map(work, [things[n] for n in order]), strict=True))
    return [made[n] for n in range(len(things))]
