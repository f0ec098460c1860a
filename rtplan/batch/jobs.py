"""Workers as jobs of a queue: a TOML file says what each asks of Slurm or PBS."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from dask_jobqueue import PBSCluster, SLURMCluster
from dask_jobqueue.core import JobQueueCluster
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rtplan.errors import FormatError


class Jobs(BaseModel):
    """One file, for example ``examples/slurm/batch.toml``.

    Parameters
    ----------
    system : {"slurm", "pbs"}
        Which queue.
    jobs : int
        How many worker jobs are asked for; those that start later join later.
    queue, account : str
        Partition (queue) and account.
    cores, memory : int, str
        Of one job, as in ``4`` and ``"16GB"``.
    processes : int
        Workers in one job: as many as cores, so that each takes one thread.
    walltime : str
        After which the queue ends a job; its patients are begun again elsewhere.
    gpus : int
        Cards of one job; each worker of it then has a token ``GPU``.
    interface : str
        Network interface that workers and scheduler share (``ib0``); empty: the default one.
    local_directory, log_directory : str
        Where workers keep their own files, and the queue its logs.
    prologue : tuple of str
        Lines of the job's script before the worker starts (``module load …``).
    directives : tuple of str
        Further lines for the queue (``--constraint=…``).
    tls_directory : str
        A folder that all nodes see and only its owner may read. Where it is given, scheduler and workers talk
        by TLS, with keys made for this batch alone and put there for the jobs.
    python : str
        Interpreter of the workers; empty: this one, which must be there on the nodes too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: Literal[1] = Field(alias="schema")
    system: Literal["slurm", "pbs"] = "slurm"
    jobs: int = Field(1, ge=1, le=10_000)
    queue: str = ""
    account: str = ""
    cores: int = Field(1, ge=1)
    processes: int = Field(1, ge=1)
    memory: str = Field("4GB", pattern=r"^\d+(\.\d+)? ?[MGT]i?B$")
    walltime: str = Field("08:00:00", pattern=r"^(\d+-)?\d{1,3}:\d{2}:\d{2}$")
    gpus: int = Field(0, ge=0)
    interface: str = ""
    local_directory: str = ""
    log_directory: str = ""
    prologue: tuple[str, ...] = ()
    directives: tuple[str, ...] = ()
    tls_directory: str = ""
    python: str = ""

    @property
    def memory_mib(self) -> float:
        """Memory of one worker, MiB."""
        return _mib(self.memory) / self.processes


def load_jobs(path: Path) -> Jobs:
    """Read the file of a queue.

    Raises
    ------
    FormatError
        If it is no TOML, or an entry is unknown, missing or out of range.
    """
    try:
        return Jobs.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise FormatError("The file of the queue is not there.", where=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise FormatError(f"The file of the queue is no TOML: {broken}.", where=str(path)) from None
    except ValidationError as wrong:
        first = wrong.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise FormatError(
            f"The file of the queue is wrong at {place}: {first['msg']}.", where=str(path)
        ) from None


def cluster_of(jobs: Jobs, *, submit: bool = True, dashboard: int = 0) -> JobQueueCluster:
    """Return the cluster of a file; its jobs are submitted at once and end with it.

    Parameters
    ----------
    submit : bool
        Whether jobs are asked for; without, only `job_script` says what they would be.
    dashboard : int
        Port of the dashboard; 0: any free one.
    """
    kind = {"slurm": SLURMCluster, "pbs": PBSCluster}[jobs.system]
    count = jobs.jobs * jobs.processes if submit else 0
    page = {"dashboard_address": f"127.0.0.1:{dashboard}"}  # not for the whole network; reach it by ssh -L
    return kind(n_workers=count, scheduler_options=page, **options_of(jobs))


def options_of(jobs: Jobs) -> dict[str, Any]:
    """Return what dask-jobqueue is told."""
    directives = list(jobs.directives)
    if jobs.gpus:
        asks = {"slurm": f"--gres=gpu:{jobs.gpus}", "pbs": f"-l ngpus={jobs.gpus}"}
        directives.append(asks[jobs.system])
    tokens = f"MEMORY={jobs.memory_mib:.0f}" + (",GPU=1" if jobs.gpus else "")
    told: dict[str, Any] = {
        "cores": jobs.cores,
        "processes": jobs.processes,
        "memory": jobs.memory,
        "walltime": jobs.walltime,
        "queue": jobs.queue or None,
        "account": jobs.account or None,
        "interface": jobs.interface or None,
        "local_directory": jobs.local_directory or None,
        "log_directory": jobs.log_directory or None,
        "job_script_prologue": [*_THREADS, *jobs.prologue],
        "job_extra_directives": directives,
        "worker_extra_args": ["--resources", f'"{tokens}"'],
        "job_name": "rtplan-batch",
    }
    if jobs.tls_directory:
        told |= {"security": True, "shared_temp_directory": jobs.tls_directory}
    return told | ({"python": jobs.python} if jobs.python else {})


#: One thread a worker for numerics, as on the local machine.
_THREADS = ("export OMP_NUM_THREADS=1", "export MKL_NUM_THREADS=1", "export OPENBLAS_NUM_THREADS=1")
_UNITS = {"MB": 1e6, "GB": 1e9, "TB": 1e12, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40}


def _mib(text: str) -> float:
    unit = text.lstrip("0123456789. ")
    return float(text.removesuffix(unit)) * _UNITS[unit] / 2**20
