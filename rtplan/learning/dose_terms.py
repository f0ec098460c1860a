"""Terms of a loss that speak of a structure as a whole: generalised means of dose, or of its effect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from rtplan.learning.card import Frozen

#: Least dose, relative to the prescription, that a mean with an exponent below 0 sees.
COLDEST = 1e-2


class MeanTerm(Frozen):
    """One generalised mean that is to be met.

    Parameters
    ----------
    structure : str
        Whose dose.
    exponent : float
        Of the mean: 1 is the mean, large is the hottest, below 0 for a target's coldest; 1/n of an LKB model.
    weight : float
        In the loss.
    alpha_beta_gy : float or None
        With it the mean is taken of the dose in 2 Gy fractions of the same effect, relative to the
        prescription's; without, of the dose.
    """

    structure: str
    exponent: float
    weight: float = Field(gt=0.0)
    alpha_beta_gy: float | None = Field(None, gt=0.0)


class Course(NamedTuple):
    """Prescription of a whole course, Gy, and its fractions."""

    dose_gy: float
    fractions: int


def power_mean(dose: Tensor, weight: Tensor, exponent: float) -> Tensor:
    """Return the generalised mean of doses, with gradients that are finite for every exponent but 0.

    Parameters
    ----------
    dose, weight : Tensor, shape (n,)
        Doses, of which those below 0 count as 0 (below `COLDEST` as that, for an exponent below 0), and how
        much each counts; the weights need not sum to 1.
    exponent : float

    Notes
    -----
    Doses are divided by the largest (smallest) one first, so that no power leaves the range of numbers.

    References
    ----------
    Niemierko A. A generalized concept of equivalent uniform dose (EUD). Med Phys 1999;26:1100.

    Examples
    --------
    >>> import torch
    >>> float(power_mean(torch.tensor([3.0, 4.0]), torch.ones(2), 2.0) ** 2)
    12.5
    """
    held, share = dose[weight > 0].float(), weight[weight > 0].float()
    if dose.dtype == torch.float64:
        held, share = dose[weight > 0], weight[weight > 0].double()
    held = held.clamp(min=0.0 if exponent > 0 else COLDEST)
    scale = (held.max() if exponent > 0 else held.min()).detach().clamp(min=COLDEST)
    inner: Tensor = (share / share.sum() * (held / scale) ** exponent).sum()
    return scale * inner.clamp(min=torch.finfo(inner.dtype).tiny) ** (1.0 / exponent)


def effect(dose: Tensor, course: Course, alpha_beta_gy: float) -> Tensor:
    """Return the dose of the same effect in 2 Gy fractions, over that of the prescription.

    Parameters
    ----------
    dose : Tensor
        Relative to the prescription.

    References
    ----------
    Fowler JF. The linear-quadratic formula and progress in fractionated radiotherapy. Br J Radiol
    1989;62:679-694.
    """
    steep = course.dose_gy / course.fractions / alpha_beta_gy
    held = dose.clamp(min=0.0)
    return held * (1.0 + held * steep) / (1.0 + steep)


def mean_terms(
    prediction: Tensor,
    planned: Tensor,
    weight_of: Callable[[str], Tensor],
    course: Course,
    terms: Sequence[MeanTerm],
) -> Tensor:
    """Return the weighted sum of the absolute differences of the generalised means.

    Parameters
    ----------
    prediction, planned : Tensor
        Doses over the prescription, of one shape.
    weight_of : callable
        Part of each voxel in a structure, of the same shape; a structure without voxels adds nothing.
    """
    total = prediction.new_zeros(())
    for term in terms:
        weight = weight_of(term.structure).flatten()
        if not bool((weight > 0).any()):
            continue
        means = []
        for dose in (prediction.flatten(), planned.flatten()):
            seen = dose if term.alpha_beta_gy is None else effect(dose, course, term.alpha_beta_gy)
            means.append(power_mean(seen, weight, term.exponent))
        total = total + term.weight * (means[0] - means[1]).abs()
    return total
