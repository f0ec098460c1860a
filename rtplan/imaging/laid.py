"""Lay a CT on the MR of its frame of reference where the two do not lie on each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rtplan.domain import Image, Registration
from rtplan.errors import RegistrationError
from rtplan.imaging.alignment import mutual_information
from rtplan.imaging.body import body_mask
from rtplan.imaging.register import RegisterSettings, register
from rtplan.imaging.resample import resample

#: A CT is moved when the mutual information in the common body grows by at least this share: interpolation
#: alone raises it, as it smooths noise away (a choice; STS_014 gained 0.15 and its bones agreed less).
LEAST_GAIN = 0.2
#: Both images are read at a voxel of the usual pair. The CT's field moves with it, so its body is cut and the
#: overlap says less than between two whole scans; what agrees better is decided by the information.
SETTINGS = RegisterSettings(working_mm=2.0, least_overlap=0.75)
_AIR_HU = -1024.0


@dataclass(frozen=True, eq=False)
class Laid:
    """A CT on the MR's grid.

    Parameters
    ----------
    ct : Image
        As it came, or moved.
    registration : Registration or None
        What moved it; None where it lies as it came.
    information : tuple of float
        Mutual information with the MR, as it came and as it lies now, nats.
    """

    ct: Image
    registration: Registration | None
    information: tuple[float, float]

    @property
    def shift_mm(self) -> float:
        """How far the body's points moved in the mean, mm."""
        return 0.0 if self.registration is None else float(self.registration.quality["shift_mm"])


def laid_on(ct: Image, mr: Image, settings: RegisterSettings = SETTINGS) -> Laid:
    """Move a CT rigidly to where it agrees best with the MR, or leave it.

    Parameters
    ----------
    ct, mr : Image
        On one grid, in one frame of reference.
    settings : RegisterSettings, optional
        Limits of the registration.

    Returns
    -------
    Laid
        The CT on the MR's grid; −1024 HU where none was seen.

    Raises
    ------
    GeometryMismatch
        If the images do not lie on one grid.

    Notes
    -----
    The search runs both ways (CT to MR, MR to CT); of what passes the registration's own checks, the one
    with the most mutual information in the body that all versions share wins, if it gains a fifth over
    the CT as it came. Only the MR decides, never how well a network does: a score on CTs laid like this says
    what a network does on pairs that agree.
    """
    mr.demand_same_grid(ct)
    ways: list[Callable[[], Registration]] = [
        lambda: register(ct, mr, settings=settings),
        lambda: register(mr, ct, settings=settings).inverse(),
    ]
    found: list[tuple[Image, Registration | None]] = [(ct, None)]
    for way in ways:
        try:
            registration = way()
        except RegistrationError:
            continue
        found.append((resample(ct, mr.grid, registration=registration, outside=_AIR_HU), registration))
    inside = body_mask(mr).array
    for image, _ in found:
        inside = inside & body_mask(image).array
    if not inside.any():
        return Laid(ct, None, (0.0, 0.0))
    told = [mutual_information(mr.array[inside], image.array[inside]) for image, _ in found]
    best = int(np.argmax(told))
    if told[best] < (1.0 + LEAST_GAIN) * told[0]:
        return Laid(ct, None, (told[0], told[0]))
    return Laid(*found[best], (told[0], told[best]))
