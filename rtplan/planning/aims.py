"""Targets and organs as terms of an objective, on the voxels that matter to a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from rtplan.domain import Grid, Mask
from rtplan.dosimetry.parameters import ParameterSet
from rtplan.planning.objective import Form, Limit, Term, excess_gy

To = Literal["median", "mean", "D98%", "D95%", "D99%", "up_to"]
Bool = NDArray[np.bool_]

#: Weights of the terms where a plan begins, found on digital pelves; rounds change them.
WEIGHTS = MappingProxyType(
    {
        "under": 100.0,
        "boost": 40.0,
        "over": 60.0,
        "near": 30.0,
        "far": 15.0,
        "hard": 200.0,
        "soft": 40.0,
        "spare": 0.02,
        "risk": 1.0,
    }
)
#: Dose above a target's level that costs nothing, and dose aimed at, as parts of the level.
OVER, AIM = 1.04, 1.01
#: Dose allowed at a distance from a target: FAR + (1 - FAR) exp(-distance / FALL_MM), of its level.
FAR, FALL_MM = 0.45, 14.0
#: Around the targets every voxel counts, further away one in two along each axis.
NEAR_MM, FAR_EVERY = 15.0, 2
#: Part of each target that must get 95 % of its dose before a round is the last.
COVERAGE = 0.975
#: Part of a boost that must get 95 % of its dose, once limits and other targets are served.
BOOSTED = 0.99
#: Weight beyond which no target's term grows.
HEAVIEST = 3000.0


@dataclass(frozen=True, eq=False)
class Target:
    """What a target shall get.

    Parameters
    ----------
    mask : Mask
        On the dose grid.
    dose_gy : float
        Of the whole course.
    to : str
        The point of the DVH that ``dose_gy`` is meant for; ``up_to``: as high as the organs permit.
    """

    mask: Mask
    dose_gy: float
    to: To = "median"


@dataclass(frozen=True, eq=False)
class Organ:
    """An organ and what limits its dose; its mask lies on the dose grid.

    ``models`` are outcome models whose risk is lowered where limits and targets leave room.
    """

    mask: Mask
    limits: tuple[Limit, ...] = ()
    models: tuple[ParameterSet, ...] = ()


@dataclass(frozen=True, eq=False)
class Aims:
    """The objective and the voxels it looks at.

    Parameters
    ----------
    index : ndarray, shape (n, 3)
        Voxels of the dose grid (k, j, i).
    targets : mapping of str to Target
        In the protocol's order.
    whole, own : mapping of str to Tensor
        Places in the dose vector of each target, and of the part that no higher target covers.
    organs : tuple
        Name, limit and places of each limited organ.
    terms : tuple of Term
        To begin with.
    fractions : int
        Number of fractions.
    """

    index: NDArray[np.int64]
    targets: Mapping[str, Target]
    whole: Mapping[str, Tensor]
    own: Mapping[str, Tensor]
    organs: tuple[tuple[str, Limit, Tensor], ...]
    terms: tuple[Term, ...]
    fractions: int

    @property
    def leading(self) -> str:
        """The target that is normalised to: the first that is not a boost."""
        plain = [name for name, target in self.targets.items() if target.to != "up_to"]
        return (plain or list(self.targets))[0]

    @property
    def main(self) -> Tensor:
        """Places of the leading target that no higher target covers (all, if one covers it wholly)."""
        own = self.own[self.leading]
        return own if own.numel() else self.whole[self.leading]

    @property
    def scale_gy(self) -> float:
        """The leading target's dose."""
        return self.targets[self.leading].dose_gy

    def factor(self, dose: Tensor) -> float:
        """Return the factor that brings the leading target to its prescription."""
        to = self.targets[self.leading].to
        part = dose[self.main]
        if to in ("mean", "median", "up_to"):
            found = part.mean() if to == "mean" else part.median()
        else:
            part = dose[self.whole[self.leading]]
            found = part.quantile(1.0 - float(to[1:-1]) / 100.0)
        return self.scale_gy / max(float(found), 1e-6)

    def excesses(self, dose: Tensor) -> Iterator[tuple[str, Limit, float]]:
        """Yield organ, limit and by how much it is broken (below 0: met), Gy."""
        for name, limit, places in self.organs:
            yield name, limit, excess_gy(dose[places], limit, self.fractions)

    def coverage(self, dose: Tensor) -> dict[str, float]:
        """Return the part of each target that gets at least 95 % of its dose."""
        return {
            name: float((dose[self.whole[name]] >= 0.95 * target.dose_gy).double().mean())
            for name, target in self.targets.items()
        }

    def tightened(self, dose: Tensor, near_gy: float) -> Aims | None:
        """Return the aims with those hard limits heavier and lower to which a dose comes nearer than so much.

        None: it comes to none. Limits that lie far above their reach (impossible ones) are tried no harder
        than by a fiftieth of their dose.
        """
        new, changed = list(self.terms), False
        for i, (_, limit, excess) in enumerate(self.excesses(dose)):
            if limit.hard and excess > -near_gy:
                changed = True
                new[i] = new[i].heavier(4.0, 1.0 - min((excess + 2.0 * near_gy) / limit.dose_gy, 0.02))
        return replace(self, terms=tuple(new)) if changed else None

    def redrawn(self, terms: tuple[Term, ...], masks: Mapping[str, Mask]) -> tuple[Term, ...]:
        """Return the terms with the voxels of targets and organs as they are in other masks on the grid.

        Only voxels that the aims look at count; of a target those that no higher target covers.
        """
        grid = next(iter(self.targets.values())).mask.grid
        places = np.full(grid.shape, -1, dtype=np.int64)
        places[tuple(self.index.T)] = np.arange(len(self.index))
        new = list(terms)
        wanted = [name for name, _, _ in self.organs] + list(self.targets)
        for i, name in enumerate(wanted):
            if name not in masks:
                continue
            inside = masks[name].array & (places >= 0)
            if name in self.targets:
                higher = [
                    t.mask.array for t in self.targets.values() if t.dose_gy > self.targets[name].dose_gy
                ]
                inside &= ~np.any([np.zeros_like(inside), *higher], axis=0)
            if inside.any():
                new[i] = replace(terms[i], voxels=torch.as_tensor(places[inside]))
        return tuple(new)

    def sharpened(
        self, terms: tuple[Term, ...], dose: Tensor, *, last: bool
    ) -> tuple[tuple[Term, ...], bool]:
        """Return the terms with those heavier that the dose does not satisfy, and whether there are any.

        The first terms are those of the limits, in the order of ``organs``; then those of the targets.
        """
        changed, new = False, list(terms)
        for i, (_, limit, excess) in enumerate(self.excesses(dose)):
            if limit.hard and excess > 0.0:
                changed = True
                new[i] = terms[i].heavier(
                    10.0 if last else 4.0, 1.0 - min(2.0 * excess / limit.dose_gy, 0.02)
                )
        covered = self.coverage(dose)
        for i, (name, target) in enumerate(self.targets.items(), start=len(self.organs)):
            if target.to != "up_to" and covered[name] < COVERAGE and terms[i].weight < HEAVIEST:
                changed = True
                new[i] = terms[i].heavier(2.0)
        if not changed:  # limits and targets are served: the boosts' turn
            for i, (name, target) in enumerate(self.targets.items(), start=len(self.organs)):
                if target.to == "up_to" and covered[name] < BOOSTED and terms[i].weight < HEAVIEST:
                    changed = True
                    new[i] = terms[i].heavier(2.0)
        return tuple(new), changed


def aims_of(
    targets: Mapping[str, Target],
    organs: Mapping[str, Organ],
    body: Bool,
    fractions: int,
    far_every: int = FAR_EVERY,
) -> Aims:
    """Return the aims of a plan.

    Parameters
    ----------
    targets, organs : mapping
        With masks on one dose grid.
    body : ndarray of bool, shape (z, y, x)
        Inside of the external contour on the dose grid.
    fractions : int
        Number of fractions.
    far_every : int
        Further than 15 mm from the targets and outside the organs one voxel in so many counts, along each
        axis: dose is smooth there, and its term is a mean.
    """
    first = next(iter(targets.values())).mask
    for mask in (*(t.mask for t in targets.values()), *(o.mask for o in organs.values())):
        mask.demand_same_grid(first)
    distance, ceiling, level = _levels(targets, first.grid)
    chosen = _chosen(distance, organs, body, far_every)
    places = np.full(first.grid.shape, -1, dtype=np.int64)
    places[chosen] = np.arange(int(chosen.sum()))

    def at(mask: Bool) -> Tensor:
        return torch.as_tensor(places[mask & chosen])

    whole = {name: at(target.mask.array) for name, target in targets.items()}
    own = {n: at(t.mask.array & (level == t.dose_gy)) for n, t in targets.items()}
    limited = tuple((n, limit, at(o.mask.array)) for n, o in organs.items() for limit in o.limits)
    limited = tuple(entry for entry in limited if entry[2].numel())
    shells = {
        "over": at(distance <= 0),
        "near": at((distance > 0) & (distance <= NEAR_MM)),
        "far": at(distance > NEAR_MM),
    }
    terms = [_limit_term(limit, where, fractions) for _, limit, where in limited]
    terms += [_target_term(t, own[n] if own[n].numel() else whole[n]) for n, t in targets.items()]
    tops = torch.as_tensor(ceiling[chosen])
    terms += [_term("over", where, tops[where], name) for name, where in shells.items()]
    terms += [_term("mean", at(o.mask.array & (distance > 0)), 0.0, "spare") for o in organs.values()]
    terms += [_risk_term(m, at(o.mask.array), fractions) for o in organs.values() for m in o.models]
    kept = tuple(terms[: len(limited) + len(targets)]) + tuple(
        term for term in terms[len(limited) + len(targets) :] if term.voxels.numel()
    )
    index = np.argwhere(chosen)
    return Aims(index, MappingProxyType(dict(targets)), whole, own, limited, kept, fractions)


def _levels(
    targets: Mapping[str, Target], grid: Grid
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Return distance to the targets (mm), dose ceiling (Gy) and the highest level covering each voxel."""
    distance = np.full(grid.shape, np.inf, np.float32)
    ceiling = np.zeros(grid.shape, np.float32)
    level = np.zeros(grid.shape, np.float64)
    for target in targets.values():
        away = ndimage.distance_transform_edt(~target.mask.array, sampling=grid.spacing_zyx_mm).astype(
            np.float32
        )
        distance = np.minimum(distance, away)
        fall = FAR + (1.0 - FAR) * np.exp(-away / FALL_MM)
        ceiling = np.maximum(ceiling, np.float32(target.dose_gy * OVER) * fall)
        level = np.maximum(level, np.where(target.mask.array, target.dose_gy, 0.0))
    return distance, ceiling, level


def _chosen(distance: NDArray[np.float32], organs: Mapping[str, Organ], body: Bool, every: int) -> Bool:
    """Return the voxels that count: around the targets, the organs, and one in so many of the rest."""
    wanted = distance <= NEAR_MM
    wanted[::every, ::every, ::every] = True
    for organ in organs.values():
        wanted = wanted | organ.mask.array
    chosen: Bool = wanted & body
    return chosen


def _target_term(target: Target, where: Tensor) -> Term:
    if target.to == "up_to":
        return _term("under", where, target.dose_gy, "boost")
    return _term("under", where, target.dose_gy * AIM, "under")


def _term(form: Form, where: Tensor, dose_gy: float | Tensor, weight: str) -> Term:
    level = torch.as_tensor(dose_gy, dtype=torch.float32)
    return Term(form, where, level, WEIGHTS[weight])


def _limit_term(limit: Limit, where: Tensor, fractions: int) -> Term:
    return Term(
        limit.form,
        where,
        torch.tensor(0.995 * limit.dose_gy, dtype=torch.float32),
        WEIGHTS["hard" if limit.hard else "soft"],
        limit.fraction,
        limit.a,
        limit.alpha_beta_gy,
        fractions,
    )


def _risk_term(model: ParameterSet, where: Tensor, fractions: int) -> Term:
    return Term("ntcp", where, torch.tensor(0.0), WEIGHTS["risk"], fractions=fractions, model=model)
