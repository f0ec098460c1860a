"""Which image gives the grid and the frame of reference that everything else is brought onto."""

from __future__ import annotations

from dataclasses import replace

from rtplan.domain import Image, Patient
from rtplan.errors import GeometryMismatch

#: MR by how well they show the whole body, best first; any other MR comes after these.
MR_ORDER = ("T2w", "T1w", "Dixon_IP", "Dixon_W", "Dixon_OP", "MR")


def main_mr(patient: Patient) -> str | None:
    """Return the role of the MR that stands for the patient's MR series; None where there is none."""
    roles = sorted(patient.mr, key=lambda r: (MR_ORDER.index(r) if r in MR_ORDER else len(MR_ORDER), r))
    return roles[0] if roles else None


def reference_image(patient: Patient) -> Image:
    """Return the image on whose grid the arms lie: the CT, else the synthetic CT, else the main MR.

    Raises
    ------
    GeometryMismatch
        If the patient has no image at all.
    """
    for role in ("CT", "SynCT", main_mr(patient)):
        if role is not None and role in patient.images:
            return patient.images[role]
    raise GeometryMismatch("The patient has no image.", action="supply a CT or an MR series.")


def without_structure(patient: Patient, name: str) -> Patient:
    """Return the patient without a structure."""
    return replace(patient, structures={k: s for k, s in patient.structures.items() if k != name})
