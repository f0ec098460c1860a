"""Time and memory of one patient on a worker: parts by the clock, processor seconds, peak and held memory."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rtplan.batch.outcome import Outcome
from rtplan.pipeline import peak_mib

_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class Gauge:
    """Begun with a patient; `say` is told each part as it begins, `read` gives all at the end."""

    def __init__(self) -> None:
        with suppress(OSError):
            _RESET.write_text("5")  # Linux: the peak begins anew
        self._start, self._cpu = time.perf_counter(), time.process_time()
        self._parts: dict[str, float] = {}
        self._now: tuple[str, float] | None = None

    def say(self, text: str) -> None:
        """End the part before and begin the one that the text names; a step that is left out is none."""
        self._close()
        name, _, more = text.partition(":")
        if not more.startswith(" left out"):
            self._now = (name, time.perf_counter())

    def read(self, outcome: Outcome) -> Outcome:
        """Return the outcome with what was measured; frees what the patient left behind."""
        self._close()
        peak = peak_mib()
        release()
        return replace(
            outcome,
            seconds=round(time.perf_counter() - self._start, 3),
            cpu_seconds=round(time.process_time() - self._cpu, 3),
            peak_mib=round(peak, 1),
            held_mib=held_mib(),
            parts={name: round(seconds, 3) for name, seconds in self._parts.items()},
        )

    def _close(self) -> None:
        if self._now is not None:
            name, begun = self._now
            self._parts[name] = self._parts.get(name, 0.0) + time.perf_counter() - begun
            self._now = None


def release() -> None:
    """Give freed memory back to the system, as far as the C library can."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def held_mib() -> float | None:
    """Return the memory that this process holds now, MiB; None where the system does not say."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return round(int(found[0]) / 1024.0, 1) if found else None
