"""A clinical plan as it is delivered: fraction groups, beams, control points, jaws and leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtplan.errors import DoseError

#: Sense in which an axis turns towards the next control point, as DICOM says it (the gantry seen from its
#: front, so CW is towards rising angles; collimator and couch seen from above, so CC is).
Turn = Literal["CW", "CC", "NONE"]
#: Devices whose openings are known: jaws along x or y, and leaves that move along x or y.
JAWS = ("X", "Y", "ASYMX", "ASYMY")
LEAVES = ("MLCX", "MLCY")


@dataclass(frozen=True)
class Device:
    """One pair of jaws, or one set of leaf pairs.

    Parameters
    ----------
    kind : str
        ``X``, ``Y``, ``ASYMX``, ``ASYMY``, ``MLCX`` or ``MLCY``, as DICOM has them.
    boundaries_mm : tuple of float
        Of leaves: the n + 1 edges of the n pairs across their motion, rising, in the isocentre plane.
    distance_mm : float or None
        From the source to the device.
    """

    kind: str
    boundaries_mm: tuple[float, ...] = ()
    distance_mm: float | None = None

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return max(len(self.boundaries_mm) - 1, 1)


@dataclass(frozen=True, eq=False)
class ControlPoint:
    """The state of a beam when a share of its monitor units has been given.

    Parameters
    ----------
    share : float
        Cumulative meterset weight over its final value, 0 to 1.
    gantry_deg, collimator_deg, couch_deg : float
        IEC 61217 angles.
    gantry_turn, collimator_turn, couch_turn : str
        How each turns towards the next control point.
    isocentre_mm : tuple of float
        (x, y, z), LPS mm.
    openings : mapping of str to ndarray, shape (pairs, 2)
        By kind of device: lower and upper position of each pair, mm in the isocentre plane.
    energy_mv : float or None
        Nominal energy.
    """

    share: float
    gantry_deg: float
    collimator_deg: float
    couch_deg: float
    isocentre_mm: tuple[float, float, float]
    openings: Mapping[str, NDArray[np.float64]]
    gantry_turn: Turn = "NONE"
    collimator_turn: Turn = "NONE"
    couch_turn: Turn = "NONE"
    energy_mv: float | None = None

    def __post_init__(self) -> None:
        openings = {}
        for kind, pairs in self.openings.items():
            array = np.array(pairs, dtype=np.float64)
            if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
                raise DoseError(f"The opening of {kind} needs finite pairs of positions.")
            if (array[:, 0] > array[:, 1] + 1e-3).any():
                raise DoseError(f"Leaves or jaws of {kind} pass each other.")
            array.flags.writeable = False
            openings[kind] = array
        object.__setattr__(self, "openings", MappingProxyType(openings))


@dataclass(frozen=True, eq=False)
class DeliveredBeam:
    """One beam of a clinical plan.

    Parameters
    ----------
    number : int
        BeamNumber.
    name, machine : str
        As in the plan.
    devices : tuple of Device
        What shapes it.
    points : tuple of ControlPoint
        At least two, of rising share, from 0 to 1.
    mu : float or None
        Monitor units of the whole course, over all fraction groups; None when the plan does not say.
    radiation : str
        ``PHOTON``, ``ELECTRON`` …
    sad_mm : float or None
        Distance from the source to the axis.
    obstacles : tuple of str
        Why it cannot be recalculated from its apertures (a wedge, an electron beam …); empty: it can.
    """

    number: int
    name: str
    machine: str
    devices: tuple[Device, ...]
    points: tuple[ControlPoint, ...]
    mu: float | None
    radiation: str = "PHOTON"
    sad_mm: float | None = None
    obstacles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shares = [point.share for point in self.points]
        if len(shares) < 2 or shares[0] != 0.0 or shares[-1] != 1.0 or np.any(np.diff(shares) < 0):
            raise DoseError(f"The control points of beam {self.name!r} do not rise from 0 to the whole.")

    @property
    def is_arc(self) -> bool:
        """Whether the gantry turns while the beam is on."""
        return any(
            a.gantry_turn != "NONE" and a.gantry_deg != b.gantry_deg
            for a, b in zip(self.points[:-1], self.points[1:], strict=True)
        )


@dataclass(frozen=True)
class FractionGroup:
    """Fractions that are given alike.

    Parameters
    ----------
    number : int
        FractionGroupNumber.
    fractions : int
        Number of fractions planned.
    mu : mapping of int to float
        Monitor units of one fraction by BeamNumber.
    """

    number: int
    fractions: int
    mu: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, eq=False)
class ClinicalPlan:
    """A plan of a planning system, whole.

    Parameters
    ----------
    name : str
        RTPlanLabel.
    targets : mapping of str to float
        What is prescribed: description (or the ROI's name) to Gy of the whole course.
    groups : tuple of FractionGroup
        In the order of the file.
    beams : tuple of DeliveredBeam
        Treatment beams, without those for setup.
    frame_of_reference : str
        FrameOfReferenceUID of the isocentres.
    patient_position : str
        As in PatientSetupSequence (``HFS`` …); empty when it is not said.
    source_uid : str
        SOPInstanceUID.
    structure_set_uids : tuple of str
        The structure sets that it was made on.
    """

    name: str
    targets: Mapping[str, float]
    groups: tuple[FractionGroup, ...]
    beams: tuple[DeliveredBeam, ...]
    frame_of_reference: str = ""
    patient_position: str = ""
    source_uid: str = ""
    structure_set_uids: tuple[str, ...] = ()

    @property
    def fractions(self) -> int | None:
        """Fractions of the one group; None where there are several, which no EQD2 may take for one."""
        return self.groups[0].fractions if len(self.groups) == 1 else None

    @property
    def obstacles(self) -> tuple[str, ...]:
        """Why the plan cannot be recalculated from its apertures; empty: it can."""
        found = [f"beam {beam.name!r}: {why}" for beam in self.beams for why in beam.obstacles]
        return tuple(found if self.beams else ["it has no treatment beam"])
