"""What a cohort costs: by step, on two workers, in memory, in scheduling; writes results/scale.md.

Run: python benchmarks/scale.py [--part steps|efficiency|memory|memory_plans|overhead|model|page]
Each part keeps its numbers in out/scale; the page is made anew from all that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from cohort.model import Site as Machines
from cohort.model import modelled, simulate
from cohort.page import PARTS, page

from rtplan.batch.cluster import Site
from rtplan.batch.run import run_batch
from rtplan.batch.settings import BatchSettings
from rtplan.case.digital import Scenario, digital_patient
from rtplan.case.settings import CaseSettings
from rtplan.dosimetry.protocol import load_protocol
from rtplan.evaluation.batch_state import BatchState
from rtplan.io.modules import Stamp
from rtplan.io.patient_write import write_patient
from rtplan.phantom.cohort import make_patient

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "scale.md"
KEPT = ROOT / "out" / "scale"
PROTOCOL = "prostate_boost_flame"
#: As rtplan run does it, and a smaller question for the runs that need many patients.
FULL = CaseSettings(protocol=PROTOCOL, residuals="digital")
SMALL = CaseSettings(
    protocol=PROTOCOL, arms=("CT", "CT0", "CTstrat"), beams=3, grid_mm=6.0, gamma=((3.0, 2.0),)
)
LEAST = CaseSettings(protocol=PROTOCOL, arms=("CT", "CT0"))
FINE, COARSE, COARSEST = (3.0, 2.0, 2.0), (6.0, 4.0, 4.0), (8.0, 6.0, 6.0)


def clinic(name: str, count: int, spacing: tuple[float, float, float], *, mr: bool) -> Path:
    """Write so many digital patients as DICOM, with the targets of the protocol; once."""
    place = KEPT / name
    for seed in range(1, count + 1):
        folder = place / f"{seed:04d}"
        if not folder.is_dir():
            made = digital_patient(seed, load_protocol(PROTOCOL), Scenario(), spacing, with_mr=mr)
            write_patient(made, folder, stamp=Stamp(seed=f"scale/{seed}"))
    return place


def bare_clinic(count: int) -> Path:
    """Write so many people without targets: half a second each, for the runs that need hundreds."""
    place = KEPT / "bare"
    patient = make_patient("study", 1, spacing_zyx_mm=COARSEST, contrasts=())
    kept = replace(patient, structures={n: patient.structure(n) for n in ("External", "Rectum")})
    for number in range(1, count + 1):
        folder = place / f"{number:04d}"
        if not folder.is_dir():
            identity = replace(kept.identity, patient_id=f"bare{number:04d}")
            write_patient(replace(kept, identity=identity), folder, stamp=Stamp(seed=f"bare/{number}"))
    return place


def batch(source: Path, case: CaseSettings, workers: int) -> tuple[BatchState, dict[str, float]]:
    """Run a batch; return it, and what it took beside the patients.

    ``own`` is the processor time of this process (scheduler, manifest, client) from the first patient's start
    to the last one's end, ``span`` that time by the clock, ``mib`` what the results take on disk.
    """
    out = KEPT / "batch"
    shutil.rmtree(out, ignore_errors=True)
    marks: list[float] = []

    def tell(line: str) -> None:
        marks.append(time.process_time())
        print(line, flush=True)

    state = run_batch(BatchSettings(case, source), out, Site(workers=workers, dashboard=0), tell=tell)
    took = {"own": marks[-1] - marks[0], "span": span(state)}
    took["mib"] = sum(p.stat().st_size for p in (out / "patients").rglob("*") if p.is_file()) / 2**20
    shutil.rmtree(out, ignore_errors=True)
    assert state.counts["done"] == len(state.patients)
    return state, took


def span(state: BatchState) -> float:
    """Return the seconds from the first start of a patient to the last end."""
    begun = min(datetime.fromisoformat(p.started) for p in state.patients if p.started)
    ended = max(datetime.fromisoformat(p.finished) for p in state.patients if p.finished)
    return (ended - begun).total_seconds()


def steps(count: int) -> dict[str, Any]:
    """Run whole patients on one worker: seconds of each step, processor seconds of a patient."""
    source = clinic("fine", count, FINE, mr=True)
    state, took = batch(source, FULL, 1)
    patients = list(state.patients)[1:]  # the first one loads what the others find loaded
    names = dict.fromkeys(name for p in patients for name in p.parts)
    voxels = _voxels(FINE)
    return {
        "patients": len(patients),
        "seconds": [p.seconds for p in patients],
        "cpu": [p.cpu_seconds for p in patients],
        "parts": {name: [p.parts.get(name, 0.0) for p in patients] for name in names},
        "peak_mib": max(p.peak_mib or 0.0 for p in patients),
        "voxels": voxels,
        "mib": took["mib"] / count,
        **_whole(state, took),
    }


def _voxels(spacing: tuple[float, float, float]) -> int:
    return int(
        np.prod(make_patient("study", 1, spacing_zyx_mm=spacing, contrasts=()).images["CT"].array.shape)
    )


def efficiency(count: int, repeats: int) -> dict[str, Any]:
    """Run the same patients on one worker and on two, in turn; the best of each counts."""
    source = clinic("coarse", count, COARSE, mr=False)
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for _ in range(repeats):
        for workers in (1, 2):
            state, took = batch(source, SMALL, workers)
            cpu = sum(p.cpu_seconds or 0.0 for p in state.patients)
            found[workers].append({"span": took["span"], "cpu": cpu})
    best = {workers: min(run["span"] for run in runs) for workers, runs in found.items()}
    return {
        "patients": count,
        "runs": {str(w): runs for w, runs in found.items()},
        "one": best[1],
        "two": best[2],
        "efficiency": best[1] / (2.0 * best[2]),
        "cpu_ratio": min(r["cpu"] for r in found[2]) / min(r["cpu"] for r in found[1]),
        "load": os.getloadavg()[0],
    }


def memory(count: int, *, plans: bool) -> dict[str, Any]:
    """Run many patients on one worker; return what it held after each."""
    source = clinic("coarsest", count, COARSEST, mr=False) if plans else bare_clinic(count)
    case = replace(SMALL, grid_mm=8.0, arms=("CT", "CT0")) if plans else LEAST
    state, took = batch(source, case, 1)
    held = [p.held_mib for p in state.patients]
    return {
        "patients": count,
        "plans": plans,
        "held": held,
        "peak": [p.peak_mib for p in state.patients],
        "early": float(np.median(held[10:40])),
        "late": float(np.median(held[-30:])),
        **_whole(state, took),
    }


def overhead(small: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """Return what scheduling costs, from the run of many small patients and from that of whole ones."""
    return {name: _beside(run) for name, run in (("small", small), ("whole", whole))}


def _beside(run: dict[str, Any]) -> dict[str, float]:
    """Return seconds a patient: of the scheduling process, of a worker that waits, of the work itself."""
    count = run["count"]
    idle = max(run["span"] - run["busy"], 0.0)
    return {"own_s": run["own"] / count, "idle_s": idle / count, "work_s": run["work"] / count}


def _whole(state: BatchState, took: dict[str, float]) -> dict[str, float]:
    """Return the sums over all patients of a run on one worker."""
    work = sum(p.cpu_seconds or 0.0 for p in state.patients)
    busy = sum(p.seconds or 0.0 for p in state.patients)
    return {
        "count": len(state.patients),
        "work": work,
        "busy": busy,
        "own": took["own"],
        "span": took["span"],
    }


#: What is assumed for a large cohort beside what was measured.
ASSUMED = {"count": 10_000, "start": 30.0, "deaths_per_hour": 0.01}


def model(whole: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Compare formula and simulation for a large cohort."""
    times, count = whole["seconds"], int(ASSUMED["count"])
    nodes = Machines(over["small"]["own_s"], ASSUMED["start"], ASSUMED["deaths_per_hour"])
    rows = []
    for workers in (2, 16, 128, 1024):
        runs = [simulate(times, count, workers, nodes, seed) for seed in range(3)]
        rows.append(
            {
                "workers": workers,
                "model": modelled(times, count, workers, nodes),
                "simulated": [run["hours"] for run in runs],
                "lost": float(np.mean([run["lost_hours"] for run in runs])),
            }
        )
    mean, gib = float(np.mean(times)), whole["mib"] * count / 1024
    return {"rows": rows, "service": over["small"]["own_s"], "mean": mean, "gib": gib, **ASSUMED}


def kept(part: str) -> dict[str, Any] | None:
    """Return the numbers of a part that was run."""
    path = KEPT / f"{part}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def keep(part: str, numbers: dict[str, Any]) -> None:
    """Keep the numbers of a part, with the day and the machine."""
    KEPT.mkdir(parents=True, exist_ok=True)
    numbers |= {"day": time.strftime("%Y-%m-%d"), "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    (KEPT / f"{part}.json").write_text(json.dumps(numbers, indent=1), encoding="utf-8")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--part", choices=[*PARTS, "page", "all"], default="all")
    asked.add_argument("--patients", type=int, default=0, help="how many, instead of the part's own number")
    asked.add_argument("--repeats", type=int, default=2)
    given = asked.parse_args()
    wanted = list(PARTS) if given.part == "all" else [given.part]
    made: dict[str, Callable[[], dict[str, Any]]] = {
        "steps": lambda: steps(given.patients or 5),
        "efficiency": lambda: efficiency(given.patients or 12, given.repeats),
        "memory": lambda: memory(given.patients or 200, plans=False),
        "memory_plans": lambda: memory(given.patients or 60, plans=True),
        "overhead": lambda: overhead(_need("memory"), _need("steps")),
        "model": lambda: model(_need("steps"), _need("overhead")),
    }
    for part in wanted:
        if part in made:
            keep(part, made[part]())
    RESULT.write_text(page(kept), encoding="utf-8")
    print(page(kept))


def _need(part: str) -> dict[str, Any]:
    numbers = kept(part)
    if numbers is None:
        raise SystemExit(f"run --part {part} first")
    return numbers


if __name__ == "__main__":
    main()
