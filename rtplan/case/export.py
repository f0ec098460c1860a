"""What a patient becomes in the out folder: DICOM objects and volumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from rtplan.domain import Grid, Image, Mask, Patient, Structure
from rtplan.dosimetry.courses import eqd2_dose
from rtplan.imaging.contour import mask_on
from rtplan.imaging.resample import resample
from rtplan.io import nifti
from rtplan.io.patient_write import write_patient

AIR_HU = -1024.0


def write_dicom(patient: Patient, folder: Path, alpha_beta_gy: float | None = None) -> None:
    """Write what rtplan made: density images, structures, plan, doses, registrations.

    Parameters
    ----------
    patient : Patient
        After the pipeline.
    folder : Path
        Gets ``CT_<arm>/``, ``RS.dcm``, ``RP.dcm``, ``RD_<arm>.dcm``, ``RD_<arm>_EQD2.dcm``, ``REG.dcm``.
    alpha_beta_gy : float, optional
        Of the EQD2 doses; none are written without it.

    Notes
    -----
    The images as they came are not written again; structures refer to them. A synthetic CT on a tilted MR
    grid is resampled to axial slices, as planning systems demand; its description says so.
    """
    arms = {name: axial(patient.images[name]) for name in patient.arms if name != "CT"}
    images = {**patient.images, **arms}
    shown = images.get("CT") or next(iter(arms.values()), None)
    if shown is None:
        return
    structures = {
        name: _on_slices(structure, shown.grid)
        for name, structure in patient.structures.items()
        if structure.kind != "CONTROL"
    }
    doses = dict(patient.doses)
    if alpha_beta_gy is not None:
        doses |= {f"{arm}_EQD2": eqd2_dose(dose, alpha_beta_gy) for arm, dose in patient.doses.items()}
    whole = replace(patient, images=images, structures=structures, doses=doses)
    write_patient(whole, folder, images=tuple(arms))


def _on_slices(structure: Structure, grid: Grid) -> Structure:
    """Put a mask of another grid onto the image's slices; contours stay as they came."""
    if isinstance(structure.region, Mask) and not structure.region.grid.same_as(grid):
        return replace(structure, region=mask_on(structure, grid))
    return structure


def axial(image: Image) -> Image:
    """Return the image on axial slices of about its own spacing; itself when it is axial already."""
    if image.grid.is_axial:
        return image
    corners = image.grid.corners()
    z, y, x = image.grid.spacing_zyx_mm
    low, high = corners.min(axis=0), corners.max(axis=0)
    count = np.ceil((high - low) / (x, y, z)).astype(int)
    first = low + np.array([x, y, z]) / 2
    grid = Grid.axial(
        (int(count[2]), int(count[1]), int(count[0])),
        (z, y, x),
        (float(first[0]), float(first[1]), float(first[2])),
        image.grid.frame_of_reference,
    )
    flat = resample(image, grid, outside=AIR_HU)
    text = f"{image.source.description}; resampled from a tilted grid to axial slices".lstrip("; ")
    return replace(flat, source=replace(flat.source, description=text))


def write_volumes(patient: Patient, folder: Path) -> None:
    """Write ``<image>.mha`` and ``dose_<arm>.mha`` for viewers; a later run never needs them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in patient.images.items():
        nifti.write_volume(image, folder / f"{name}.mha")
    for arm, dose in patient.doses.items():
        nifti.write_volume(dose, folder / f"dose_{arm}.mha")
