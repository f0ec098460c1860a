"""A number for each voxel of an image (an uncertainty) as a DICOM Parametric Map."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rtplan.domain import Identity, Image, Volume
from rtplan.errors import FormatError
from rtplan.io import concepts
from rtplan.io import modules as md
from rtplan.io.slices import slice_headers


def write(
    values: Volume,
    path: Path,
    *,
    image: Image,
    identity: Identity,
    unit: str = "HU",
    meaning: str = "standard deviation of the synthetic CT",
    stamp: md.Stamp | None = None,
) -> Path:
    """Write values on an image's own grid as a map of 32-bit floats.

    Parameters
    ----------
    values : Volume
        On the grid of ``image``; finite.
    path : Path
        New file.
    image : Image
        A series of one object per slice.
    identity : Identity
        Patient and study.
    unit : str
        Unit of a value, as in findings.
    meaning : str
        What a value is.

    Raises
    ------
    GeometryMismatch
        If the values lie on another grid.
    FormatError
        If a value is not finite.
    DicomError
        If the image is no series of one object per slice.
    """
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap, RealWorldValueMapping

    stamp = stamp or md.Stamp()
    values.demand_same_grid(image)
    array = np.ascontiguousarray(values.array, dtype=np.float32)
    if not np.isfinite(array).all():
        raise FormatError("A parametric map needs finite values.", action="set what is unknown to 0.")
    low, high = float(array.min()), float(array.max())
    with md.unheard():
        made = ParametricMap(
            source_images=slice_headers(image, identity, stamp),
            pixel_array=array,
            series_instance_uid=stamp.uid("series", "PM", meaning),
            series_number=md.SERIES_NUMBERS["PM"],
            sop_instance_uid=stamp.uid("PM", meaning),
            instance_number=1,
            manufacturer="rtplan",
            manufacturer_model_name="rtplan",
            software_versions=md.VERSION,
            device_serial_number="rtplan",
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[
                RealWorldValueMapping(
                    lut_label=unit[:16],
                    lut_explanation=md.clipped(meaning, 64),
                    unit=concepts.unit(unit),
                    value_range=(low, high),
                    slope=1.0,
                    intercept=0.0,
                    quantity_definition=concepts.private(meaning),
                )
            ],
            voi_lut_transformations=[
                VOILUTTransformation(window_center=(low + high) / 2, window_width=max(high - low, 1.0))
            ],
            content_label="MAP",
            content_description=md.RESEARCH_ONLY,
            content_creator_name="rtplan^",
            series_description=md.clipped(f"rtplan {meaning}", 64),
        )
    made.Laterality = ""
    made.CodingSchemeIdentificationSequence = md.sequence(concepts.scheme())
    md.dated(made, stamp)
    return md.save(made, path)
