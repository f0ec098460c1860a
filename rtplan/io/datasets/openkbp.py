"""Reader of OpenKBP patients: the official CSV folders, and the same data kept as one npz per patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Dose, Grid, Image, Mask, Patient, Plan, Prescription, Structure
from rtplan.domain.structure import Kind
from rtplan.errors import FormatError
from rtplan.io.datasets.arrays import read_arrays

#: Edge of the official cubic grid, voxels.
EDGE = 128
#: Official name of a region of interest to its TG-263 name and kind, in the official order.
ROIS: dict[str, tuple[str, Kind]] = {
    "Brainstem": ("Brainstem", "ORGAN"),
    "SpinalCord": ("SpinalCord", "ORGAN"),
    "RightParotid": ("Parotid_R", "ORGAN"),
    "LeftParotid": ("Parotid_L", "ORGAN"),
    "Esophagus": ("Esophagus", "ORGAN"),
    "Larynx": ("Larynx", "ORGAN"),
    "Mandible": ("Bone_Mandible", "ORGAN"),
    "PTV56": ("PTV_5600", "PTV"),
    "PTV63": ("PTV_6300", "PTV"),
    "PTV70": ("PTV_7000", "PTV"),
}
#: Prescribed dose of the targets, Gy in `FRACTIONS`.
LEVELS_GY = {"PTV56": 56.0, "PTV63": 63.0, "PTV70": 70.0}
FRACTIONS = 35
#: Name of the mask of the voxels that can receive dose.
FEASIBLE = "PossibleDose"
_FEASIBLE_BIT = 15
#: CT numbers are kept as HU + 1024 in 12 bits; brighter ones (metal, overflow) are cut.
_OFFSET_HU, _TOP = 1024.0, 4095.0
_ARRAYS = ("ct", "labels", "dose", "origin_index", "shape", "voxel_mm", "rois")


@dataclass(frozen=True, eq=False)
class _Raw:
    """One patient in the official orientation: axis 0 to posterior, 1 to the left, 2 to inferior."""

    ct: NDArray[np.float32] | None
    dose: NDArray[np.float32] | None
    masks: Mapping[str, NDArray[np.bool_]]
    feasible: NDArray[np.bool_]
    voxel_mm: tuple[float, float, float]
    start: tuple[int, int, int] = (0, 0, 0)


def read_openkbp(path: Path) -> Patient:
    """Read one patient: an official folder of CSV files, or an npz.

    Parameters
    ----------
    path : Path
        ``pt_<n>`` with ``dose.csv``, ``ct.csv``, ``possible_dose_mask.csv``, ``voxel_dimensions.csv`` and a
        CSV per region, on the whole 128³ grid; or ``pt_<n>.npz``, cropped.

    Returns
    -------
    Patient
        CT (HU), dose (Gy, arm ``CT``), regions and `FEASIBLE` as masks under their TG-263 names on one axial
        grid, and the prescription. CT or dose are left out where the folder has none. The centre of the
        official grid is put at the origin: the place in the scanner is not kept.

    Raises
    ------
    FormatError
        If a file is missing or broken, an index lies outside the grid, there is no feasible mask, or no
        target.

    References
    ----------
    Babier A et al. OpenKBP: the open-access knowledge-based planning grand challenge and dataset.
    Med Phys 2021;48:5549–5561.
    """
    if path.is_dir():
        raw = _read_csv(path)
    elif path.suffix == ".npz" and path.is_file():
        raw = _read_npz(path)
    else:
        raise FormatError(
            "There is no OpenKBP patient: neither a folder of CSV files nor an npz.", where=path.name
        )
    if not raw.feasible.any():
        raise FormatError("The possible-dose mask is empty.", where=path.name)
    if not any(name in raw.masks for name in LEVELS_GY):
        raise FormatError(f"There is none of the targets {', '.join(LEVELS_GY)}.", where=path.name)
    return _patient(path.stem, raw)


def read_openkbp_folder(folder: Path, *, only: tuple[str, ...] = ()) -> Iterator[Patient]:
    """Read the patients of a folder in the order of their numbers.

    Parameters
    ----------
    only : tuple of str
        Patients (``pt_7``) to take; all by default.

    Raises
    ------
    FormatError
        If there is no patient in the folder, or one named in ``only`` is not there.
    """
    paths = openkbp_paths(folder)
    lacks = [name for name in only if name not in paths]
    if lacks:
        raise FormatError(f"These patients are not in the folder: {', '.join(lacks)}.", where=folder.name)
    for name, path in paths.items():
        if not only or name in only:
            yield read_openkbp(path)


def openkbp_paths(folder: Path) -> dict[str, Path]:
    """Return the patients of a folder, name to path, in the order of their numbers.

    Raises
    ------
    FormatError
        If there is none.
    """
    found = [p for p in folder.glob("pt_*") if p.is_dir() or p.suffix == ".npz"] if folder.is_dir() else []
    if not found:
        raise FormatError("There is no OpenKBP patient (pt_*) in the folder.", where=folder.name)
    return {path.stem: path for path in sorted(found, key=lambda p: (len(p.stem), p.stem))}


def _patient(key: str, raw: _Raw) -> Patient:
    shape = raw.feasible.shape
    dy, dx, dz = raw.voxel_mm
    first = ((raw.start[0] - EDGE / 2) * dy, (raw.start[1] - EDGE / 2) * dx)
    last = (EDGE / 2 - (raw.start[2] + shape[2] - 1)) * dz
    grid = Grid.axial(
        (shape[2], shape[0], shape[1]), (dz, dy, dx), (first[1], first[0], last), frame_of_reference=key
    )
    structures = {FEASIBLE: Structure(FEASIBLE, "CONTROL", Mask(grid, _upright(raw.feasible)))}
    for name, mask in raw.masks.items():
        called, kind = ROIS[name]
        structures[called] = Structure(called, kind, Mask(grid, _upright(mask)))
    levels = {ROIS[name][0]: dose for name, dose in LEVELS_GY.items() if name in raw.masks}
    return Patient(
        key=key,
        images={} if raw.ct is None else {"CT": Image(grid, _upright(raw.ct) - _OFFSET_HU, modality="CT")},
        doses={} if raw.dose is None else {"CT": Dose(grid, _upright(raw.dose), fractions=FRACTIONS)},
        structures=structures,
        plan=Plan(Prescription(levels, FRACTIONS), ()),
    )


def _upright(array: NDArray[Any]) -> NDArray[Any]:
    """Take [posterior, left, inferior] to [superior, posterior, left]."""
    return np.ascontiguousarray(array.transpose(2, 0, 1)[::-1])


def _read_npz(path: Path) -> _Raw:
    arrays = read_arrays(path)
    lacks = [name for name in _ARRAYS if name not in arrays]
    if lacks or arrays["labels"].ndim != 3 or len({arrays[n].shape for n in _ARRAYS[:3]}) != 1:
        raise FormatError(
            f"A patient needs the arrays {', '.join(_ARRAYS)}, the first three of one 3-D shape; missing: "
            f"{', '.join(lacks) or 'none'}.",
            where=path.name,
        )
    names = [str(name) for name in arrays["rois"]]
    if sorted(names) != sorted(ROIS) or tuple(arrays["shape"]) != (EDGE, EDGE, EDGE):
        raise FormatError("The regions or the whole shape are not OpenKBP's.", where=path.name)
    labels = arrays["labels"].astype(np.uint16)
    masks = {name: (labels >> bit) & 1 == 1 for bit, name in enumerate(names)}
    i, j, k = (int(n) for n in arrays["origin_index"])
    a, b, c = (float(mm) for mm in arrays["voxel_mm"])
    return _Raw(
        np.clip(arrays["ct"], 0.0, _TOP).astype(np.float32),
        arrays["dose"].astype(np.float32),
        {name: mask for name, mask in masks.items() if mask.any()},
        (labels >> _FEASIBLE_BIT) & 1 == 1,
        (a, b, c),
        (i, j, k),
    )


def _read_csv(folder: Path) -> _Raw:
    masks = {}
    for name in ROIS:
        if (folder / f"{name}.csv").is_file():
            masks[name] = _sparse(folder / f"{name}.csv") > 0
    feasible = folder / "possible_dose_mask.csv"
    if not feasible.is_file():
        raise FormatError("There is no possible_dose_mask.csv.", where=folder.name)
    size = folder / "voxel_dimensions.csv"
    try:
        a, b, c = (float(text) for text in size.read_text(encoding="utf-8").split())
    except (OSError, ValueError) as broken:
        raise FormatError("voxel_dimensions.csv must hold three numbers, mm.", where=folder.name) from broken
    if not min(a, b, c) > 0.0:
        raise FormatError("The voxel dimensions must be positive.", where=folder.name)
    ct, dose = folder / "ct.csv", folder / "dose.csv"
    return _Raw(
        np.clip(_sparse(ct), 0.0, _TOP).astype(np.float32) if ct.is_file() else None,
        _sparse(dose) if dose.is_file() else None,
        {name: mask for name, mask in masks.items() if mask.any()},
        _sparse(feasible) > 0,
        (a, b, c),
    )


def _sparse(path: Path) -> NDArray[np.float32]:
    """Read ``index,value`` lines below a header (a mask's have no value) into the 128³ grid."""
    where = f"{path.parent.name}/{path.name}"
    flat = np.zeros(EDGE**3, np.float32)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
        parts = [line.split(",") for line in lines if line.strip(", ")]
        index = np.array([int(float(part[0])) for part in parts], np.int64)
        values = [float(p[1]) if len(p) > 1 and p[1].strip() not in ("", "nan") else 1.0 for p in parts]
    except (OSError, UnicodeDecodeError, ValueError) as broken:
        raise FormatError("The file is no list of index,value lines.", where=where) from broken
    if index.size and (index.min() < 0 or index.max() >= flat.size or np.unique(index).size != index.size):
        raise FormatError("An index lies outside the 128³ grid, or is given twice.", where=where)
    flat[index] = np.array(values, np.float32)
    if not np.isfinite(flat).all():
        raise FormatError("A value is not finite.", where=where)
    return flat.reshape(EDGE, EDGE, EDGE)
