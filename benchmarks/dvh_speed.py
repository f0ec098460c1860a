"""Time of nine structures on a 98×129×194 dose grid beside dicompyler-core; writes results/dvh_speed.md."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.dicomio
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from rtplan.domain import Contours, Dose, Grid, Structure
from rtplan.domain.patient import Identity
from rtplan.dosimetry.dvh import Dvh, dvh, value
from rtplan.dosimetry.several import dvhs_of_all
from rtplan.dosimetry.workers import cores
from rtplan.io import rtdose

RESULT = Path(__file__).resolve().parent / "results" / "dvh_speed.md"
SHAPE, SPACING = (98, 129, 194), (2.5, 2.5, 2.5)
#: Half axes, mm, of nine ellipsoids from a bulb of the penis to a body.
HALF_AXES = (
    (8, 8, 9), (14, 9, 12), (23, 18, 21), (28, 23, 26), (22, 20, 42),
    (38, 33, 33), (26, 26, 27), (60, 45, 70), (170, 110, 105),
)  # fmt: skip


#: ICRU 83, and what dicompyler-core finds with its curve.
METRICS = ("D98%[Gy]", "D50%[Gy]", "D2%[Gy]", "Mean[Gy]", "Min[Gy]", "Max[Gy]", "Volume[cc]")
#: Of ours, and of dicompyler-core's.
REPEATS = (15, 5)
#: Threads of the rows for all structures at once.
THREADS = (1, 2)


def contours(half: tuple[int, int, int]) -> Contours:
    """Return contours of an ellipsoid every 2.5 mm, points 1 to 2 mm apart."""
    a, b, c = half
    count = int(np.clip(2 * np.pi * max(a, b) / 1.5, 40, 400))
    t = np.arange(count) * 2 * np.pi / count
    rings = []
    for z in np.arange(-c + 1.25, c, 2.5):
        part = np.sqrt(1 - (z / c) ** 2)
        rings.append(np.stack([a * part * np.cos(t), b * part * np.sin(t), np.full(count, z)], axis=1))
    return Contours(tuple(rings))


def write_structures(structures: list[Structure], path: Path) -> None:
    """Write what dicompyler-core reads of an RTSTRUCT."""
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    header.Modality = "RTSTRUCT"
    header.StructureSetROISequence, header.ROIContourSequence = [], []
    header.RTROIObservationsSequence = []
    for number, structure in enumerate(structures, 1):
        roi, drawn, seen = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, structure.name
        drawn.ReferencedROINumber, drawn.ROIDisplayColor = number, [255, 0, 0]
        drawn.ContourSequence = []
        assert isinstance(structure.region, Contours)
        for ring in structure.region.rings:
            item = Dataset()
            item.ContourGeometricType, item.NumberOfContourPoints = "CLOSED_PLANAR", len(ring)
            item.ContourData = [f"{x:.3f}" for x in ring.ravel()]
            drawn.ContourSequence.append(item)
        seen.ObservationNumber = seen.ReferencedROINumber = number
        seen.RTROIInterpretedType = "ORGAN"
        header.StructureSetROISequence.append(roi)
        header.ROIContourSequence.append(drawn)
        header.RTROIObservationsSequence.append(seen)
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.save_as(path, enforce_file_format=True)


def full(structure: Structure, dose: Dose) -> Dvh:
    """Make a DVH and read the metrics of ICRU 83 from it, with their bounds."""
    made = dvh(structure, dose)
    read(made)
    return made


def read(made: Dvh) -> None:
    """Read the metrics with their bounds."""
    for metric in METRICS:
        value(made, metric)


def all_at_once(structures: list[Structure], dose: Dose, threads: int) -> None:
    """Make all DVHs as `rtplan dvh` does, and read their metrics."""
    for found in dvhs_of_all(structures, [dose], threads=threads):
        assert isinstance(found, tuple)
        read(found[0])


def least(work: Callable[[], Any], repeats: int) -> tuple[Any, tuple[float, float]]:
    """Return the work's result and the least processor and wall time of some repeats, s."""
    found, spent, passed = None, [], []
    for _ in range(repeats):
        start, clock = time.process_time(), time.perf_counter()
        found = work()
        spent.append(time.process_time() - start)
        passed.append(time.perf_counter() - clock)
    return found, (min(spent), min(passed))


def case() -> tuple[Dose, list[Structure]]:
    """Return a dose that falls from the middle, and the nine ellipsoids."""
    corner = tuple(-0.5 * (n - 1) * s for n, s in zip(SHAPE[::-1], SPACING[::-1], strict=True))
    grid = Grid.axial(SHAPE, SPACING, corner)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1)
    square = ((grid.to_patient(index) / (70.0, 60.0, 55.0)) ** 2).sum(axis=-1)
    structures = [Structure(f"S{n}", "ORGAN", contours(half)) for n, half in enumerate(HALF_AXES, 1)]
    return Dose(grid, (60 / (1 + square**2)).astype(np.float32)), structures


def one_by_one(structures: list[Structure], dose: Dose) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return a line a structure, and the sums of (processor, wall) time of ours and of the peer, s."""
    if not hasattr(pydicom.dicomio, "read_file"):
        pydicom.dicomio.read_file = pydicom.dcmread
    from dicompylercore import dvhcalc

    rows, totals = [], np.zeros((2, 2))
    with tempfile.TemporaryDirectory() as folder:
        rt_structures, rt_dose = Path(folder) / "rs.dcm", Path(folder) / "rd.dcm"
        write_structures(structures, rt_structures)
        rtdose.write(dose, rt_dose, identity=Identity(patient_id="speed"), plan_uid=generate_uid())
        drawn, plan = pydicom.dcmread(rt_structures), pydicom.dcmread(rt_dose)
        for number, structure in enumerate(structures, 1):
            made, ours = least(lambda structure=structure: full(structure, dose), REPEATS[0])
            peer, theirs = least(lambda number=number: dvhcalc.get_dvh(drawn, plan, number), REPEATS[1])
            totals += (ours, theirs)
            rows.append(
                f"| {structure.name} | {made.curve.total_cc:.1f} | {float(peer.volume):.1f} "
                + "| {:.1f} | {:.0f} | {:.1f} | {:.0f} |".format(
                    *(1000 * t for pair in zip(ours, theirs, strict=True) for t in pair)
                )
            )
    return rows, totals[0], totals[1]


def main() -> None:
    load = os.getloadavg()[0]
    dose, structures = case()
    full(structures[0], dose)
    rows, ours, theirs = one_by_one(structures, dose)
    spent = {f"one by one, {THREADS[0]} thread": ours}
    for threads in THREADS:
        _, found = least(lambda threads=threads: all_at_once(structures, dose, threads), REPEATS[0])
        spent[f"all at once, {threads} thread{'s' if threads > 1 else ''}"] = np.array(found)
    lines = [
        "# Time of the DVH",
        "",
        "`python benchmarks/dvh_speed.py`. Nine ellipsoids, contours every 2.5 mm, dose grid 98×129×194,",
        "default settings of both, files already read; processor time and wall time, the",
        f"least of {REPEATS[0]} repeats of ours (with every curve, the extremes and seven metrics with their",
        f"bounds) and of {REPEATS[1]} of dicompyler-core's (one thread; it knows no other), in one run.",
        "Nothing is kept from one structure to the next, and nothing from one repeat to the next.",
        f"{cores()} cores; {load:.1f} processes ran or waited in the minute before (about 0 where the",
        "machine is quiet, and only there do the wall times mean something). Bar: 20× faster.",
        "",
        "| structure | cc | cc, peer | ours, ms | dicompyler-core, ms | ours, wall | theirs, wall |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "| all | | | {:.1f} | {:.0f} | {:.1f} | {:.0f} |".format(*1000 * np.stack([ours, theirs]).T.ravel()),
        "",
        "| all nine | processor, ms | wall, ms | dicompyler-core / ours, processor | wall |",
        "|---|---|---|---|---|",
        "| dicompyler-core | {:.0f} | {:.0f} | | |".format(*1000 * theirs),
        *(
            "| {} | {:.1f} | {:.1f} | {:.1f} | {:.1f} |".format(name, *1000 * found, *theirs / found)
            for name, found in spent.items()
        ),
    ]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
