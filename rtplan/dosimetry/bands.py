"""Bands around the DVHs of a patient: from dose samples where there are, else from the bounds of sampling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Dose, Patient
from rtplan.dosimetry.curves import arms_with_dose, histograms, shown
from rtplan.dosimetry.dvh import Dvh, value
from rtplan.dosimetry.ledger import Ledger
from rtplan.dosimetry.metric import Metric
from rtplan.errors import RtplanError

Float = NDArray[np.float64]

#: Between the arm's name and the number in the name of a sample.
SAMPLE = "#"
#: Fewer samples make no band.
FEWEST_SAMPLES = 8
NODES = 101


@dataclass(frozen=True, eq=False)
class Band:
    """What a cumulative DVH may be.

    Parameters
    ----------
    dose_gy, low_percent, high_percent : ndarray, shape (n,)
        Ends of the volume, % of the structure, at each dose.
    what : str
        What made it.
    """

    dose_gy: Float
    low_percent: Float
    high_percent: Float
    what: str


BOUNDS = "bounds of the sampling and of what lies beyond the end contours"


def bands(
    patient: Patient,
    structures: Iterable[str] | None = None,
    *,
    nodes: int = NODES,
    ledger: Ledger | None = None,
) -> dict[str, dict[str, Band]]:
    """Return bands as ``bands[arm][structure]``.

    Parameters
    ----------
    patient : Patient
        With doses, and ``samples`` named ``<arm>#<number>``.
    structures : iterable of str, optional
        Names; all targets and organs by default. Those without a DVH are left out.
    nodes : int
        Points per band.
    ledger : Ledger, optional
        With the DVHs that were made before.

    Notes
    -----
    An arm with at least ``FEWEST_SAMPLES`` samples gets the 2.5th to 97.5th percentile of its samples'
    volumes at each dose; any other one the DVH ± error bound ± cap bound of ``V<dose>`` (see
    `rtplan.dosimetry.reading.MetricValue`), which are bounds of the calculation alone.
    """
    ledger = ledger or Ledger()
    arms = {arm: patient.doses[arm] for arm in arms_with_dose(patient)}
    samples = {arm: _samples(patient, arm) for arm in arms}
    made: dict[str, dict[str, Band]] = {}
    for name in structures if structures is not None else shown(patient):
        structure = patient.structure(name)
        (found,) = ledger.histograms([structure], arms)
        if isinstance(found, RtplanError):
            continue
        top = max(max(h.curve.max_gy for h in found.values()), 1e-6)
        dose = np.linspace(0.0, top, nodes)
        for arm, histogram in found.items():
            drawn = histograms(structure, samples[arm]) if len(samples[arm]) >= FEWEST_SAMPLES else None
            band = of_bounds(histogram, dose)
            if isinstance(drawn, dict):
                band = of_samples(list(drawn.values()), dose)
            made.setdefault(arm, {})[name] = band
    return made


def _samples(patient: Patient, arm: str) -> Mapping[str, Dose]:
    return {name: dose for name, dose in patient.samples.items() if name.startswith(f"{arm}{SAMPLE}")}


def of_bounds(histogram: Dvh, dose_gy: Float) -> Band:
    """Return the band that error and cap bounds make."""
    ends = np.full((2, len(dose_gy)), 100.0)
    for n, dose in enumerate(dose_gy):
        if dose <= 0.0:
            continue
        read = value(histogram, Metric("V", "%", float(dose), "Gy"))
        away = read.error_bound + read.cap_bound
        ends[:, n] = read.value - away, read.value + away
    low, high = np.clip(ends, 0.0, 100.0)
    return Band(dose_gy, low, high, BOUNDS)


def of_samples(histograms: list[Dvh], dose_gy: Float) -> Band:
    """Return the band between the 2.5th and 97.5th percentile of samples."""
    volumes = [np.interp(dose_gy, h.dose_gy, h.volume_percent, left=100.0, right=0.0) for h in histograms]
    low, high = np.percentile(volumes, [2.5, 97.5], axis=0)
    return Band(dose_gy, low, high, f"95 % of {len(histograms)} dose samples of the synthetic CT")
