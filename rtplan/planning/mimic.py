"""Dose mimicking: a plan as near to a given dose as limits and physics permit, and what they denied."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from rtplan.domain import Dose, Finding
from rtplan.errors import DoseError, GeometryMismatch
from rtplan.imaging.resample import resample
from rtplan.planning.aims import Aims
from rtplan.planning.objective import Term
from rtplan.planning.prepare import Prepared

STEP = "OptimisePlan"
#: Weights of what is too little or too much against the given dose: in targets, organs, elsewhere.
PULL = {"target": 100.0, "organ": 30.0, "rest": 10.0}
#: Elsewhere only doses above this part of the leading prescription are compared.
LOW = 0.1


def wished(dose: Dose, prepared: Prepared) -> Dose:
    """Return a dose to be mimicked on the grid that is planned on.

    Raises
    ------
    DoseError
        If it is not physical, has another number of fractions, or does not reach the targets.
    GeometryMismatch
        If it lies in another frame of reference.
    """
    grid = prepared.leading.mask.grid
    if dose.kind != "physical":
        raise DoseError(f"The dose to be mimicked is {dose.kind}; a physical dose is wanted.")
    if dose.fractions is not None and dose.fractions != prepared.task.fractions:
        raise DoseError(
            f"The dose to be mimicked is of {dose.fractions} fractions, the protocol of "
            f"{prepared.task.fractions}.",
            action="choose the protocol that the dose was predicted for.",
        )
    if dose.grid.frame_of_reference != grid.frame_of_reference:
        raise GeometryMismatch(
            "The dose to be mimicked lies in another frame of reference than the image.",
            action="give a dose of this patient and image.",
        )
    moved = resample(dose, grid)
    least = float(moved.array[prepared.leading.mask.array].mean())
    if not least >= 0.5 * prepared.leading.dose_gy:
        raise DoseError(
            f"The dose to be mimicked gives the target {least:.1f} Gy in the mean of "
            f"{prepared.leading.dose_gy:g} Gy prescribed.",
            action="check that dose, structures and protocol belong together.",
        )
    return moved


def mimicking(aims: Aims, dose: Dose) -> Aims:
    """Return aims with the protocol's limits first, then the given dose voxel by voxel.

    In targets too little and too much count, in organs and elsewhere only too much.

    Parameters
    ----------
    aims : Aims
        Of the protocol.
    dose : Dose
        On their grid (`wished`).
    """
    values = torch.as_tensor(dose.array[tuple(aims.index.T)].astype(np.float32))
    terms = list(aims.terms[: len(aims.organs)])
    terms += [_term("under", aims.whole[name], values, "target") for name in aims.targets]
    terms += [_term("over", aims.whole[name], values, "target") for name in aims.targets]
    targets = torch.cat([aims.whole[name] for name in aims.targets])
    rest = torch.ones(len(values), dtype=torch.bool)
    rest[targets] = False
    terms.append(_term("over", rest.nonzero()[:, 0], values, "rest"))
    for places in {name: places for name, _, places in aims.organs}.values():
        outside = places[rest[places]]
        if outside.numel():
            terms.append(_term("over", outside, values, "organ"))
    return replace(aims, terms=tuple(terms))


def denied(prepared: Prepared, promised: Dose, given: Dose) -> list[Finding]:
    """Return what a dose promised and a plan did not give, by target and organ; both on the planned grid.

    For targets D98% and mean, for organs D2% and mean: value = given - promised, Gy.
    """
    promised.demand_same_grid(given)
    found = []
    targets = {name: t.mask.array for name, t in prepared.task.targets.items()}
    organs = {name: o.mask.array for name, o in prepared.task.organs.items()}
    for name, mask in {**targets, **organs}.items():
        if not mask.any():
            continue
        metrics = {"D98%[Gy]": 2.0} if name in targets else {"D2%[Gy]": 98.0}
        for metric, percent in (*metrics.items(), ("Mean[Gy]", None)):
            both = [
                float(v.mean() if percent is None else np.percentile(v, percent))
                for v in (promised.array[mask], given.array[mask])
            ]
            found.append(
                Finding(
                    f"{metric} given - promised",
                    round(both[1] - both[0], 3),
                    "Gy",
                    STEP,
                    structure=name,
                    dose_kind="physical",
                    detail={"promised": round(both[0], 3), "given": round(both[1], 3)},
                )
            )
    seen = promised.array >= LOW * prepared.leading.dose_gy
    score = float(np.abs(given.array[seen] - promised.array[seen]).mean())
    return [*found, Finding("Mean absolute difference to the promised dose", round(score, 3), "Gy", STEP)]


def _term(form: str, where: Tensor, values: Tensor, kind: str) -> Term:
    return Term(form, where, values[where], PULL[kind])  # type: ignore[arg-type]
