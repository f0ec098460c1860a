"""DVH tables as CSV: ``# type: cumulative`` or ``differential``, then ``dose_gy`` and the volume."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtplan.dosimetry.histogram import Dvh
from rtplan.dosimetry.surface import SurfaceMap
from rtplan.errors import FormatError, OutputError

Float = NDArray[np.float64]

TYPES = ("cumulative", "differential")
COLUMNS = (("dose_gy", "volume_cc"), ("dose_gy", "volume_percent"))


class Parts(NamedTuple):
    """A differential DVH: doses (Gy) and volumes of its parts, shape (n,) each; kind of dose, cc or %."""

    doses: Float
    volumes: Float
    kind: str = "physical"
    volume_unit: str = "cc"


def is_table(path: Path) -> bool:
    """Whether a file is a DVH table of rtplan rather than a planning system's export."""
    with Path(path).open("rb") as stream:
        head = stream.read(200).removeprefix(b"\xef\xbb\xbf").lstrip()
    return head.startswith((b"# type:", b"dose_gy"))


def read_table(path: Path) -> Parts:
    """Read a DVH table as doses (Gy) and volumes of its parts.

    Returns
    -------
    Parts
        Volumes in the file's unit; a cumulative table gives its pieces at their mid-doses. A second line
        ``# dose: EQD2(3)`` says what dose it is; physical without.

    Raises
    ------
    FormatError
        If type, columns or numbers are missing or contradict each other; nothing is guessed.
    """
    path = Path(path)
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as wrong:
        raise FormatError("The DVH table cannot be read.", where=str(path)) from wrong
    kind = lines[0].partition("# type:")[2].strip() if lines else ""
    if kind not in TYPES:
        raise FormatError(
            "The first line does not say what the DVH is.",
            where=path.name,
            action="write '# type: cumulative' or '# type: differential'.",
        )
    said = lines[1].partition("# dose:")[2].strip() if len(lines) > 1 and lines[1].startswith("#") else ""
    rows = list(csv.reader(lines[2:] if said else lines[1:]))
    if not rows or tuple(word.strip() for word in rows[0]) not in COLUMNS:
        raise FormatError("Wanted the columns dose_gy,volume_cc or dose_gy,volume_percent.", where=path.name)
    doses, volumes = _numbers(rows[1:], path)
    unit = "cc" if rows[0][1].strip() == "volume_cc" else "%"
    if kind == "cumulative":
        doses, volumes = _parts(doses, volumes, path)
    return Parts(doses, volumes, said or "physical", unit)


def _numbers(rows: list[list[str]], path: Path) -> tuple[Float, Float]:
    try:
        table = np.array([[float(word) for word in row] for row in rows], dtype=np.float64)
    except ValueError:
        raise FormatError("A line does not hold two numbers.", where=path.name) from None
    if table.ndim != 2 or table.shape[1] != 2 or not np.isfinite(table).all() or (table < 0).any():
        raise FormatError("Doses and volumes are finite and >= 0, two on a line.", where=path.name)
    if (np.diff(table[:, 0]) <= 0).any():
        raise FormatError("The doses do not rise.", where=path.name)
    return table[:, 0], table[:, 1]


def _parts(doses: Float, volumes: Float, path: Path) -> tuple[Float, Float]:
    falls = -np.diff(volumes)
    if (falls < -1e-9 * volumes.max()).any():
        raise FormatError("The volume of a cumulative DVH rises with dose.", where=path.name)
    if volumes[-1] > 1e-6 * volumes[0]:
        raise FormatError(
            "The cumulative DVH does not end at no volume: its upper part is missing.", where=path.name
        )
    return 0.5 * (doses[1:] + doses[:-1]), np.maximum(falls, 0.0)


def write_table(dvh: Dvh, path: Path, step_gy: float = 0.05) -> Path:
    """Write a cumulative DVH; raise OutputError where the file is there already."""
    top = dvh.curve.max_gy
    axis = np.append(np.arange(0.0, top - 0.01 * step_gy, step_gy), [top, top + step_gy])
    kind = [] if dvh.kind == "physical" else [f"# dose: {dvh.kind}"]
    lines = ["# type: cumulative", *kind, "dose_gy,volume_cc"]
    lines += [f"{dose:.6g},{dvh.volume_at(float(dose)):.8g}" for dose in axis]
    return _written(lines, path)


def write_surface(surface: SurfaceMap, path: Path) -> Path:
    """Write a dose surface map, one line per cell; raise OutputError where the file is there already.

    The columns are ``s_mm, s_share`` (along the centroid line from the inferior end), ``theta_deg`` (0
    anterior, positive to the left), ``dose_gy`` and ``area_mm2``.
    """
    lines = ["# type: dose surface map", "s_mm,s_share,theta_deg,dose_gy,area_mm2"]
    for row, s_mm in enumerate(surface.s_mm):
        share = s_mm / surface.length_mm
        lines += [
            f"{s_mm:.4f},{share:.6f},{theta:.4f},{dose:.5f},{area:.6f}"
            for theta, dose, area in zip(
                surface.theta_deg, surface.dose_gy[row], surface.area_mm2[row], strict=True
            )
        ]
    return _written(lines, path)


def _written(lines: list[str], path: Path) -> Path:
    path = Path(path)
    if path.exists():
        raise OutputError("The file is there already.", where=str(path), action="choose another --out.")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
