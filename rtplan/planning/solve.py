"""From aims to monitor units: projected quasi-Newton rounds, in which broken limits grow heavier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from rtplan.domain import Mask
from rtplan.planning.aims import Aims
from rtplan.planning.field import Influence
from rtplan.planning.objective import Term, total

Float = NDArray[np.float64]
#: Gets a line of text now and then.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Pace:
    """How long one looks for MU.

    Parameters
    ----------
    first, further : int
        Iterations of the first round and of each further one.
    rounds : int
        In each further round the terms of broken limits weigh more.
    smoothing : float
        Weight of the squared steps between neighbouring pixels.
    """

    first: int = 70
    further: int = 25
    rounds: int = 7
    smoothing: float = 0.02


#: Exponent of the mean over scenarios: near the worst, and smooth.
WORST = 8.0


@dataclass(frozen=True, eq=False)
class Scenarios:
    """Circumstances beside the planned ones that a plan shall serve too.

    Parameters
    ----------
    influences : tuple of Influence
        The same pixels with the isocentre displaced: setup errors.
    redrawn : tuple of mapping of str to Mask
        Targets and organs as another reader drew them, on the dose grid.
    how : str
        ``worst``: a mean of all scenarios' objectives with the exponent 8, which the worst rules;
        ``expected``: their plain mean.
    """

    influences: tuple[Influence, ...] = ()
    redrawn: tuple[Mapping[str, Mask], ...] = ()
    how: Literal["worst", "expected"] = "worst"

    def together(self, losses: Tensor) -> Tensor:
        """Return one objective of those of all scenarios, shape (n,), each >= 0."""
        if self.how == "expected" or losses.numel() == 1:
            return losses.mean()
        top = losses.detach().max().clamp(min=1e-12)
        return top * (losses / top).clamp(min=1e-6).pow(WORST).mean().pow(1.0 / WORST)


def flat_mu(influence: Influence, aims: Aims) -> float:
    """Return the MU of every open pixel that, alike in all, bring the main target to its dose."""
    with torch.no_grad():
        unit = influence.dose(influence.rasters(torch.ones(influence.count, **_as(influence))))
    return float(aims.scale_gy / unit[aims.main].mean())


def solve(
    influence: Influence,
    aims: Aims,
    pace: Pace,
    start: Tensor | None = None,
    scenarios: Scenarios | None = None,
) -> Tensor:
    """Return the MU of the open pixels, shape (count,), that serve the aims.

    Parameters
    ----------
    influence : Influence
        Of the beams on the aims' voxels.
    aims : Aims
        Limits before targets before boosts: after each round the terms of broken limits are made heavier
        and a little tighter.
    pace : Pace
        Iterations and rounds.
    start : Tensor, shape (count,), optional
        MU to begin with; by default all are alike.
    scenarios : Scenarios, optional
        That the plan shall serve too; a limit counts as broken when it is in the worst of them.
    """
    scenarios = scenarios or Scenarios()
    mu = flat_mu(influence, aims)
    x = np.ones(influence.count) if start is None else start.double().cpu().numpy() / mu
    terms = aims.terms
    for turn in range(pace.rounds):
        cases = _cases(influence, aims, terms, scenarios)
        steps = pace.first if turn == 0 else pace.further
        x = descend(cases, scenarios, aims.scale_gy, (mu, x), pace.smoothing, steps)
        dose = _worst(cases, aims, _tensor(x, influence) * mu)
        terms, changed = aims.sharpened(terms, dose, last=turn == pace.rounds - 2)
        if not changed:
            break
    return _tensor(x, influence) * mu


#: Influence and terms of one scenario.
Case = tuple[Influence, tuple[Term, ...]]


def _cases(
    influence: Influence, aims: Aims, terms: tuple[Term, ...], scenarios: Scenarios
) -> tuple[Case, ...]:
    """Return the planned case first, then the displaced and the redrawn ones."""
    moved = [(other, terms) for other in scenarios.influences]
    redrawn = [(influence, aims.redrawn(terms, masks)) for masks in scenarios.redrawn]
    return ((influence, terms), *moved, *redrawn)


def _worst(cases: Sequence[Case], aims: Aims, mu: Tensor) -> Tensor:
    """Return the dose, normalised in the planned case, of the case whose objective is highest."""
    rasters = cases[0][0].rasters(mu)
    with torch.no_grad():
        doses = [influence.dose(rasters) for influence, _ in cases]
        factor = aims.factor(doses[0])
        losses = [
            float(total(dose * factor, terms, aims.scale_gy))
            for dose, (_, terms) in zip(doses, cases, strict=True)
        ]
    return doses[int(np.argmax(losses))] * factor


def descend(
    cases: Sequence[Case],
    scenarios: Scenarios,
    scale_gy: float,
    start: tuple[float, Float],
    smoothing: float,
    steps: int,
) -> Float:
    """Return pixels, in units of ``start[0]`` MU, after so many L-BFGS-B steps with pixels >= 0."""
    mu, x = start
    influence = cases[0][0]

    def value(x: Float) -> tuple[float, Float]:
        pixels = _tensor(x, influence).requires_grad_()
        rasters = influence.rasters(pixels)
        lit = [raster * mu for raster in rasters]
        losses = torch.stack([total(other.dose(lit), terms, scale_gy) for other, terms in cases])
        loss = scenarios.together(losses) + smoothing * roughness(rasters)
        (gradient,) = torch.autograd.grad(loss, pixels)
        return float(loss.detach()), gradient.double().cpu().numpy()

    options = {"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-7, "maxcor": 12}
    found = minimize(value, x, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * x.size, options=options)
    answer: Float = found.x
    return answer


def roughness(rasters: list[Tensor]) -> Tensor:
    """Return the mean squared step between neighbouring pixels, pixels in units of a flat field."""
    parts = [torch.diff(r, dim=axis).square().mean() for r in rasters for axis in (0, 1) if r.shape[axis] > 1]
    return torch.stack(parts).mean() if parts else torch.zeros(())


def _as(influence: Influence) -> dict[str, Any]:
    like = influence.parts[0][2]
    return {"dtype": like.dtype, "device": like.device}


def _tensor(x: Float, influence: Influence) -> Tensor:
    return torch.as_tensor(x, **_as(influence))
