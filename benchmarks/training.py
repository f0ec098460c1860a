"""Samples per second of the dose networks' training on this machine's CPU, beside the operations of a step.

``python benchmarks/training.py`` writes ``benchmarks/results/training.md``. Processor time of one thread, so
that other programs on the machine count little; the least of the repeats.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from rtplan import resources
from rtplan.case.dose_training import held_out_names
from rtplan.io.datasets.openkbp import openkbp_paths, read_openkbp
from rtplan.learning import loop
from rtplan.learning.dose_job import DoseJob
from rtplan.learning.dose_settings import DoseData, DoseSettings
from rtplan.learning.doses import DoseCase, dose_case_of
from rtplan.learning.run import begin
from rtplan.learning.settings import parse

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "training.md"
DATA = ROOT.parent / "shared" / "data" / "openkbp" / "train"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--presets", nargs="+", default=["train", "small"])
    parser.add_argument("--repeats", type=int, default=4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    held = held_out_names(DoseData(folder=str(DATA)))
    names = [name for name in openkbp_paths(DATA) if name not in held][:4]
    cases = [dose_case_of(read_openkbp(openkbp_paths(DATA)[name])) for name in names]
    prepared = (time.process_time() - start) / len(cases)
    rows = [
        measure(preset, precision, cases, given.repeats)
        for preset in given.presets
        for precision in ("bf16", "f32")
    ]
    mib = sum(c.labels.nbytes + c.ct.nbytes + c.dose.nbytes + c.features.nbytes for c in cases) / 2**20
    peak = {"bf16": matmul_rate(torch.bfloat16), "f32": matmul_rate(torch.float32)}
    lines = [
        "# Training a dose network on the CPU",
        "",
        f"`python benchmarks/training.py`; one thread, torch {torch.__version__}, {platform.machine()}, "
        f"{cpu()}. Four patients, cut to the box of the possible dose; processor time, the least of "
        f"{given.repeats} rounds. A step draws, goes forward and back, and updates the weights and their "
        f"mean. A patient is read and prepared in {prepared:.2f} s and kept in {mib / len(cases):.1f} MiB; "
        "nothing is read from disk while training. The last column is what the step's operations (forward, "
        "counted, times three) would take at the rate of a 2048 × 2048 matrix product, which is no strict "
        "floor: the f32 convolutions are faster than torch's f32 product here. The rates: "
        f"{peak['bf16']:.0f} GFLOP/s in bf16, {peak['f32']:.0f} in f32.",
        "",
        "| settings | precision | s per sample | samples per s | forward, GFLOP | GFLOP/s | at rate, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        lines.append(
            f"| {r['preset']}.toml | {r['precision']} | {r['seconds']:.2f} | {1 / r['seconds']:.2f} | "
            f"{r['flops']:.0f} | {r['rate']:.0f} | {3 * r['flops'] / peak[r['precision']]:.2f} |"
        )
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def measure(preset: str, precision: str, cases: list[DoseCase], repeats: int) -> dict:
    plan = parse(resources.shelf("models") / "dose_openkbp" / f"{preset}.toml", DoseSettings)
    optimise = plan.optimise.model_copy(update={"precision": precision, "batch": 1})
    plan = plan.model_copy(update={"optimise": optimise})
    run, job = begin(plan, ROOT), DoseJob(plan, cases, [])
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        for step in range(len(cases)):
            job.loss(run, job.draw(step))
    flops = counter.get_total_flops() / len(cases) / 1e9
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        for step in range(len(cases)):
            loop._step(run, job, job.draw(step))
        seconds.append((time.process_time() - start) / len(cases))
    return {
        "preset": preset,
        "precision": precision,
        "seconds": min(seconds),
        "flops": flops,
        "rate": 3 * flops / min(seconds),
    }


def matmul_rate(dtype: torch.dtype, n: int = 2048) -> float:
    """Return the GFLOP/s of a matrix product on one thread, the best of eight."""
    a, b = (torch.rand(n, n).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        start = time.process_time()
        a @ b
        best = min(best, time.process_time() - start)
    return 2.0 * n**3 / best / 1e9


def cpu() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    main()
