"""NIfTI and MHA in and out, as images, doses, masks and labels; `volume_read` turns RAS into LPS."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import SimpleITK as sitk  # noqa: N813

from rtplan.domain import Dose, Grid, Image, Mask, Notice, Source, Structure, Volume
from rtplan.domain.nomenclature import kind_of
from rtplan.errors import FormatError, GeometryMismatch, OutputError
from rtplan.imaging.contour import mask_on
from rtplan.io.volume_read import load

#: File names that are read and written.
ENDINGS = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")


def is_volume_file(path: Path) -> bool:
    """Whether a file name is one of a volume file (`ENDINGS`)."""
    return path.name.lower().endswith(ENDINGS)


def read_volume(
    path: Path,
    *,
    kind: Literal["CT", "MR", "dose", "mask"] = "MR",
    frame_of_reference: str = "",
) -> Image | Dose | Mask:
    """Read a volume file.

    Parameters
    ----------
    path : Path
        NIfTI, MHA, MHD or NRRD of three dimensions.
    kind : str
        What the voxels are: the file does not say.
    frame_of_reference : str
        The frame in which it lies: the file does not say that either.

    Returns
    -------
    Image, Dose or Mask
        Array [z, y, x] on the file's own affine, LPS mm.

    Raises
    ------
    FormatError
        As `volume_read.load`.
    """
    array, grid = load(path, frame_of_reference, unknown=kind == "dose")
    if kind == "mask":
        return Mask(grid, array > 0)
    if kind == "dose":
        return Dose(grid, array)
    return Image(grid, array, modality=kind, source=Source(description=Path(path).name))


def write_volume(volume: Volume, path: Path) -> Path:
    """Write a volume as NIfTI or MHA by the ending of the name: masks as uint8, all else as float32.

    Raises
    ------
    OutputError
        If the name has no known ending, the file is there already, or it cannot be written.
    GeometryMismatch
        If the axes of the grid are not at right angles: these formats cannot say that reliably.
    """
    array = volume.array.astype(np.uint8) if isinstance(volume, Mask) else volume.array.astype(np.float32)
    return _write(array, volume.grid, path)


def read_labels(
    path: Path, *, names: Mapping[int, str] | None = None, frame_of_reference: str = ""
) -> tuple[Structure, ...]:
    """Read a label map as structures.

    Parameters
    ----------
    path : Path
        A volume of whole numbers; 0 is background.
    names : mapping of int to str, optional
        Name by voxel value; else those of the JSON file beside it (``{"labels": {"1": "Prostate"}}``), else
        ``label_1``, ``label_2`` …

    Raises
    ------
    FormatError
        If the voxels are not whole numbers, or there are none but 0.
    """
    array, grid = load(path, frame_of_reference)
    if not np.array_equal(array, np.rint(array)) or array.min() < 0:
        raise FormatError("A label map needs whole numbers from 0.", where=str(path))
    values = [int(value) for value in np.unique(array) if value]
    if not values:
        raise FormatError("The label map is empty: every voxel is 0.", where=str(path))
    if len(values) > 1000:
        raise FormatError(f"The file holds {len(values)} values; it is no label map.", where=str(path))
    known = dict(names) if names is not None else _names_beside(Path(path))
    found = []
    for value in values:
        name = known.get(value, f"label_{value}")
        found.append(Structure(name, kind_of(name), Mask(grid, array == value)))
    return tuple(found)


def write_labels(structures: Sequence[Structure], grid: Grid, path: Path) -> tuple[Path, tuple[Notice, ...]]:
    """Write structures as one label map, and their names beside it as JSON.

    Where structures overlap the later one stands; a notice says how many voxels that concerns.

    Returns
    -------
    Path, tuple of Notice
        The label map; the names lie beside it with the ending ``.json``.
    """
    labels = np.zeros(grid.shape, dtype=np.uint16)
    notices = []
    for value, structure in enumerate(structures, start=1):
        inside = mask_on(structure, grid).array
        hidden = int(np.count_nonzero(labels[inside]))
        if hidden:
            message = f"{hidden} voxels of {structure.name} belonged to other structures before."
            notices.append(Notice("LABELS_OVERLAP", "warn", message, "write single masks.", file=str(path)))
        labels[inside] = value
    _write(labels, grid, path)
    names = {str(value): structure.name for value, structure in enumerate(structures, start=1)}
    names_path(path).write_text(json.dumps({"labels": names}, indent=2) + "\n", encoding="utf-8")
    return path, tuple(notices)


def names_path(path: Path) -> Path:
    """Return where the names of a label map lie.

    Examples
    --------
    >>> names_path(Path("out/labels.nii.gz")).name
    'labels.json'
    """
    ending = next((e for e in sorted(ENDINGS, key=len, reverse=True) if path.name.lower().endswith(e)), "")
    return path.with_name(path.name[: len(path.name) - len(ending)] + ".json")


def _names_beside(path: Path) -> dict[int, str]:
    beside = names_path(path)
    if not beside.is_file():
        return {}
    try:
        table = json.loads(beside.read_text(encoding="utf-8"))["labels"]
        return {int(value): str(name) for value, name in table.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        message = "The names beside the label map do not parse."
        raise FormatError(message, where=str(beside), action='write {"labels": {"1": "Prostate"}}.') from None


def _write(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], grid: Grid, path: Path) -> Path:
    path = Path(path)
    if not is_volume_file(path):
        raise OutputError(f"The name must end in one of {', '.join(ENDINGS)}.", where=str(path))
    if path.exists():
        raise OutputError(
            "There is a file of that name already.", where=str(path), action="choose another name."
        )
    axes = grid.direction
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-6:
        raise GeometryMismatch("The axes of the volume are not at right angles.", where=str(grid))
    item = sitk.GetImageFromArray(array)
    dz, dy, dx = grid.spacing_zyx_mm
    item.SetSpacing((dx, dy, dz))
    item.SetOrigin(tuple(grid.origin_mm))
    item.SetDirection(tuple(axes[:, ::-1].ravel()))
    part = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(item, str(part), useCompression=True)
        part.replace(path)
    except (RuntimeError, OSError):
        part.unlink(missing_ok=True)
        action = "choose another folder or free space."
        raise OutputError("Nothing was written.", where=str(path), action=action) from None
    return path
