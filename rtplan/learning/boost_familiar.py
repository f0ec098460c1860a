"""How far a pelvis lies from those that a boost network has learned: its measures, and the limits' file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Notice
from rtplan.learning.boost import BODY, DENSITY_MAX, ORGANS, BoostCase
from rtplan.learning.familiar import Familiar, centre_mm, ln_cc, size_mm
from rtplan.learning.measured import Told, read_measured
from rtplan.learning.zoo import Model

FILE = "familiar.toml"


class Limits(Told):
    """``familiar.toml``: the anatomies that these weights have learned, and how far others may be off."""

    familiar: Familiar


def load_limits(model: Model) -> Limits | None:
    """Return the limits of a boost network; None where none were measured.

    Raises
    ------
    ModelError
        If they were measured for other weights.
    FormatError
        If the file does not fit.
    """
    path = None if model.folder is None else model.folder / FILE
    if path is None or not path.is_file():
        return None
    return read_measured(path, Limits, model.sha256, "limits of anatomies")


def judged_pelvis(model: Model, case: BoostCase) -> Notice | None:
    """Return a notice when a pelvis is unlike those learned; None when it is like them, or without limits.

    Raises
    ------
    ModelError
        If it lies so far away that the network must not be asked.
    """
    limits = load_limits(model)
    return None if limits is None else limits.familiar.judged(pelvis_measures(case), model.card.name)


def pelvis_measures(case: BoostCase) -> dict[str, float]:
    """Return the measures of a pelvis: volumes (ln cc), places and sizes (mm), prescription.

    Places are those of an organ's middle from that of the gland's target: up, back, to the side. NaN where a
    structure is not there.
    """
    spacing = np.array(case.spacing_zyx_mm)
    ptv, body = case.mask("ptv"), case.mask(BODY)
    centre = centre_mm(ptv, spacing)
    found = {
        "boost over gland": case.boost_gy / case.gland_gy,
        "dose a fraction": float(np.log(case.gland_gy / case.fractions)),
        "boost volume": ln_cc(case.mask("gtv"), spacing),
        "target volume": ln_cc(ptv, spacing),
        "target's density": _density(case, ptv),
    }
    for axis, size in zip(("length", "depth", "width"), size_mm(ptv, spacing), strict=True):
        found[f"target's {axis}"] = float(size)
    for name in ORGANS:
        organ = case.mask(name)
        up, back, side = centre_mm(organ, spacing) - centre
        found |= {
            f"{name} volume": ln_cc(organ, spacing),
            f"{name} up": float(up),
            f"{name} back": float(back),
        }
        found[f"{name} aside"] = float(abs(side))
    level = body[int(np.clip(np.rint(np.nan_to_num(centre[0] / spacing[0])), 0, body.shape[0] - 1))]
    for axis, size in zip(("depth", "width"), size_mm(level, spacing[1:]), strict=True):
        found[f"body's {axis}"] = float(size)
    back, side = centre_mm(level, spacing[1:]) - centre[1:]
    found |= {"body's middle back": float(back), "body's middle aside": float(abs(side))}
    return found


def _density(case: BoostCase, mask: NDArray[np.bool_]) -> float:
    values = case.density[mask]
    return float(values.mean()) / 255.0 * DENSITY_MAX if values.size else float("nan")
