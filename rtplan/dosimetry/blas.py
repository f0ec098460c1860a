"""One BLAS thread where products are small: two threads wait for each other longer than they multiply."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

from threadpoolctl import ThreadpoolController

#: Held by the block that has set the number.
_SET = Lock()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS run on one thread inside the block; the caller's number comes back after it.

    Notes
    -----
    The DVH multiplies many small matrices; beside another busy process the threads of OpenBLAS spend most of
    their time on waiting for each other. The number is one for the whole process: a block inside another, or
    beside it in another thread, leaves it as it finds it, so that no block takes the other's 1 for the
    caller's number.
    """
    if not _SET.acquire(blocking=False):
        yield
        return
    try:
        with _pools().limit(limits=1, user_api="blas"):
            yield
    finally:
        _SET.release()


def put_on_one_thread() -> None:
    """Set BLAS to one thread in a new thread of a `one_thread` block: some libraries count by thread."""
    _pools().limit(limits=1, user_api="blas")


@cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController()
