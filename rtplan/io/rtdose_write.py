"""Write a Dose as RTDOSE: stated quantisation, voxel-centre positions, and what the dose means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from rtplan.domain import Dose, Grid, Identity
from rtplan.errors import DoseError
from rtplan.io import modules as md
from rtplan.io.header import CLASS_UIDS

#: Said of every dose that rtplan writes.
MEANING = "dose to water in water-equivalent medium"
#: Arms whose densities are overrides of regions.
BULK = ("CT0", "CTpop", "CTpop_bone", "CTstrat")


@dataclass(frozen=True)
class WrittenDose:
    """What was written: file, UID and the largest difference to what a reader gets, Gy."""

    path: Path
    sop_uid: str
    quantisation_error_gy: float


def write(
    dose: Dose,
    path: Path,
    *,
    identity: Identity,
    plan_uid: str,
    arm: str = "CT",
    bits: Literal[16, 32] = 32,
    stamp: md.Stamp | None = None,
) -> WrittenDose:
    """Write a dose as RTDOSE of a whole plan: unsigned, relative offsets, voxel-centre position.

    Parameters
    ----------
    dose : Dose
        Gy >= 0; the kind ``EQD2(…)`` becomes DoseType EFFECTIVE.
    path : Path
        New file.
    identity : Identity
        Patient and study.
    plan_uid : str
        SOPInstanceUID of the RTPLAN that gives the dose.
    arm : str
        Name of the arm; it stands in SeriesDescription. Arms of overridden densities (`BULK`) say
        TissueHeterogeneityCorrection ROI_OVERRIDE.
    bits : int
        Bits of a stored value.

    Returns
    -------
    WrittenDose
        The quantisation error is at most half of DoseGridScaling = maximum / (2 ** bits − 2), plus the
        rounding of the float32 that a reader keeps.

    Raises
    ------
    DoseError
        If the dose is negative or not finite, or its axes are not at right angles.
    """
    stamp = stamp or md.Stamp()
    array = dose.array.astype(np.float64)
    if not np.isfinite(array).all() or array.min() < 0:
        raise DoseError(f"The dose of arm {arm} is negative or not finite; RTDOSE cannot say that.")
    axes = dose.grid.direction
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-6:
        raise DoseError(f"The axes of the dose grid of arm {arm} are not at right angles.")
    # A DS has room for ten digits: rounded down, the largest dose must still fit.
    most = (2**bits - 1) * (1.0 - 1e-9) - 0.5
    scaling = float(f"{max(float(array.max()), 1e-6) / most:.9e}")
    stored = np.rint(array / scaling)
    if stored.max() > 2**bits - 1:
        raise DoseError(f"The dose would wrap in {bits} bits.")
    uid = stamp.uid("RTDOSE", arm, dose.kind)
    series_uid = stamp.uid("series", "RTDOSE", arm, dose.kind)
    header = md.start("RTDOSE", identity, stamp, series_uid=series_uid, sop_uid=uid)
    header.SeriesDescription = md.clipped(f"rtplan dose {arm} {dose.kind}", 64)
    _place(header, dose.grid)
    _meaning(header, dose, plan_uid, arm in BULK)
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.NumberOfFrames, header.Rows, header.Columns = dose.grid.shape
    header.BitsAllocated = header.BitsStored = bits
    header.HighBit, header.PixelRepresentation = bits - 1, 0
    header.DoseGridScaling = f"{scaling:.9e}"
    header.PixelData = stored.astype(f"<u{bits // 8}").tobytes()
    header["PixelData"].VR = "OW"
    md.save(header, path)
    error = np.abs((stored * scaling).astype(np.float32) - dose.array)
    return WrittenDose(path, uid, float(error.max()))


def _place(header: Dataset, grid: Grid) -> None:
    step, dy, dx = grid.spacing_zyx_mm
    axis, column, row = grid.direction.T
    sign = float(np.sign(np.cross(row, column) @ axis))
    header.FrameOfReferenceUID = md.frame_uid(grid.frame_of_reference)
    header.PositionReferenceIndicator = ""
    header.InstanceNumber = 1
    header.ImagePositionPatient = md.decimals(grid.origin_mm)
    header.ImageOrientationPatient = md.decimals([*row, *column])
    header.PixelSpacing = md.decimals([dy, dx])
    header.SliceThickness = md.decimal(step)
    header.FrameIncrementPointer = Tag("GridFrameOffsetVector")
    header.GridFrameOffsetVector = md.decimals(sign * step * np.arange(grid.shape[0]))


def _meaning(header: Dataset, dose: Dose, plan_uid: str, bulk: bool) -> None:
    header.DoseUnits = "GY"
    header.DoseType = "PHYSICAL" if dose.kind == "physical" else "EFFECTIVE"
    header.DoseSummationType = "PLAN"
    header.TissueHeterogeneityCorrection = ["IMAGE", "ROI_OVERRIDE"] if bulk else "IMAGE"
    parts = [MEANING]
    if dose.kind != "physical":
        parts.append(dose.kind)
    if dose.fractions is not None:
        parts.append(f"{dose.fractions} fx")
    header.DoseComment = md.clipped("; ".join(parts), 64)
    header.ReferencedRTPlanSequence = md.sequence(md.reference(CLASS_UIDS["RTPLAN"], plan_uid))
