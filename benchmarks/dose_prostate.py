"""The boost network on held-out digital pelves and on those with real glands and lesions, beside baselines.

``python benchmarks/dose_prostate.py --cache CACHE`` plans what the cache lacks, scores, and writes
``benchmarks/results/dose_prostate.md``; with ``--card`` also the figures of card and page. ``--plans``,
``--synthetic`` and ``--calls`` measure mimicking and the planner's own scatter, prediction on a synthetic CT,
and the seconds of the command. ``scored.json`` beside the card keeps which weights were scored on which set.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dose_prostate_baselines import fit_knowledge, fit_lookup, look_up
from dose_prostate_metrics import Row, errors_by_distance, metrics, of_dose
from dose_prostate_page import figures_of, note_scored, page, table_of, write_between
from dose_prostate_plans import calls, plans
from dose_prostate_synthetic import synthetic
from numpy.typing import NDArray

from rtplan.case.boost_cohort import SPACING_ZYX_MM, gather_boost, planned_case
from rtplan.case.digital import with_targets
from rtplan.dosimetry.protocol import load_protocol
from rtplan.errors import RtplanError
from rtplan.io.datasets.picai import read_prostate
from rtplan.learning.boost import BoostCase, load_boost, save_boost
from rtplan.learning.boost_settings import BoostData, BoostSettings
from rtplan.learning.predict_boost import predicted_gy
from rtplan.learning.settings import parse
from rtplan.learning.zoo import Model, load_model, save_card
from rtplan.phantom.cohort import make_patient
from rtplan.phantom.shapes import Shape

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "dose_prostate.md"
MASKS = ROOT.parent / "shared" / "data" / "picai_masks"
#: Digital pelves that were never learned from nor chosen by.
HELD_OUT = BoostData(cohort="valid", seed=7101, patients=31)
#: Real shapes, of which the first twenty that make a pelvis are taken; protocols in turn, seven fields.
SHAPES, WANTED = range(4, 200, 8), 20
PROTOCOLS = ("prostate_boost_flame", "prostate_boost_5fx")


def picai_cases(cache: Path) -> list[BoostCase]:
    """Return the cases of real shapes, planned once and kept."""
    folder, found = cache / "picai", []
    for rank, index in enumerate(SHAPES):
        path, refused = folder / f"{index}.npz", folder / f"{index}.refused"
        if not path.is_file() and not refused.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            try:
                save_boost(replace(picai_case(index, rank), name=f"shape {index}"), path)
            except RtplanError as error:
                refused.write_text(f"{type(error).__name__}: {error.message}", encoding="utf-8")
            print("shape", index, "refused" if refused.is_file() else "planned", flush=True)
        if path.is_file():
            found.append(load_boost(path))
        if len(found) == WANTED:
            break
    return found


def picai_case(index: int, rank: int) -> BoostCase:
    """Plan the pelvis round a shape."""
    protocol = load_protocol(PROTOCOLS[rank % 2])
    shape = Shape.of(read_prostate(sorted(MASKS.glob("*.npz"))[index]))
    patient = make_patient("study", index + 1, spacing_zyx_mm=SPACING_ZYX_MM, contrasts=(), shape=shape)
    return planned_case(with_targets(patient, protocol), protocol, 7)


def scored(
    cases: Sequence[BoostCase], model: Model, table: NDArray[Any], knowledge: Mapping[str, Any]
) -> dict[str, list[Row]]:
    """Return signed errors of each case by way of predicting; the first is an absolute one."""
    rows: dict[str, list[Row]] = {"network": [], "lookup": [], "DVH knowledge": []}
    at, coarse = np.linspace(0.0, 1.0, 1001), np.linspace(0.0, 1.0, 51)
    for case in cases:
        true = case.dose.astype(np.float32)
        wanted = of_dose(case, true)
        for way, dose in (
            ("network", predicted_gy(model, case) / np.float32(case.gland_gy)),
            ("lookup", look_up(table, case)),
        ):
            ours = of_dose(case, dose)
            row = {name: ours[name] - wanted[name] for name in wanted} | errors_by_distance(case, dose, true)
            known = {"fractions": float(case.fractions), "NTCP planned": wanted["rectal NTCP"]}
            rows[way].append(row | known)
        curves = {n: case.gland_gy * np.interp(at, coarse, k.predict(case, n)) for n, k in knowledge.items()}
        ours = metrics(case, curves)
        rows["DVH knowledge"].append({name: ours[name] - wanted[name] for name in wanted})
    return rows


def main() -> None:
    """Plan what is missing, measure, score, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=ROOT / "out" / "dose_prostate_boost" / "cache")
    parser.add_argument("--model", default="dose_prostate_boost")
    parser.add_argument("--prepare", action="store_true", help="only plan what the cache lacks")
    parser.add_argument("--plans", type=int, default=0, help="pelves to plan anew and by mimicking")
    parser.add_argument("--synthetic", type=int, default=0, help="pelves with an MR to predict on")
    parser.add_argument("--calls", type=int, default=0, help="pelves on which the command is timed")
    parser.add_argument("--card", action="store_true", help="write the figures into model.toml")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    held, shapes = gather_boost(HELD_OUT, given.cache, print), picai_cases(given.cache)
    if given.prepare:
        return
    model = load_model(given.model)
    if given.plans:
        plans(model, HELD_OUT, given.cache, given.plans)
    if given.synthetic:
        synthetic(model, given.cache, given.synthetic)
    if given.calls:
        calls(HELD_OUT, given.cache, given.calls)
    settings = parse(ROOT / "models" / "dose_prostate_boost" / "train.toml", BoostSettings)
    learned = [case for data in settings.data for case in gather_boost(data, given.cache)]
    table, knowledge = fit_lookup(learned), fit_knowledge(learned)
    sets = {
        f"{len(held)} held-out digital pelves": scored(held, model, table, knowledge),
        f"{len(shapes)} pelves with real glands and lesions (PI-CAI shapes)": scored(
            shapes, model, table, knowledge
        ),
    }
    names = (f"{HELD_OUT.cohort} {HELD_OUT.seed}", f"shapes {SHAPES.start} step {SHAPES.step}")
    folder = ROOT / "models" / "dose_prostate_boost"
    told = note_scored(folder / "scored.json", model.sha256, dict(zip(names, sets, strict=True)))
    RESULT.write_text(page(model, sets, told, len(learned), given.cache), encoding="utf-8")
    if given.card:
        save_card(folder, model.card.model_copy(update={"figure": figures_of(sets)}))
        lines = [line for data, rows in sets.items() for line in (f"**{data}**", "", *table_of(rows), "")]
        write_between(folder / "card.md", lines)
        write_between(ROOT / "docs" / "dose-prediction.md", lines)
    print(RESULT)


if __name__ == "__main__":
    main()
