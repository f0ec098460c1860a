"""As high as the organs permit: a boost is raised rung by rung until a limit breaks, which is then named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rtplan.domain import Mask
from rtplan.errors import StructureError
from rtplan.planning.aims import Aims, aims_of
from rtplan.planning.device import one_thread
from rtplan.planning.field import Influence
from rtplan.planning.optimise import (
    Broken,
    OptimiseSettings,
    Outcome,
    Task,
    broken_by,
    demand,
    finished,
    influence_of,
)
from rtplan.planning.prepare import Prepared
from rtplan.planning.scene import mask_at
from rtplan.planning.solve import Pace, solve

#: A boost reaches an aim when so much of it gets so large a part of the aim, as V95% >= 98 % of a PTV.
REACHED, PART = 0.98, 0.95
#: Distance of two rungs, Gy.
RUNG_GY = 2.0
#: Part of the other targets that must get 95 % of their dose on every rung.
COVERED = 0.95
#: The boost's weight where limits come first, and where the aim comes first (limits begin with 200).
BEHIND, AHEAD = 8.0, 200.0


@dataclass(frozen=True)
class Boost:
    """How high a boost is, and why not higher.

    Parameters
    ----------
    target : str
        The boosted structure.
    prescribed_gy : float
        The protocol's "up to".
    aim_gy : float
        The highest aim that the plan reaches: 98 % of the boost gets 95 % of it; at most the prescription.
    permitted_gy : float
        The highest rung on which every hard limit was kept, the prescription's own left aside.
    next_gy : float or None
        The first rung that was not; None: no limit broke as far as one looked.
    broken : tuple of Broken
        Limits that break where that rung is enforced.
    cold : tuple of str
        Other targets that fall below their coverage there.
    """

    target: str
    prescribed_gy: float
    aim_gy: float
    permitted_gy: float
    next_gy: float | None
    broken: tuple[Broken, ...] = ()
    cold: tuple[str, ...] = ()

    @property
    def bound_by_prescription(self) -> bool:
        """Whether the plan reaches what is prescribed."""
        return self.aim_gy >= self.prescribed_gy - 1e-6


@dataclass(frozen=True, eq=False)
class _Rung:
    """A try at one aim: MU, what broke; ``kept``: the aim is reached with every limit and target kept."""

    aim_gy: float
    mu: Tensor
    broken: tuple[Broken, ...]
    cold: tuple[str, ...]
    reached: bool

    @property
    def kept(self) -> bool:
        return self.reached and not self.broken and not self.cold


@dataclass(frozen=True, eq=False)
class _Climb:
    """One boost over one influence: tries aims from where the last good rung stood."""

    task: Task
    body: Mask
    influence: Influence
    name: str
    pace: Pace
    say: Callable[[str], None]

    def aims(self, aim_gy: float) -> Aims:
        targets = {
            n: replace(t, dose_gy=aim_gy) if n == self.name else t for n, t in self.task.targets.items()
        }
        inside = mask_at(self.body, next(iter(targets.values())).mask.grid)
        return aims_of(targets, self.task.organs, inside, self.task.fractions, self.task.far_every)

    def attempt(self, aim_gy: float, start: Tensor) -> _Rung:
        """Try with limits first; where that fails, with the aim first, which names what breaks."""
        aims = self.aims(aim_gy)
        rung = self._solved(aims, start, BEHIND, self.pace)
        if not rung.kept:
            steady = replace(self.pace, first=2 * self.pace.first, rounds=1)  # no limit grows heavier
            rung = self._solved(aims, rung.mu, AHEAD, steady)
        names = ", ".join(f"{b.organ} {b.limit.name} +{b.excess_gy:.1f} Gy" for b in rung.broken)
        self.say(f"boost to {aim_gy:.1f} Gy: {'kept' if rung.kept else names or 'not reached'}")
        return rung

    def _solved(self, aims: Aims, start: Tensor, weight: float, pace: Pace) -> _Rung:
        place = len(aims.organs) + list(aims.targets).index(self.name)
        terms = list(aims.terms)
        terms[place] = terms[place].heavier(weight)
        mu = solve(self.influence, replace(aims, terms=tuple(terms)), pace, start)
        with torch.no_grad():
            dose = self.influence.dose(self.influence.rasters(mu))
        factor = aims.factor(dose)
        dose = dose * factor
        covered = aims.coverage(dose)
        cold = tuple(n for n, part in covered.items() if n != self.name and part < self.floor(n))
        return _Rung(
            aims.targets[self.name].dose_gy,
            mu * factor,
            broken_by(aims, dose),
            cold,
            covered[self.name] >= REACHED,
        )

    def floor(self, name: str) -> float:
        """Return the coverage wanted of a target; none of further boosts."""
        return 0.0 if self.task.targets[name].to == "up_to" else COVERED


def raise_boost(
    prepared: Prepared,
    outcome: Outcome,
    settings: OptimiseSettings,
    *,
    furthest_gy: float = RUNG_GY,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Outcome, Boost]:
    """Raise the boost of a plan as far as limits and prescription permit, and show what holds it there.

    Parameters
    ----------
    prepared : Prepared
        What the plan was optimised with.
    outcome : Outcome
        Of `optimise`: where the climb begins.
    settings : OptimiseSettings
        Those of `optimise`.
    furthest_gy : float
        How far above what the plan reaches (at most the prescription) one looks for what organs permit: one
        rung shows what holds the boost; 32 Gy finds where organs would, the prescription left aside.
    say : callable
        Gets a line of text for each rung.

    Returns
    -------
    Outcome
        The plan: as it came where it reaches its prescription, else that of the highest rung kept.
    Boost
        The proof: the next rung with what it breaks.

    Raises
    ------
    StructureError
        If no target is prescribed ``up_to``.

    Notes
    -----
    A rung that fails with the limits first is tried again with the aim first, from the other side; only what
    fails both ways counts as broken. That is a search, not a certificate: objectives with dose-volume limits
    are not convex.
    """
    task, body, engine = prepared.task, prepared.body, prepared.engine
    name, grid = boosted(task), demand(task, body)
    prescribed = task.targets[name].dose_gy
    aims = aims_of(task.targets, task.organs, mask_at(body, grid), task.fractions, task.far_every)
    scene = engine.scene([prepared.image], body, grid, aims.index)
    with one_thread():
        influence = influence_of(engine, scene, task, settings)
        pace = replace(settings.pace, first=40, rounds=4)
        climb = _Climb(task, body, influence, name, pace, say)
        here = reach_gy(outcome, task, name)
        start = influence.taken(outcome.plan.beams)
        kept = _Rung(here, start, outcome.broken, _cold(outcome, climb), reached=True)
        best, failed = _climbed(climb, kept, prescribed, furthest_gy)
        if best is not kept and here < prescribed:
            within = best if best.aim_gy <= prescribed else climb.attempt(prescribed, start)
            outcome = finished(engine, prepared.image, body, influence.with_mu(within.mu), aims, settings)
        aim = min(reach_gy(outcome, task, name), prescribed)
    broken, cold = (failed.broken, failed.cold) if failed else ((), ())
    permitted = max(best.aim_gy, aim) if best.kept else aim
    return outcome, Boost(name, prescribed, aim, permitted, failed.aim_gy if failed else None, broken, cold)


def boosted(task: Task) -> str:
    """Return the target that is prescribed ``up_to`` the highest dose."""
    found = {name: t.dose_gy for name, t in task.targets.items() if t.to == "up_to"}
    if not found:
        raise StructureError("No target is a boost (to = up_to).", action="choose a protocol with a boost.")
    return max(found, key=lambda name: found[name])


def reach_gy(outcome: Outcome, task: Task, name: str) -> float:
    """Return the highest aim that a plan reaches in a target: 98 % of it gets 95 % of the aim."""
    values = torch.as_tensor(outcome.dose.array[task.targets[name].mask.array]).double()
    return float(values.sort().values[int((1.0 - REACHED) * values.numel())]) / PART


def _cold(outcome: Outcome, climb: _Climb) -> tuple[str, ...]:
    return tuple(n for n, part in outcome.coverage.items() if n != climb.name and part < climb.floor(n))


def _climbed(
    climb: _Climb, kept: _Rung, prescribed_gy: float, furthest_gy: float
) -> tuple[_Rung, _Rung | None]:
    """Return the highest rung that was kept and the lowest that was not (None: none was found)."""
    best, failed, step = kept, None, RUNG_GY
    base = min(kept.aim_gy, prescribed_gy)
    furthest = furthest_gy + max(prescribed_gy - base, 0.0)
    while failed is None and step <= furthest + 1e-6:
        rung = climb.attempt(base + step, best.mu)
        best, failed = (rung, None) if rung.kept else (best, rung)
        step *= 2.0
    while failed is not None and failed.aim_gy - max(best.aim_gy, base) > RUNG_GY + 1e-6:
        rung = climb.attempt(0.5 * (failed.aim_gy + max(best.aim_gy, base)), best.mu)
        best, failed = (rung, failed) if rung.kept else (best, rung)
    return best, failed
