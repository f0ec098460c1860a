"""Reader of MR-CT pairs in SynthRAD's layout: a folder per case with mr, ct and mask as volume files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rtplan.domain import Image, Mask, Patient, Structure
from rtplan.errors import FormatError
from rtplan.io.nifti import ENDINGS, read_volume

#: Name of the structure that holds the set's own mask.
MASK = "SynthRAD_mask"


def case_folders(folder: Path) -> dict[str, Path]:
    """Return the folders below a folder that hold an ``mr`` and a ``ct`` file, by case, sorted."""
    return {
        path.name: path
        for path in sorted(folder.iterdir())
        if path.is_dir() and _file(path, "mr") is not None and _file(path, "ct") is not None
    }


def read_synthrad(path: Path) -> Patient:
    """Read one case as a patient with ``CT``, ``MR`` and, where it is there, the mask as a structure.

    Parameters
    ----------
    path : Path
        Folder with ``mr``, ``ct`` and perhaps ``mask``, each ``.nii.gz`` (2023) or ``.mha`` (2025).

    Raises
    ------
    FormatError
        If MR or CT is missing, a file cannot be read, or they do not lie on one grid.
    """
    volumes = {}
    for name, kind in (("mr", "MR"), ("ct", "CT"), ("mask", "mask")):
        file = _file(path, name)
        if file is None and name != "mask":
            raise FormatError(f"A SynthRAD case needs the file {name}.nii.gz or {name}.mha.", where=path.name)
        if file is not None:
            volumes[name] = read_volume(file, kind=kind, frame_of_reference=path.name)  # type: ignore[arg-type]
    mr, ct, mask = volumes["mr"], volumes["ct"], volumes.get("mask")
    assert isinstance(mr, Image)
    assert isinstance(ct, Image)
    if not all(one.grid.same_as(ct.grid) for one in volumes.values()):
        raise FormatError("The files of a SynthRAD case do not lie on one grid.", where=path.name)
    structures = {}
    if isinstance(mask, Mask):
        structures[MASK] = Structure(MASK, "CONTROL", replace(mask, grid=ct.grid))
    return Patient(key=path.name, images={"CT": ct, "MR": replace(mr, grid=ct.grid)}, structures=structures)


def read_synthrad_folder(folder: Path, *, only: tuple[str, ...] = ()) -> Iterator[Patient]:
    """Read the cases of a folder in the order of their names.

    Raises
    ------
    FormatError
        If there is no case in the folder, or one named in ``only`` is not there.
    """
    cases = case_folders(folder)
    lacks = [name for name in only if name not in cases]
    if lacks or not cases:
        said = f"these cases: {', '.join(lacks)}" if lacks else "a case with the files mr and ct"
        raise FormatError(f"The folder lacks {said}.", where=folder.name)
    for name, path in cases.items():
        if not only or name in only:
            yield read_synthrad(path)


def _file(folder: Path, name: str) -> Path | None:
    return next((folder / f"{name}{end}" for end in ENDINGS if (folder / f"{name}{end}").is_file()), None)
