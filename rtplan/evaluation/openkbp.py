"""OpenKBP's dose score and DVH score, as the challenge's own code computes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Dose, Finding, Mask, Patient
from rtplan.errors import DoseError, StructureError
from rtplan.io.datasets.openkbp import FEASIBLE, ROIS

#: Metrics of organs and of targets, by their official names.
ORGAN_METRICS = ("D_0.1_cc", "mean")
TARGET_METRICS = ("D_99", "D_95", "D_1")
#: A target's metric to the percentile of its dose.
PERCENTILE = {"D_99": 1.0, "D_95": 5.0, "D_1": 99.0}
#: What the small volume of D_0.1_cc is, mm³.
SMALL_MM3 = 100.0

#: (metric, official name of the region) to value, Gy.
Table = Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class PatientScore:
    """One patient's dose error (Gy) and DVH metrics (Gy) of the reference and of the prediction."""

    key: str
    dose_error: float
    reference: Table
    predicted: Table

    @property
    def differences(self) -> dict[tuple[str, str], float]:
        """Absolute difference of each metric that is there, Gy."""
        return {name: abs(self.predicted[name] - value) for name, value in self.reference.items()}


@dataclass(frozen=True)
class Scores:
    """The two scores over patients, Gy, with 95 % intervals; and the mean difference of each metric."""

    dose_score: float
    dvh_score: float
    dose_interval95: tuple[float, float]
    dvh_interval95: tuple[float, float]
    per_metric: Mapping[str, float]
    n: int

    def findings(self, model: str, data: str) -> tuple[Finding, ...]:
        """Return both scores as findings."""
        method = f"bootstrap over {self.n} patients, {BOOTSTRAP} draws, seed {SEED}"
        rows = (
            ("dose score", self.dose_score, self.dose_interval95),
            ("DVH score", self.dvh_score, self.dvh_interval95),
        )
        return tuple(
            Finding(
                metric=f"OpenKBP {name}",
                value=value,
                unit="Gy",
                step="evaluate",
                interval95=interval,
                interval_method=method,
                model=model,
                source="doi:10.1002/mp.14845",
                detail={"data": data, "n": self.n},
            )
            for name, value, interval in rows
        )


#: Draws and seed of the intervals.
BOOTSTRAP, SEED = 2000, 1


def dose_error(reference: Dose, predicted: Dose, possible: Mask) -> float:
    """Return the sum of |difference| over the whole grid, divided by the voxels of possible dose; Gy.

    Dose that is predicted where none is possible counts.

    Raises
    ------
    GeometryMismatch
        If the three do not lie on one grid.
    DoseError
        If no dose is possible anywhere.
    """
    reference.demand_same_grid(predicted)
    reference.demand_same_grid(possible)
    voxels = int(possible.array.sum())
    if voxels == 0:
        raise DoseError("The mask of the possible dose is empty.")
    difference = reference.array.astype(np.float64) - predicted.array.astype(np.float64)
    return float(np.abs(difference).sum() / voxels)


def dvh_metrics(dose: Dose, masks: Mapping[str, Mask]) -> dict[tuple[str, str], float]:
    """Return the official DVH metrics of a dose, Gy.

    Parameters
    ----------
    masks : mapping of str to Mask
        By official name; a region that is missing or empty has no metrics.

    Notes
    -----
    D_0.1_cc is the percentile 100 − 100 n/N of the N doses with n = round(100 mm³ / voxel), at least 1;
    percentiles are interpolated linearly, rounding is half to even. A region below 0.1 cc, at which the
    official code stops, has no D_0.1_cc here.

    References
    ----------
    Babier A et al. OpenKBP: the open-access knowledge-based planning grand challenge and dataset.
    Med Phys 2021;48:5549–5561, and its code (ababier/open-kbp, dose_evaluation_class).
    """
    small = max(1.0, float(np.round(SMALL_MM3 / (1000.0 * dose.grid.voxel_cc))))
    metrics: dict[tuple[str, str], float] = {}
    for name, mask in masks.items():
        dose.demand_same_grid(mask)
        inside = dose.array[mask.array].astype(np.float64)
        if inside.size == 0:
            continue
        if ROIS[name][1] == "PTV":
            for metric in TARGET_METRICS:
                metrics[metric, name] = float(np.percentile(inside, PERCENTILE[metric]))
        else:
            if small <= inside.size:
                top = 100.0 - small / inside.size * 100.0
                metrics["D_0.1_cc", name] = float(np.percentile(inside, top))
            metrics["mean", name] = float(inside.mean())
    return metrics


def score_patient(patient: Patient, predicted: Dose) -> PatientScore:
    """Score a predicted dose against the patient's own.

    Raises
    ------
    DoseError
        If the patient has no dose.
    StructureError
        If there is no mask of the possible dose.
    GeometryMismatch
        If the prediction lies on another grid.
    """
    if "CT" not in patient.doses:
        raise DoseError("The patient has no reference dose.", where=patient.key)
    reference = patient.doses["CT"]
    masks = masks_of(patient)
    if FEASIBLE not in masks:
        raise StructureError("There is no mask of the possible dose.", where=patient.key)
    possible = masks.pop(FEASIBLE)
    return PatientScore(
        patient.key,
        dose_error(reference, predicted, possible),
        dvh_metrics(reference, masks),
        dvh_metrics(predicted, masks),
    )


def masks_of(patient: Patient) -> dict[str, Mask]:
    """Return a patient's masks by official name, and the possible dose."""
    found = {}
    for name, called in ((FEASIBLE, FEASIBLE), *((name, roi[0]) for name, roi in ROIS.items())):
        region = patient.structures[called].region if called in patient.structures else None
        if isinstance(region, Mask):
            found[name] = region
    return found


def score(patients: Sequence[PatientScore]) -> Scores:
    """Return the scores over patients: the mean dose error, and the mean over all metrics that are there.

    The DVH score pools every (patient, region, metric): a patient with more regions weighs more.

    Raises
    ------
    DoseError
        If there is no patient.
    """
    if not patients:
        raise DoseError("There is no patient to score.")
    errors = np.array([one.dose_error for one in patients])
    tables = [one.differences for one in patients]
    sums = np.array([sum(table.values()) for table in tables])
    counts = np.array([len(table) for table in tables], np.float64)
    draws = np.random.default_rng(SEED).integers(0, len(patients), (BOOTSTRAP, len(patients)))
    names = sorted({name for table in tables for name in table})
    per_metric = {
        f"{metric} {roi}": float(np.mean([t[metric, roi] for t in tables if (metric, roi) in t]))
        for metric, roi in names
    }
    pooled = [value for table in tables for value in table.values()]
    return Scores(
        float(np.mean(errors)),
        float(np.mean(pooled)),
        _interval(errors[draws].mean(axis=1)),
        _interval(sums[draws].sum(axis=1) / counts[draws].sum(axis=1)),
        per_metric,
        len(patients),
    )


def _interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)
