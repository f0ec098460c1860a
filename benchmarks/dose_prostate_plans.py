"""From predicted to given: mimicking on held-out pelves, the planner's scatter, the command's seconds."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from dose_prostate_metrics import Row, of_dose
from numpy.typing import NDArray

from rtplan.case.boost import grid_of, plan_settings, prepare_boost
from rtplan.case.boost_cohort import digital_boost, draw, gather_boost
from rtplan.case.predict_dose import dose_of
from rtplan.learning.boost import BoostCase
from rtplan.learning.boost_settings import BoostData
from rtplan.learning.predict_boost import high_error
from rtplan.learning.zoo import Model
from rtplan.planning.apertures import beams_of, head_of
from rtplan.planning.deliverable import deliverable
from rtplan.planning.device import one_thread
from rtplan.planning.machine import load_machine
from rtplan.planning.mimic import wished
from rtplan.planning.optimise import optimise
from rtplan.planning.solved import aims_for, solved


def plans(model: Model, held: BoostData, cache: Path, count: int) -> None:
    """Measure, on held-out pelves: the planner's own scatter, and predicted against given by mimicking."""
    kept = cache / f"plans-{model.sha256[:12]}.jsonl"
    done = {json.loads(line)["seed"] for line in kept.read_text().splitlines()} if kept.is_file() else set()
    for case in gather_boost(held, cache)[:count]:
        if int(case.name.removeprefix(held.cohort)) in done:
            continue
        row = plans_of(model, held, case)
        with kept.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        print(row, flush=True)


def plans_of(model: Model, held: BoostData, case: BoostCase) -> dict[str, Any]:
    """Plan a held-out pelvis with longer rounds, by mimicking, and by mimicking with leaves."""
    seed, start = int(case.name.removeprefix(held.cohort)), time.process_time()
    drawn = draw(seed)
    patient, protocol = digital_boost(held.cohort, seed, drawn)
    prepared = prepare_boost(patient, protocol)
    grid, settings, engine = grid_of(patient, prepared), plan_settings(drawn.beams), prepared.engine

    def relative(beams: Any) -> NDArray[np.float32]:
        given = engine.calculate(beams, [prepared.image], prepared.body, grid)[0]
        return given.array / np.float32(case.gland_gy)

    with one_thread():
        longer = replace(settings, first=100, further=35)
        again = optimise(prepared.task, prepared.image, prepared.body, engine, longer)
        promised = dose_of(model, case, grid)
        aim = wished(promised, prepared)
        ideal = solved(prepared, settings, dose=aim)
        leaves = deliverable(prepared, ideal, load_machine("generic_mlc120"), aims=aims_for(prepared, aim))
        beams = beams_of(leaves, engine.model.name, engine.model.energy_mv, head=head_of(engine.model))
        scatter, mimicked, given = (relative(x) for x in (again.plan.beams, ideal.plan.beams, beams))
    told, true = promised.array / np.float32(case.gland_gy), case.dose.astype(np.float32)
    return {
        "seed": seed,
        "cpu_seconds": round(time.process_time() - start, 1),
        "scatter": _gap(case, scatter, true),
        "ideal - predicted": _gap(case, mimicked, told),
        "given - predicted": _gap(case, given, told),
        "given - planned": _gap(case, given, true),
    }


def _gap(case: BoostCase, one: NDArray[np.float32], other: NDArray[np.float32]) -> Row:
    ours, theirs = of_dose(case, one), of_dose(case, other)
    gap = {name: round(ours[name] - theirs[name], 3) for name in ours}
    return {"error where the dose is high": round(100.0 * high_error(one, other), 3)} | gap


def calls(held: BoostData, cache: Path, count: int) -> None:
    """Measure the command on folders of DICOM: wall clock and processor time, start of Python included."""
    from rtplan.io.patient_write import write_patient

    rows = []
    for seed in range(held.seed, held.seed + count):
        patient, _ = digital_boost(held.cohort, seed, replace(draw(seed), ratio=None))
        with tempfile.TemporaryDirectory() as place:
            write_patient(patient, Path(place) / "in")
            begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            command = ["predict-dose", f"{place}/in", "--protocol", draw(seed).protocol, "--risk", "--quiet"]
            subprocess.run(
                [sys.executable, "-m", "rtplan", *command, "--out", f"{place}/RD.dcm"],
                check=True,
                capture_output=True,
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            wall = time.perf_counter() - begun
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            rows.append({"wall": round(wall, 2), "processor": round(spent, 2)})
            print(rows[-1], flush=True)
    (cache / "calls.json").write_text(json.dumps(rows), encoding="utf-8")
