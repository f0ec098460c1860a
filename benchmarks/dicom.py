"""DICOM beside rt-utils, SimpleITK and pydicom, in time, memory and area; writes results/dicom.md.

Needs the extras ``interop`` and rt-utils 1.2.7 (``make install`` of the developer puts them there).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from rtplan.domain import Grid, Identity, Image, Source, Structure
from rtplan.domain.volume import Mask
from rtplan.imaging.contour import mask_on
from rtplan.io import modules as md
from rtplan.io import rtstruct
from rtplan.io.image import read_series, write_series

RESULT = Path(__file__).resolve().parent / "results" / "dicom.md"
REPEATS = 3
#: Name, centre and half axes as shares of the field of view (z, y, x); the cord and the lens in mm below.
ELLIPSOIDS = {
    "External": ((0.5, 0.5, 0.5), (0.60, 0.36, 0.42)),
    "Bladder": ((0.55, 0.42, 0.5), (0.14, 0.09, 0.11)),
    "Rectum": ((0.45, 0.66, 0.5), (0.25, 0.05, 0.05)),
    "Prostate": ((0.35, 0.54, 0.5), (0.10, 0.05, 0.06)),
    "Femur_Head_L": ((0.45, 0.52, 0.72), (0.13, 0.07, 0.07)),
    "Femur_Head_R": ((0.45, 0.52, 0.28), (0.13, 0.07, 0.07)),
    "Bowel_Bag": ((0.8, 0.4, 0.5), (0.18, 0.2, 0.28)),
}
#: Radius, mm, of a cord along z and of a lens.
CORD_MM, LENS_MM = 5.0, 4.0


def masks(grid: Grid) -> dict[str, NDArray[np.bool_]]:
    """Return ten structures: seven ellipsoids, a wall with a hole, a cord and a lens."""
    z, y, x = np.ogrid[tuple(slice(n) for n in grid.shape)]
    z, y, x = (axis.astype(np.float32) for axis in (z, y, x))
    depth, rows, columns = grid.shape
    found = {}
    for name, (centre, half) in ELLIPSOIDS.items():
        part = [(v / n - c) / h for v, n, c, h in zip((z, y, x), grid.shape, centre, half, strict=True)]
        found[name] = part[0] ** 2 + part[1] ** 2 + part[2] ** 2 < 1
    found["Bladder_Wall"] = found["Bladder"] & ~_smaller(grid, "Bladder", 0.85)
    dz, dy, dx = grid.spacing_zyx_mm
    in_plane = ((y - 0.8 * rows) * dy) ** 2 + ((x - 0.5 * columns) * dx) ** 2
    found["SpinalCord"] = np.broadcast_to(in_plane < CORD_MM**2, grid.shape).copy()
    ball = ((y - 0.25 * rows) * dy) ** 2 + ((x - 0.4 * columns) * dx) ** 2 + ((z - 0.9 * depth) * dz) ** 2
    found["Lens_L"] = ball < LENS_MM**2
    return found


def _smaller(grid: Grid, name: str, share: float) -> NDArray[np.bool_]:
    centre, half = ELLIPSOIDS[name]
    axes = np.ogrid[tuple(slice(n) for n in grid.shape)]
    part = [(v / n - c) / (h * share) for v, n, c, h in zip(axes, grid.shape, centre, half, strict=True)]
    return np.asarray(part[0] ** 2 + part[1] ** 2 + part[2] ** 2 < 1)


def best(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return the least of several wall times, s, and the last result."""
    times, done = [], None
    for _ in range(REPEATS):
        start = time.perf_counter()
        done = run()
        times.append(time.perf_counter() - start)
    return min(times), done


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * np.count_nonzero(a & b) / max(np.count_nonzero(a) + np.count_nonzero(b), 1))


def score(wanted: NDArray[np.bool_], got: NDArray[np.bool_]) -> str:
    """Return the Dice, or how the shape is wrong."""
    if wanted.shape != got.shape:
        return f"none: rows and columns are {got.shape[1]}×{got.shape[2]}"
    return f"{dice(wanted, got):.5f}"


def polygon_cc(path: Path, name: str, thick_mm: float) -> float:
    """Return the volume of a structure's polygons by the shoelace formula, read with pydicom alone."""
    ds = pydicom.dcmread(path)
    number = next(item.ROINumber for item in ds.StructureSetROISequence if name == item.ROIName)
    total = 0.0
    for item in ds.ROIContourSequence:
        if item.ReferencedROINumber == number:
            for contour in item.ContourSequence:
                x, y = np.array(contour.ContourData, float).reshape(-1, 3).T[:2]
                total += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    return total * thick_mm / 1000


def written_series(folder: Path, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Image:
    """Write a CT of noise and return it as read back."""
    grid = Grid.axial(shape, spacing, (-200.0, -200.0, -100.0), "2.25.77")
    array = np.random.default_rng(1).integers(-1000, 1500, shape).astype(np.float32)
    write_series(Image(grid, array, "CT", Source()), folder, Identity("BENCH", "B^M"), description="CT")
    return read_series(folder)


def round_trip_ours(image: Image, wanted: dict[str, NDArray[np.bool_]], folder: Path) -> dict[str, Any]:
    listed = [Structure(name, "ORGAN", Mask(image.grid, mask)) for name, mask in wanted.items()]
    path = folder / f"ours_{time.monotonic_ns()}.dcm"

    spent, start = time.process_time(), time.perf_counter()
    rtstruct.write(listed, path, image=image, identity=Identity("BENCH", "B^M"), stamp=md.Stamp())
    middle = time.perf_counter()
    found = {s.name: mask_on(s, image.grid).array for s in rtstruct.read(path).structures}
    end, spent = time.perf_counter(), time.process_time() - spent
    return {"path": path, "masks": found, "write": middle - start, "read": end - middle, "processor": spent}


def round_trip_theirs(series: Path, wanted: dict[str, NDArray[np.bool_]], folder: Path) -> dict[str, Any]:
    """Do the same with rt-utils; the reading of the image series is not counted, as it is not for us."""
    from rt_utils import RTStructBuilder
    from rt_utils.rtstruct import RTStruct

    path = folder / f"theirs_{time.monotonic_ns()}.dcm"
    made = RTStructBuilder.create_new(str(series))
    turned = {name: np.ascontiguousarray(np.moveaxis(mask, 0, 2)) for name, mask in wanted.items()}
    spent, start = time.process_time(), time.perf_counter()
    for name, mask in turned.items():
        made.add_roi(mask=mask, name=name)
    made.save(str(path))
    middle = time.perf_counter()
    back = RTStruct(made.series_data, pydicom.dcmread(path))
    found = {name: back.get_roi_mask_by_name(name) for name in turned}
    end, spent = time.perf_counter(), time.process_time() - spent
    return {
        "path": path,
        "masks": {name: np.moveaxis(mask, 2, 0) for name, mask in found.items()},
        "write": middle - start,
        "read": end - middle,
        "processor": spent,
    }


def both(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> list[str]:
    """Return the lines of one grid: times, Dice, and polygon area over mask area."""
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings(action="ignore"):
        folder = Path(place)
        image = written_series(folder / "ct", shape, spacing)
        wanted = masks(image.grid)
        ours, theirs = [], []
        for _ in range(REPEATS):
            ours.append(round_trip_ours(image, wanted, folder))
            theirs.append(round_trip_theirs(folder / "ct", wanted, folder))
        lines = ["| | write, s | read, s | together, s | processor, s |", "|---|---|---|---|---|"]
        walls, spent = [], []
        for name, runs in (("rtplan", ours), ("rt-utils 1.2.7", theirs)):
            write, read = (min(run[key] for run in runs) for key in ("write", "read"))
            walls.append(min(run["write"] + run["read"] for run in runs))
            spent.append(min(run["processor"] for run in runs))
            lines.append(f"| {name} | {write:.3f} | {read:.3f} | {walls[-1]:.3f} | {spent[-1]:.3f} |")
        more = f"rt-utils takes {walls[1] / walls[0]:.1f} times our time by the clock"
        lines += ["", f"{more}, {spent[1] / spent[0]:.1f} times by the processor.", ""]
        lines += _areas(wanted, ours[-1], theirs[-1], spacing)
    return lines


def _areas(
    wanted: dict[str, NDArray[np.bool_]],
    ours: dict[str, Any],
    theirs: dict[str, Any],
    spacing: tuple[float, float, float],
) -> list[str]:
    voxel_cc = float(np.prod(spacing)) / 1000
    lines = [
        "| structure | mask, cc | Dice, rtplan | Dice, rt-utils | polygons/mask, rtplan | rt-utils |",
        "|---|---|---|---|---|---|",
    ]
    for name, mask in wanted.items():
        volume = np.count_nonzero(mask) * voxel_cc
        shares = [polygon_cc(run["path"], name, spacing[0]) / volume for run in (ours, theirs)]
        areas = [f"{share:.4f}" for share in shares] if name != "Bladder_Wall" else ["hole"] * 2
        scores = [score(mask, run["masks"][name]) for run in (ours, theirs)]
        lines.append(f"| {name} | {volume:.2f} | {' | '.join(scores)} | {' | '.join(areas)} |")
    return lines


#: Programs that read in a process of their own: imports, and the work that is measured.
READERS = {
    "rtplan": (
        "from rtplan.io.image import read_series as read\nimport rtplan.io.rtstruct",
        "got = read(folder).array",
    ),
    "SimpleITK": (
        "import SimpleITK as sitk, numpy",
        "r = sitk.ImageSeriesReader()\n"
        "r.SetFileNames(r.GetGDCMSeriesFileNames(str(folder)))\n"
        "got = r.Execute()",
    ),
    "pydicom": (
        "import pydicom, numpy as np",
        "s = map(pydicom.dcmread, folder.iterdir())\n"
        "s = sorted(s, key=lambda d: d.ImagePositionPatient[2])\n"
        "got = np.stack([d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept) for d in s])",
    ),
    "rtplan, index": (
        "from rtplan.io.index import index",
        "seen = []\ngot = index(folder, progress=lambda *at: seen.append(at)).entries",
    ),
    "pydicom, headers": (
        "import pydicom",
        "got = [pydicom.dcmread(p, stop_before_pixels=True) for p in folder.rglob('*.dcm')]",
    ),
    "SimpleITK, series IDs": (
        "import SimpleITK as sitk",
        "got = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))",
    ),
}
PROGRAM = """
import json, sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
folder = Path(sys.argv[1])
{imports}
def memory(key):
    return int(next(l for l in open("/proc/self/status") if l.startswith(key)).split()[1]) / 1024
open("/proc/self/clear_refs", "w").write("5")
before, start, spent = memory("VmRSS"), time.perf_counter(), time.process_time()
{work}
took, spent = time.perf_counter() - start, time.process_time() - spent
size = getattr(got, "nbytes", 0) / 2**20
read = int(next(l for l in open("/proc/self/io") if l.startswith("rchar")).split()[1])
print(json.dumps([took, spent, memory("VmHWM") - before, size, read / 2**20]))
"""


def apart(name: str, folder: Path) -> dict[str, float]:
    """Return the best of several runs of a reader in processes of their own."""
    imports, work = READERS[name]
    program = PROGRAM.format(imports=imports, work=work)
    runs = []
    for _ in range(REPEATS):
        done = subprocess.run(
            [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True
        )
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    keys = ("seconds", "processor", "peak", "size", "read")
    return dict(zip(keys, [min(column) for column in zip(*runs, strict=True)], strict=True))


def series_lines() -> list[str]:
    shape, volume = (200, 512, 512), 200 * 512 * 512 * 4 / 2**20
    lines = [
        "| reader | wall, s | processor, s | peak above the start, MiB | of the volume (float32, 200 MiB) |",
        "|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "ct"
        written_series(folder, shape, (3.0, 1.0, 1.0))
        for name in ("rtplan", "SimpleITK", "pydicom"):
            got = apart(name, folder)
            lines.append(
                f"| {name} | {got['seconds']:.2f} | {got['processor']:.2f} | {got['peak']:.0f} "
                f"| {got['peak'] / volume:.2f} |"
            )
    return lines


def index_lines(count: int = 10_000, per_series: int = 100) -> list[str]:
    lines = ["| reader | wall, s | processor, s | read, MiB |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "all"
        written_series(Path(place) / "one", (per_series, 128, 128), (3.0, 1.0, 1.0))
        template = [pydicom.dcmread(path) for path in sorted((Path(place) / "one").iterdir())]
        folder.mkdir()
        for number in range(count // per_series):
            for k, ds in enumerate(template):
                ds.SeriesInstanceUID = f"2.25.{number + 1}00"
                ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"2.25.{number + 1}00{k}"
                ds.save_as(folder / f"{number:03d}_{k:04d}.dcm")
        whole = sum(path.stat().st_size for path in folder.rglob("*.dcm")) / 2**20
        for name in ("rtplan, index", "pydicom, headers", "SimpleITK, series IDs"):
            got = apart(name, folder)
            lines.append(f"| {name} | {got['seconds']:.1f} | {got['processor']:.1f} | {got['read']:.0f} |")
    return [*lines, "", f"The files hold {whole:.0f} MiB."]


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def main() -> None:
    lines = [
        "# DICOM beside other programs",
        "",
        f"`python benchmarks/dicom.py`, {os.cpu_count()} cores ({processor()}); the least of {REPEATS} runs,",
        "files in the cache of the disk, both programs in turn in the same run.",
        "",
        "## Masks to RTSTRUCT to masks, 512×512×120, 1×1×3 mm, ten structures",
        "",
        "Bar: 10 times faster than rt-utils, Dice at least 0.999. The image series is read before and not",
        "counted. Polygons are read back with pydicom and measured by the shoelace formula; the mask's area",
        "is the truth.",
        "",
        *both((120, 512, 512), (3.0, 1.0, 1.0)),
        "",
        "## The same on a matrix of 100×160 and pixels of 1×2 mm",
        "",
        *both((40, 100, 160), (3.0, 1.0, 2.0)),
        "",
        "## Reading a CT series of 512×512×200",
        "",
        "Bar: no slower than SimpleITK, at most 2.5 times the volume. Each in a process of its own.",
        "",
        *series_lines(),
        "",
        "## Index of a folder of 10 000 files",
        "",
        "Bar: 20 s, headers only. One folder, 100 series.",
        "",
        *index_lines(),
    ]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
