"""Write a Dose as RTDOSE: stated quantisation, voxel-centre positions, and what the dose means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from rtplan.domain import Dose, Grid, Identity
from rtplan.errors import DoseError
from rtplan.io import modules as md
from rtplan.io.header import CLASS_UIDS
from rtplan.io.rtstruct_write import WrittenSet

#: Said of every dose that rtplan writes.
MEANING = "dose to water in water-equivalent medium"
#: Arms whose densities are overrides of regions.
BULK = ("CT0", "CTpop", "CTpop_bone", "CTstrat")


#: Dose (Gy, evenly spaced from 0) and volume (%) of one cumulative DVH.
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Form:
    """How a dose is stored, and what stands beside it.

    Parameters
    ----------
    bits : int
        Bits of a stored value.
    structure_set : WrittenSet or None
        The structures of the DVHs.
    curves : mapping of str to Curve
        DVH by structure name; those that the structure set does not hold are left out.
    predicted_by : str
        Name of the network that the dose is a prediction of. Then there is no plan: DoseSummationType says
        ``PREDICTED``, no RTPLAN is referred to, and description and comments say so in words.
    """

    bits: Literal[16, 32] = 32
    structure_set: WrittenSet | None = None
    curves: Mapping[str, Curve] = field(default_factory=lambda: MappingProxyType({}))
    predicted_by: str = ""


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
    form: Form | None = None,
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
        SOPInstanceUID of the RTPLAN that gives the dose; empty where the dose is predicted.
    arm : str
        Name of the arm; it stands in SeriesDescription. Arms of overridden densities (`BULK`) say
        TissueHeterogeneityCorrection ROI_OVERRIDE.
    form : Form, optional
        32 bits without DVHs by default.

    Returns
    -------
    WrittenDose
        The quantisation error is at most half of DoseGridScaling = maximum / (2 ** bits − 2), plus the
        rounding of the float32 that a reader keeps.

    Raises
    ------
    DoseError
        If the dose is negative or not finite, its axes are not at right angles, or it has neither a plan
        nor a network that predicted it.
    """
    stamp, form = stamp or md.Stamp(), form or Form()
    if bool(plan_uid) == bool(form.predicted_by):
        raise DoseError(f"The dose of arm {arm} is either of a plan or predicted; not both, not neither.")
    bits = form.bits
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
    told = " predicted" if form.predicted_by else ""
    header.SeriesDescription = md.clipped(f"rtplan dose {arm} {dose.kind}{told}", 64)
    _place(header, dose.grid)
    _meaning(header, dose, plan_uid, arm in BULK)
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.NumberOfFrames, header.Rows, header.Columns = dose.grid.shape
    header.BitsAllocated = header.BitsStored = bits
    header.HighBit, header.PixelRepresentation = bits - 1, 0
    header.DoseGridScaling = f"{scaling:.9e}"
    header.PixelData = stored.astype(f"<u{bits // 8}").tobytes()
    header["PixelData"].VR = "OW"
    error = float(np.abs((stored * scaling).astype(np.float32) - dose.array).max())
    by = f"PREDICTED by the network {form.predicted_by}, NOT PLANNED; " if form.predicted_by else ""
    header.ImageComments = f"{by}{md.RESEARCH_ONLY}; {bits} bits: stored values are true to {error:.2g} Gy"
    _curves(header, dose, form)
    md.save(header, path)
    return WrittenDose(path, uid, error)


def _curves(header: Dataset, dose: Dose, form: Form) -> None:
    """Put the cumulative DVHs and the structure set that they are of into the object (module RT DVH)."""
    numbers = form.structure_set.roi_numbers if form.structure_set else {}
    told = {name: curve for name, curve in form.curves.items() if name in numbers}
    if not told or form.structure_set is None:
        return
    structure_set = md.reference(CLASS_UIDS["RTSTRUCT"], form.structure_set.sop_uid)
    header.ReferencedStructureSetSequence = md.sequence(structure_set)
    header.DVHSequence = md.sequence(*(_dvh(numbers[name], curve, dose) for name, curve in told.items()))


def _dvh(number: int, curve: Curve, dose: Dose) -> Dataset:
    axis, percent = curve
    width = float(axis[-1]) / (len(axis) - 1)
    item, roi = Dataset(), Dataset()
    roi.ReferencedROINumber, roi.DVHROIContributionType = number, "INCLUDED"
    item.DVHReferencedROISequence = md.sequence(roi)
    item.DVHType, item.DoseUnits, item.DVHDoseScaling = "CUMULATIVE", "GY", "1.0"
    item.DoseType = "PHYSICAL" if dose.kind == "physical" else "EFFECTIVE"
    item.DVHVolumeUnits = "PERCENT"
    item.DVHNumberOfBins = len(axis)
    pairs = [text for volume in percent for text in (f"{width:.9g}", f"{volume:.6g}")]
    md.put_numbers(item, "DVHData", pairs)
    item.DVHMeanDose = md.decimal(float(np.trapezoid(percent, axis)) / 100.0)
    return item


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
    header.DoseSummationType = "PLAN" if plan_uid else "PREDICTED"
    header.TissueHeterogeneityCorrection = ["IMAGE", "ROI_OVERRIDE"] if bulk else "IMAGE"
    parts = [MEANING] if plan_uid else [MEANING, "predicted"]
    if dose.kind != "physical":
        parts.append(dose.kind)
    if dose.fractions is not None:
        parts.append(f"{dose.fractions} fx")
    header.DoseComment = md.clipped("; ".join(parts), 64)
    if plan_uid:
        header.ReferencedRTPlanSequence = md.sequence(md.reference(CLASS_UIDS["RTPLAN"], plan_uid))
