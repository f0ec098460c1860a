"""The boost network on held-out digital pelves and on those with real glands and lesions, beside baselines.

``python benchmarks/dose_prostate.py --cache CACHE`` plans what the cache lacks, scores, and writes
``benchmarks/results/dose_prostate.md``; with ``--card`` also the figures of card and page. ``--plans`` and
``--calls`` measure mimicking, the planner's own scatter, and the seconds of the command.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dose_prostate_baselines import curve, fit_knowledge, fit_lookup, look_up, weights_of
from numpy.typing import NDArray

from rtplan.case.boost import grid_of, plan_settings, prepare_boost
from rtplan.case.boost_cohort import (
    SPACING_ZYX_MM,
    digital_boost,
    draw,
    gather_boost,
    planned_case,
)
from rtplan.case.digital import with_targets
from rtplan.case.predict_dose import dose_of
from rtplan.dosimetry.forms import lkb_probit
from rtplan.dosimetry.parameters import load_set
from rtplan.dosimetry.protocol import load_protocol
from rtplan.dosimetry.radiobiology import eqd2
from rtplan.errors import RtplanError
from rtplan.io.datasets.picai import read_prostate
from rtplan.learning.boost import BoostCase, load_boost, save_boost
from rtplan.learning.boost_settings import BoostData, BoostSettings
from rtplan.learning.card import Figure
from rtplan.learning.predict_boost import high_error, predicted_gy
from rtplan.learning.settings import parse
from rtplan.learning.zoo import Model, load_model, save_card
from rtplan.phantom.cohort import make_patient
from rtplan.phantom.shapes import Shape
from rtplan.planning.apertures import beams_of, head_of
from rtplan.planning.deliverable import deliverable
from rtplan.planning.device import one_thread
from rtplan.planning.machine import load_machine
from rtplan.planning.mimic import wished
from rtplan.planning.optimise import optimise
from rtplan.planning.solved import aims_for, solved

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "dose_prostate.md"
MASKS = ROOT.parent / "shared" / "data" / "picai_masks"
#: Digital pelves that were never learned from nor chosen by.
HELD_OUT = BoostData(cohort="valid", seed=7001, patients=30)
#: Real shapes, of which the first twenty that make a pelvis are taken; protocols in turn, seven fields.
SHAPES, WANTED = range(0, 200, 8), 20
PROTOCOLS = ("prostate_boost_flame", "prostate_boost_5fx")
RISK = "rectum_bleeding_g2_quantec2010"
#: Metric, unit, bar of the mean absolute error.
BARS = {
    "error where the dose is high": ("%", 2.0),
    "rectum D2cc": ("Gy", 1.5),
    "rectum mean": ("Gy", 1.5),
    "bladder D2cc": ("Gy", 1.5),
    "bladder mean": ("Gy", 1.5),
    "GTV D98": ("Gy", 2.0),
    "rectal NTCP": ("pp", 0.5),
}
Row = dict[str, float]


def metrics(case: BoostCase, curves: Mapping[str, NDArray[Any]]) -> Row:
    """Return the metrics of structures' DVHs (1001 parts from the hottest, Gy)."""
    at = np.linspace(0.0, 1.0, 1001)
    found = {}
    for name in ("Rectum", "Bladder"):
        cc = float(weights_of(case, name).sum()) * float(np.prod(case.spacing_zyx_mm)) / 1000.0
        found[f"{name.lower()} D2cc"] = float(np.interp(2.0 / cc, at, curves[name]))
        found[f"{name.lower()} mean"] = float(np.trapezoid(curves[name], at))
    found["GTV D98"] = float(np.interp(0.98, at, curves["gtv"]))
    model = load_set(RISK)
    felt = eqd2(curves["Rectum"], case.fractions, float(model.dose.alpha_beta_gy or 3.0))
    found["rectal NTCP"] = 100.0 * float(lkb_probit(felt, np.full(at.size, 1.0 / at.size), model.values))
    return found


def of_dose(case: BoostCase, relative: NDArray[np.float32]) -> Row:
    """Return the metrics of a dose over the gland's, voxel by voxel on the case's grid."""
    at = np.linspace(0.0, 1.0, 1001)
    named = ("Rectum", "Bladder", "gtv")
    return metrics(case, {n: case.gland_gy * curve(relative, weights_of(case, n), at) for n in named})


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
            row = {name: ours[name] - wanted[name] for name in wanted}
            rows[way].append({"error where the dose is high": 100.0 * high_error(dose, true)} | row)
        known = {n: case.gland_gy * np.interp(at, coarse, k.predict(case, n)) for n, k in knowledge.items()}
        ours = metrics(case, known)
        rows["DVH knowledge"].append({name: ours[name] - wanted[name] for name in wanted})
    return rows


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean absolute value with its 95 % interval (bootstrap over patients)."""
    size = np.abs(np.array(values, float))
    drawn = np.random.default_rng(1).choice(size, (2000, size.size)).mean(axis=1)
    return float(size.mean()), float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def table_of(rows: Mapping[str, list[Row]]) -> list[str]:
    """Return the table of one set of patients."""
    lines = [
        "| mean absolute error | bar | network [95 % CI] | within the bar | worst | bias "
        "| lookup by distance | DVH knowledge |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (unit, bar) in BARS.items():
        own = [row[name] for row in rows["network"]]
        mean, low, high = interval(own)
        within = sum(abs(v) <= bar for v in own)
        worst = max(own, key=abs)
        others = []
        for way in ("lookup", "DVH knowledge"):
            there = [row[name] for row in rows[way] if name in row]
            others.append("{:.2f} [{:.2f}, {:.2f}]".format(*interval(there)) if there else "–")
        mark = "met" if mean <= bar else "**missed**"
        bias = "" if name.startswith("error") else f"{np.mean(own):+.2f}"
        lines.append(
            f"| {name}, {unit} | ≤ {bar:g} {mark} | {mean:.2f} [{low:.2f}, {high:.2f}] "
            f"| {within} of {len(own)} | {worst:+.2f} | {bias} | {others[0]} | {others[1]} |"
        )
    return lines


def figures_of(sets: Mapping[str, Mapping[str, list[Row]]]) -> tuple[Figure, ...]:
    """Return the figures of the card."""
    found = []
    for data, rows in sets.items():
        for name, (unit, _) in BARS.items():
            mean, low, high = interval([row[name] for row in rows["network"]])
            found.append(
                Figure(
                    metric=f"mean absolute {name}[{unit}]"
                    if not name.startswith("error")
                    else f"mean absolute {name}[{unit} of the gland's dose]",
                    data=data,
                    value=round(mean, 3),
                    interval95=(round(low, 3), round(high, 3)),
                    n=len(rows["network"]),
                )
            )
    return tuple(found)


def plans(model: Model, cache: Path, count: int) -> None:
    """Measure, on held-out pelves: the planner's own scatter, and predicted against given by mimicking."""
    kept = cache / "plans.jsonl"
    done = {json.loads(line)["seed"] for line in kept.read_text().splitlines()} if kept.is_file() else set()
    for case in gather_boost(HELD_OUT, cache)[:count]:
        if int(case.name.removeprefix(HELD_OUT.cohort)) in done:
            continue
        row = plans_of(model, case)
        with kept.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        print(row, flush=True)


def plans_of(model: Model, case: BoostCase) -> dict[str, Any]:
    """Plan a held-out pelvis with longer rounds, by mimicking, and by mimicking with leaves."""
    seed, start = int(case.name.removeprefix(HELD_OUT.cohort)), time.process_time()
    drawn = draw(seed)
    patient, protocol = digital_boost(HELD_OUT.cohort, seed, drawn)
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


def calls(cache: Path, count: int) -> None:
    """Measure the command on folders of DICOM: wall clock and processor time, start of Python included."""
    from rtplan.io.patient_write import write_patient

    rows = []
    for seed in range(HELD_OUT.seed, HELD_OUT.seed + count):
        patient, _ = digital_boost(HELD_OUT.cohort, seed, replace(draw(seed), ratio=None))
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


def page(model: Model, sets: Mapping[str, Mapping[str, list[Row]]], cases: int, cache: Path) -> str:
    """Return the page of results."""
    training = model.card.training
    hashes = {
        json.loads(path.read_text())["planner_sha256"][:12] for path in sorted(cache.glob("*/cohort.json"))
    }
    lines = [
        f"# Dose of a prostate boost, predicted by {model.card.name}",
        "",
        f"`python benchmarks/dose_prostate.py`; weights {model.sha256[:12]}, {training.steps} steps in "
        f"{training.hours:.2f} h of wall clock ({training.hardware}). {cases} digital pelves were learned "
        "from, planned by rtplan's own planner (ideal fluences, 4 mm; SHA-256 of its sources "
        f"{', '.join(sorted(hashes))}). What is predicted is what **this** planner would reach.",
        "",
        "Errors are predicted − planned, read voxel by voxel on the 4 mm grid (targets by parts of voxels); "
        "high dose: at least half of the gland's prescription, error relative to that prescription. NTCP: "
        f"rectum, `{RISK}`. Intervals by bootstrap over patients. Lookup: median dose of the pelves learned "
        "from, by the distances to gland and boost and by the boost's height. DVH knowledge: per structure, "
        "principal components of the DVH by ridge regression on distance histograms, volumes, prescription.",
        "",
    ]
    for data, rows in sets.items():
        lines += [f"## {data}", "", *table_of(rows), ""]
    lines += [*plans_lines(cache), *calls_lines(cache)]
    return "\n".join(lines)


def plans_lines(cache: Path) -> list[str]:
    """Return the tables of mimicking and of the planner's scatter."""
    kept = cache / "plans.jsonl"
    if not kept.is_file():
        return []
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    ways = ("scatter", "ideal - predicted", "given - predicted", "given - planned")
    lines = [
        "## From predicted to given",
        "",
        f"{len(rows)} held-out pelves: the predicted dose mimicked by ideal fluences, then by leaves",
        "(step and shoot). Scatter: our planner again with longer rounds against itself, the error that no",
        "predictor can go below by much. Mean absolute (mean signed) differences.",
        "",
        "| | planner's scatter | mimicked, ideal − predicted | with leaves − predicted | − planned |",
        "|---|---|---|---|---|",
    ]
    for name, (unit, _) in BARS.items():
        cells = []
        for way in ways:
            v = np.array([row[way][name] for row in rows])
            signed = "" if name.startswith("error") else f" ({v.mean():+.2f})"
            cells.append(f"{np.abs(v).mean():.2f}{signed}")
        lines.append(f"| {name}, {unit} | {' | '.join(cells)} |")
    spent = [row["cpu_seconds"] for row in rows]
    return [*lines, "", f"Processor time of the three plans of a pelvis: {np.median(spent):.0f} s.", ""]


def calls_lines(cache: Path) -> list[str]:
    """Return the seconds of the command."""
    path = cache / "calls.json"
    if not path.is_file():
        return []
    rows = json.loads(path.read_text())
    wall, spent = ([row[key] for row in rows] for key in ("wall", "processor"))
    return [
        "## Seconds",
        "",
        f"`rtplan predict-dose FOLDER --protocol P --out RD.dcm --risk`, {len(rows)} pelves (voxels 3 × 2 × "
        f"2 mm), start of Python included: processor {np.median(spent):.1f} s ({min(spent):.1f} to "
        f"{max(spent):.1f}), wall clock {np.median(wall):.1f} s ({min(wall):.1f} to {max(wall):.1f}) on two "
        "cores that others used "
        "at the same time.",
        "",
    ]


def write_between(path: Path, lines: Sequence[str]) -> None:
    """Replace what stands between the two marks of a page by the tables."""
    text = path.read_text(encoding="utf-8")
    head, rest = text.split("<!-- boost figures -->\n")[0], text.split("<!-- end of boost figures -->\n")[1]
    told = "\n".join(lines)
    path.write_text(
        f"{head}<!-- boost figures -->\n{told}<!-- end of boost figures -->\n{rest}", encoding="utf-8"
    )


def main() -> None:
    """Plan what is missing, measure, score, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=ROOT / "out" / "dose_prostate_boost" / "cache")
    parser.add_argument("--model", default="dose_prostate_boost")
    parser.add_argument("--prepare", action="store_true", help="only plan what the cache lacks")
    parser.add_argument("--plans", type=int, default=0, help="pelves to plan anew and by mimicking")
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
        plans(model, given.cache, given.plans)
    if given.calls:
        calls(given.cache, given.calls)
    settings = parse(ROOT / "models" / "dose_prostate_boost" / "train.toml", BoostSettings)
    learned = [case for data in settings.data for case in gather_boost(data, given.cache)]
    table, knowledge = fit_lookup(learned), fit_knowledge(learned)
    sets = {
        f"{len(held)} held-out digital pelves": scored(held, model, table, knowledge),
        f"{len(shapes)} pelves with real glands and lesions (PI-CAI shapes)": scored(
            shapes, model, table, knowledge
        ),
    }
    RESULT.write_text(page(model, sets, len(learned), given.cache), encoding="utf-8")
    if given.card:
        folder = ROOT / "models" / model.card.name
        save_card(folder, model.card.model_copy(update={"figure": figures_of(sets)}))
        lines = [line for data, rows in sets.items() for line in (f"**{data}**", "", *table_of(rows), "")]
        write_between(folder / "card.md", lines)
        write_between(ROOT / "docs" / "dose-prediction.md", lines)
    print(RESULT)


if __name__ == "__main__":
    main()
