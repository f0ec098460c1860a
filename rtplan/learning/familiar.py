"""How far an anatomy lies from those that a network has learned: Mahalanobis distance of simple measures.

Each site says what it measures (`head_measures`); the distance, its fit and its limits are common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from rtplan.domain import Notice
from rtplan.errors import ModelError
from rtplan.learning.card import Frozen, Triple
from rtplan.learning.doses import FEASIBLE, ORGANS, TARGETS, DoseCase

#: Share of the identity in the correlation of the measures: fewer patients than a full matrix wants.
SHRINK = 0.2
#: Beyond this percentile of the learned patients' own distances the user is warned.
WARN_PERCENT = 99.0


class Familiar(Frozen):
    """The learned anatomies: mean, spread and correlation of their measures, and the limits.

    Parameters
    ----------
    names : tuple of str
        The measures.
    mean, sd : tuple of float
        Over the learned patients that have them.
    precision : tuple of tuple of float
        Inverse of the shrunk correlation matrix.
    warn, refuse : float
        Distances: beyond ``warn`` a notice, beyond ``refuse`` no prediction.
    patients : int
        So many were learned from.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    warn: float = Field(gt=0.0)
    refuse: float = Field(gt=0.0)
    patients: int = Field(ge=2)

    @model_validator(mode="after")
    def _whole(self) -> Familiar:
        n = len(self.names)
        if len(self.mean) != n or len(self.sd) != n or [len(r) for r in self.precision] != [n] * n:
            raise ValueError("mean, sd and precision need one entry per measure")
        if self.refuse < self.warn:
            raise ValueError("refuse must not be below warn")
        return self

    def distance(self, measures: Mapping[str, float]) -> float:
        """Return the distance per measure: about 1 for a patient like the learned ones.

        A measure that is not there (NaN) does not count.

        Raises
        ------
        ModelError
            If a measure is missing altogether, or none is there.
        """
        if missing := [name for name in self.names if name not in measures]:
            raise ModelError(f"The anatomy was not measured as the network's limits want it: {missing[0]}.")
        values = np.array([measures[name] for name in self.names])
        z = (values - np.array(self.mean)) / np.array(self.sd)
        there = np.isfinite(z)
        if not there.any():
            raise ModelError("Nothing of the anatomy can be measured.")
        z = np.where(there, z, 0.0)
        return float(np.sqrt(max(0.0, z @ np.array(self.precision) @ z) / there.sum()))

    def strangest(self, measures: Mapping[str, float]) -> str:
        """Return the measure that lies farthest from its mean, in standard deviations."""
        away = {
            name: abs(measures[name] - mean) / sd
            for name, mean, sd in zip(self.names, self.mean, self.sd, strict=True)
            if np.isfinite(measures[name])
        }
        return max(away, key=lambda name: away[name])

    def judged(self, measures: Mapping[str, float], where: str = "") -> Notice | None:
        """Return a notice when an anatomy is unlike the learned ones, None when it is like them.

        Raises
        ------
        ModelError
            If it lies beyond ``refuse``: the network must not be asked.
        """
        far = self.distance(measures)
        if far <= self.warn:
            return None
        said = (
            f"The anatomy lies {far:.2f} from the {self.patients} that the network has learned (99 % of "
            f"those lie within {self.warn:.2f}); the most unusual is its {self.strangest(measures)}."
        )
        if far > self.refuse:
            raise ModelError(
                f"{said} Beyond {self.refuse:.2f} no dose is predicted.",
                where=where,
                action="plan instead, or use a network that has learned such anatomies.",
            )
        action = "hold the prediction for less sure than its intervals say."
        return Notice("ANATOMY_UNFAMILIAR", "warn", said, action=action)


def fit_familiar(rows: Sequence[Mapping[str, float]], refuse_times: float) -> Familiar:
    """Return the limits of learned anatomies.

    Parameters
    ----------
    rows : sequence of mapping
        The measures of each; NaN where one has no such structure.
    refuse_times : float
        Predictions are refused beyond so many times the distance of warning.

    Notes
    -----
    The limit of warning is the 99th percentile of the patients' distances, each from all the others, since
    a patient is nearer to a mean that it is part of.
    """
    names = tuple(rows[0])
    table = np.array([[row[name] for name in names] for row in rows])
    apart = [
        _fitted(names, np.delete(table, at, axis=0), 1.0, 1.0).distance(row) for at, row in enumerate(rows)
    ]
    warn = float(np.percentile(apart, WARN_PERCENT))
    return _fitted(names, table, warn, refuse_times * warn)


def _fitted(names: tuple[str, ...], table: NDArray[np.float64], warn: float, refuse: float) -> Familiar:
    names = tuple(name for name, column in zip(names, table.T, strict=True) if np.isfinite(column).any())
    table = table[:, np.isfinite(table).any(axis=0)]
    mean, sd = np.nanmean(table, axis=0), np.maximum(np.nanstd(table, axis=0), 1e-6)
    z = np.where(np.isfinite(table), (table - mean) / sd, 0.0)
    correlation = (1.0 - SHRINK) * (z.T @ z) / len(table) + SHRINK * np.eye(len(names))
    precision = np.linalg.inv(correlation)
    return Familiar(
        names=names,
        mean=tuple(round(float(v), 6) for v in mean),
        sd=tuple(round(float(v), 6) for v in sd),
        precision=tuple(tuple(round(float(v), 6) for v in row) for row in precision),
        warn=warn,
        refuse=refuse,
        patients=len(table),
    )


def head_measures(case: DoseCase, spacing_zyx_mm: Triple) -> dict[str, float]:
    """Return the measures of a head and neck: volumes (ln cc), sizes and distances (mm), counts.

    NaN where a structure is not there.
    """
    spacing = np.array(spacing_zyx_mm)
    targets = [case.mask(name) for name in TARGETS]
    union, feasible = np.logical_or.reduce(targets), case.mask(FEASIBLE)
    centre, middle = centre_mm(union, spacing), centre_mm(feasible, spacing)
    found = {
        "target volume": ln_cc(union, spacing),
        "highest target's volume": next((ln_cc(m, spacing) for m in reversed(targets) if m.any()), np.nan),
        "possible-dose volume": ln_cc(feasible, spacing),
        "number of targets": float(sum(bool(m.any()) for m in targets)),
        "number of organs": float(sum(bool(case.mask(name).any()) for name in ORGANS)),
    }
    for what, mask in (("target", union), ("possible dose", feasible)):
        for axis, size in zip(("length", "depth", "width"), size_mm(mask, spacing), strict=True):
            found[f"{what}'s {axis}"] = float(size)
    away = centre - middle
    found |= {"target's height": float(away[0]), "target's place": float(away[1])}
    found["target's side"] = float(abs(away[2]))
    for name in ORGANS:
        organ = case.mask(name)
        found[f"{name} volume"] = ln_cc(organ, spacing)
        found[f"{name} distance"] = float(np.linalg.norm(centre_mm(organ, spacing) - centre))
    return found


def ln_cc(mask: NDArray[np.bool_], spacing: NDArray[np.float64]) -> float:
    """Return the logarithm of a volume in cc; NaN where there is none."""
    voxels = int(mask.sum())
    return float(np.log(voxels * float(np.prod(spacing)) / 1000.0)) if voxels else float("nan")


def centre_mm(mask: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the middle of a region by axis, mm from the first voxel; NaN where there is none."""
    where = np.argwhere(mask)
    centre: NDArray[np.float64] = where.mean(axis=0) * spacing if where.size else np.full(mask.ndim, np.nan)
    return centre


def size_mm(mask: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the extent of a region by axis, mm; NaN where there is none."""
    where = np.argwhere(mask)
    if not where.size:
        return np.full(mask.ndim, np.nan)
    size: NDArray[np.float64] = (where.max(axis=0) - where.min(axis=0) + 1) * spacing
    return size
