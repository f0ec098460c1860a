"""Write an Image as a CT or MR series: complete objects with source references and a research-use text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset

from rtplan.domain import Grid, Identity, Image, Source
from rtplan.errors import GeometryMismatch
from rtplan.io import modules as md
from rtplan.io.header import CLASS_UIDS

#: HU outside the patient, and the range that every planning system reads (clinical.md G.3).
PADDING_HU, HU_RANGE = -1024, (-1024, 3071)
#: Largest departure of the array's axes from right angles that is still written.
SHEAR_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Written:
    """What was written: the image's new source, its files, and what changed on the way.

    Parameters
    ----------
    source : Source
        Series and SOP UIDs in the order of the array's first axis; later objects refer to it.
    paths : tuple of Path
        One file per slice.
    clipped_voxels : int
        How many voxels lay outside the range of HU that is written.
    quantisation_error : float
        Largest difference between the image (clipped) and what a reader gets, HU or MR units.
    """

    source: Source
    paths: tuple[Path, ...]
    clipped_voxels: int
    quantisation_error: float


@dataclass(frozen=True)
class Derived:
    """How a derived image came.

    Parameters
    ----------
    like : Source
        The image that it was made from: it becomes the source image reference.
    text : str
        DerivationDescription (which model, which resampling).
    model : str
        Name and version of the network that made it, for the contributing equipment.
    resampled : bool
        Whether it was brought onto another grid.
    """

    like: Source
    text: str = ""
    model: str = ""
    resampled: bool = False


def write_series(
    image: Image,
    folder: Path,
    identity: Identity,
    *,
    description: str,
    derived: Derived | None = None,
    stamp: md.Stamp | None = None,
    explicit: bool = True,
) -> Written:
    r"""Write an image as one single-frame object per slice.

    Parameters
    ----------
    image : Image
        CT (HU) or MR. HU are clipped to -1024…3071 and rounded; MR is stored exactly when its values are
        whole numbers from 0 to 65535, else scaled to 16 bits with its RescaleSlope.
    folder : Path
        New files ``0001.dcm`` … are made in it.
    identity : Identity
        Patient and study.
    description : str
        SeriesDescription; for a derived CT the research-use text is added.
    derived : Derived, optional
        A CT becomes ``DERIVED\SECONDARY\AXIAL``. Without it the object says ``ORIGINAL\PRIMARY\AXIAL``.
    stamp : Stamp, optional
        Date, time and UIDs.
    explicit : bool
        Explicit VR Little Endian; else Implicit.

    Raises
    ------
    GeometryMismatch
        If the axes of the grid are not at right angles: slices cannot say that.
    OutputError
        If a file cannot be written.
    """
    stamp = stamp or md.Stamp()
    _demand_right_angles(image.grid)
    series_uid = stamp.uid("series", image.modality, description)
    stored, slope, intercept, clipped = _stored(image)
    paths, uids = [], []
    for k, plane in enumerate(stored):
        sop_uid = stamp.uid("slice", image.modality, description, str(k))
        header = md.start(
            image.modality, identity, stamp, series_uid=series_uid, sop_uid=sop_uid, explicit=explicit
        )
        header.SeriesDescription = md.clipped(
            f"{description} NOT FOR CLINICAL USE" if derived else description, 64
        )
        _general(header, image, derived, k)
        _plane(header, image.grid, k)
        _pixels(header, plane, slope, intercept)
        _CONTENT[image.modality](header, image)
        if clipped or (derived and image.modality == "CT"):
            header.ImageComments = f"{md.RESEARCH_ONLY}; {clipped} voxels of the series clipped in HU"
        paths.append(md.save(header, folder / f"{k + 1:04d}.dcm"))
        uids.append(sop_uid)
    return Written(
        source=Source(
            series_uid=series_uid,
            study_uid=str(header.StudyInstanceUID),
            sop_uids=tuple(uids),
            sop_class_uid=CLASS_UIDS[image.modality],
            patient_position=image.source.patient_position or "HFS",
            description=description,
            acquisition=image.source.acquisition,
        ),
        paths=tuple(paths),
        clipped_voxels=clipped,
        quantisation_error=_error(image, stored, slope, intercept),
    )


def _demand_right_angles(grid: Grid) -> None:
    axes = grid.direction
    if np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR_TOLERANCE:
        raise GeometryMismatch(
            "The axes of the image are not at right angles; DICOM slices cannot say that.",
            where=str(grid),
            action="resample it onto a rectangular grid first.",
        )


def _stored(image: Image) -> tuple[NDArray[np.int16] | NDArray[np.uint16], float, float, int]:
    values = image.array
    if image.modality == "CT":
        low, high = HU_RANGE
        outside = int(np.count_nonzero(~((values >= low) & (values <= high))))
        safe = np.where(np.isnan(values), np.float32(PADDING_HU), values) if outside else values
        return np.rint(np.clip(safe, low, high)).astype(np.int16), 1.0, 0.0, outside
    finite = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    lost = int(np.count_nonzero(~np.isfinite(values)))
    least, most = float(finite.min()), float(finite.max())
    if least >= 0 and most <= 65535 and bool((finite == np.rint(finite)).all()):
        return finite.astype(np.uint16), 1.0, 0.0, lost
    slope = float(md.decimal((most - least) / 65535 or 1.0))
    intercept = float(md.decimal(least))
    scaled = np.rint((finite.astype(np.float64) - intercept) / slope)
    return np.clip(scaled, 0, 65535).astype(np.uint16), slope, intercept, lost


def _error(image: Image, stored: NDArray[np.generic], slope: float, intercept: float) -> float:
    worst = 0.0
    for plane, wanted in zip(stored, image.array, strict=True):
        got = plane.astype(np.float64) * slope + intercept
        kept = np.clip(wanted, *HU_RANGE) if image.modality == "CT" else wanted
        worst = max(worst, float(np.nanmax(np.abs(got - kept)[np.isfinite(kept)], initial=0.0)))
    return worst


def _general(header: FileDataset, image: Image, derived: Derived | None, k: int) -> None:
    header.ImageType = ["DERIVED", "SECONDARY", "AXIAL"] if derived else ["ORIGINAL", "PRIMARY", "AXIAL"]
    if image.modality == "MR":
        header.ImageType = [*header.ImageType[:2], "OTHER"]
    header.InstanceNumber, header.AcquisitionNumber = k + 1, None
    header.ContentDate, header.ContentTime = header.SeriesDate, header.SeriesTime
    header.ImageComments = md.RESEARCH_ONLY
    header.BurnedInAnnotation = "NO"
    header.PatientPosition = image.source.patient_position or "HFS"
    if derived is None:
        return
    text = derived.text or image.source.description
    header.DerivationDescription = md.clipped(f"{text}; {md.RESEARCH_ONLY}".lstrip("; "), 1024)
    codes = [md.code("113085", "DCM", "Spatial resampling")] if derived.resampled else []
    if derived.model:
        codes.append(md.code("SYNCT", "99RTPLAN", "Synthetic CT by a network"))
    if codes:
        header.DerivationCodeSequence = md.sequence(*codes)
    if derived.like.sop_uids and derived.like.sop_class_uid:
        header.SourceImageSequence = md.sequence(*_sources(derived, image, k))
    header.ContributingEquipmentSequence = md.sequence(_equipment(derived))


def _sources(derived: Derived, image: Image, k: int) -> list[Dataset]:
    like = derived.like
    same = len(like.sop_uids) == image.grid.shape[0] and not derived.resampled
    named = [(like.sop_uids[k], like.frame(k))] if same else [(u, None) for u in dict.fromkeys(like.sop_uids)]
    found = []
    for uid, frame in named:
        item = md.reference(like.sop_class_uid, uid, frame)
        item.PurposeOfReferenceCodeSequence = md.sequence(
            md.code("121322", "DCM", "Source image for image processing operation")
        )
        item.SpatialLocationsPreserved = "YES" if same else "NO"
        found.append(item)
    return found


def _equipment(derived: Derived) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = md.sequence(md.code("109102", "DCM", "Processing Equipment"))
    item.Manufacturer = item.ManufacturerModelName = "rtplan"
    item.SoftwareVersions = [md.VERSION, md.clipped(derived.model, 64)] if derived.model else md.VERSION
    item.ContributionDescription = md.RESEARCH_ONLY
    return item


def _plane(header: FileDataset, grid: Grid, k: int) -> None:
    dz, dy, dx = grid.spacing_zyx_mm
    _, column, row = grid.direction.T
    header.FrameOfReferenceUID = md.frame_uid(grid.frame_of_reference)
    header.PositionReferenceIndicator = ""
    header.ImagePositionPatient = md.decimals(grid.to_patient([k, 0, 0]))
    header.ImageOrientationPatient = md.decimals([*row, *column])
    header.PixelSpacing = md.decimals([dy, dx])
    header.SliceThickness = md.decimal(dz)
    header.SliceLocation = md.decimal(float(grid.to_patient([k, 0, 0]) @ np.cross(row, column)))


def _pixels(header: FileDataset, plane: NDArray[np.generic], slope: float, intercept: float) -> None:
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.Rows, header.Columns = plane.shape
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit = 15
    header.PixelRepresentation = 1 if plane.dtype.kind == "i" else 0
    if header.Modality == "CT" or (slope, intercept) != (1.0, 0.0):
        header.RescaleSlope, header.RescaleIntercept = md.decimal(slope), md.decimal(intercept)
    header.PixelData = plane.astype(plane.dtype.newbyteorder("<")).tobytes()


def _ct(header: FileDataset, image: Image) -> None:
    header.RescaleType = "HU"
    header.PixelPaddingValue = PADDING_HU
    kvp = image.source.acquisition.get("kvp")
    header.KVP = md.decimal(kvp) if kvp else None
    header.WindowCenter, header.WindowWidth = "40", "400"


def _mr(header: FileDataset, image: Image) -> None:
    facts = image.source.acquisition
    header.ScanningSequence = str(facts.get("scanning_sequence", "RM")).split("\\")
    header.SequenceVariant = str(facts.get("sequence_variant", "NONE")).split("\\")
    header.ScanOptions = str(facts.get("scan_options", "")).split("\\") if facts.get("scan_options") else ""
    header.MRAcquisitionType = str(facts.get("acquisition_type", "2D"))
    header.EchoTrainLength = None
    for keyword, name in _MR_NUMBERS.items():
        value = facts.get(name)
        if value is not None:
            setattr(header, keyword, md.decimal(float(value)))
        elif keyword in ("RepetitionTime", "EchoTime"):
            setattr(header, keyword, None)
    tokens = [t for t in str(facts.get("image_type", "")).split("\\")[2:] if t]
    header.ImageType = [*header.ImageType[:2], *(md.clipped(t, 16) for t in tokens or ["OTHER"])]


_MR_NUMBERS = {
    "RepetitionTime": "repetition_time_ms",
    "EchoTime": "echo_time_ms",
    "InversionTime": "inversion_time_ms",
    "FlipAngle": "flip_angle_deg",
    "MagneticFieldStrength": "field_strength_t",
    "PixelBandwidth": "bandwidth_hz_per_px",
}
_CONTENT = {"CT": _ct, "MR": _mr}
