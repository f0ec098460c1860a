"""What a patient becomes in the out folder: DICOM objects."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from rtplan.case.tables import Curves
from rtplan.domain import ClinicalPlan, Grid, Mask, Patient, Structure
from rtplan.dosimetry.courses import eqd2_dose
from rtplan.imaging.axial import axial_grid
from rtplan.imaging.contour import mask_on
from rtplan.io.patient_write import Export, write_patient
from rtplan.io.tps import load


@dataclass(frozen=True)
class Asked:
    """What is asked of the DICOM of a case.

    Parameters
    ----------
    tps : str
        Profile of the planning system, by name or path.
    alpha_beta_gy : float or None
        Of the EQD2 doses; none are written without it.
    curves : mapping
        DVHs by arm, then by structure: dose (Gy), volume (%).
    document : bytes or None
        The report as PDF.
    delivered : ClinicalPlan or None
        Plan of leaf positions, in the place of that of fluence maps.
    """

    tps: str = "common"
    alpha_beta_gy: float | None = None
    curves: Curves = field(default_factory=lambda: MappingProxyType({}))
    document: bytes | None = None
    delivered: ClinicalPlan | None = None


def write_dicom(patient: Patient, folder: Path, asked: Asked | None = None) -> None:
    """Write what rtplan made: density images, structures, plan, doses, registrations, findings, report.

    Parameters
    ----------
    patient : Patient
        After the pipeline.
    folder : Path
        Gets ``CT_<arm>/``, ``RS.dcm``, ``RP.dcm``, ``RD_<arm>.dcm``, ``RD_<arm>_EQD2.dcm``, ``REG.dcm``,
        ``SEG.dcm``, ``SR.dcm`` and ``PDF.dcm``.
    asked : Asked, optional
        For which system, and what is added.

    Notes
    -----
    The images as they came are not written again; structures refer to them. A synthetic CT on a tilted MR
    grid is resampled to axial slices where the profile demands that; its description says so.
    """
    asked = asked or Asked()
    tps = load(asked.tps)
    arms = {name: patient.images[name] for name in patient.arms if name != "CT"}
    on = patient.images.get("CT") or next(iter(arms.values()), None)
    if on is None:
        return
    grid = on.grid if "CT" in patient.images or not tps.axial else axial_grid(on.grid)
    structures = {
        name: _on_slices(structure, grid)
        for name, structure in patient.structures.items()
        if structure.kind != "CONTROL"
    }
    doses = dict(patient.doses)
    if asked.alpha_beta_gy is not None:
        doses |= {f"{arm}_EQD2": eqd2_dose(d, asked.alpha_beta_gy) for arm, d in patient.doses.items()}
    export = Export(
        tps,
        asked.curves,
        segmentation=True,
        findings=True,
        document=asked.document,
        delivered=asked.delivered,
    )
    whole = replace(patient, structures=structures, doses=doses)
    write_patient(whole, folder, images=tuple(arms), export=export)


def _on_slices(structure: Structure, grid: Grid) -> Structure:
    """Put a mask of another grid onto the image's slices; contours stay as they came."""
    if isinstance(structure.region, Mask) and not structure.region.grid.same_as(grid):
        return replace(structure, region=mask_on(structure, grid))
    return structure
