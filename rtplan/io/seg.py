"""Structures as a DICOM Segmentation: one binary segment each, coded, with who drew it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset

from rtplan.domain import Contours, Grid, Identity, Image, Mask, Structure
from rtplan.domain.nomenclature import kind_of
from rtplan.errors import DicomError, StructureError
from rtplan.imaging.contour import mask_on
from rtplan.io import concepts
from rtplan.io import header as hd
from rtplan.io import modules as md
from rtplan.io.roi_names import colour
from rtplan.io.slices import slice_headers

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

#: Where frames lie: functional group, its keyword, and of how many numbers.
PLACES = (
    ("PlanePositionSequence", "ImagePositionPatient", 3),
    ("PlaneOrientationSequence", "ImageOrientationPatient", 6),
    ("PixelMeasuresSequence", "PixelSpacing", 2),
)


def write(
    structures: Sequence[Structure],
    path: Path,
    *,
    image: Image,
    identity: Identity,
    stamp: md.Stamp | None = None,
) -> Path:
    """Write structures as a Segmentation on the slices of an image.

    Parameters
    ----------
    structures : sequence of Structure
        In the image's frame of reference; contours become the voxels of which they hold at least half.
    path : Path
        New file.
    image : Image
        A series of one object per slice.
    identity : Identity
        Patient and study.

    Raises
    ------
    StructureError
        If no structure holds a voxel.
    DicomError
        If the image is no such series.
    OutputError
        If the file cannot be written.
    """
    from highdicom.seg import Segmentation

    stamp = stamp or md.Stamp()
    masks = [(structure, mask_on(structure, image.grid).array) for structure in structures]
    held = [(structure, mask) for structure, mask in masks if mask.any()]
    if not held:
        raise StructureError("No structure holds a voxel of the image.", action="choose other structures.")
    with md.unheard():
        made = Segmentation(
            source_images=slice_headers(image, identity, stamp),
            pixel_array=np.stack([mask.astype(np.uint8) for _, mask in held], axis=-1),
            segmentation_type="BINARY",
            segment_descriptions=[_described(n, s, stamp) for n, (s, _) in enumerate(held, start=1)],
            series_instance_uid=stamp.uid("series", "SEG"),
            series_number=md.SERIES_NUMBERS["SEG"],
            sop_instance_uid=stamp.uid("SEG"),
            instance_number=1,
            manufacturer="rtplan",
            manufacturer_model_name="rtplan",
            software_versions=md.VERSION,
            device_serial_number="rtplan",
            content_label="STRUCTURES",
            content_description=md.RESEARCH_ONLY,
            content_creator_name="rtplan^",
            series_description="rtplan structures",
        )
    md.dated(made, stamp)
    return md.save(made, path)


def read(path: Path) -> tuple[Structure, ...]:
    """Read the segments of a binary Segmentation as structures with masks.

    Raises
    ------
    DicomError
        If the object is no Segmentation, or its frames do not make a regular volume.
    """
    from highdicom.seg import Segmentation

    path = Path(path)
    header = hd.read(path, pixels=True)
    with hd.guarded(path), md.unheard():
        hd.demand_kind(header, "SEG", path)
        _demand_frames(header, path)
        made = Segmentation.from_dataset(header, copy=False)
        volume = made.get_volume()
        affine = np.asarray(volume.affine, np.float64)
        flips = np.cross(affine[:3, 2], affine[:3, 1]) @ affine[:3, 0] < 0  # slices against row x column
        array = np.asarray(volume.array)[::-1] if flips else np.asarray(volume.array)
        if flips:
            affine[:3, 3] += affine[:3, 0] * (array.shape[0] - 1)
            affine[:3, 0] *= -1.0
        shape = (int(array.shape[0]), int(array.shape[1]), int(array.shape[2]))
        grid = Grid(shape, affine, hd.uid(header, "FrameOfReferenceUID"))
        names = [str(made.get_segment_description(n).segment_label) for n in made.segment_numbers]
    return tuple(
        Structure(name, kind_of(name), Mask(grid, array[..., n] > 0)) for n, name in enumerate(names)
    )


def _demand_frames(header: Dataset, path: Path) -> None:
    """Raise DicomError unless there are as many frames and pixels as the functional groups say."""
    if hd.code(header, "SegmentationType") != "BINARY" or hd.whole(header, "BitsAllocated") != 1:
        message = "The segmentation is not binary with one bit a voxel."
        raise DicomError(message, where=str(path), action="export it as a binary segmentation.")
    frames = hd.whole(header, "NumberOfFrames")
    groups = hd.items(header, "PerFrameFunctionalGroupsSequence")
    for group in (*hd.items(header, "SharedFunctionalGroupsSequence"), *groups):
        for sequence, keyword, count in PLACES:
            for item in hd.items(group, sequence):
                hd.numbers(item, keyword, count)
    if frames < 1 or frames != len(groups):
        message = f"The segmentation has {frames} frames, but {len(groups)} functional groups for them."
        raise DicomError(message, where=str(path), action="export it again.")
    numbers = [hd.whole(item, "SegmentNumber") for item in hd.items(header, "SegmentSequence")]
    if numbers != list(range(1, len(numbers) + 1)) or not numbers:
        message = "The segments are not numbered from 1 upwards."
        raise DicomError(message, where=str(path), action="export it again.")
    bits = hd.whole(header, "Rows") * hd.whole(header, "Columns") * frames
    got, wanted = len(header.get("PixelData") or b""), -(-bits // 8)
    if not header.file_meta.TransferSyntaxUID.is_compressed and not wanted <= got <= wanted + 1:
        message = f"The pixels are {got} bytes, {wanted} are wanted: the file is cut or its header is wrong."
        raise DicomError(message, where=str(path), action="export it again.")


def _described(number: int, structure: Structure, stamp: md.Stamp) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    category, kind = concepts.of_structure(structure)
    made = not isinstance(structure.region, Contours)
    algorithm = AlgorithmIdentificationSequence("rtplan", codes.DCM.ArtificialIntelligence, md.VERSION)
    return SegmentDescription(
        segment_number=number,
        segment_label=md.clipped(structure.name, 64),
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC" if made else "MANUAL",
        algorithm_identification=algorithm if made else None,
        tracking_uid=stamp.uid("segment", structure.name),
        tracking_id=md.clipped(structure.name, 64),
        display_color=CIELabColor.from_rgb(*colour(structure.kind, number)),
    )
