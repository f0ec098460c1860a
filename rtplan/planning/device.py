"""The computing device that a user asks for by name."""

from __future__ import annotations

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
