"""DVH curves of a patient and their bands, by arm and structure."""

from __future__ import annotations

from rtplan.case.tables import Bands, Curve, Curves
from rtplan.domain import Patient
from rtplan.dosimetry import bands as banding
from rtplan.dosimetry import curves as dosimetry
from rtplan.dosimetry.ledger import Ledger
from rtplan.planning.device import threads
from rtplan.report.plots import MOST_CURVES, curve_names
from rtplan.report.scene import chosen


def curves_of(patient: Patient, ledger: Ledger | None = None) -> Curves:
    """Return the cumulative DVHs of targets and organs: ``curves[arm][structure]``."""
    by_arm: dict[str, dict[str, Curve]] = {}
    for structure, arms in dosimetry.curves(patient, threads=threads(), ledger=ledger).items():
        for arm, curve in arms.items():
            by_arm.setdefault(arm, {})[structure] = curve
    return by_arm


def bands_of(patient: Patient, curves: Curves, ledger: Ledger | None = None) -> Bands:
    """Return bands of the curves that the report draws: ``bands[arm][structure]``."""
    return banding.bands(patient, curve_names(curves, chosen(patient))[:MOST_CURVES], ledger=ledger)
