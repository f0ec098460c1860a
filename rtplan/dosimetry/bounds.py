"""Bound on the error that the sampling makes in a metric: what coarser cells change, and what is in doubt."""

from __future__ import annotations

import numpy as np

from rtplan.dosimetry.curve import Curve
from rtplan.dosimetry.histogram import Dvh
from rtplan.dosimetry.metric import Metric

#: A dose to a volume may be off by this part of its change from cells twice as large, taken as the largest
#: over the neighbouring volumes (`NEIGHBOURS`, parts of the whole), …
CHANGE = 0.8
NEIGHBOURS = np.array([-0.01, -0.005, 0.0, 0.005, 0.01])
#: … but within this part of the whole from the median dose, where changes are small and do not alternate in
#: sign, more and more by so many times its own change, if that is not more than so many times the largest;
#: the mean dose by this part of the median's change.
MIDDLE, OWN_CHANGE, MOST_CHANGE, MEAN_CHANGE = 0.1, 12.0, 1.8, 1.0
#: Rounding of doses: a part of them, and Gy. All of these were set on benchmarks/dvh.py (seed 20261121).
ROUNDING, LEAST_GY = 2e-7, 1e-6
#: Rounding of an extreme, read at one point, and of a mean: half a step of float32 (6e-8) times the largest
#: sum of the sizes of the cubic's weights (1.25 along each axis).
ROUNDING_AT = 1.2e-7


def error_bound(dvh: Dvh, metric: Metric, curves: tuple[Curve, Curve], rx_gy: float) -> float:
    """Return the bound on a metric's error against the defined solid, in the metric's unit.

    Parameters
    ----------
    dvh : Dvh
    metric : Metric
    curves : tuple of Curve
        The DVH's curve and its coarse curve, as the metric reads them (EQD2 for an EQD2 metric).
    rx_gy : float
        What a percentage of dose refers to.
    """
    fine, coarse = curves
    if metric.kind in ("V", "CV", "Volume"):
        part = 1.0 if metric.unit == "cc" else 100.0 / fine.total_cc
        return part * _of_volume(dvh, metric, curves, rx_gy)
    rounding = ROUNDING
    if metric.kind == "Mean":
        read = fine.mean_gy
        moved = abs(fine.dose_at(0.5 * fine.total_cc) - coarse.dose_at(0.5 * coarse.total_cc))
        moved = MEAN_CHANGE * moved + abs(fine.mean_gy - coarse.mean_gy)
        bound = moved + _stretch(dvh, fine) * _doubt(dvh, "mean")
        rounding = ROUNDING_AT
    else:
        share = min(max(_share(metric, fine), 0.0), 1.0)
        read = fine.dose_at(share * fine.total_cc)
        bound = _of_dose(dvh, share, curves)
        rounding = ROUNDING if 0.0 < share < 1.0 else ROUNDING_AT
    bound += LEAST_GY + rounding * abs(read)
    return bound if metric.unit == "Gy" else 100.0 * bound / rx_gy


def _of_dose(dvh: Dvh, share: float, curves: tuple[Curve, Curve]) -> float:
    """Return the bound on the dose that the hottest ``share`` of the volume has at least."""
    fine, coarse = curves

    if share <= 0.0 or share >= 1.0:
        return _stretch(dvh, fine) * _doubt(dvh, "min" if share >= 1.0 else "max")
    away = min(abs(share - 0.5) / MIDDLE, 1.0)
    shares = np.clip(share + NEIGHBOURS, 0.0, 1.0)
    doses = fine.doses_at(shares)
    changes = np.abs(doses - coarse.doses_at(shares))
    near, own = float(changes.max()), float(changes[len(changes) // 2])
    change = away * CHANGE * near + (1.0 - away) * min(OWN_CHANGE * own, MOST_CHANGE * near)
    slope = float(doses[0] - doses[-1]) / (float(shares[-1] - shares[0]) * fine.total_cc)
    physical = dvh.curve.dose_at(share * dvh.curve.total_cc)
    doubt = _doubt_below(dvh, physical)
    reach = doubt / fine.total_cc * np.array([-1.0, 0.0, 1.0])
    beside = fine.doses_at(np.clip(share + reach, 0.0, 1.0))
    return change + max(slope * doubt, float(beside[0] - beside[1]), float(beside[1] - beside[2]))


def _of_volume(dvh: Dvh, metric: Metric, curves: tuple[Curve, Curve], rx_gy: float) -> float:
    """Return the bound on a volume, cc; for a percentage the whole volume's own error falls out."""
    fine, coarse = curves
    if metric.kind == "Volume":
        return abs(fine.total_cc - coarse.total_cc) + _doubt(dvh, "total") + 1e-6 * fine.total_cc
    assert metric.amount is not None
    dose = metric.amount if metric.amount_unit == "Gy" else metric.amount / 100.0 * rx_gy
    step = 0.01 * (fine.max_gy - fine.min_gy)
    change = max(abs(fine.volume_at(dose + k * step) - coarse.volume_at(dose + k * step)) for k in (-1, 0, 1))
    whole = _doubt(dvh, "total") if metric.unit == "cc" else 0.0
    physical = float(np.interp(dose, fine.dose_gy, dvh.curve.dose_gy))
    return change + _doubt_below(dvh, physical) + whole + 1e-6 * fine.total_cc


def _doubt(dvh: Dvh, of: str) -> float:
    if dvh.doubt is None:
        return 0.0
    low, high = dvh.doubt.extremes_gy
    return {"total": dvh.doubt.total_cc, "mean": dvh.doubt.mean_gy, "min": low, "max": high}[of]


def _doubt_below(dvh: Dvh, dose_gy: float) -> float:
    return 0.0 if dvh.doubt is None else float(np.interp(dose_gy, dvh.doubt.dose_gy, dvh.doubt.volume_cc))


def _stretch(dvh: Dvh, fine: Curve) -> float:
    """Return by how much the metric's dose rises at most for one Gy (1 but for EQD2)."""
    if fine is dvh.curve or len(fine.dose_gy) < 2:
        return 1.0
    rise = (fine.dose_gy[-1] - fine.dose_gy[-2]) / max(dvh.curve.dose_gy[-1] - dvh.curve.dose_gy[-2], 1e-12)
    return max(float(rise), 1.0)


def _share(metric: Metric, curve: Curve) -> float:
    """Return the hottest part of the volume that a dose metric is about (0: the maximum, 1: the minimum)."""
    if metric.kind in ("Max", "Min"):
        return 0.0 if metric.kind == "Max" else 1.0
    assert metric.amount is not None
    share = metric.amount / (100.0 if metric.amount_unit == "%" else curve.total_cc)
    return share if metric.kind == "D" else 1.0 - share
