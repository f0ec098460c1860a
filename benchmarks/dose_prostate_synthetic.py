"""Prediction on a synthetic CT: digital pelves with an MR, against the plan on their CT."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from dose_prostate_metrics import Row, of_dose
from numpy.typing import NDArray

from rtplan import pipeline
from rtplan.case.assemble import clinical_steps
from rtplan.case.boost import case_of, grid_of, prepare_boost
from rtplan.case.boost_cohort import SPACING_ZYX_MM, planned
from rtplan.case.digital import with_targets
from rtplan.case.predict_dose import BEFORE, FROM_MR, dose_of
from rtplan.case.settings import CaseSettings
from rtplan.dosimetry.protocol import load_protocol
from rtplan.learning.predict_boost import HIGH
from rtplan.learning.zoo import Model
from rtplan.phantom.cohort import make_patient

PROTOCOLS = ("prostate_boost_flame", "prostate_boost_5fx")
#: First seed, of pelves that are neither learned from nor scored elsewhere.
SEED, BEAMS = 7501, 7


def synthetic(model: Model, cache: Path, count: int) -> None:
    """Predict on CT and synthetic CT of so many pelves; keep the differences in the cache."""
    rows = []
    for seed in range(SEED, SEED + count):
        rows.append(of_pelvis(model, seed))
        print(rows[-1], flush=True)
    (cache / f"synthetic-{model.sha256[:12]}.json").write_text(json.dumps(rows), encoding="utf-8")


def of_pelvis(model: Model, seed: int) -> dict[str, Any]:
    """Return the differences of one pelvis, on the grid of its plan."""
    protocol = load_protocol(PROTOCOLS[seed % 2])
    patient = make_patient("valid", seed, spacing_zyx_mm=SPACING_ZYX_MM, contrasts=("T2w",))
    patient = with_targets(patient, protocol)
    with_ct, prepared = planned(patient, protocol, BEAMS)
    settings = CaseSettings(protocol.name, arms=("SynCT",))
    wanted = {*BEFORE, *FROM_MR}
    steps = tuple(s for s in clinical_steps(protocol, settings) if type(s).__name__ in wanted)
    patient = pipeline.run(steps, patient, seed=1)
    other = prepare_boost(patient, protocol, "SynCT")
    grid = grid_of(patient, prepared)
    on_mr = case_of(patient, protocol, other, BEAMS, grid=grid)
    true = with_ct.dose.astype(np.float32)
    doses = {
        way: dose_of(model, case, grid).array / np.float32(with_ct.gland_gy)
        for way, case in (("CT", replace(with_ct, dose=None)), ("SynCT", on_mr))
    }

    def gap(one: NDArray[np.float32], two: NDArray[np.float32]) -> Row:
        ours, theirs = of_dose(with_ct, one), of_dose(with_ct, two)
        found = {name: ours[name] - theirs[name] for name in ours}
        high = true >= HIGH
        return found | {"error where the dose is high": 100.0 * float(np.abs(one - two)[high].mean())}

    return {
        "seed": seed,
        "CT": gap(doses["CT"], true),
        "SynCT": gap(doses["SynCT"], true),
        "SynCT - CT": gap(doses["SynCT"], doses["CT"]),
    }
