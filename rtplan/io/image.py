"""A CT or MR series as an Image on its true affine, with the rescale of each slice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rtplan.domain import Grid, Image, Source
from rtplan.errors import DicomError
from rtplan.io import geometry
from rtplan.io import header as hd
from rtplan.io.acquisition import acquisition
from rtplan.io.image_write import Written, write_series
from rtplan.io.index import Folder, entry_of, index
from rtplan.io.multiframe import ENHANCED, unrolled
from rtplan.io.pixels import fill, pixels_of
from rtplan.io.stack import Stack, differences, split

__all__ = ["Written", "pixels_of", "read_series", "read_stack", "write_series"]


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
        entries = tuple(entry_of(Path(path)) for path in source)
        folder = Folder(entries[0].path.parent if entries else Path(), entries)
    series = [s for s in folder.series("CT", "MR", *ENHANCED) if series_uid in (None, s.uid)]
    where = str(folder.path)
    if not series:
        raise DicomError(
            "There is no CT or MR series.", where=where, action="give a folder with a CT or MR series."
        )
    if len(series) > 1:
        listed = "; ".join(f"{s.kind} {s.description!r} {s.uid}" for s in series)
        raise DicomError(
            f"{len(series)} series are here: {listed}.", where=where, action="choose one by its UID."
        )
    for entry in folder.entries:
        if entry.series_uid == series[0].uid and entry.kind != series[0].kind:
            message = f"The {series[0].kind} series holds an object of another class ({entry.kind})."
            raise DicomError(message, where=str(entry.path), action="export the series again.")
        if entry.series_uid != series[0].uid and not isinstance(source, Path | str):
            message = "The file does not belong to the series of the others."
            raise DicomError(message, where=str(entry.path), action="give the files of one series.")
    stacks = split(unrolled(series[0].entries))
    if len(stacks) > 1:
        raise _mixture(stacks)
    return read_stack(stacks[0])


def _mixture(stacks: Sequence[Stack]) -> DicomError:
    slices = [item for stack in stacks for item in stack.slices]
    apart = ", ".join(differences(stacks)) or "their objects"
    what = f"The series mixes {len(stacks)} stacks that differ in {apart}."
    found = geometry.problems(slices)
    if found and found[0].code != "SLICES_DUPLICATE":
        what = found[0].message
    return DicomError(what, where=str(stacks[1].first.path), action="supply one stack alone.")


def read_stack(stack: Stack) -> Image:
    """Read the pixels of one stack.

    Raises
    ------
    DicomError
        If the stack is not a regular box, a CT is not in HU, or a slice's pixels cannot be decoded.
    """
    _demand_hu(stack)
    grid, order = geometry.grid_of(stack.slices)
    if not grid.frame_of_reference:  # an image without a frame matches nothing but itself
        grid = Grid(grid.shape, grid.affine, stack.first.series_uid)
    entries = [stack.entries[index] for index in order]
    try:
        array = np.empty(grid.shape, dtype=np.float32)
    except MemoryError:
        where = str(stack.first.path)
        raise DicomError(f"A volume of {grid.shape} voxels does not fit.", where=where) from None
    fill(array, entries)
    first = stack.first
    source = Source(
        series_uid=first.series_uid,
        study_uid=first.study_uid,
        sop_uids=tuple(entry.sop_uid for entry in entries),
        sop_class_uid=first.text("SOPClassUID"),
        patient_position=hd.code(first.header, "PatientPosition"),
        description=stack.description,
        acquisition=acquisition(stack),
        frame_numbers=tuple(entry.number + 1 for entry in entries) if first.unrolled else (),
    )
    return Image(grid, array, modality=first.kind, source=source)


def _demand_hu(stack: Stack) -> None:
    said = hd.code(stack.first.header, "RescaleType")
    if stack.first.kind == "CT" and said not in ("", "HU"):
        message = f"RescaleType of the CT says {said}, HU is wanted."
        raise DicomError(message, where=str(stack.first.path), action="export the series in HU.")
