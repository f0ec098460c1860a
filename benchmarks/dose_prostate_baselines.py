"""Two baselines of the boost network: a lookup by distance, and DVH knowledge by principal components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.learning.boost import BODY, BoostCase

Float = NDArray[np.float64]
BINS, RATIOS = 32, 3
#: Volumes (of the structure, from the hottest) at which a DVH is described.
AT = np.linspace(0.0, 1.0, 51)
#: Components of the DVH and of the distance histogram.
PARTS = 4
STRUCTURES = ("Rectum", "Bladder", "gtv")


def bins(case: BoostCase) -> NDArray[np.int64]:
    """Return the bin of each voxel: distances to gland and boost, and how high the boost is."""
    ptv, gtv = (d.astype(np.int64) * BINS // 256 for d in case.distances[:2])
    ratio = int(np.clip((case.boost_gy / case.gland_gy - 1.0) / 0.09, 0, RATIOS - 1))
    found: NDArray[np.int64] = (ratio * BINS + ptv) * BINS + gtv
    return found


def fit_lookup(cases: Sequence[BoostCase]) -> Float:
    """Return the median dose over the gland's by bin; where a height of the boost has none, of all."""
    at, doses = [], []
    for case in cases:
        inside = np.flatnonzero(case.mask(BODY).ravel())
        inside = inside[(case.dose.ravel()[inside] > 0.2) | (inside % 7 == 0)]
        at.append(bins(case).ravel()[inside])
        doses.append(case.dose.ravel()[inside].astype(float))
    where, dose = np.concatenate(at), np.concatenate(doses)
    table = _medians(where, dose, RATIOS * BINS * BINS)
    common = np.tile(_medians(where % (BINS * BINS), dose, BINS * BINS), RATIOS)
    return np.where(np.isnan(table), np.nan_to_num(common), table)


def _medians(where: NDArray[np.int64], dose: Float, count: int) -> Float:
    order = np.argsort(where, kind="stable")
    parts = np.split(dose[order], np.searchsorted(where[order], np.arange(1, count)))
    return np.array([np.median(part) if part.size else np.nan for part in parts])


def look_up(table: Float, case: BoostCase) -> NDArray[np.float32]:
    """Return the dose over the gland's that the lookup gives a case."""
    return np.where(case.mask(BODY), table[bins(case)], 0.0).astype(np.float32)


def weights_of(case: BoostCase, name: str) -> Float:
    """Return how much of each voxel belongs to a structure: parts for targets, 0 or 1 for organs."""
    if name in ("ptv", "gtv"):
        return case.parts[("ptv", "gtv").index(name)].astype(float) / 255.0
    return case.mask(name).astype(float)


def curve(dose: NDArray[np.float32], weight: Float, at: Float = AT) -> Float:
    """Return the dose that so large a part of a structure receives at least (parts from the hottest)."""
    inside = weight > 0.0
    values, share = dose[inside].astype(float), weight[inside]
    order = np.argsort(-values)
    volume = (np.cumsum(share[order]) - 0.5 * share[order]) / share.sum()
    return np.interp(at, volume, values[order])


@dataclass(frozen=True, eq=False)
class Knowledge:
    """Of one structure: mean and components of features and DVH, and the linear map between their scores."""

    features: tuple[Float, Float]
    curves: tuple[Float, Float, Float]
    map_: Float

    def predict(self, case: BoostCase, name: str) -> Float:
        """Return the DVH at `AT`, over the gland's dose, never rising with the volume."""
        mean, scale = self.features
        x = np.append((described(case, name) - mean) / scale, 1.0)
        middle, parts, _ = self.curves
        return np.minimum.accumulate(np.maximum(middle + (x @ self.map_) @ parts, 0.0))


def described(case: BoostCase, name: str) -> Float:
    """Return what is known before a plan: distance histograms to gland and boost, volume, prescription."""
    weight = weights_of(case, name)
    distance = [
        curve(-d.astype(np.float32), weight, np.linspace(0.02, 0.98, 9)) / 255.0 for d in case.distances[:2]
    ]
    cc = float(weight.sum()) * float(np.prod(case.spacing_zyx_mm)) / 1000.0
    gland = float(weights_of(case, "ptv").sum())
    ratio = case.boost_gy / case.gland_gy
    return np.array(
        [*distance[0], *distance[1], np.log(cc), np.log(gland), ratio, float(case.fractions < 20)]
    )


def fit_knowledge(cases: Sequence[BoostCase]) -> Mapping[str, Knowledge]:
    """Return one model per structure (ridge regression from features to scores of components)."""
    return {name: _fit(cases, name) for name in STRUCTURES}


def _fit(cases: Sequence[BoostCase], name: str) -> Knowledge:
    raw = np.stack([described(case, name) for case in cases])
    mean, scale = raw.mean(axis=0), np.maximum(raw.std(axis=0), 1e-6)
    x = np.column_stack([(raw - mean) / scale, np.ones(len(raw))])
    y = np.stack([curve(case.dose.astype(np.float32), weights_of(case, name)) for case in cases])
    middle = y.mean(axis=0)
    _, size, parts = np.linalg.svd(y - middle, full_matrices=False)
    scores = (y - middle) @ parts[:PARTS].T
    penalty = 1.0 * np.eye(x.shape[1])
    penalty[-1, -1] = 0.0
    return Knowledge(
        (mean, scale), (middle, parts[:PARTS], size), np.linalg.solve(x.T @ x + penalty, x.T @ scores)
    )
