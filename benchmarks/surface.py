"""Dose surface histograms against SlicerRT (Eclipse prostate phantom), and areas against closed forms."""

from __future__ import annotations

import base64
import csv
import struct
import sys
import time
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

import numpy as np

from rtplan.domain import Contours, Dose, Grid, Structure
from rtplan.dosimetry.shell import shell_doses, shell_histogram
from rtplan.dosimetry.surface import extent_at, surface_histogram, surface_map
from rtplan.errors import StructureError
from rtplan.io.nifti import read_volume

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "slicerrt"
RESULT = ROOT / "benchmarks" / "results" / "surface.md"
NAMES = ("BODY", "Bladder", "Femoral Head Lt", "Femoral Head RT", "PTV", "Rectum")


def main() -> None:
    if not DATA.is_dir():
        sys.exit("skipped: the data of SlicerRT (../shared/data/slicerrt) are not here")
    dose = read_volume(DATA / "EclipseProstate_Dose.nrrd", kind="dose")
    assert isinstance(dose, Dose)
    structures = [structure_of(number) for number in range(6)]
    lines = ["# Dose surfaces", "", "`python benchmarks/surface.py`", "", *against_slicer(dose, structures)]
    lines += ["", *rectum(dose, structures[5]), "", *areas()]
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def against_slicer(dose: Dose, structures: list[Structure]) -> list[str]:
    lines = [
        "## Histogram of the surface voxels against SlicerRT's tables",
        "",
        "Bar: within 1 % (percentage points of the surface) at every dose. BODY leaves the dose grid: its",
        "surface is not known there, and rtplan refuses it.",
        "",
        "| structure | shell | greatest difference, % | mean difference, % | mean dose ours / SlicerRT, Gy |",
        "|---|---|---|---|---|",
    ]
    for structure in structures:
        for side in ("inside", "outside"):
            stem = f"DoseSurfaceHistogram_{side.title()}_SlicerRT.csv"
            levels, wanted = column(DATA / f"EclipseProstate_DvhTable_{stem}", structure.name)
            mean = metric(DATA / f"EclipseProstate_DvhMetrics_{stem}", structure.name)
            try:
                doses = shell_doses(dose, structure, side=side)
            except StructureError as refused:
                lines.append(f"| {structure.name} | {side} | refused: {refused.message} | | – / {mean:.2f} |")
                continue
            off = np.abs(shell_histogram(doses, levels) - wanted)
            lines.append(
                f"| {structure.name} | {side} | {off.max():.2f} | {off.mean():.3f} "
                f"| {doses.mean():.2f} / {mean:.2f} |"
            )
    return lines


def rectum(dose: Dose, structure: Structure) -> list[str]:
    start = time.perf_counter()
    surface = surface_map(dose, structure)
    seconds = time.perf_counter() - start
    doses = shell_doses(dose, structure)
    levels = np.array([10.0, 20.0, 30.0, 40.0, 45.0])
    ours, voxels = surface_histogram(surface, levels), shell_histogram(doses, levels)
    lines = [
        "## The rectum unwrapped",
        "",
        f"{surface.dose_gy.shape[0]} x {surface.dose_gy.shape[1]} cells, {surface.length_mm:.1f} mm long, "
        f"{surface.total_cm2:.1f} cm2 of wall (ends open), {seconds:.2f} s.",
        "",
        "| level, Gy | area, % (true area, ends open) | inner shell of voxels, % | lateral, deg | mm "
        "| longitudinal, mm | centre s, mm | theta, deg |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for level, area, shell in zip(levels, ours, voxels, strict=True):
        e = extent_at(surface, float(level))
        s, theta = e.centroid_s_mm, e.centroid_theta_deg
        assert s is not None
        assert theta is not None
        lines.append(
            f"| {level:g} | {area:.1f} | {shell:.1f} | {e.lateral_deg:.0f} | {e.lateral_mm:.1f} "
            f"| {e.longitudinal_mm:.1f} | {s:.1f} | {theta:.0f} |"
        )
    return lines


def areas() -> list[str]:
    """Full and empty rectum: ellipses of one circumference, from a circle to a slit."""
    grid = Grid.axial((30, 50, 50), (3.0, 2.0, 2.0), (-50.0, -50.0, -15.0))
    halves = Dose(grid, np.broadcast_to((np.arange(30) >= 15)[:, None, None] * 40.0 + 20.0, grid.shape))
    lines = [
        "## Area preserved between full and empty rectum",
        "",
        "| half axes, mm | area of the map, cm2 | exact, cm2 | error, % | share above 40 Gy, % |",
        "|---|---|---|---|---|",
    ]
    turn = np.linspace(0, 2 * np.pi, 721)
    dense = np.linspace(0, 2 * np.pi, 100001)
    for flat in (1.0, 0.6, 0.3, 0.1):
        unit = np.hypot(np.diff(np.cos(dense)), flat * np.diff(np.sin(dense))).sum()
        a = 2 * np.pi * 15.0 / unit
        rings = [np.stack([a * np.cos(turn), flat * a * np.sin(turn), 0 * turn + z], 1)[:-1]
                 for z in np.arange(0.0, 61.0, 3.0)]  # fmt: skip
        surface = surface_map(halves, Structure("Rectum", "ORGAN", Contours(tuple(rings))))
        exact = 2 * np.pi * 15.0 * 60.0 / 100.0
        share = surface_histogram(surface, np.array([40.0]))[0]
        lines.append(
            f"| {a:.1f} x {flat * a:.1f} | {surface.total_cm2:.3f} | {exact:.3f} "
            f"| {100 * (surface.total_cm2 / exact - 1):+.3f} | {share:.2f} |"
        )
    return lines


def column(path: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    with path.open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    at = next(i for i, title in enumerate(rows[0]) if title.startswith(f"{name} Dose"))
    values = np.array([(float(row[at]), float(row[at + 1])) for row in rows[1:] if row[at]])
    return values[:, 0], values[:, 1]


def metric(path: Path, name: str) -> float:
    with path.open(encoding="utf-8") as file:
        return next(float(row["Mean dose (GY)"]) for row in csv.DictReader(file) if row["Structure"] == name)


def structure_of(number: int) -> Structure:
    """Read planar contours from a VTK file: RAS to LPS."""
    path = DATA / "EclipseProstate_Structures.seg" / f"EclipseProstate_Structures.seg_{number}.vtp"
    root = ET.parse(path).getroot()
    points = array_of(root, ".//Points/DataArray", "<f4").reshape(-1, 3).astype(float) * [-1, -1, 1]
    order = array_of(root, ".//Lines/DataArray[@Name='connectivity']", "<i8")
    stops = array_of(root, ".//Lines/DataArray[@Name='offsets']", "<i8")
    rings = []
    for start, stop in zip([0, *stops[:-1]], stops, strict=True):
        ring = points[order[start:stop]]
        rings.append(ring[:-1] if np.allclose(ring[0], ring[-1]) else ring)
    return Structure(NAMES[number], "ORGAN", Contours(tuple(rings)))


def array_of(root: ET.Element, path: str, dtype: str) -> np.ndarray:
    text = (root.find(path).text or "").strip()  # type: ignore[union-attr]
    blocks = struct.unpack("<I", base64.b64decode(text[:8])[:4])[0]
    length = (4 * (3 + blocks) + 2) // 3 * 4
    head = struct.unpack(f"<{3 + blocks}I", base64.b64decode(text[:length])[: 4 * (3 + blocks)])
    packed, at, parts = base64.b64decode(text[length:]), 0, []
    for size in head[3:]:
        parts.append(zlib.decompress(packed[at : at + size]))
        at += size
    return np.frombuffer(b"".join(parts), dtype)


if __name__ == "__main__":
    main()
