"""DVH of dicompyler-core beside rtplan's own: an independent reading, never a source of rtplan's numbers."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pydicom.dicomio

from rtplan.errors import DicomError, UnknownName

#: Near-minimum to near-maximum doses that are compared.
PERCENTS = (99, 98, 95, 50, 5, 2, 1)
#: What `peer_dvh` returns.
METRICS = ("Volume[cc]", *(f"D{p}%[Gy]" for p in PERCENTS), "Mean[Gy]", "Min[Gy]", "Max[Gy]")


def peer_dvh(structures: Path, dose: Path, name: str) -> dict[str, float]:
    """Return volume (cc), D99 to D1, mean, minimum and maximum (Gy) by dicompyler-core's defaults.

    Raises
    ------
    UnknownName
        If dicompyler-core is not installed, or the structure is not in the file.
    DicomError
        If dicompyler-core fails on the files.

    Notes
    -----
    dicompyler-core 0.5.6 wants ``pydicom.dicomio.read_file``, which pydicom 3 calls ``dcmread``. Its known
    faults: D98 of 0 Gy for small structures, no end caps, half a voxel of shift when it interpolates.
    """
    if not hasattr(pydicom.dicomio, "read_file"):
        pydicom.dicomio.read_file = pydicom.dcmread
    try:
        calculate = importlib.import_module("dicompylercore.dvhcalc")
    except ImportError:
        raise UnknownName(
            "dicompyler-core is not installed.", action="pip install 'rtplan[interop]'."
        ) from None
    number = _number(structures, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it was written for older libraries
            found: Any = calculate.get_dvh(str(structures), str(dose), number)
        read = {"Volume[cc]": float(found.volume), "Mean[Gy]": float(found.mean)}
        read |= {"Min[Gy]": float(found.min), "Max[Gy]": float(found.max)}
        return read | {f"D{p}%[Gy]": float(found.statistic(f"D{p}").value) for p in PERCENTS}
    except Exception as failed:
        raise DicomError(f"dicompyler-core failed: {type(failed).__name__}.", where=name) from failed


def _number(structures: Path, name: str) -> int:
    header = pydicom.dcmread(structures)
    for item in header.get("StructureSetROISequence", []):
        if str(item.get("ROIName", "")) == name:
            return int(item.ROINumber)
    raise UnknownName(f"dicompyler-core finds no structure {name!r}.")
