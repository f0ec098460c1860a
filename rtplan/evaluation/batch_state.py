"""How far a batch is: every patient with state, attempts, time, memory and reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

State = Literal["waiting", "running", "done", "failed"]
STATES: tuple[State, ...] = ("waiting", "running", "done", "failed")


@dataclass(frozen=True)
class BatchPatient:
    """One patient of a batch.

    Parameters
    ----------
    number : int
        Place in the order of the input, from 1: the only link to a folder, whose name may be a person's.
    key : str
        Pseudonym; empty where the patient could not be read.
    state : {"waiting", "running", "done", "failed"}
        Where he stands.
    attempts : int
        How often he was begun.
    fault : {"patient", "infrastructure"} or None
        Whose fault the last one was.
    reason : str or None
        What the last fault was, without places and names.
    worker : str or None
        Who ran him last; several where his steps ran on several pools.
    seconds, cpu_seconds : float or None
        Wall and processor time of the run that ended him.
    peak_mib, held_mib : float or None
        Largest memory of the worker while it ran him, and what it held afterwards.
    started, finished : str or None
        Times (UTC, ISO 8601) of the last attempt.
    parts : mapping of str to float
        Seconds of ``Read``, each step and ``Write``.
    """

    number: int
    key: str
    state: State
    attempts: int = 0
    fault: str | None = None
    reason: str | None = None
    worker: str | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_mib: float | None = None
    held_mib: float | None = None
    started: str | None = None
    finished: str | None = None
    parts: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the row as plain data, ready for JSON."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        return plain | {"parts": dict(self.parts)}


@dataclass(frozen=True)
class BatchState:
    """A batch as its manifest says.

    Parameters
    ----------
    rtplan_version : str
        Which version runs it.
    settings : mapping
        What was asked on each patient.
    began : str
        Time (UTC, ISO 8601) of the last start.
    dashboard : str
        Address of Dask's dashboard; empty where there is none.
    patients : tuple of BatchPatient
        All, by number.
    running : bool
        Whether a process holds the batch now.
    """

    rtplan_version: str
    settings: Mapping[str, Any]
    began: str
    dashboard: str
    patients: tuple[BatchPatient, ...]
    running: bool = False

    def of(self, state: State) -> tuple[BatchPatient, ...]:
        """Return the patients in one state."""
        return tuple(patient for patient in self.patients if patient.state == state)

    @property
    def counts(self) -> dict[str, int]:
        """Number of patients by state; every state is named."""
        found = Counter(patient.state for patient in self.patients)
        return {state: found[state] for state in STATES}

    def as_dict(self) -> dict[str, Any]:
        """Return the batch as plain data, ready for JSON."""
        return {
            "schema": 1,
            "rtplan_version": self.rtplan_version,
            "settings": dict(self.settings),
            "began": self.began,
            "dashboard": self.dashboard,
            "running": self.running,
            "counts": self.counts,
            "patients": [patient.as_dict() for patient in self.patients],
        }
