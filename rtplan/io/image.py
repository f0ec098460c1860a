"""A CT or MR series as an Image on its true affine, with the rescale of each slice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from rtplan.domain import Grid, Image, Source
from rtplan.errors import DicomError
from rtplan.io import geometry
from rtplan.io import header as hd
from rtplan.io.image_write import Written, write_series
from rtplan.io.index import Entry, Folder, entry_of, index
from rtplan.io.stack import Stack, acquisition, split

__all__ = ["Written", "pixels_of", "read_series", "read_stack", "write_series"]


#: What the second reading of a slice needs.
PIXEL_TAGS = (
    "SpecificCharacterSet",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelData",
    "FloatPixelData",
)


def read_series(source: Path | Sequence[Path], *, series_uid: str | None = None) -> Image:
    """Read one CT or MR series.

    Parameters
    ----------
    source : Path or sequence of Path
        A folder that holds one image series (or several, with ``series_uid``), or the files themselves.
    series_uid : str, optional
        SeriesInstanceUID of the wanted one.

    Returns
    -------
    Image
        float32, array [z, y, x], HU for CT and scanner units for MR; ``source`` holds the UIDs in the
        order of the first axis.

    Raises
    ------
    DicomError
        If a file cannot be read, there is not exactly one series to choose, it mixes several stacks, or it
        is not a regular box (`geometry.problems`).
    """
    if isinstance(source, Path | str):
        folder = index(Path(source))
        for path, why in folder.skipped:  # it could be a slice of this series
            raise DicomError(why, where=str(path), action="export it again, or remove it.")
    else:
        folder = Folder(Path(), tuple(entry_of(Path(path)) for path in source))
    series = [s for s in folder.series("CT", "MR") if series_uid in (None, s.uid)]
    where = str(folder.path)
    if not series:
        enhanced = folder.series("enhanced CT", "enhanced MR")
        what = "Only enhanced multi-frame objects are here" if enhanced else "There is no CT or MR series"
        raise DicomError(f"{what}.", where=where, action="give a folder with a classic CT or MR series.")
    if len(series) > 1:
        listed = "; ".join(f"{s.kind} {s.description!r} {s.uid}" for s in series)
        raise DicomError(
            f"{len(series)} series are here: {listed}.", where=where, action="choose one by its UID."
        )
    for entry in folder.entries:
        if entry.series_uid == series[0].uid and entry.kind != series[0].kind:
            message = f"The {series[0].kind} series holds an object of another class ({entry.kind})."
            raise DicomError(message, where=str(entry.path), action="export the series again.")
    stacks = split(series[0].entries)
    if len(stacks) > 1:
        raise _mixture(stacks)
    return read_stack(stacks[0])


def _mixture(stacks: Sequence[Stack]) -> DicomError:
    slices = [item for stack in stacks for item in stack.slices]
    found = geometry.problems(slices)
    what = found[0].message if found else "The series mixes echoes, channels, b-values or time points."
    return DicomError(what, where=str(stacks[1].first.path), action="supply one stack alone.")


def read_stack(stack: Stack) -> Image:
    """Read the pixels of one stack.

    Raises
    ------
    DicomError
        If the stack is not a regular box, or a slice's pixels cannot be decoded.
    """
    grid, order = geometry.grid_of(stack.slices)
    if not grid.frame_of_reference:  # an image without a frame matches nothing but itself
        grid = Grid(grid.shape, grid.affine, stack.first.series_uid)
    entries = [stack.entries[index] for index in order]
    try:
        array = np.empty(grid.shape, dtype=np.float32)
    except MemoryError:
        where = str(stack.first.path)
        raise DicomError(f"A volume of {grid.shape} voxels does not fit.", where=where) from None
    for k, entry in enumerate(entries):
        array[k] = _slice(entry, grid.shape[1:])
    first = stack.first
    source = Source(
        series_uid=first.series_uid,
        study_uid=first.study_uid,
        sop_uids=tuple(entry.sop_uid for entry in entries),
        sop_class_uid=first.text("SOPClassUID"),
        patient_position=hd.code(first.header, "PatientPosition"),
        description=stack.description,
        acquisition=acquisition(stack),
    )
    return Image(grid, array, modality=first.kind, source=source)


def _slice(entry: Entry, shape: tuple[int, ...]) -> NDArray[np.float32]:
    header = hd.read(entry.path, tags=PIXEL_TAGS, pixels=True)
    with hd.guarded(entry.path):
        if hd.text(header, "SOPInstanceUID") != entry.sop_uid:
            raise DicomError("The file changed while it was read.", where=str(entry.path))
        stored = pixels_of(header)
        if stored.shape != shape:
            raise DicomError(f"The pixels form {stored.shape}, {shape} is said.", where=str(entry.path))
        slope = hd.number(header, "RescaleSlope", 1.0) or 0.0
        intercept = hd.number(header, "RescaleIntercept", 0.0) or 0.0
        if slope == 0.0:
            raise DicomError("RescaleSlope is 0.", where=str(entry.path), action="export the series again.")
        if slope == 1.0 and intercept == int(intercept) and stored.dtype.itemsize <= 2:
            return stored.astype(np.float32) + np.float32(intercept)  # exact in 24 bits
        values: NDArray[np.float32] = (stored.astype(np.float64) * slope + intercept).astype(np.float32)
        return values


def pixels_of(header: Dataset) -> NDArray[np.generic]:
    """Return the stored values of an object, signs extended and unused bits cleared.

    Raises
    ------
    DicomError
        If the pixel description contradicts itself or the length of the data.
    """
    where = hd.place(header)
    if "PixelData" not in header:
        raise DicomError("The object has no pixels.", where=where, action="export it again.")
    allocated, stored = hd.whole(header, "BitsAllocated"), hd.whole(header, "BitsStored")
    high, signed = hd.whole(header, "HighBit", stored - 1), hd.whole(header, "PixelRepresentation")
    if (
        allocated not in (8, 16, 32)
        or not 0 < stored <= allocated
        or high != stored - 1
        or signed not in (0, 1)
    ):
        message = f"Bits allocated {allocated}, stored {stored}, high bit {high}, sign {signed} do not fit."
        raise DicomError(message, where=where)
    _demand_length(header, allocated)
    if hd.text(header, "PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        raise DicomError("The image is not grey (PhotometricInterpretation).", where=where)
    array = np.asarray(header.pixel_array)
    spare = array.dtype.itemsize * 8 - stored
    if spare and array.dtype.kind in "iu":
        kind = np.dtype(f"{'i' if signed else 'u'}{array.dtype.itemsize}")
        array = (array.view(kind) << spare) >> spare
    return array


def _demand_length(header: Dataset, allocated: int) -> None:
    frames = hd.whole(header, "NumberOfFrames", 1)
    wanted = hd.whole(header, "Rows") * hd.whole(header, "Columns") * frames * allocated // 8
    meta = getattr(header, "file_meta", None)
    syntax = getattr(meta, "TransferSyntaxUID", None)
    if syntax is None:
        raise DicomError("The file does not say its transfer syntax.", where=hd.place(header))
    got = len(header.PixelData)
    if frames < 1 or wanted < 1 or wanted > hd.LARGEST_OBJECT:
        raise DicomError("Rows, Columns or NumberOfFrames is impossible.", where=hd.place(header))
    if not syntax.is_compressed and not wanted <= got <= wanted + 1:
        message = f"The pixels are {got} bytes, {wanted} are wanted: the file is cut or its header is wrong."
        raise DicomError(message, where=hd.place(header), action="export it again.")
