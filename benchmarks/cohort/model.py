"""How long a cohort takes on many workers: a formula, and a simulation event by event that checks it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Site:
    """What is assumed of the machines.

    Parameters
    ----------
    service : float
        Seconds of the one scheduler for each patient.
    start : float
        Seconds until a worker is ready, at first and after a death.
    deaths_per_hour : float
        Of each worker; what it was at is begun again.
    """

    service: float
    start: float
    deaths_per_hour: float


def simulate(times: Sequence[float], count: int, workers: int, site: Site, seed: int) -> dict[str, float]:
    """Run a cohort event by event: one scheduler that sends, workers that take measured times and may die.

    Parameters
    ----------
    times : sequence of float
        Measured seconds of patients; drawn with replacement.

    Returns
    -------
    dict
        ``hours`` until the last end, and ``lost_hours`` of work that died with its worker.

    Examples
    --------
    >>> round(simulate([3600.0], 100, 10, Site(0.0, 0.0, 0.0), 1)["hours"], 6)
    10.0
    """
    rng = np.random.default_rng(seed)
    free = [(site.start, n) for n in range(workers)]
    clock, end, lost, left = 0.0, 0.0, 0.0, count
    while left:
        ready, worker = heapq.heappop(free)
        clock = max(clock, ready) + site.service
        took = float(rng.choice(times))
        death = rng.exponential(3600.0 / site.deaths_per_hour) if site.deaths_per_hour else np.inf
        if death < took:
            lost += death
            heapq.heappush(free, (clock + death + site.start, worker))
            continue
        left -= 1
        end = max(end, clock + took)
        heapq.heappush(free, (clock + took, worker))
    return {"hours": end / 3600.0, "lost_hours": lost / 3600.0}


def modelled(times: Sequence[float], count: int, workers: int, site: Site) -> float:
    """Return the hours by formula: ``start + max(N s, N (t + s + l) / W) + tail``.

    Mean time t and service s of a patient; l is what deaths (rate λ) take, ``λ E[t²] / 2 + λ t start``. When
    the last patient is sent, each worker has a residual life of density ``P(T > x) / t`` before it; the tail
    is by how much the largest of W such lives exceeds the mean one.

    Examples
    --------
    >>> round(modelled([3600.0], 100, 1, Site(0.0, 0.0, 0.0)), 1)
    100.0
    """
    t = np.asarray(times, np.float64)
    mean, rate = float(t.mean()), site.deaths_per_hour / 3600.0
    again = rate * float((t**2).mean()) / 2.0 + rate * mean * site.start
    flow = max(count * site.service, count * (mean + site.service + again) / workers)
    grid = np.linspace(0.0, float(t.max()), 2001)
    survive = np.array([(t > x).mean() for x in grid])
    life = np.cumsum(survive) / survive.sum()
    middle = float((survive * grid).sum() / survive.sum())
    last = float((1.0 - life**workers).sum() * (grid[1] - grid[0])) if workers > 1 else middle
    return (site.start + flow + max(last - middle, 0.0)) / 3600.0
