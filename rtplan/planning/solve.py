"""From aims to monitor units: projected quasi-Newton rounds, in which broken limits grow heavier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

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


def flat_mu(influence: Influence, aims: Aims) -> float:
    """Return the MU of every open pixel that, alike in all, bring the main target to its dose."""
    with torch.no_grad():
        unit = influence.dose(influence.rasters(torch.ones(influence.count, **_as(influence))))
    return float(aims.scale_gy / unit[aims.main].mean())


def solve(influence: Influence, aims: Aims, pace: Pace, start: Tensor | None = None) -> Tensor:
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
    """
    mu = flat_mu(influence, aims)
    x = np.ones(influence.count) if start is None else start.double().cpu().numpy() / mu
    terms = aims.terms
    for turn in range(pace.rounds):
        x = descend(influence, terms, aims.scale_gy, (mu, x), pace, pace.first if turn == 0 else pace.further)
        with torch.no_grad():
            dose = influence.dose(influence.rasters(_tensor(x, influence) * mu))
        terms, changed = aims.sharpened(terms, dose * aims.factor(dose), last=turn == pace.rounds - 2)
        if not changed:
            break
    return _tensor(x, influence) * mu


def descend(
    influence: Influence,
    terms: tuple[Term, ...],
    scale_gy: float,
    start: tuple[float, Float],
    pace: Pace,
    steps: int,
) -> Float:
    """Return pixels, in units of ``start[0]`` MU, after so many L-BFGS-B steps with pixels >= 0."""
    mu, x = start

    def value(x: Float) -> tuple[float, Float]:
        pixels = _tensor(x, influence).requires_grad_()
        rasters = influence.rasters(pixels)
        loss = total(influence.dose([raster * mu for raster in rasters]), terms, scale_gy)
        loss = loss + pace.smoothing * roughness(rasters)
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
