"""What there is: the data types of a patient. numpy only; frozen; no files, no plots, no networks."""

from rtplan.domain.delivery import ClinicalPlan, ControlPoint, DeliveredBeam, Device, FractionGroup
from rtplan.domain.finding import Finding
from rtplan.domain.grid import Grid
from rtplan.domain.notice import Notice
from rtplan.domain.patient import Identity, Patient, Record
from rtplan.domain.plan import Beam, Fluence, Plan, Prescription
from rtplan.domain.registration import Displacement, Registration
from rtplan.domain.structure import Contours, Structure
from rtplan.domain.volume import Dose, Image, Mask, Source, Volume

__all__ = [
    "Beam",
    "ClinicalPlan",
    "Contours",
    "ControlPoint",
    "DeliveredBeam",
    "Device",
    "Displacement",
    "Dose",
    "Finding",
    "Fluence",
    "FractionGroup",
    "Grid",
    "Identity",
    "Image",
    "Mask",
    "Notice",
    "Patient",
    "Plan",
    "Prescription",
    "Record",
    "Registration",
    "Source",
    "Structure",
    "Volume",
]
