"""How long the paired study takes, from nothing and beyond plans and synthetic CTs; writes results/study.md.

Run: python benchmarks/study.py [--patients 4] [--workers 2]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rtplan.case.settings import CaseSettings
from rtplan.case.tables import read_findings
from rtplan.evaluation.cohort import agree
from rtplan.study.run import run_study
from rtplan.study.settings import StudySettings, preset

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "study.md"
PROTOCOL, COHORT = "prostate_boost_flame", 36
#: Steps that a study still has to do when plan and synthetic CT are there.
AFTER = ("RecalculateArms", "EvaluateProtocol", "EstimateOutcome", "MapSurface", "CompareArms")


@dataclass(frozen=True)
class Measured:
    """Seconds of one study: wall, processor (all processes), by step and patient, agreement over 36."""

    wall: float
    processor: float
    steps: dict[str, float]
    agreement: float
    rows: int


def measure(patients: int, workers: int, folder: Path) -> Measured:
    """Run a study with the preset fast and read its times."""
    fast = preset("fast")
    case = CaseSettings(protocol=PROTOCOL, gamma=fast.gamma, grid_mm=fast.grid_mm)
    settings = StudySettings(case=case, phantoms=patients, workers=workers)
    before, start = _processor(), time.perf_counter()
    study = run_study(settings, folder, tell=lambda p, n, of: print(f"{n} of {of}", flush=True))
    wall, processor = time.perf_counter() - start, _processor() - before
    found = {p.key: read_findings(folder / "patients" / p.key) for p in study.done}
    names = list(found)
    many = {f"{n}": found[names[n % len(names)]] for n in range(COHORT)}  # as many, the same ones again
    start = time.perf_counter()
    rows = agree(many, settings.judging)
    return Measured(wall, processor, _steps(folder), time.perf_counter() - start, len(rows))


def _steps(folder: Path) -> dict[str, float]:
    """Return the mean wall seconds of each step over the patients."""
    total: dict[str, list[float]] = {}
    for path in folder.glob("patients/*/manifest.json"):
        for step in json.loads(path.read_text(encoding="utf-8"))["steps"]:
            total.setdefault(step["name"], []).append(step["seconds"])
    return {name: sum(seconds) / len(seconds) for name, seconds in total.items()}


def _processor() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def text(made: Measured, patients: int, workers: int, load: float) -> str:
    """Return the results as Markdown."""
    whole = COHORT / patients / 60.0
    later = sum(made.steps.get(name, 0.0) for name in AFTER)
    rows = (
        ("from nothing, wall", made.wall, made.wall * whole, "90"),
        ("from nothing, processor time / 2", made.processor, made.processor * whole / 2, "90"),
        ("plans and synthetic CTs exist, a patient", later, later * COHORT / 2 / 60, "20"),
        (f"agreement, 36 patients, {made.rows} rows", made.agreement, made.agreement / 60, ""),
    )
    lines = [
        "# Time of the paired study",
        "",
        f"Made by `python benchmarks/study.py --patients {patients} --workers {workers}`: `{PROTOCOL}`,",
        f"all arms, preset `fast`, 3 mm dose grid, digital patients; {os.cpu_count()} cores,",
        f"{platform.machine()}, load of the machine before the start {load:.1f}.",
        "",
        "| | seconds here | minutes for 36 patients on 2 cores | bar, minutes |",
        "|---|---|---|---|",
        *(f"| {name} | {here:.1f} | {minutes:.1f} | {bar} |" for name, here, minutes, bar in rows),
        "",
        "The second line divides the processor time of all processes by two cores: what a machine gives that",
        "does nothing else. Mean wall seconds of the steps of one patient:",
        "",
        "| step | seconds |",
        "|---|---|",
        *(f"| {name} | {seconds:.1f} |" for name, seconds in made.steps.items() if seconds),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--patients", type=int, default=4)
    asked.add_argument("--workers", type=int, default=2)
    options = asked.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        made = measure(options.patients, options.workers, Path(folder) / "study")
    written = text(made, options.patients, options.workers, load)
    print(written)
    OUT.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
