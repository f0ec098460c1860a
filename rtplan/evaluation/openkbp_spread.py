"""Do the stated intervals of predicted doses hold what they say? Coverage by voxel and by DVH metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Finding
from rtplan.evaluation.openkbp import BOOTSTRAP, SEED, PatientScore
from rtplan.learning.doses import FEASIBLE
from rtplan.learning.predict_dose import Foreseen
from rtplan.learning.spread import DoseSpread, targets_of

#: Regions of voxels by the name in the findings.
REGIONS = ("all", "target", "other")


@dataclass(frozen=True)
class PatientSpread:
    """One patient: shares of voxels inside the intervals, and DVH metrics inside their bands.

    Parameters
    ----------
    voxels : mapping
        (region, level) to the share inside.
    half_width_gy : mapping
        (region, level) to the mean half width.
    bands : mapping
        (metric, structure) to (low, high, planned), Gy.
    unfamiliar : bool
        Whether there was a warning.
    """

    key: str
    voxels: Mapping[tuple[str, float], float]
    half_width_gy: Mapping[tuple[str, float], float]
    bands: Mapping[tuple[str, str], tuple[float, float, float]]
    unfamiliar: bool


@dataclass(frozen=True)
class Coverage:
    """A share over patients with its 95 % interval (bootstrap over patients), and what was stated."""

    stated: float
    found: float
    interval95: tuple[float, float]
    n: int


def spread_of(foreseen: Foreseen, spread: DoseSpread, score: PatientScore) -> PatientSpread:
    """Compare a patient's planned dose with the intervals of the prediction."""
    case = foreseen.case
    assert case.dose is not None
    assert foreseen.scale_gy is not None
    feasible, target = case.mask(FEASIBLE), targets_of(case)
    regions = {"all": feasible, "target": feasible & target, "other": feasible & ~target}
    box = tuple(slice(a, a + n) for a, n in zip(case.start, case.labels.shape, strict=True))
    error = np.abs(foreseen.dose.array[box] - case.dose)
    voxels, widths = {}, {}
    for level in spread.spec.levels:
        half = spread.half_width_gy(foreseen.scale_gy, case, level)
        for name, region in regions.items():
            voxels[name, level] = float((error <= half)[region].mean())
            widths[name, level] = float(half[region].mean())
    bands = {
        key: (low, high, score.reference[key])
        for key, (low, high) in spread.spec.bands(dict(score.predicted)).items()
        if key in score.reference
    }
    return PatientSpread(score.key, voxels, widths, bands, bool(foreseen.notices))


def voxel_coverage(patients: Sequence[PatientSpread]) -> dict[tuple[str, float], Coverage]:
    """Return the coverage of the voxels' intervals: the mean over the patients."""
    found = {}
    for key in patients[0].voxels:
        shares = np.array([one.voxels[key] for one in patients])
        found[key] = _coverage(key[1], shares, np.ones(len(shares)))
    return found


def band_coverage(patients: Sequence[PatientSpread], stated: float) -> dict[str, Coverage]:
    """Return the coverage of the bands: of all metrics together, and of each metric over its structures."""
    found = {}
    names = sorted({metric for one in patients for metric, _ in one.bands})
    for name in ("all", *names):
        inside, counts = np.zeros(len(patients)), np.zeros(len(patients))
        for at, one in enumerate(patients):
            for (metric, _), (low, high, planned) in one.bands.items():
                if name in ("all", metric):
                    counts[at] += 1.0
                    inside[at] += low <= planned <= high
        found[name] = _coverage(stated, inside, counts)
    return found


def _coverage(stated: float, inside: NDArray[np.float64], counts: NDArray[np.float64]) -> Coverage:
    n = len(inside)
    draws = np.random.default_rng(SEED).integers(0, n, (BOOTSTRAP, n))
    shares = inside[draws].sum(axis=1) / np.maximum(counts[draws].sum(axis=1), 1.0)
    low, high = np.percentile(shares, [2.5, 97.5])
    return Coverage(stated, float(inside.sum() / max(counts.sum(), 1.0)), (float(low), float(high)), n)


def spread_findings(
    patients: Sequence[PatientSpread], spread: DoseSpread, model: str, data: str
) -> tuple[Finding, ...]:
    """Return what was stated and found as findings, %."""
    rows = {
        f"coverage of {100 * level:.0f} % voxel intervals, {region}": one
        for (region, level), one in voxel_coverage(patients).items()
    }
    bands = band_coverage(patients, spread.spec.band_coverage)
    rows |= {f"coverage of DVH bands, {name}": one for name, one in bands.items()}
    return tuple(
        Finding(
            metric=f"OpenKBP {name}",
            value=100.0 * one.found,
            unit="%",
            step="evaluate",
            interval95=(100.0 * one.interval95[0], 100.0 * one.interval95[1]),
            interval_method=f"bootstrap over {one.n} patients, {BOOTSTRAP} draws, seed {SEED}",
            model=model,
            detail={"data": data, "n": one.n, "stated_percent": 100.0 * one.stated},
        )
        for name, one in rows.items()
    )
