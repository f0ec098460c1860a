"""How the run of one patient ended, and whose fault it was where it did not end well."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rtplan.errors import DiskFull

Fault = Literal["patient", "infrastructure"]


@dataclass(frozen=True)
class Outcome:
    """What a worker says of a patient, or the batch of a worker that died.

    Parameters
    ----------
    state : {"done", "failed"}
        ``failed`` with a fault of the infrastructure is tried again.
    fault, reason : str or None
        Whose fault, and what; no place and no name.
    outage : bool
        Whether others would suffer the same now: a full disk, a share that is gone.
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
    outage: bool = False
    worker: str = ""
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_mib: float | None = None
    held_mib: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)


#: Errors of the system that say nothing of the patient, and whether they are an outage for all.
MACHINE: Mapping[int, tuple[str, bool]] = {
    errno.ENOSPC: ("The disk is full.", True),
    errno.EDQUOT: ("The quota of the disk is used up.", True),
    errno.EROFS: ("The disk does not let itself be written.", True),
    errno.EIO: ("The disk answered with an error.", True),
    errno.ESTALE: ("The share was mounted anew.", True),
    errno.ENOTCONN: ("The share is not connected.", True),
    errno.EHOSTDOWN: ("The share's machine is down.", True),
    errno.EHOSTUNREACH: ("The share's machine cannot be reached.", True),
    errno.ENETUNREACH: ("The network is down.", True),
    errno.ETIMEDOUT: ("The share did not answer in time.", True),
    errno.ECONNRESET: ("A connection broke.", False),
    errno.ECONNABORTED: ("A connection broke.", False),
    errno.EPIPE: ("A connection broke.", False),
    errno.ENOMEM: ("The machine has no memory left.", False),
    errno.EMFILE: ("The worker has too many files open.", False),
    errno.ENFILE: ("The machine has too many files open.", False),
    errno.EBUSY: ("A file was in use.", False),
}


def of_system(failed: OSError) -> Outcome:
    """Return how an error of the system ends a run: its own fault, or the patient's."""
    told = MACHINE.get(failed.errno or 0)
    if told is None:
        return Outcome("failed", "patient", f"{failed.strerror or type(failed).__name__}.")
    return Outcome("failed", "infrastructure", told[0], outage=told[1])


def of_full_disk(failed: DiskFull) -> Outcome:
    """Return how too little space for the results ends a run."""
    return Outcome("failed", "infrastructure", failed.message, outage=True)


def died(worker: str = "") -> Outcome:
    """Return how the death of a worker ends a run."""
    reason = "The worker that ran him died (memory may have run out)."
    return Outcome("failed", "infrastructure", reason, worker=worker)
