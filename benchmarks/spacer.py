"""Who benefits from a spacer: a predictor from geometry against full replanning on a digital cohort.

Two cohorts of digital patients (``train`` to fit, ``study``, which lies outside its ranges, to judge) are
planned without and with a virtual spacer. One line of JSON per patient is kept under ``out/spacer``, or where
``--cache`` says: a run that stops goes on where it was: ``python benchmarks/spacer.py --patients 39 --plan``,
later ``--report``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "out" / "spacer"
PROTOCOL = "prostate_boost_flame"
COHORTS = ("train", "study")
SPACING_ZYX_MM = (3.0, 2.0, 2.0)
#: Margins round the prostate, mm: to the back, and to all other sides; the patient's number chooses.
MARGINS_MM = ((3.0, 5.0), (5.0, 5.0), (5.0, 7.0), (7.0, 7.0))
#: From this number on they are narrow, so that some patients have little to gain.
NARROW_MM, NARROW_FROM = ((1.0, 5.0), (2.0, 5.0), (3.0, 5.0), (2.0, 3.0)), 23
#: And then none to the back, so that some have next to nothing to begin with.
NONE_MM, NONE_FROM = ((0.0, 5.0), (0.0, 3.0)), 36


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--patients", type=int, default=39, help="in each cohort")
    asked.add_argument("--processes", type=int, default=2)
    asked.add_argument("--plan", action="store_true", help="only plan: nothing is fitted, judged or written")
    asked.add_argument("--report", action="store_true", help="only fit, judge and write what is there")
    asked.add_argument("--cache", type=Path, default=CACHE, help="where the planned patients are kept")
    options = asked.parse_args()
    if not options.report:
        plan_all(options.patients, options.processes, options.cache)
    if not options.plan:
        from spacer_report import write_report

        write_report(rows(options.cache))


def plan_all(patients: int, processes: int, cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    done = {(row["cohort"], row["seed"]) for row in rows(cache)}
    commit = commit_now()
    wanted = [(c, s) for s in range(1, patients + 1) for c in COHORTS if (c, s) not in done]
    with ProcessPoolExecutor(processes) as pool:
        for row in pool.map(plan_one, [c for c, _ in wanted], [s for _, s in wanted]):
            with (cache / f"{row['cohort']}.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row | {"commit": commit}) + "\n")
            print(row["cohort"], row["seed"], row.get("failed", ""), row.get("seconds", ""), flush=True)


def commit_now() -> str:
    said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return said.stdout.strip()


def rows(cache: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(cache.glob("*.jsonl")):
        found += [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return found


def margins_of(seed: int) -> tuple[float, float]:
    steps = ((NONE_FROM, NONE_MM), (NARROW_FROM, NARROW_MM), (0, MARGINS_MM))
    return next(margins[seed % len(margins)] for first, margins in steps if seed >= first)


def plan_one(cohort: str, seed: int) -> dict[str, Any]:
    from rtplan.errors import RtplanError

    row: dict[str, Any] = {"cohort": cohort, "seed": seed, "margins_mm": margins_of(seed)}
    try:
        return row | _planned(cohort, seed)
    except RtplanError as wrong:
        return row | {"failed": wrong.message}


def digital(cohort: str, seed: int) -> Any:
    """Return a digital patient with the protocol's targets."""
    from rtplan.imaging.margin import expand
    from rtplan.phantom.cohort import make_patient

    patient = make_patient(cohort, seed, spacing_zyx_mm=SPACING_ZYX_MM, contrasts=())  # type: ignore[arg-type]
    back, other = margins_of(seed)
    margin = dict.fromkeys("LRASI", other) | {"P": back}
    grid = patient.images["CT"].grid
    ptv = expand(patient.structures["Prostate"], grid, margin, name="PTVp_7700")
    kept = {name: s for name, s in patient.structures.items() if name != "PTVp"}
    return replace(patient, structures={**kept, ptv.name: ptv})


def _planned(cohort: str, seed: int) -> dict[str, Any]:
    from rtplan.case.settings import CaseSettings
    from rtplan.case.spacing import SpacerSettings, prepared, spaced
    from rtplan.dosimetry.protocol import load_protocol
    from rtplan.planning.benefit import Asked, compare
    from rtplan.planning.device import set_threads
    from rtplan.planning.spacer import load_rule, rules

    set_threads(1)
    protocol = load_protocol(PROTOCOL)
    settings = SpacerSettings(CaseSettings(PROTOCOL), gel_samples=0, cell_mm=3.5)
    patient = prepared(digital(cohort, seed), protocol, settings)
    start, cpu = time.perf_counter(), time.process_time()
    made = spaced(patient, protocol, settings)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    asked = Asked(tuple(load_rule(name) for name in rules()), samples=64)
    findings, judged = compare(made.pair(), protocol, asked)
    metrics = [
        [f.arm, f.structure, f.metric, f.model, f.value]
        for f in findings
        if f.quantity == "value" and f.value is not None
    ]
    told = {name: {"baseline": found.baseline, "benefit": found.value} for name, found in judged.items()}
    start, cpu_before = time.perf_counter(), time.process_time()
    before = _near(made.without)
    near_seconds, near_cpu = time.perf_counter() - start, time.process_time() - cpu_before
    steps = [(r.step, round(r.seconds, 2)) for r in (*made.without.history, *made.with_gel.history)]
    return {
        "metrics": metrics,
        "rules": told,
        "before": before,
        "after": _near(made.with_gel),
        "gel": {"cc": made.inserted.volume_cc, "mm": made.inserted.thickness_mm},
        "checks": [
            [f.structure, f.metric, f.value] for f in made.with_gel.findings if f.step == "InsertSpacer"
        ],
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "near_seconds": round(near_seconds, 3),
        "near_cpu_seconds": round(near_cpu, 3),
        "steps": steps,
        "broken": sum(n.code == "LIMIT_BROKEN" for n in (*made.without.notices, *made.with_gel.notices)),
        "cold": sum(n.code == "TARGET_COLD" for n in (*made.without.notices, *made.with_gel.notices)),
    }


def _near(patient: Any) -> dict[str, Any]:
    from rtplan.planning.nearness import nearness

    grid = patient.images["CT"].grid
    found = nearness(patient.structures, grid, ("PTVp_7700", "GTVp", "Prostate"))
    return {
        "within": {name: [round(float(v), 6) for v in values] for name, values in found.within.items()},
        "nearest_mm": dict(found.nearest_mm),
        "volumes_cc": dict(found.volumes_cc),
    }


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share."""
    if n == 0:
        return 0.0, 1.0
    z, p = 1.959964, hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * ((p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5) / (1 + z * z / n)
    return middle - half, middle + half


if __name__ == "__main__":
    main()
