"""Where the work is done: local worker processes, a scheduler that is there, or jobs of a queue."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.security import Security
from distributed.system import MEMORY_LIMIT

from rtplan.batch.jobs import cluster_of, load_jobs
from rtplan.batch.settings import Limits
from rtplan.batch.worker import OneThread
from rtplan.errors import BatchError
from rtplan.planning.device import accelerators

#: Resources that workers may declare: tokens for cards, and MiB of memory.
GPU, MEMORY = "GPU", "MEMORY"
#: What Dask is told where we start it: a worker's death is counted by the manifest, not hidden by Dask; its
#: watches look once a second or so, not every 20 to 100 ms, which cost 5 % of a core for one idle worker.
CONFIG: Mapping[str, Any] = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.low-level-log-length": 0,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.cycle": "2s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.memory.monitor-interval": "1s",
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.work-stealing-interval": "2s",
    # without Dask's MALLOC_TRIM_THRESHOLD_: eight times the page faults, a fifth of the processor time; a
    # worker gives its memory back after each patient instead (`gauge.release`)
    "distributed.nanny.pre-spawn-environ": {
        "OMP_NUM_THREADS": 1,
        "MKL_NUM_THREADS": 1,
        "OPENBLAS_NUM_THREADS": 1,
    },
}


@dataclass(frozen=True)
class Site:
    """Which cluster is asked for; only one of scheduler and slurm is given.

    Parameters
    ----------
    workers : int
        Local processes; 0: as many as cores and memory allow.
    scheduler : str
        Address of one that is there (``tcp://…``, ``tls://…``), or the path of its scheduler file.
    slurm : Path or None
        TOML file of a queue (Slurm or PBS).
    dashboard : int
        Port of the dashboard on this machine; 0: any free one.
    """

    workers: int = 0
    scheduler: str = ""
    slurm: Path | None = None
    dashboard: int = 8787


@contextmanager
def clients(site: Site, limits: Limits, device: str = "cpu") -> Iterator[Client]:
    """Give a client of the cluster that is asked for; what was started for it ends with the block.

    Raises
    ------
    BatchError
        If the scheduler cannot be reached.
    """
    with _silent(), dask.config.set(CONFIG):
        if site.scheduler:
            with _existing(site.scheduler) as client:
                client.register_plugin(OneThread(own=False))
                yield client
            return
        with _started(site, limits, device) as cluster, Client(cluster) as client:
            client.register_plugin(OneThread(own=True))
            yield client


@contextmanager
def _silent() -> Iterator[None]:
    """Keep Dask's own log from the terminal: it tells each lost connection as a traceback, and we tell it."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _started(site: Site, limits: Limits, device: str) -> SpecCluster:
    """Return the local cluster, or that of a queue's jobs."""
    if site.slurm is None:
        return _local(site, limits, device)
    jobs = load_jobs(site.slurm)
    if jobs.memory_mib < limits.memory_mib:
        raise BatchError(
            f"A worker gets {jobs.memory_mib:.0f} MiB, a patient needs {limits.memory_mib} (--memory-mib).",
            where=str(site.slurm),
            action="give a job more memory or fewer processes, or say that a patient needs less.",
        )
    return cluster_of(jobs, dashboard=site.dashboard)


@contextmanager
def _existing(address: str) -> Iterator[Client]:
    security = Security()
    try:
        file = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
        client = Client(**file, security=security, timeout=20)
    except (OSError, ValueError, TypeError) as failed:
        raise BatchError(
            f"The scheduler cannot be reached ({type(failed).__name__}).",
            where=address,
            action="start it (dask scheduler), check the address, and TLS in Dask's configuration.",
        ) from None
    with client:
        yield client


def _local(site: Site, limits: Limits, device: str) -> SpecCluster:
    """Return worker processes of this machine: one thread each; a worker more for each card that is used."""
    cards = [name for name in accelerators() if name.startswith("cuda")] if _on_card(device) else []
    memory_mib = int(MEMORY_LIMIT) // 2**20
    fit = max(1, memory_mib // limits.memory_mib - len(cards))
    count = site.workers or max(1, min(cores(), fit))
    share = memory_mib // (count + len(cards))
    tokens = {MEMORY: float(max(share, limits.memory_mib))}  # where the user wants more workers than fit
    spec = {f"cpu-{n}": _worker(f"cpu-{n}", share, tokens, {}) for n in range(count)}
    for n in range(len(cards)):
        name, seen = f"gpu-{n}", {"CUDA_VISIBLE_DEVICES": str(n)}
        spec[name] = _worker(name, share, {GPU: 1.0, **tokens}, seen)
    scheduler = {
        "cls": Scheduler,
        "options": {
            "host": "127.0.0.1",
            "port": 0,
            "dashboard": True,
            "dashboard_address": f"127.0.0.1:{site.dashboard}",
        },
    }
    return SpecCluster(workers=spec, scheduler=scheduler, silence_logs=50)


def _worker(
    name: str, share_mib: int, tokens: Mapping[str, float], seen: Mapping[str, str]
) -> dict[str, Any]:
    options = {
        "host": "127.0.0.1",
        "nthreads": 1,
        "name": name,
        "memory_limit": share_mib * 2**20,
        "resources": dict(tokens),
        "dashboard": False,
        "env": dict(seen),
        "silence_logs": 50,
    }
    return {"cls": Nanny, "options": options}


def _on_card(device: str) -> bool:
    return device.split(":")[0] in ("cuda", "auto")


def cores() -> int:
    """Return the number of cores that this process may use."""
    return max(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 1)
