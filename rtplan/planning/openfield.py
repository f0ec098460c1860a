"""Open fields: a rectangle of jaws as a beam, for commissioning and tests."""

from __future__ import annotations

import numpy as np

from rtplan.domain import Beam, Fluence
from rtplan.errors import DoseError


def open_field(
    size_mm: tuple[float, float],
    isocentre_mm: tuple[float, float, float],
    *,
    mu: float = 100.0,
    gantry_deg: float = 0.0,
    collimator_deg: float = 0.0,
    couch_deg: float = 0.0,
    machine: str = "generic_6mv",
) -> Beam:
    """Return a rectangular open field, (u, v) mm in the isocentre plane, centred on the axis.

    Pixels are about 1 mm, finer than the horn; the field's edges are pixel edges. Pixels are square, so both
    sides must be whole multiples of one pixel: sides are kept to 0.1 mm.

    Raises
    ------
    DoseError
        If a side is not above 0 or above 400 mm, or the monitor units are negative or not finite.
    """
    if not all(0.0 < side <= 400.0 for side in size_mm):
        raise DoseError(
            f"An open field of {size_mm[0]:g} x {size_mm[1]:g} mm cannot be set.",
            action="give both sides in mm, above 0 and up to 400.",
        )
    if not (np.isfinite(mu) and mu >= 0.0):
        raise DoseError(
            f"{mu:g} monitor units cannot be delivered.", action="give monitor units of 0 or more."
        )
    tenths = [max(round(side * 10.0), 1) for side in size_mm]
    pixel = _pixel(tenths[0], tenths[1])
    columns, rows = tenths[0] // pixel, tenths[1] // pixel
    spacing = pixel / 10.0
    fluence = Fluence(
        np.full((rows, columns), mu, dtype=np.float32),
        spacing,
        (-(columns - 1) * spacing / 2.0, -(rows - 1) * spacing / 2.0),
    )
    name = f"G{gantry_deg:g} {size_mm[0]:g}x{size_mm[1]:g}"
    return Beam(name, gantry_deg, isocentre_mm, fluence, machine, collimator_deg, couch_deg)


def _pixel(a: int, b: int) -> int:
    """Return the largest pixel up to 20 tenths of a mm that divides both sides."""
    return next(pixel for pixel in range(20, 0, -1) if a % pixel == 0 and b % pixel == 0)
