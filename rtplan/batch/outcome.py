"""How the run of one patient ended, and whose fault it was where it did not end well."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rtplan.errors import DiskFull

Fault = Literal["patient", "infrastructure"]
Outage = Literal["", "disk", "share", "worker"]


@dataclass(frozen=True)
class Outcome:
    """What a worker says of a patient, or the batch of a worker that died.

    Parameters
    ----------
    state : {"done", "failed"}
        ``failed`` with a fault of the infrastructure is tried again.
    fault, reason : str or None
        Whose fault, and what; no place and no name.
    outage : {"", "disk", "share", "worker"}
        What others would suffer from as well now; empty where it was this patient's run alone.
    free_bytes : int
        Free space of the results' disk when it was full.
    worker : str
        Its name.
    seconds, cpu_seconds, peak_mib, held_mib : float or None
        Wall and processor time; largest memory while he ran, and what the process held afterwards.
    parts : mapping of str to float
        Seconds of ``Read``, each step and ``Write``.
    """

    state: Literal["done", "failed"]
    fault: Fault | None = None
    reason: str | None = None
    outage: Outage = ""
    free_bytes: int = 0
    worker: str = ""
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_mib: float | None = None
    held_mib: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)


#: Errors of the system that say nothing of the patient, and what they are an outage of.
MACHINE: Mapping[int, tuple[str, Outage]] = {
    errno.ENOSPC: ("The disk is full.", "disk"),
    errno.EDQUOT: ("The quota of the disk is used up.", "disk"),
    errno.EROFS: ("The disk does not let itself be written.", "share"),
    errno.EIO: ("The disk answered with an error.", "share"),
    errno.ESTALE: ("The share was mounted anew.", "share"),
    errno.ENOTCONN: ("The share is not connected.", "share"),
    errno.EHOSTDOWN: ("The share's machine is down.", "share"),
    errno.EHOSTUNREACH: ("The share's machine cannot be reached.", "share"),
    errno.ENETUNREACH: ("The network is down.", "share"),
    errno.ETIMEDOUT: ("The share did not answer in time.", "share"),
    errno.ECONNRESET: ("A connection broke.", ""),
    errno.ECONNABORTED: ("A connection broke.", ""),
    errno.EPIPE: ("A connection broke.", ""),
    errno.ENOMEM: ("The machine has no memory left.", ""),
    errno.EMFILE: ("The worker has too many files open.", ""),
    errno.ENFILE: ("The machine has too many files open.", ""),
    errno.EBUSY: ("A file was in use.", ""),
}


def of_system(failed: OSError) -> Outcome:
    """Return how an error of the system ends a run: its own fault, or the patient's."""
    told = MACHINE.get(failed.errno or 0)
    if told is None:
        return Outcome("failed", "patient", f"{failed.strerror or type(failed).__name__}.")
    return Outcome("failed", "infrastructure", told[0], outage=told[1])


def of_full_disk(failed: DiskFull) -> Outcome:
    """Return how too little space for the results ends a run."""
    return Outcome("failed", "infrastructure", failed.message, outage="disk")


def died(worker: str = "") -> Outcome:
    """Return how the death of a worker ends a run."""
    reason = "The worker that ran him died (memory may have run out)."
    return Outcome("failed", "infrastructure", reason, worker=worker)


def free_bytes(folder: Path) -> int:
    """Return the free space of a folder's disk; none where it cannot be asked."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0
