"""What runs on a worker: one patient, read, run and written whole, or the reason why not."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from distributed import get_worker

from rtplan.batch.gauge import Gauge
from rtplan.batch.lock import Held, held
from rtplan.batch.members import Member
from rtplan.batch.outcome import Outcome, free_bytes, of_full_disk, of_system
from rtplan.batch.settings import BatchSettings
from rtplan.case.digital import Scenario, digital_patient
from rtplan.case.run import Place, run_case
from rtplan.dosimetry.protocol import load_protocol
from rtplan.errors import DiskFull, RtplanError
from rtplan.io.modules import Stamp
from rtplan.io.patient_write import write_patient

#: Random numbers and drawing styles belong to a process: a worker with several threads runs one patient too.
_ONE_AT_A_TIME = threading.Lock()
PATIENTS, LOCKS = "patients", "locks"
#: Date of the digital patients' DICOM: the same bytes every time.
MADE = dt.datetime(2026, 1, 1)


@dataclass(frozen=True)
class Order:
    """What a worker is told beside the patient.

    Parameters
    ----------
    settings : BatchSettings
        What is asked.
    out : Path
        Folder of the batch, as the workers see it.
    version : str
        Of rtplan: a worker with another one does not begin.
    start : str
        Names this start of the batch: a scheduler may still hold tasks of an earlier one.
    """

    settings: BatchSettings
    out: Path
    version: str
    start: str = field(default_factory=lambda: uuid.uuid4().hex[:8])


def work(member: Member, order: Order) -> Outcome:
    """Run one patient and write ``patients/<key>``, whole or not at all; never raises what is his fault.

    Results of the same inputs, settings and version that are there already are kept: a patient who was
    finished while the batch died is not run twice.
    """

    def run(gauge: Gauge) -> None:
        with place_of(member, order) as place:
            run_case(place, order.settings.case, command="batch", say=gauge.say)

    return guarded(run, member, order, alone=True)


def guarded(task: Callable[[Gauge], None], member: Member, order: Order, *, alone: bool = False) -> Outcome:
    """Do a part of a patient's work; return how it ended, whose fault that was, and what it took.

    Parameters
    ----------
    alone : bool
        Whether results are written: then no other worker may be at the same patient.
    """
    with _ONE_AT_A_TIME:
        gauge = Gauge()
        outcome = replace(_judged(task, member, order, gauge, alone), worker=_name())
        if outcome.outage == "disk":
            outcome = replace(outcome, free_bytes=free_bytes(order.out / PATIENTS))
        return gauge.read(outcome)


def _judged(
    task: Callable[[Gauge], None], member: Member, order: Order, gauge: Gauge, alone: bool
) -> Outcome:
    if order.version != version("rtplan"):
        return Outcome(
            "failed", "infrastructure", "The worker has another version of rtplan.", outage="worker"
        )
    try:
        with held(order.out / LOCKS / f"{member.key}.lock") if alone else nullcontext():
            task(gauge)
    except Held:
        return Outcome("failed", "infrastructure", "A worker of an earlier start still works on him.")
    except DiskFull as full:
        return of_full_disk(full)
    except MemoryError:
        return Outcome("failed", "infrastructure", "The worker has no memory left.")
    except OSError as failed:
        return _blamed(of_system(failed), member, order)
    except RtplanError as refused:
        reason = discreet(refused.without_place, member)
        return _blamed(Outcome("failed", "patient", reason), member, order)
    except Exception as unforeseen:  # a patient's data must not end the others' batch
        words = f"Something went wrong that rtplan did not foresee ({type(unforeseen).__name__})."
        return Outcome("failed", "patient", words)
    return Outcome("done")


def _name() -> str:
    """Return the name of the worker that this runs on."""
    try:
        return str(get_worker().name)
    except ValueError:
        return ""


def _blamed(outcome: Outcome, member: Member, order: Order) -> Outcome:
    """Return the outcome, or what is behind it: files or results that cannot be reached any more."""
    if not os.access(order.out / PATIENTS, os.W_OK):
        return Outcome(
            "failed", "infrastructure", "The folder of the results cannot be reached.", outage="share"
        )
    if not member.reachable:
        return Outcome("failed", "infrastructure", "His files cannot be reached.", outage="share")
    return outcome


def discreet(text: str, member: Member) -> str:
    """Return a reason without the member's paths: they may bear a person's name.

    Examples
    --------
    >>> member = Member(1, "", "folder", Path("/in/Doe"))
    >>> discreet("It holds 2 patients (a1: CT, /in/Doe/x y.dcm; b2: MR).", member)
    'It holds 2 patients (a1: CT, …; b2: MR).'
    """
    for path in (member.path, *member.files):
        if path is not None:
            text = re.sub(re.escape(str(path)) + r"[^;,)]*", "…", text)
    return text


@contextmanager
def place_of(member: Member, order: Order) -> Iterator[Place]:
    """Give where the patient is read from and written to, for the length of the block."""
    settings = order.settings
    with folder_of(member, order) as folder:
        yield Place(
            folder,
            order.out / PATIENTS / member.key,
            names=settings.names,
            resume=True,
            salt=settings.salt,
            pseudonyms=settings.pseudonyms,
        )


@contextmanager
def folder_of(member: Member, order: Order) -> Iterator[Path]:
    """Give a folder that holds this patient alone; what is made for it goes with the block."""
    if member.kind == "folder":
        assert member.path is not None
        yield member.path
        return
    scratch = Path(tempfile.mkdtemp(prefix=".partial-", dir=order.out / PATIENTS))
    try:
        if member.kind == "files":
            for number, path in enumerate(member.files):
                (scratch / f"{number:06d}.dcm").symlink_to(path.absolute())
        else:
            _write_digital(member, order.settings, scratch)
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_digital(member: Member, settings: BatchSettings, folder: Path) -> None:
    """Write a digital patient as DICOM: from there on he is like any other."""
    patient = digital_patient(
        member.seed,
        load_protocol(settings.case.protocol),
        Scenario(),
        settings.spacing_zyx_mm,
        tuple(settings.case.margins),
        with_mr="SynCT" in settings.case.arms,
    )
    assert patient.identity is not None
    stamp = Stamp(MADE, seed=f"batch/{patient.identity.patient_id}")
    write_patient(replace(patient, key=member.key), folder / "dicom", stamp=stamp)
