"""Direct aperture optimisation: leaf ends and monitor units by gradients through the dose engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize
from torch import Tensor

from rtplan.domain import Beam
from rtplan.planning.aims import Aims
from rtplan.planning.field import Influence
from rtplan.planning.machine import Machine
from rtplan.planning.objective import Term, total
from rtplan.planning.sequence import Segments, with_gaps
from rtplan.planning.shapes import opened

Float = NDArray[np.float64]
#: A step of 1 of the optimiser moves a leaf by so many mm.
LEAF_MM = 4.0
#: So many times the least MU of a segment while leaves move: the plan is normalised afterwards.
SPARE = 1.2


class Layout(Protocol):
    """Leaf ends and monitor units of a whole plan as one vector of numbers, and the fluence they give."""

    def start(self) -> Float:
        """Return the vector of the layout as it stands."""
        ...

    def bounds(self) -> tuple[Float, Float]:
        """Return the least and the greatest value of each number."""
        ...

    def rasters(self, x: Tensor) -> list[Tensor]:
        """Return the fluence of each of the influence's beams, MU, shape (v, u)."""
        ...

    def repaired(self, x: Float) -> Float:
        """Return the nearest vector that the machine can deliver."""
        ...


@dataclass(frozen=True)
class RefineSettings:
    """How long leaves are moved: iterations of each round; in each further one broken limits weigh more."""

    first: int = 40
    further: int = 20
    rounds: int = 5


@dataclass(frozen=True, eq=False)
class Static:
    """Fields with standing gantry and leaves that step from opening to opening.

    Parameters
    ----------
    segments : tuple of Segments
        Of each field.
    machine : Machine
        Its limits.
    fractions : int
        Of the course, for the least MU of a segment.
    """

    segments: tuple[Segments, ...]
    machine: Machine
    fractions: int

    @property
    def beams(self) -> tuple[Beam, ...]:
        """One for each field."""
        return tuple(s.frame.beam for s in self.segments)

    @property
    def _unit_mu(self) -> float:
        return float(np.mean(np.concatenate([s.mu for s in self.segments])))

    def start(self) -> Float:
        """Return left ends, widths, MU, field by field."""
        parts = []
        for s in self.segments:
            width = s.right - s.left
            parts += [s.left.ravel() / LEAF_MM, width.ravel() / LEAF_MM, s.mu / self._unit_mu]
        return np.concatenate(parts)

    def bounds(self) -> tuple[Float, Float]:
        """Return bounds: between the jaws, not nearer than the gap, not less MU than the machine gives."""
        least_mu = SPARE * self.machine.output.min_mu_per_segment * self.fractions / self._unit_mu
        low, high = [], []
        for s in self.segments:
            (x1, x2), n = s.frame.jaws_x_mm, s.left.size
            gap = self.machine.leaves.min_gap_mm
            low += [np.full(n, x1 / LEAF_MM), np.full(n, gap / LEAF_MM)]
            high += [np.full(n, x2 / LEAF_MM), np.full(n, (x2 - x1) / LEAF_MM)]
            low.append(np.full(len(s.mu), least_mu))
            high.append(np.full(len(s.mu), np.inf))
        return np.concatenate(low), np.concatenate(high)

    def rasters(self, x: Tensor) -> list[Tensor]:
        """Return the fluence of each field."""
        found, place = [], 0
        for s in self.segments:
            left, width, mu, place = taken(x, place, s.left.shape, len(s.mu))
            columns = like(s.frame.columns_mm, x)
            open_ = opened(LEAF_MM * left, LEAF_MM * (left + width), columns)
            lit = torch.einsum("s,spc->pc", mu * self._unit_mu, open_)
            found.append(like(s.frame.shares(), x) @ lit)
        return found

    def repaired(self, x: Float) -> Float:
        """Return the vector itself: its bounds hold already; interdigitation is repaired at the end."""
        return x

    def moved(self, x: Float) -> Static:
        """Return the layout with the vector's leaf ends and MU."""
        moved, place, unit = [], 0, self._unit_mu
        vector = torch.as_tensor(x)
        for s in self.segments:
            left, width, mu, place = taken(vector, place, s.left.shape, len(s.mu))
            ends = LEAF_MM * left.numpy(), LEAF_MM * (left + width).numpy()
            ends = with_gaps(*ends, self.machine.leaves)
            moved.append(replace(s, left=ends[0], right=ends[1], mu=mu.numpy() * unit))
        return replace(self, segments=tuple(moved))

    def scaled(self, factor: float) -> Static:
        """Return the layout with all MU multiplied."""
        return replace(self, segments=tuple(replace(s, mu=s.mu * factor) for s in self.segments))


def refine(layout: Layout, influence: Influence, aims: Aims, settings: RefineSettings) -> Float:
    """Return the vector of a layout that serves the aims best, limits first.

    Parameters
    ----------
    layout : Layout
        Where the leaves stand; its beams are those of ``influence``.
    influence : Influence
        On the aims' voxels.
    aims : Aims
        Limits before targets before boosts, as for fluences.
    settings : RefineSettings
        Iterations.
    """
    x, terms = layout.start(), aims.terms
    for turn in range(settings.rounds):
        steps = settings.first if turn == 0 else settings.further
        x = layout.repaired(_descend(layout, influence, terms, aims.scale_gy, x, steps))
        with torch.no_grad():
            dose = influence.dose(layout.rasters(_tensor(x, influence)))
        terms, changed = aims.sharpened(terms, dose * aims.factor(dose), last=turn == settings.rounds - 2)
        if not changed:
            break
    return x


def _descend(
    layout: Layout, influence: Influence, terms: tuple[Term, ...], scale_gy: float, x: Float, steps: int
) -> Float:
    def value(x: Float) -> tuple[float, Float]:
        vector = _tensor(x, influence).requires_grad_()
        loss = total(influence.dose(layout.rasters(vector)), terms, scale_gy)
        (gradient,) = torch.autograd.grad(loss, vector)
        return float(loss.detach()), gradient.double().cpu().numpy()

    low, high = layout.bounds()
    bounds = Bounds(low, high)
    options = {"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-7, "maxcor": 15}
    start = np.clip(x, low, high)
    found = minimize(value, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    answer: Float = found.x
    return answer


def taken(x: Tensor, place: int, shape: tuple[int, ...], count: int) -> tuple[Tensor, Tensor, Tensor, int]:
    """Return left ends, widths, MU and the next place of a vector."""
    size = int(np.prod(shape))
    left = x[place : place + size].view(shape)
    width = x[place + size : place + 2 * size].view(shape)
    end = place + 2 * size
    return left, width, x[end : end + count], end + count


def like(array: Float, x: Tensor) -> Tensor:
    """Return an array as a tensor of another's kind."""
    return torch.as_tensor(array, dtype=x.dtype, device=x.device)


def _tensor(x: Float, influence: Influence) -> Tensor:
    like = influence.parts[0][2]
    return torch.as_tensor(x, dtype=like.dtype, device=like.device)
