"""DVH curves of a patient, by arm and structure."""

from __future__ import annotations

from rtplan.case.tables import Curve, Curves
from rtplan.domain import Patient
from rtplan.dosimetry import curves as dosimetry
from rtplan.planning.device import threads


def curves_of(patient: Patient) -> Curves:
    """Return the cumulative DVHs of targets and organs: ``curves[arm][structure]``."""
    by_arm: dict[str, dict[str, Curve]] = {}
    for structure, arms in dosimetry.curves(patient, threads=threads()).items():
        for arm, curve in arms.items():
            by_arm.setdefault(arm, {})[structure] = curve
    return by_arm
