"""What a file says, read by hand with pydicom alone: what rtplan accepts must be that."""

import io
import warnings
from contextlib import contextmanager

import numpy as np
import pydicom

TOLERANCE_MM = 2e-3


@contextmanager
def quiet():
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def by_hand(kind, paths):
    """Return a list of labelled arrays."""
    with quiet():
        headers = [pydicom.dcmread(io.BytesIO(path.read_bytes()), force=True) for path in paths]
        return HANDS[kind](headers)


def numbers(ds, keyword):
    value = ds.get(keyword)
    many = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
    return np.array([float(v) for v in many])


def affine(at, row, column, spacing, step):
    found = np.eye(4)
    found[:3, 0], found[:3, 1], found[:3, 2] = step, column * spacing[0], row * spacing[1]
    found[:3, 3] = at
    return found


def stored(ds):
    syntax = ds.file_meta.get("TransferSyntaxUID")  # a bare data set has none
    if syntax is None or not syntax.is_compressed:
        kind = ("i" if ds.PixelRepresentation else "u") + str(ds.BitsAllocated // 8)
        count = int(ds.get("NumberOfFrames") or 1) * ds.Rows * ds.Columns
        values = np.frombuffer(ds.PixelData[: count * ds.BitsAllocated // 8], f"<{kind}")
        spare = ds.BitsAllocated - ds.BitsStored
        return ((values << spare) >> spare).reshape(-1, ds.Rows, ds.Columns)
    return ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)


def series(headers):
    planes = [plane for ds in headers for plane in _planes(ds)]
    row, column = planes[0][1][:3], planes[0][1][3:]
    row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)
    normal = np.cross(row, column)
    planes.sort(key=lambda plane: float(plane[0] @ normal))
    step = (planes[-1][0] - planes[0][0]) / max(len(planes) - 1, 1)
    array = np.stack([plane[3] for plane in planes])
    return [("affine", affine(planes[0][0], row, column, planes[0][2], step)), ("array", array)]


def _planes(ds):
    frames = stored(ds)
    groups = ds.get("PerFrameFunctionalGroupsSequence")
    shared = (ds.get("SharedFunctionalGroupsSequence") or [None])[0]
    for k, plane in enumerate(frames):
        places = [groups[k], shared, ds] if groups else [ds]
        at = _find(places, "PlanePositionSequence", "ImagePositionPatient")
        turned = _find(places, "PlaneOrientationSequence", "ImageOrientationPatient")
        spacing = _find(places, "PixelMeasuresSequence", "PixelSpacing")
        slope = _find(places, "PixelValueTransformationSequence", "RescaleSlope", 1.0)[0]
        shift = _find(places, "PixelValueTransformationSequence", "RescaleIntercept", 0.0)[0]
        yield at, turned, spacing, plane.astype(np.float64) * slope + shift


def _find(places, group, keyword, default=None):
    for place in places:
        holders = [*(place.get(group) or ()), place] if place is not None else []
        for holder in holders:
            if holder.get(keyword) not in (None, ""):
                return numbers(holder, keyword)
    if default is None:
        raise KeyError(keyword)
    return np.array([default])


def rtdose(headers):
    (ds,) = headers
    array = stored(ds) * float(ds.DoseGridScaling)
    turned, at, spacing = (
        numbers(ds, k) for k in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing")
    )
    row, column = turned[:3] / np.linalg.norm(turned[:3]), turned[3:] / np.linalg.norm(turned[3:])
    normal = np.cross(row, column)
    offsets = numbers(ds, "GridFrameOffsetVector") if "GridFrameOffsetVector" in ds else np.zeros(1)
    if len(array) == 1:
        step = float(ds.SliceThickness)
    else:
        step = (offsets[-1] - offsets[0]) / (len(array) - 1) * (1 if offsets[0] == 0 else np.sign(normal[2]))
    if step < 0:
        array, at = array[::-1], at + normal * step * (len(array) - 1)
    return [("affine", affine(at, row, column, spacing, normal * abs(step))), ("array", array)]


def rtstruct(headers):
    """Return every closed ring of three points or more, by the numbers of its structure."""
    (ds,) = headers
    found = []
    for item in ds.ROIContourSequence:
        for contour in item.get("ContourSequence") or ():
            if "CLOSED" in str(contour.get("ContourGeometricType")):
                points = numbers(contour, "ContourData").reshape(-1, 3)
                same = len(points) > 1 and np.allclose(points[0], points[-1], atol=1e-6)
                found.append(("ring", points[:-1] if same else points))
    return found


def rtplan(headers):
    (ds,) = headers
    mu = {
        int(b.ReferencedBeamNumber): float(b.BeamMeterset)
        for group in ds.get("FractionGroupSequence") or ()
        for b in group.get("ReferencedBeamSequence") or ()
        if b.get("BeamMeterset") not in (None, "")
    }
    found = []
    for beam in ds.get("BeamSequence") or ():
        if beam.get("TreatmentDeliveryType") in ("SETUP", "OPEN_PORTFILM", "TRMT_PORTFILM"):
            continue
        first = beam.ControlPointSequence[0]
        angles = [
            float(first.get(k) or 0)
            for k in ("GantryAngle", "BeamLimitingDeviceAngle", "PatientSupportAngle")
        ]
        centre = first.get("IsocenterPosition")
        place = numbers(first, "IsocenterPosition") if centre not in (None, "") else np.zeros(0)
        place = place if len(place) == 3 else np.zeros(0)
        found.append(("beam", np.array([*angles, *place])))
        if int(beam.BeamNumber) in mu:
            found.append(("mu", np.array([mu[int(beam.BeamNumber)]])))
    return found


def reg(headers):
    (ds,) = headers
    found = []
    for item in ds.RegistrationSequence:
        total = np.eye(4)
        for group in item.get("MatrixRegistrationSequence") or ():
            for step in group.get("MatrixSequence") or ():
                total = numbers(step, "FrameOfReferenceTransformationMatrix").reshape(4, 4) @ total
        found.append(("matrix", total))
    return found


def seg(headers):
    """Return voxels and centre, mm, of each segment."""
    (ds,) = headers
    size = ds.Rows * ds.Columns
    bits = np.unpackbits(np.frombuffer(ds.PixelData, np.uint8), bitorder="little")
    shared = ds.SharedFunctionalGroupsSequence[0]
    points = {}
    for k, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        places = [group, shared]
        at = _find(places, "PlanePositionSequence", "ImagePositionPatient")
        turned = _find(places, "PlaneOrientationSequence", "ImageOrientationPatient")
        spacing = _find(places, "PixelMeasuresSequence", "PixelSpacing")
        number = int(_find(places, "SegmentIdentificationSequence", "ReferencedSegmentNumber")[0])
        plane = bits[k * size : (k + 1) * size].reshape(ds.Rows, ds.Columns)
        rows, columns = np.nonzero(plane)
        found = at + columns[:, None] * spacing[1] * turned[:3] + rows[:, None] * spacing[0] * turned[3:]
        points.setdefault(number, []).append(found)
    joined = {number: np.concatenate(found) for number, found in points.items()}
    return [("segment", np.array([len(p), *p.mean(axis=0)])) for _, p in sorted(joined.items()) if len(p)]


HANDS = {"seg": seg, "series": series, "rtdose": rtdose, "rtstruct": rtstruct, "rtplan": rtplan, "reg": reg}


def same(got, wanted, *, subset=False):
    """Whether two readings are equal; ``subset``: each of ``got`` stands in ``wanted``."""
    beams = [[label for label, _ in reading].count("beam") for reading in (got, wanted)]
    if subset and beams[0] != beams[1]:
        return False
    if subset:
        known = {(label, a.shape, np.round(a, 3).tobytes()) for label, a in wanted}
        return all((label, a.shape, np.round(a, 3).tobytes()) in known for label, a in got)
    return len(got) == len(wanted) and all(
        label == other and a.shape == b.shape and _close(label, a, b)
        for (label, a), (other, b) in zip(got, wanted, strict=True)
    )


def _close(label, a, b):
    if label == "array":
        with np.errstate(all="ignore"):
            return bool(np.allclose(a, b.astype(np.float32), rtol=1e-5, atol=1e-4, equal_nan=True))
    return bool(np.allclose(a, b, rtol=1e-6, atol=TOLERANCE_MM))
