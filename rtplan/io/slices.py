"""Headers of an image's slices, without pixels: objects made by highdicom refer to them."""

from __future__ import annotations

from pydicom.dataset import FileDataset

from rtplan.domain import Identity, Image
from rtplan.errors import DicomError
from rtplan.io import modules as md


def slice_headers(image: Image, identity: Identity, stamp: md.Stamp) -> list[FileDataset]:
    """Return one header per slice with the UIDs of the image's source.

    Raises
    ------
    DicomError
        If the image is not a series of one object per slice.
    """
    source, grid = image.source, image.grid
    if len(set(source.sop_uids)) != grid.shape[0]:
        raise DicomError(
            "The image is not a DICOM series of one object per slice, so no object can refer to its slices.",
            action="give the series as single slices.",
        )
    dz, dy, dx = grid.spacing_zyx_mm
    _, column, row = grid.direction.T
    headers = []
    for k, uid in enumerate(source.sop_uids):
        header = md.start(image.modality, identity, stamp, series_uid=source.series_uid, sop_uid=uid)
        header.SOPClassUID = source.sop_class_uid
        header.StudyInstanceUID = source.study_uid or header.StudyInstanceUID
        header.FrameOfReferenceUID = md.frame_uid(grid.frame_of_reference)
        header.PositionReferenceIndicator = ""
        header.InstanceNumber = k + 1
        header.ImagePositionPatient = md.decimals(grid.to_patient([k, 0, 0]))
        header.ImageOrientationPatient = md.decimals([*row, *column])
        header.PixelSpacing = md.decimals([dy, dx])
        header.SliceThickness = md.decimal(dz)
        header.SpacingBetweenSlices = md.decimal(dz)
        header.Rows, header.Columns = grid.shape[1:]
        headers.append(header)
    return headers
