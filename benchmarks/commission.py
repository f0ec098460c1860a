"""Synthetic machines commissioned from noisy measurements; writes results/commission.md.

Each machine differs from the one the fit starts from in quality, depth functions, kernel weights, source and
horn; every row of its CSV has 0.5 % noise. Run: python benchmarks/commission.py   (under a minute)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rtplan.planning.beam import BeamModel, load_beam
from rtplan.planning.commission import fit_pencil, predicted
from rtplan.planning.coneaxis import cone_on_axis
from rtplan.planning.conefit import fit_cone
from rtplan.planning.kernel import load_kernel
from rtplan.planning.measured import Measured

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "commission.md"
START, KERNEL = load_beam("generic_6mv"), load_kernel("water_6mv")
SSD_MM, NOISE = 900.0, 0.005
DEPTHS_MM = [10.0, 15.0, 20.0, 30.0, 50.0, 75.0, 100.0, 150.0, 200.0, 250.0, 300.0]
MEASURED_MM = (30.0, 40.0, 60.0, 80.0, 100.0, 150.0, 200.0, 250.0)
UNSEEN_MM = (50.0, 70.0, 120.0, 180.0, 220.0)
EDGES_MM = (50.0, 100.0, 200.0)
Float = NDArray[np.float64]


def machine(seed: int) -> BeamModel:
    """Return a machine of its own."""
    random = np.random.default_rng(seed)
    weight = np.array(START.kernel.weight) * (1.0 + 0.1 * random.standard_normal((3, 7)))
    weight[0, 4:] *= random.uniform(0.8, 1.25)
    radius, horn = np.array(START.horn.radius_mm), np.array(START.horn.relative_fluence)
    bend = random.uniform(-0.05, 0.05)
    update = {
        "attenuation_per_mm": START.attenuation_per_mm * random.uniform(0.93, 1.07),
        "beta_per_mm": tuple(np.array(START.beta_per_mm) * random.uniform(0.85, 1.15, 3)),
        "source_fwhm_mm": random.uniform(3.0, 8.0),
        "kernel": START.kernel.model_copy(update={"weight": tuple(map(tuple, weight))}),
        "horn": START.horn.model_copy(
            update={"relative_fluence": tuple(horn * (1.0 + bend * (radius / 150.0) ** 2))}
        ),
    }
    return START.model_copy(update=update)


def asked(quantity: str, side: float, depth: Float, offset: Float) -> Measured:
    """Return rows without values."""
    return Measured(np.array([quantity] * depth.size), np.full(depth.size, side), depth, offset, 0.0 * depth)


def measurements(model: BeamModel, seed: int) -> Measured:
    """Return noisy rows of a machine: six TMRs, eight output factors, three profiles at two depths."""
    depth = np.array(DEPTHS_MM)
    parts = [asked("tmr", side, depth, 0.0 * depth) for side in (30.0, 60.0, 100.0, 150.0, 200.0, 250.0)]
    parts += [asked("output_factor", side, np.array([100.0]), np.zeros(1)) for side in MEASURED_MM]
    for side in EDGES_MM:
        offset = np.arange(0.0, 0.65 * side, 2.5)
        parts += [asked("profile", side, np.full(offset.size, d), offset) for d in (50.0, 100.0)]
    random = np.random.default_rng(1000 + seed)
    noise = [1.0 + NOISE * random.standard_normal(p.depth_mm.size) for p in parts]
    values = [predicted(model, p, SSD_MM) * n for p, n in zip(parts, noise, strict=True)]
    names = ("quantity", "field_mm", "depth_mm", "offset_mm")
    columns = [np.concatenate([getattr(p, name) for p in parts]) for name in names]
    return Measured(*columns, np.concatenate(values))


def output(model: BeamModel, side: float) -> float:
    return float(predicted(model, asked("output_factor", side, np.array([100.0]), np.zeros(1)), SSD_MM)[0])


def penumbra(model: BeamModel, side: float) -> float:
    x = np.arange(0.0, 0.75 * side, 0.1)
    profile = predicted(model, asked("profile", side, np.full(x.size, 100.0), x), SSD_MM)[::-1]
    return float(np.interp(20.0, profile, x[::-1]) - np.interp(80.0, profile, x[::-1]))


def lines() -> Iterator[str]:
    """Lines of the report."""
    yield (
        "| machine | output, fields of the CSV, % | output, others, % | penumbra, mm | TMR 5-25 cm, % "
        "| cone: output, % | cone: TMR 5-25 cm over 10 cm, % | processor, s |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    deep = np.array([50.0, 100.0, 150.0, 200.0, 250.0])
    for seed in range(1, 6):
        true, begun = machine(seed), time.process_time()
        rows = measurements(true, seed)
        model = fit_pencil(START, rows, SSD_MM)
        model = model.model_copy(update={"cone": fit_cone(model, START, rows, SSD_MM)})
        took = time.process_time() - begun
        groups = (MEASURED_MM, UNSEEN_MM)
        off = [max(abs(100.0 * (output(model, s) / output(true, s) - 1.0)) for s in g) for g in groups]
        edge = max(abs(penumbra(model, s) - penumbra(true, s)) for s in EDGES_MM)
        some = (40.0, 100.0, 180.0)
        tmr = max(np.abs(100.0 * (model.tmr(s, deep) / true.tmr(s, deep) - 1.0)).max() for s in some)
        cone = {s: cone_on_axis(model, KERNEL, s, deep, 1000.0 - deep) for s in (*MEASURED_MM, *UNSEEN_MM)}
        head = max(abs(100.0 * (cone[s][1] / cone[100.0][1] / output(true, s) - 1.0)) for s in cone)
        fall = max(
            np.abs(100.0 * (cone[s] / cone[s][1] / (true.tmr(s, deep) / true.tmr(s, deep)[1]) - 1.0)).max()
            for s in some
        )
        cells = (off[0], off[1], edge, tmr, head, fall)
        yield f"| {seed} | " + " | ".join(f"{x:.2f}" for x in cells) + f" | {took:.0f} |"


def main() -> None:
    """Print the table and write it."""
    made = "Made by `python benchmarks/commission.py`: largest deviation from the true machine."
    head = ["# Commissioning", "", made, ""]
    text = "\n".join([*head, *lines(), "", NOTES]) + "\n"
    print(text)
    OUT.write_text(text, encoding="utf-8")


NOTES = """\
Bars: output factors 1.5 %, penumbra (20-80 %, 10 cm deep, 5, 10 and 20 cm) 0.5 mm. The true machines are
pencil beams; the cone's columns say how well the other algorithm, with its fixed kernel, follows the same
rows."""


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
