"""What is read of a planned or predicted boost dose, what it is judged by, and where the error lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from dose_prostate_baselines import curve, weights_of
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.case.boost_error import D98_FIGURE, NTCP_FIGURE
from rtplan.dosimetry.forms import lkb_probit
from rtplan.dosimetry.parameters import load_set
from rtplan.dosimetry.radiobiology import eqd2, geud
from rtplan.learning.boost import BoostCase
from rtplan.learning.predict_boost import HIGH, high_error

RISK = "rectum_bleeding_g2_quantec2010"
#: Metric, unit, bar of the mean absolute error.
BARS = {
    "error where the dose is high": ("%", 2.0),
    "rectum D2cc": ("Gy", 1.5),
    "rectum mean": ("Gy", 1.5),
    "bladder D2cc": ("Gy", 1.5),
    "bladder mean": ("Gy", 1.5),
    "GTV D98": ("Gy", 2.0),
    "rectal NTCP": ("pp", 0.5),
}
#: Names of the card's figures where they are not ``mean absolute METRIC[UNIT]``.
FIGURES = {
    "error where the dose is high": "mean absolute error where the dose is high[% of the gland's dose]",
    "rectal NTCP": NTCP_FIGURE.format(model=RISK),
    "GTV D98": D98_FIGURE,
}
#: Beyond this distance from the gland's target beams enter, mm.
NEAR_MM = 60.0
Row = dict[str, float]


def metrics(case: BoostCase, curves: Mapping[str, NDArray[Any]]) -> Row:
    """Return the metrics of structures' DVHs (1001 parts from the hottest, Gy)."""
    at = np.linspace(0.0, 1.0, 1001)
    found = {}
    for name in ("Rectum", "Bladder"):
        cc = float(weights_of(case, name).sum()) * float(np.prod(case.spacing_zyx_mm)) / 1000.0
        found[f"{name.lower()} D2cc"] = float(np.interp(2.0 / cc, at, curves[name]))
        found[f"{name.lower()} mean"] = float(np.trapezoid(curves[name], at))
    found["GTV D98"] = float(np.interp(0.98, at, curves["gtv"]))
    model = load_set(RISK)
    felt = eqd2(curves["Rectum"], case.fractions, float(model.dose.alpha_beta_gy or 3.0))
    share = np.full(at.size, 1.0 / at.size)
    found["rectal NTCP"] = 100.0 * float(lkb_probit(felt, share, model.values))
    found["rectal gEUD"] = float(geud(felt, share, 1.0 / model.values["n"]))
    return found


def of_dose(case: BoostCase, relative: NDArray[np.float32]) -> Row:
    """Return the metrics of a dose over the gland's, voxel by voxel on the case's grid."""
    at = np.linspace(0.0, 1.0, 1001)
    named = ("Rectum", "Bladder", "gtv")
    return metrics(case, {n: case.gland_gy * curve(relative, weights_of(case, n), at) for n in named})


def errors_by_distance(case: BoostCase, dose: NDArray[np.float32], true: NDArray[np.float32]) -> Row:
    """Return the error where the dose is high, in all, near the gland and beyond it, % of its dose."""
    away = ndimage.distance_transform_edt(~case.mask("ptv"), sampling=case.spacing_zyx_mm)
    high, error = true >= HIGH, 100.0 * np.abs(dose - true)
    near, far = high & (away <= NEAR_MM), high & (away > NEAR_MM)
    return {
        "error where the dose is high": 100.0 * high_error(dose, true),
        "error near": float(error[near].mean()),
        "error far": float(error[far].mean()) if far.any() else float("nan"),
        "share far": 100.0 * float(far.sum() / high.sum()),
    }
