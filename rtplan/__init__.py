"""rtplan: MR-only radiotherapy planning, from an MR series to toxicity. Research use only."""

from rtplan.domain import (
    Beam,
    Contours,
    Dose,
    Finding,
    Fluence,
    Grid,
    Image,
    Mask,
    Notice,
    Patient,
    Plan,
    Prescription,
    Registration,
    Structure,
    Volume,
)
from rtplan.errors import RtplanError

__all__ = [
    "Beam",
    "Contours",
    "Dose",
    "Finding",
    "Fluence",
    "Grid",
    "Image",
    "Mask",
    "Notice",
    "Patient",
    "Plan",
    "Prescription",
    "Registration",
    "RtplanError",
    "Structure",
    "Volume",
]
