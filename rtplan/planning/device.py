"""The computing device that a user asks for by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rtplan.errors import UnknownName


def accelerators() -> tuple[str, ...]:
    """Return the accelerators of this machine, by name."""
    found = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return tuple(found)


def device(name: str) -> torch.device:
    """Return the device of a name (``cpu``, ``cuda``, ``cuda:0``, ``mps``, ``auto``).

    Raises
    ------
    UnknownName
        If this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    usable = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not usable.get(name.split(":")[0], False):
        known = ", ".join(kind for kind, there in usable.items() if there)
        raise UnknownName(f"There is no device {name!r} on this machine. Known: {known}.")
    return torch.device(name)


def set_threads(count: int) -> None:
    """Use this many CPU threads (0: leave it as it is: all cores)."""
    if count > 0:
        torch.set_num_threads(count)


def threads() -> int:
    """Return the number of CPU threads in use."""
    return torch.get_num_threads()


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one CPU thread inside the block.

    For loops of many small operations that alternate with another library's threads: the two pools wait
    for each other by spinning, which was measured to cost fifteen times the work on two cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
