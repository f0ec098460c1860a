"""What a plan is to reach: squared doses too low or too high, DVH, mean, gEUD and NTCP terms, in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from rtplan.dosimetry.outcome import form_of
from rtplan.dosimetry.parameters import ParameterSet
from rtplan.errors import ModelError

Form = Literal["under", "over", "volume", "mean", "geud", "ntcp"]


@dataclass(frozen=True)
class Limit:
    """An upper limit for an organ, on physical dose unless ``alpha_beta_gy`` is given.

    Parameters
    ----------
    form : str
        ``volume``: at most ``fraction`` of the organ receives more than ``dose_gy`` (so both V20Gy <= 30 %
        and D2cc <= 73 Gy); ``mean`` and ``geud``: these are at most ``dose_gy``.
    dose_gy : float
        Dose of the whole course.
    fraction : float
        Part of the organ's volume, 0 to 1 (``volume`` only).
    a : float
        Exponent of the gEUD.
    alpha_beta_gy : float or None
        The mean or gEUD is that of EQD2 per voxel.
    hard : bool
        Comes before every target; a soft one is weighed against them.
    name, source : str
        The goal as written, and where it comes from.
    """

    form: Literal["volume", "mean", "geud"]
    dose_gy: float
    fraction: float = 0.0
    a: float = 1.0
    alpha_beta_gy: float | None = None
    hard: bool = True
    name: str = ""
    source: str = ""


@dataclass(frozen=True, eq=False)
class Term:
    """One summand of the objective.

    Parameters
    ----------
    form : str
        Key of ``FORMS``.
    voxels : Tensor, shape (n,), int64
        Places in the dose vector.
    dose_gy : Tensor, shape () or (n,)
        Level of each voxel.
    weight : float
        Factor; each form is a mean over the voxels, relative to ``scale_gy`` squared.
    fraction, a, alpha_beta_gy
        As in `Limit`.
    fractions : int
        Of the course, for EQD2.
    model : ParameterSet or None
        Of the form ``ntcp``; the level is then a probability.
    """

    form: Form
    voxels: Tensor
    dose_gy: Tensor
    weight: float
    fraction: float = 0.0
    a: float = 1.0
    alpha_beta_gy: float | None = None
    fractions: int = 1
    model: ParameterSet | None = None

    def heavier(self, factor: float, tighter: float = 1.0) -> Term:
        """Return the term with its weight multiplied, and its level too."""
        return replace(self, weight=self.weight * factor, dose_gy=self.dose_gy * tighter)


def under(dose: Tensor, term: Term) -> Tensor:
    """Return the mean squared dose that lacks to the level, Gy^2."""
    return (term.dose_gy - dose).clamp(min=0.0).square().mean()


def over(dose: Tensor, term: Term) -> Tensor:
    """Return the mean squared dose above the level, Gy^2."""
    return (dose - term.dose_gy).clamp(min=0.0).square().mean()


def volume(dose: Tensor, term: Term) -> Tensor:
    """Return the squared dose above the level of those voxels that are too many, per voxel of the organ.

    The hottest part of the volume, as large as allowed, is spared (Wu and Mohan's dose-volume term); the
    factor makes up for the small number of voxels that remain.

    References
    ----------
    Wu Q, Mohan R. Algorithms and functionality of an intensity modulated radiotherapy optimization
    system. Med Phys 27:701 (2000).
    """
    allowed = int(term.fraction * dose.numel())
    if allowed >= dose.numel():
        return dose.sum() * 0.0
    if allowed == 0:
        return over(dose, term)
    bar = torch.topk(dose.detach(), allowed + 1).values[-1]
    too_hot = (dose <= bar) & (dose > term.dose_gy)
    excess = torch.where(too_hot, dose - term.dose_gy, torch.zeros_like(dose))
    return excess.square().mean()


def mean(dose: Tensor, term: Term) -> Tensor:
    """Return the squared excess of the mean (EQD2) dose above the level, Gy^2."""
    return (_felt(dose, term).mean() - term.dose_gy).clamp(min=0.0).square().sum()


def geud(dose: Tensor, term: Term) -> Tensor:
    """Return the squared excess of the generalised equivalent uniform (EQD2) dose, Gy^2.

    References
    ----------
    Niemierko A. A generalized concept of equivalent uniform dose. Med Phys 26:1100 (1999).
    """
    return (generalised_mean(_felt(dose, term), term.a) - term.dose_gy).clamp(min=0.0).square().sum()


def ntcp(dose: Tensor, term: Term) -> Tensor:
    """Return the squared excess of a complication probability above the level, in (percentage points)^2.

    The formula is the one that reports risks (`rtplan.dosimetry.outcome`), on tensors; every voxel has the
    same volume, so it serves the forms that look at volumes relative to the organ.
    """
    if term.model is None:
        raise ModelError("An NTCP term needs the parameter set of a model.")
    felt = dose.clamp(min=0.0)
    if term.model.dose.kind == "EQD2":
        felt = eqd2(felt, float(term.model.dose.alpha_beta_gy or 0.0), term.fractions)
    volume_of_each = torch.ones_like(felt)
    probability = form_of(term.model)(felt, volume_of_each, term.model.values)
    excess: Tensor = (100.0 * (probability - term.dose_gy)).clamp(min=0.0).square().sum()
    return excess


#: Every form of term by name.
FORMS: dict[Form, Callable[[Tensor, Term], Tensor]] = {
    "under": under,
    "over": over,
    "volume": volume,
    "mean": mean,
    "geud": geud,
    "ntcp": ntcp,
}


def total(dose: Tensor, terms: Sequence[Term], scale_gy: float) -> Tensor:
    """Return the objective of a dose vector, shape (n,), Gy: the weighted sum, without unit."""
    parts = [term.weight * FORMS[term.form](dose[term.voxels], term) for term in terms]
    return torch.stack(parts).sum() / scale_gy**2


def excess_gy(dose: Tensor, limit: Limit, fractions: int) -> float:
    """Return by how much the doses of an organ's voxels, shape (n,), Gy, break a limit; below 0: met.

    For a ``volume`` limit this is the dose that the hottest allowed part receives at least, minus the
    limit's; with no whole voxel allowed, the maximum.
    """
    if limit.form == "volume":
        allowed = int(limit.fraction * dose.numel())
        if allowed >= dose.numel():
            return -limit.dose_gy
        return float(torch.topk(dose, allowed + 1).values[-1]) - limit.dose_gy
    felt = dose if limit.alpha_beta_gy is None else eqd2(dose, limit.alpha_beta_gy, fractions)
    value = felt.mean() if limit.form == "mean" else generalised_mean(felt, limit.a)
    return float(value) - limit.dose_gy


def generalised_mean(dose: Tensor, a: float) -> Tensor:
    """Return (mean d^a)^(1/a), safe at 0 and against overflow."""
    top = dose.detach().max().clamp(min=1e-6)
    inner: Tensor = (dose.clamp(min=1e-6) / top).pow(a).mean()
    return inner.pow(1.0 / a) * top


def eqd2(dose: Tensor, alpha_beta_gy: float, fractions: int) -> Tensor:
    """Return the equivalent dose in 2 Gy fractions per voxel, Gy."""
    return dose * (dose / fractions + alpha_beta_gy) / (2.0 + alpha_beta_gy)


def _felt(dose: Tensor, term: Term) -> Tensor:
    return dose if term.alpha_beta_gy is None else eqd2(dose, term.alpha_beta_gy, term.fractions)
