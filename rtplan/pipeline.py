"""What a step is; which steps can run on a patient; running them with a record of each."""

from __future__ import annotations

import dataclasses
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, ClassVar, Protocol, runtime_checkable

from rtplan.domain import Notice, Patient, Record
from rtplan.errors import UnknownName


@runtime_checkable
class Step(Protocol):
    """A frozen dataclass whose fields are its settings; never touches a file."""

    needs: ClassVar[tuple[str, ...]]
    makes: ClassVar[tuple[str, ...]]

    def __call__(self, patient: Patient) -> Patient:
        """Return the patient with one thing more."""
        ...


@runtime_checkable
class Foresees(Protocol):
    """A step that can tell, without running, which of the things it makes this patient would get."""

    def would_make(self, patient: Patient) -> tuple[str, ...]:
        """Return names out of ``makes``."""
        ...


@dataclass(frozen=True)
class Thing:
    """Something that a step can need or make: how to see it, what it is called, who supplies it."""

    there: Callable[[Patient], bool]
    words: str
    supply: str


def _target(patient: Patient) -> bool:
    return any(structure.is_target for structure in patient.structures.values())


#: What steps may need and make.
THINGS: dict[str, Thing] = {
    "ct": Thing(lambda p: "CT" in p.images, "a CT series", "a CT series in the folder"),
    "mr": Thing(lambda p: bool(p.mr), "an MR series", "an MR series in the folder"),
    "arms": Thing(lambda p: bool(p.arms), "a density image", "a CT series, or an MR that a network can read"),
    "external": Thing(
        lambda p: "External" in p.structures,
        "the patient's skin",
        "a larger series that shows the skin all round, or a structure External by --structures FILE.dcm",
    ),
    "target": Thing(_target, "a target structure", "an RTSTRUCT with the targets by --structures FILE.dcm"),
    "plan": Thing(lambda p: p.plan is not None, "a plan", "what the planning step needs"),
    "doses": Thing(lambda p: bool(p.doses), "a dose", "what the planning step needs"),
}


def missing(step: Step, patient: Patient, made: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Return the names of the things that a step needs and neither the patient nor ``made`` has."""
    for name in (*step.needs, *step.makes):
        if name not in THINGS:
            raise UnknownName(f"{type(step).__name__} names {name!r}. Known: {', '.join(THINGS)}.")
    return tuple(n for n in step.needs if n not in made and not THINGS[n].there(patient))


def forecast(steps: Sequence[Step], patient: Patient) -> Iterator[tuple[Step, tuple[str, ...]]]:
    """Say for every step, without running any, what would be missing (empty: it would run)."""
    made: frozenset[str] = frozenset()
    for step in steps:
        lacks = missing(step, patient, made)
        if not lacks:
            made |= set(step.would_make(patient) if isinstance(step, Foresees) else step.makes)
        yield step, lacks


def settings_of(step: Step) -> dict[str, Any]:
    """Return the step's settings as plain data, for its record."""
    assert dataclasses.is_dataclass(step)
    return {f.name: _plain(getattr(step, f.name)) for f in dataclasses.fields(step) if f.repr}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.repr}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | frozenset | set):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return getattr(value, "name", type(value).__name__)


def peak_mib() -> float:
    """Return the largest memory that this process has held so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024.0 * 1024.0) if sys.platform == "darwin" else peak / 1024.0


def run(
    steps: Sequence[Step],
    patient: Patient,
    *,
    seed: int | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Patient:
    """Run the steps in order; one whose needs are missing is left out with a notice that says why.

    Parameters
    ----------
    steps : sequence of Step
        In clinical order.
    patient : Patient
        As it came through the door.
    seed : int, optional
        Stands in every record.
    report : callable
        Called with a line of text before each step.

    Returns
    -------
    Patient
        With a `Record` for each step that ran and a notice ``STEP_SKIPPED`` for each that did not; it is
        only information where the step waits for nothing but what was asked for before.
    """
    known: set[str] = set()
    for step in steps:
        name = type(step).__name__
        lacks = missing(step, patient)
        if lacks:
            patient = patient.with_notices(_skipped(name, lacks, frozenset(known)))
            known |= {*lacks, *step.makes}
            report(f"{name}: left out, {', '.join(THINGS[n].words for n in lacks)} missing")
            continue
        report(name)
        start = time.perf_counter()
        patient = step(patient)
        record = Record(
            step=name,
            settings=settings_of(step),
            seconds=time.perf_counter() - start,
            peak_mib=peak_mib(),
            version=version("rtplan"),
            weights_sha256=getattr(step, "weights_sha256", ""),
            seed=seed,
        )
        patient = replace(patient, history=(*patient.history, record))
    return patient


def _skipped(name: str, lacks: tuple[str, ...], known: frozenset[str]) -> Notice:
    """Say what is missing; what was said before (``known``) is not asked for again."""
    new = [THINGS[n].supply for n in lacks if n not in known]
    return Notice(
        code="STEP_SKIPPED",
        severity="warn" if new else "info",
        message=f"{name} did not run: {' and '.join(THINGS[n].words for n in lacks)} missing.",
        action=f"Supply {'; and '.join(new)}." if new else "",
    )
