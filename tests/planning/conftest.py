"""Planning tests run on one CPU thread: the same numbers everywhere, no spinning where cores are busy."""

from collections.abc import Iterator

import pytest

from rtplan.planning.device import one_thread


@pytest.fixture(autouse=True, scope="module")
def single_thread() -> Iterator[None]:
    """Hold one thread for each file; the number before is put back after it."""
    with one_thread():
        yield
