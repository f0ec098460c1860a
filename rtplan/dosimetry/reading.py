"""The value of a metric on a DVH, with its error bound, its cap bound and the fraction covered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rtplan.dosimetry.bounds import error_bound
from rtplan.dosimetry.curve import Curve
from rtplan.dosimetry.histogram import Dvh
from rtplan.dosimetry.metric import Metric, parse
from rtplan.dosimetry.radiobiology import eqd2
from rtplan.errors import DoseError


@dataclass(frozen=True)
class MetricValue:
    """One metric of one DVH.

    Parameters
    ----------
    value : float
        In ``unit``.
    unit : str
        Gy, cc or %.
    error_bound : float
        Bound on the difference from the metric of the defined solid under the stated interpolation and
        cap policy (and, with ``outside = "bounds"``, half the span of what lies outside), same unit.
    cap_bound : float
        Largest change under another cap policy, each end on its own from nothing to a whole slice; same
        unit; 0 for masks.
    covered_fraction : float
        Part of the structure inside the dose grid.
    coarse : float
        The value from coarser cells: differences of two doses in the same cells are bounded by theirs.
    """

    value: float
    unit: str
    error_bound: float
    cap_bound: float
    covered_fraction: float
    coarse: float = float("nan")


def value(dvh: Dvh, metric: Metric | str, rx_gy: float | None = None) -> MetricValue:
    """Read a metric.

    Parameters
    ----------
    dvh : Dvh
        From `rtplan.dosimetry.dvh.dvh`.
    metric : Metric or str
        TG-263, see `rtplan.dosimetry.metric.parse`.
    rx_gy : float, optional
        Prescription that ``%`` of a dose refers to, physical Gy.

    Raises
    ------
    DoseError
        If the prescription or the number of fractions is needed and unknown, if the structure is smaller
        than the volume asked for, or if the dose is of another kind than the metric's.
    """
    metric = parse(metric) if isinstance(metric, str) else metric
    convert = _conversion(dvh, metric)
    reference = _reference(metric, rx_gy, dvh)

    def read(curve: Curve) -> float:
        return _read(convert(curve), metric, reference, dvh.name)

    usual = chosen = read(dvh.curve)
    coarse = _coarse(dvh, metric, convert, reference)
    error = error_bound(dvh, metric, (convert(dvh.curve), convert(dvh.coarse)), reference)
    if dvh.upper is not None:
        upper = read(dvh.upper)
        chosen, error = 0.5 * (chosen + upper), error + 0.5 * abs(upper - chosen)
    caps = max(
        (abs(read(curve) - usual) for curve in dvh.curves.values() if curve is not dvh.curve), default=0.0
    )
    return MetricValue(chosen, metric.unit, error, caps, dvh.covered_fraction, coarse)


def _conversion(dvh: Dvh, metric: Metric) -> Callable[[Curve], Curve]:
    if metric.kind == "Volume" or metric.dose_kind in (dvh.kind, dvh.kind.removesuffix(" sum")):
        return lambda curve: curve
    if dvh.kind != "physical":
        raise DoseError(
            f"{metric} asks for {metric.dose_kind} dose, and the dose is {dvh.kind}.", where=dvh.name
        )
    if dvh.fractions is None:
        raise DoseError(
            f"{metric} needs the number of fractions, which is unknown.",
            where=dvh.name,
            action="give it (--fractions N); it is never guessed.",
        )
    fractions = dvh.fractions
    return lambda curve: curve.on_dose(eqd2(curve.dose_gy, fractions, metric.alpha_beta_gy))


def _reference(metric: Metric, rx_gy: float | None, dvh: Dvh) -> float:
    if not metric.needs_prescription:
        return 1.0
    if rx_gy is None or not rx_gy > 0:
        raise DoseError(
            f"{metric} is a percentage of a prescription, and none is given.",
            where=dvh.name,
            action="name the goal's reference target in the protocol, or give --rx GY.",
        )
    if metric.alpha_beta_gy is not None and dvh.fractions is not None:
        return float(eqd2(rx_gy, dvh.fractions, metric.alpha_beta_gy))
    return rx_gy


def _read(curve: Curve, metric: Metric, rx_gy: float, name: str) -> float:
    if metric.kind == "Volume":
        return curve.total_cc
    if metric.kind in ("V", "CV"):
        assert metric.amount is not None
        dose = metric.amount if metric.amount_unit == "Gy" else metric.amount / 100.0 * rx_gy
        volume = curve.volume_at(dose)
        volume = volume if metric.kind == "V" else curve.total_cc - volume
        return volume if metric.unit == "cc" else 100.0 * volume / curve.total_cc
    dose = _dose(curve, metric, name)
    return dose if metric.unit == "Gy" else 100.0 * dose / rx_gy


def _dose(curve: Curve, metric: Metric, name: str) -> float:
    if metric.kind in ("Mean", "Max", "Min"):
        return {"Mean": curve.mean_gy, "Max": curve.max_gy, "Min": curve.min_gy}[metric.kind]
    assert metric.amount is not None
    cc = metric.amount if metric.amount_unit == "cc" else metric.amount / 100.0 * curve.total_cc
    if cc > curve.total_cc * (1.0 + 1e-9):
        raise DoseError(f"{metric}: the structure is smaller ({curve.total_cc:.3f} cc).", where=name)
    return curve.dose_at(cc if metric.kind == "D" else curve.total_cc - cc)


def _coarse(dvh: Dvh, metric: Metric, convert: Callable[[Curve], Curve], rx_gy: float) -> float:
    """Return the metric from the coarse cells (the extreme where these hold less than the volume asked)."""
    curve = convert(dvh.coarse)
    try:
        return _read(curve, metric, rx_gy, dvh.name)
    except DoseError:
        return curve.min_gy if metric.kind == "D" else curve.max_gy
