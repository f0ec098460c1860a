"""One BLAS thread where products are small: two threads wait for each other longer than they multiply."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[Any]:
    """Return a context in which BLAS runs on one thread; the caller's number comes back after it.

    Notes
    -----
    The DVH multiplies many small matrices; beside another busy process the threads of OpenBLAS spend most of
    their time on waiting for each other.
    """
    limit: AbstractContextManager[Any] = _pools().limit(limits=1, user_api="blas")
    return limit


@cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController()
