"""A patient as tasks: one for all steps, or three where cards are few and other workers have none."""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from distributed import Client, Future

from rtplan import pipeline
from rtplan.batch.cluster import GPU, MEMORY
from rtplan.batch.gauge import Gauge
from rtplan.batch.members import Member
from rtplan.batch.outcome import Outcome
from rtplan.batch.settings import BatchSettings
from rtplan.batch.task import Order, guarded, place_of, work
from rtplan.case.assemble import clinical_steps
from rtplan.case.run import closed, opened
from rtplan.domain import Patient
from rtplan.dosimetry.ledger import Ledger
from rtplan.dosimetry.protocol import load_protocol
from rtplan.errors import BatchError

#: Steps that a card makes fast. The middle task runs from the first to the last of them.
ON_CARD = ("SynthesiseCT", "OptimisePlan", "RecalculateArms", "SampleDoses")


@dataclass(frozen=True)
class Plan:
    """Which tasks a patient is made of, and what each takes from a worker.

    Parameters
    ----------
    split : bool
        Three tasks (before, on, after the card) instead of one.
    whole, off_card, on_card : mapping of str to float
        Resources of the one task, of the outer two, and of the middle one.
    """

    split: bool = False
    whole: Mapping[str, float] | None = None
    off_card: Mapping[str, float] | None = None
    on_card: Mapping[str, float] | None = None

    def workers(self, client: Client) -> int:
        """Return how many workers there are now; each runs one task at a time."""
        return len(client.nthreads())

    def depth(self, client: Client) -> int:
        """Return how many patients may be in flight: those who can run, and one in ten to follow at once."""
        running = self.workers(client)
        return max(running + running // 10, 1)


def plan_of(client: Client, settings: BatchSettings, *, split: bool | None = None) -> Plan:
    """Return the plan for the workers that are there.

    A token ``GPU`` is asked for where workers declare one and a card is wanted; the steps are parted where
    only some workers have it, so that no card waits while a CPU works. ``MEMORY`` is asked for where workers
    declare it: a patient goes to one that has enough.

    Parameters
    ----------
    split : bool, optional
        Decide otherwise than the workers suggest.

    Raises
    ------
    BatchError
        If a card is wanted and no worker declares one, or none has the memory that a patient needs.
    """
    workers = list(client.scheduler_info(n_workers=-1)["workers"].values())
    told = [worker.get("resources") or {} for worker in workers]
    cards = [has for has in told if has.get(GPU, 0.0) >= 1.0]
    wants_card = settings.case.device.split(":")[0] == "cuda"
    if wants_card and workers and not cards:
        raise BatchError(
            "A card is wanted, and no worker declares a resource GPU.",
            action="start the workers that have a card with --resources GPU=1, or leave --device out.",
        )
    need = float(settings.limits.memory_mib)
    memory = _memory(workers, need)
    token = {GPU: 1.0} if cards and (wants_card or split) else {}
    parted = split if split is not None else bool(token) and len(cards) < len(workers)
    return Plan(parted, {**memory, **token}, memory, {**memory, **token})


def _memory(workers: Sequence[Mapping[str, Any]], need: float) -> dict[str, float]:
    """Return what a task asks of MEMORY; refuse where no worker could ever give it."""
    declared = [float((w.get("resources") or {}).get(MEMORY, 0.0)) for w in workers]
    if not workers or not all(declared):
        return {}
    if max(declared) < need:
        raise BatchError(
            f"A patient needs {need:.0f} MiB (--memory-mib), and no worker declares more than "
            f"{max(declared):.0f} MiB of MEMORY.",
            action="give the workers more, or say that a patient needs less.",
        )
    return {MEMORY: need}


def chain(client: Client, plan: Plan, member: Member, order: Order, attempt: int) -> list[Future]:
    """Send one patient; return the futures of his tasks, the last of which gives an `Outcome`."""
    name = f"{member.key}-{member.number}-{attempt}-{order.start}"
    priority = -member.number
    if not plan.split:
        return [_submit(client, work, (member, order), f"patient-{name}", plan.whole, priority)]
    first = _submit(client, before_card, (member, order), f"before-{name}", plan.off_card, priority)
    second = _submit(client, on_card, (first, member, order), f"card-{name}", plan.on_card, priority)
    third = _submit(client, after_card, (second, member, order), f"after-{name}", plan.off_card, priority)
    return [first, second, third]


def _submit(
    client: Client,
    task: Callable[..., Any],
    given: tuple[Any, ...],
    key: str,
    resources: Mapping[str, float] | None,
    priority: int,
) -> Future:
    asked = dict(resources) if resources else None
    return client.submit(task, *given, key=key, pure=False, retries=0, resources=asked, priority=priority)


@dataclass(frozen=True, eq=False)
class Carried:
    """A patient between two tasks; None where he has failed, or was finished before."""

    patient: Patient | None
    outcome: Outcome


def before_card(member: Member, order: Order) -> Carried:
    """Read the patient and run the steps before the first one on a card."""
    held: list[Patient] = []

    def read(gauge: Gauge) -> None:
        with place_of(member, order) as place:
            patient, finished = opened(place, order.settings.case, command="batch", say=gauge.say)
        if not finished:
            held.append(_run(0, patient, order, gauge))

    outcome = guarded(read, member, order)
    return Carried(held[0] if held else None, outcome)


def on_card(carried: Carried, member: Member, order: Order) -> Carried:
    """Run the steps from the first to the last one on a card."""
    if carried.patient is None:
        return carried
    held: list[Patient] = []
    given = carried.patient
    outcome = guarded(lambda gauge: held.append(_run(1, given, order, gauge)), member, order)
    return Carried(held[0] if held else None, _both(carried.outcome, outcome))


def after_card(carried: Carried, member: Member, order: Order) -> Outcome:
    """Run the other steps and write the out folder."""
    if carried.patient is None:
        return carried.outcome
    given = carried.patient

    def write(gauge: Gauge) -> None:
        ledger = Ledger()
        patient = _run(2, given, order, gauge, ledger)
        with place_of(member, order) as place:
            closed(patient, place, order.settings.case, command="batch", say=gauge.say, ledger=ledger)

    return _both(carried.outcome, guarded(write, member, order, alone=True))


def _run(part: int, patient: Patient, order: Order, gauge: Gauge, ledger: Ledger | None = None) -> Patient:
    case = order.settings.case
    steps = clinical_steps(load_protocol(case.protocol), case, ledger)
    at = [n for n, step in enumerate(steps) if type(step).__name__ in ON_CARD]
    first, last = (at[0], at[-1] + 1) if at else (len(steps), len(steps))
    parts = (steps[:first], steps[first:last], steps[last:])
    return pipeline.run(parts[part], patient, seed=case.seed, report=gauge.say)


def _both(before: Outcome, after: Outcome) -> Outcome:
    """Return the outcome of the later task with what the earlier ones took."""
    peaks = [peak for peak in (before.peak_mib, after.peak_mib) if peak is not None]
    return replace(
        after,
        worker=" ".join(dict.fromkeys(f"{before.worker} {after.worker}".split())),
        seconds=round((before.seconds or 0.0) + (after.seconds or 0.0), 3),
        cpu_seconds=round((before.cpu_seconds or 0.0) + (after.cpu_seconds or 0.0), 3),
        peak_mib=max(peaks, default=None),
        parts={**before.parts, **after.parts},
    )


def _thawed(mapping: Mapping[Any, Any]) -> tuple[Callable[..., Any], tuple[dict[Any, Any]]]:
    return _frozen, (dict(mapping),)


def _frozen(mapping: dict[Any, Any]) -> Mapping[Any, Any]:
    return MappingProxyType(mapping)


copyreg.pickle(MappingProxyType, _thawed)  # Dask carries patients between workers
