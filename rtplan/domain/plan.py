"""A plan: what is prescribed, and the beams that give it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from rtplan.errors import DoseError


@dataclass(frozen=True)
class Prescription:
    """Doses per target and the number of fractions.

    Parameters
    ----------
    targets : mapping of str to float
        TG-263 target name to dose of the whole course, Gy.
    fractions : int
        Number of fractions.
    """

    targets: Mapping[str, float]
    fractions: int

    def __post_init__(self) -> None:
        if self.fractions < 1 or any(not dose > 0 for dose in self.targets.values()):
            raise DoseError("A prescription needs at least one fraction and positive doses.")
        object.__setattr__(self, "targets", MappingProxyType(dict(self.targets)))


@dataclass(frozen=True, eq=False)
class Fluence:
    """Monitor units through each pixel of a map at the isocentre plane, beam's eye view.

    Parameters
    ----------
    mu : ndarray, shape (v, u), float32
        Monitor units of the whole course seen by each pixel. Axis v runs along the collimator's y axis
        (to the patient's head at collimator 0, couch 0), u along its x axis (IEC 61217).
    spacing_mm : float
        Pixel size at the isocentre plane.
    corner_mm : tuple of float
        (u, v) of the centre of pixel [0, 0] at the isocentre plane.
    """

    mu: NDArray[np.float32]
    spacing_mm: float
    corner_mm: tuple[float, float]

    def __post_init__(self) -> None:
        mu = np.array(self.mu, dtype=np.float32)
        if mu.ndim != 2 or not np.isfinite(mu).all() or (mu < 0).any():
            raise DoseError("A fluence map needs finite monitor units >= 0 in two dimensions.")
        mu.flags.writeable = False
        object.__setattr__(self, "mu", mu)


@dataclass(frozen=True, eq=False)
class Beam:
    """One static photon beam.

    Parameters
    ----------
    name : str
        Unique within the plan.
    gantry_deg, collimator_deg, couch_deg : float
        IEC 61217 angles.
    isocentre_mm : tuple of float
        (x, y, z), LPS mm.
    fluence : Fluence
        What the beam delivers.
    machine : str
        Name of the beam file (``models/beams``).
    """

    name: str
    gantry_deg: float
    isocentre_mm: tuple[float, float, float]
    fluence: Fluence
    machine: str = "generic_6mv"
    collimator_deg: float = 0.0
    couch_deg: float = 0.0


@dataclass(frozen=True, eq=False)
class Plan:
    """A prescription and its beams.

    Parameters
    ----------
    prescription : Prescription
        What is wanted.
    beams : tuple of Beam
        What is given; the MU are those of the whole course.
    name : str
        RTPlanLabel, at most 16 characters.
    made_on : str
        Arm on which the plan was optimised.
    source_uid : str
        SOPInstanceUID of the RTPLAN it came from; empty when it was made here.
    """

    prescription: Prescription
    beams: tuple[Beam, ...]
    name: str = "rtplan"
    made_on: str = "CT"
    source_uid: str = ""
    settings: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
