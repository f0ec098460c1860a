"""Findings of plan quality of a target: homogeneity (ICRU 83), conformity (RTOG, Paddick), gradient index."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rtplan.domain import Dose, Finding, Structure
from rtplan.dosimetry.dvh import Dvh, value
from rtplan.dosimetry.quality import (
    gradient_index,
    homogeneity_index,
    isodose_volume,
    paddick_conformity,
    rtog_conformity,
)
from rtplan.errors import RtplanError
from rtplan.imaging.contour import fraction_on

#: Metric by name, and where it comes from.
SOURCES = {
    "HI": "ICRU Report 83 (2010): (D2% - D98%) / D50%",
    "CI_RTOG": "Shaw 1993: prescription isodose volume / target volume",
    "CI_Paddick": "Paddick 2000: covered volume^2 / (target volume x isodose volume)",
    "GI": "Paddick and Lippitz 2006: volume of half the prescription / of the prescription",
}


def quality_findings(target: Structure, dose: Dose, dvh: Dvh, rx_gy: float, step: str) -> tuple[Finding, ...]:
    """Return the four indices of a target, or why they are not evaluable.

    Parameters
    ----------
    target : Structure
        Its DVH is ``dvh``.
    dose : Dose
        Physical, Gy; the isodose volumes are taken on its whole grid, linear between voxels.
    dvh : Dvh
        Of the target under the dose.
    rx_gy : float
        Dose of the prescription isodose.
    step : str
        For the findings.
    """

    def homogeneity() -> dict[str, float]:
        d2, d50, d98 = (value(dvh, f"D{percent}%[Gy]").value for percent in (2, 50, 98))
        return {"HI": homogeneity_index(d2, d50, d98)}

    def fit() -> dict[str, float]:
        share = fraction_on(target, dose.grid)
        target_cc = float(share.sum(dtype=np.float64)) * dose.grid.voxel_cc
        isodose_cc = isodose_volume(dose, rx_gy)
        covered_cc = isodose_volume(dose, rx_gy, share)
        return {
            "CI_RTOG": rtog_conformity(target_cc, isodose_cc),
            "CI_Paddick": paddick_conformity(target_cc, isodose_cc, covered_cc),
        }

    def gradient() -> dict[str, float]:
        return {"GI": gradient_index(isodose_volume(dose, rx_gy / 2), isodose_volume(dose, rx_gy))}

    said = {"prescription_gy": rx_gy}
    return (
        *_tried(target.name, ("HI",), homogeneity, step, {}),
        *_tried(target.name, ("CI_RTOG", "CI_Paddick"), fit, step, said),
        *_tried(target.name, ("GI",), gradient, step, said),
    )


def _tried(
    name: str,
    metrics: tuple[str, ...],
    make: Callable[[], dict[str, float]],
    step: str,
    detail: dict[str, float],
) -> list[Finding]:
    try:
        values: dict[str, float] | None = make()
        reason = None
    except RtplanError as wrong:
        values, reason = None, str(wrong)
    return [
        Finding(
            metric=metric,
            value=None if values is None else values[metric],
            unit="1",
            step=step,
            structure=name,
            dose_kind="physical",
            verdict="not_evaluable" if values is None else "none",
            reason=reason,
            source=SOURCES[metric],
            detail=detail,
        )
        for metric in metrics
    ]
