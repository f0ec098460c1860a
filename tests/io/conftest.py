"""Phantom DICOM for reader tests, written with bare pydicom, never with rtplan.io."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

#: Run as a program of its own by test_io_fuzz.py.
collect_ignore_glob = ["fuzz/*"]

CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
    "RTDOSE": "1.2.840.10008.5.1.4.1.1.481.2",
    "RTPLAN": "1.2.840.10008.5.1.4.1.1.481.5",
}
#: Must never be seen in a message.
NAME, PERSON = "SECRETNAME^ANNA", "SECRET-ID-77"
STUDY, FRAME = "1.2.826.0.1.99.1", "1.2.826.0.1.99.2"


def start(kind: str, sop: str, series: str, *, person: str = PERSON) -> Dataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CLASSES[kind], sop
    meta.TransferSyntaxUID = (
        ExplicitVRLittleEndian if kind in ("CT", "MR", "RTDOSE") else ImplicitVRLittleEndian
    )
    ds = Dataset()
    ds.file_meta = meta
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = CLASSES[kind], sop, kind
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = NAME, person, "19500101", "M"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, series
    ds.FrameOfReferenceUID = FRAME
    return ds


def series(
    folder: Path,
    stored: np.ndarray,
    *,
    kind: str = "CT",
    row: Sequence[float] = (1, 0, 0),
    column: Sequence[float] = (0, 1, 0),
    spacing: tuple[float, float, float] = (3.0, 2.0, 1.5),
    origin: Sequence[float] = (-10.0, 20.0, -30.0),
    uid: str = "1.2.826.0.1.99.3",
    person: str = PERSON,
    change: Callable[[Dataset, int], None] | None = None,
) -> list[Path]:
    """Write stored values [k, row, column]; k runs along row × column with spacing[0]."""
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(row, column)
    paths = []
    for k, plane in enumerate(stored):
        ds = start(kind, f"{uid}.{k + 1}", uid, person=person)
        ds.SeriesDescription = "T2w tra" if kind == "MR" else "CT pelvis"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.PatientPosition = "HFS"
        ds.ImagePositionPatient = [f"{v:.10g}" for v in np.asarray(origin) + k * spacing[0] * normal]
        ds.ImageOrientationPatient = [f"{v:.12g}"[:16] for v in (*row, *column)]
        ds.PixelSpacing = [spacing[1], spacing[2]]
        ds.SliceThickness = 99.0  # a lie that no reader may believe
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows, ds.Columns = plane.shape
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelRepresentation = 1 if plane.dtype == np.int16 else 0
        ds.PixelData = plane.tobytes()
        if change is not None:
            change(ds, k)
        path = folder / f"im{(k * 7) % len(stored):03d}_{k}.dcm"  # names do not follow the positions
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def rtstruct(
    path: Path,
    rois: Sequence[tuple[str, str, Sequence[tuple[str, np.ndarray]]]],
    *,
    frame: str = FRAME,
    series_uid: str = "1.2.826.0.1.99.3",
    images: Sequence[str] = (),
    person: str = PERSON,
    uid: str = "1.2.826.0.1.99.4",
    date: str = "20260101",
    change: Callable[[Dataset], None] | None = None,
) -> Path:
    ds = start("RTSTRUCT", uid, uid + ".1", person=person)
    ds.StructureSetLabel, ds.StructureSetDate, ds.StructureSetTime = "phantom", date, "120000"
    image_items = []
    for image in images:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CLASSES["CT"], image
        image_items.append(item)
    listed, study, frame_item = Dataset(), Dataset(), Dataset()
    listed.SeriesInstanceUID, listed.ContourImageSequence = series_uid, Items(image_items)
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", STUDY
    study.RTReferencedSeriesSequence = Items([listed])
    frame_item.FrameOfReferenceUID, frame_item.RTReferencedStudySequence = frame, Items([study])
    ds.ReferencedFrameOfReferenceSequence = Items([frame_item])
    ds.StructureSetROISequence, ds.ROIContourSequence = Items(), Items()
    ds.RTROIObservationsSequence = Items()
    for number, (name, kind, contours) in enumerate(rois, start=1):
        roi, drawn, observed = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, frame
        drawn.ReferencedROINumber = number
        items = []
        for geometry, points in contours:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = geometry, len(points)
            contour.ContourData = [f"{v:.9g}" for v in np.asarray(points, float).ravel()]
            items.append(contour)
        drawn.ContourSequence = Items(items)
        observed.ObservationNumber = observed.ReferencedROINumber = number
        observed.RTROIInterpretedType, observed.ROIInterpreter = kind, ""
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(drawn)
        ds.RTROIObservationsSequence.append(observed)
    if change is not None:
        change(ds)
    ds.save_as(path, enforce_file_format=True)
    return path


def rtdose(
    path: Path,
    stored: np.ndarray,
    *,
    scaling: float = 1e-3,
    offsets: Sequence[float] | None = None,
    origin: Sequence[float] = (-10.0, 20.0, -30.0),
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    spacing: tuple[float, float] = (2.0, 1.5),
    frame: str = FRAME,
    summation: str = "PLAN",
    uid: str = "1.2.826.0.1.99.5",
    change: Callable[[Dataset], None] | None = None,
) -> Path:
    ds = start("RTDOSE", uid, uid + ".1")
    ds.FrameOfReferenceUID = frame
    ds.DoseUnits, ds.DoseType, ds.DoseSummationType = "GY", "PHYSICAL", summation
    ds.DoseGridScaling = f"{scaling:.10g}"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = list(origin), list(orientation)
    ds.PixelSpacing = list(spacing)
    ds.NumberOfFrames, ds.Rows, ds.Columns = stored.shape
    ds.FrameIncrementPointer = 0x3004000C
    ds.GridFrameOffsetVector = [3.0 * k for k in range(len(stored))] if offsets is None else list(offsets)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = stored.dtype.itemsize * 8
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits, bits - 1, 0
    ds.add_new(0x7FE00010, "OW", stored.tobytes())
    if change is not None:
        change(ds)
    ds.save_as(path, enforce_file_format=True)
    return path


def square(z: float, low: float, high: float, *, x0: float = -10.0, y0: float = 20.0) -> np.ndarray:
    """Return a ring in an axial plane."""
    xy = [(low, low), (high, low), (high, high), (low, high)]
    return np.array([(x0 + a, y0 + b, z) for a, b in xy])


@pytest.fixture
def bare() -> SimpleNamespace:
    """Return the writers of bare phantoms, and what they put into every header."""
    return SimpleNamespace(
        series=series,
        rtstruct=rtstruct,
        rtdose=rtdose,
        square=square,
        start=start,
        name=NAME,
        person=PERSON,
        frame=FRAME,
        pydicom=pydicom,
    )
