"""Arcs: how long `rtplan plan --beams arc` takes, part by part, and how good it is; results/arc.md.

Each patient (PI-CAI masks in digital pelves) is written as DICOM and planned by the whole command in a
process of its own: fluences, the boost's climb, leaves, the dose of what was written, the other algorithm,
scenarios, report. Rows are kept under a label, so that two states of the program can stand side by side.

Run: python benchmarks/arc.py [--label NAME] [--shapes 0 100 112] [--beams arc] [--report]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import planning

CACHE = planning.ROOT / "out" / "arc"
OUT = planning.ROOT / "benchmarks" / "results" / "arc.md"
GRID_MM = 2.5
#: Parts of the command after the plan is made: functions of `rtplan.case.plan`, and their words.
AFTER = {
    "_written": "written, read back, calculated",
    "judged": "goals and risks",
    "checked": "other algorithm",
    "in_scenarios": "scenarios",
    "write_report": "report",
}
MADE = {"OptimisePlan": "fluences", "RaiseBoost": "the boost's climb", "DeliverPlan": "leaves"}
#: Findings that are told: metric, structure, words.
TOLD = (
    ("V95%[%] outside limited organs", "PTVp_7700", "PTV V95 outside organs, %"),
    ("D98%[Gy]", "PTVp_7700", "PTV D98, Gy"),
    ("D98%[Gy]", "GTVp", "GTV D98, Gy"),
    ("D98%[Gy] delivered - ideal", "PTVp_7700", "PTV D98, leaves - ideal, Gy"),
    ("D98%[Gy] delivered - ideal", "GTVp", "GTV D98, leaves - ideal, Gy"),
    ("Gamma 2%/2mm delivered against ideal", None, "gamma leaves - ideal, %"),
    ("D2%[Gy]", "Rectal_Wall", "rectal wall D2, Gy"),
    ("Mean[Gy]", "Rectal_Wall", "rectal wall mean, Gy"),
    ("D2%[Gy]", "Urethra", "urethra D2, Gy"),
    ("Mean dose by cone", "PTVp_7700", "cone - pencil, PTV mean, %"),
    ("Mean dose by cone", "GTVp", "cone - pencil, GTV mean, %"),
    ("Gamma 2%/2mm by cone", None, "gamma cone - pencil, %"),
    ("MU per fraction", None, "MU per fraction"),
)


def one(index: int, masks: Path, beams: str, quick: bool) -> dict[str, Any]:
    """Plan one patient as the command does; return seconds of each part and what was found."""
    from rtplan.case import plan as case
    from rtplan.case.plan_settings import PlanSettings
    from rtplan.case.run import Place
    from rtplan.io.patient_write import write_patient

    spent: dict[str, tuple[float, float]] = {}
    for name, words in AFTER.items():
        setattr(case, name, timed(getattr(case, name), words, spent))
    make = case._timed

    @contextmanager
    def made(step: str, *more: Any) -> Any:
        start = time.perf_counter(), time.process_time()
        with make(step, *more):
            yield
        spent[MADE[step]] = since(start)

    case._timed = made
    with tempfile.TemporaryDirectory() as folder:
        patient, _, _ = planning.pelvis(sorted(masks.glob("*.npz"))[index], index)
        write_patient(patient, Path(folder) / "in")
        start = time.perf_counter(), time.process_time()
        place = Place(Path(folder) / "in", Path(folder) / "out")
        settings = PlanSettings(planning.PROTOCOL, beams=beams, grid_mm=GRID_MM)
        settings = replace(settings, second=False, robust=None) if quick else settings
        done = case.plan_case(place, settings)
        whole = since(start)
    findings = [f.as_dict() for f in done.findings if f.quantity == "value"]
    return {"index": index, "beams": beams, "whole": whole, "parts": spent, "findings": findings}


def timed(call: Callable[..., Any], words: str, spent: dict[str, tuple[float, float]]) -> Callable[..., Any]:
    """Return a function that notes how long it takes."""

    def run(*given: Any, **named: Any) -> Any:
        start = time.perf_counter(), time.process_time()
        answer = call(*given, **named)
        spent[words] = since(start)
        return answer

    return run


def since(start: tuple[float, float]) -> tuple[float, float]:
    """Return seconds by the clock and of the processor."""
    return round(time.perf_counter() - start[0], 2), round(time.process_time() - start[1], 2)


def rows(label: str) -> list[dict[str, Any]]:
    """Return the rows of a label; of one made twice the later."""
    lines = (CACHE / f"{label}.jsonl").read_text().splitlines()
    return [row for _, row in sorted({row["index"]: row for row in map(json.loads, lines)}.items())]


def report(labels: list[str]) -> str:
    """Return the page."""
    found = {label: rows(label) for label in labels}
    heads = [f"{label}, shape {row['index']}" for label in labels for row in found[label]]
    every = [row for label in labels for row in found[label]]
    parts = list(dict.fromkeys(name for row in every for name in row["parts"]))
    lines = [
        "# Arcs",
        "",
        "`rtplan plan --beams arc` on PI-CAI shapes in digital pelves, `prostate_boost_flame`, 2.5 mm,",
        "with the other algorithm, scenarios and report (`quick`: without the first two): seconds by the",
        "clock / of the processor. On a shared machine the clock tells little, and processor time is an",
        "upper bound.",
        "",
        "| part | " + " | ".join(heads) + " |",
        "|---|" + "---|" * len(heads),
    ]
    for name in parts:
        cells = [row["parts"].get(name, (0.0, 0.0)) for row in every]
        lines.append(f"| {name} | " + " | ".join(f"{a:.1f} / {b:.1f}" for a, b in cells) + " |")
    lines.append("| whole | " + " | ".join("{:.1f} / {:.1f}".format(*row["whole"]) for row in every) + " |")
    lines += ["", "| found | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    lines.append(
        "| hard limits missed | " + " | ".join(str(len(planning.missed(row))) for row in every) + " |"
    )
    for metric, structure, words in TOLD:
        cells = [planning.value(row, metric, structure) for row in every]
        lines.append(f"| {words} | " + " | ".join("–" if x is None else f"{x:.2f}" for x in cells) + " |")
    return "\n".join([*lines, "", "Made by `python benchmarks/arc.py`.", ""])


def main() -> None:
    """Plan what is asked for, then write the page of the labels at hand."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--label", default="now")
    ask.add_argument("--shapes", type=int, nargs="*", default=[0, 100, 112])
    ask.add_argument("--beams", default="arc")
    ask.add_argument("--masks", type=Path, default=planning.MASKS)
    ask.add_argument("--one", type=int, help="plan this shape in this process and print its row")
    ask.add_argument("--quick", action="store_true", help="without the other algorithm and the scenarios")
    ask.add_argument("--report", nargs="*", help="only write the page of these labels")
    asked = ask.parse_args()
    if asked.one is not None:
        print(json.dumps(one(asked.one, asked.masks, asked.beams, asked.quick)))
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    for index in () if asked.report else asked.shapes:
        call = [sys.executable, __file__, "--one", str(index), "--beams", asked.beams]
        call += ["--quick"] if asked.quick else []
        done = subprocess.run(
            [*call, "--masks", str(asked.masks)], check=True, capture_output=True, text=True
        )
        row = json.loads(done.stdout.splitlines()[-1])
        with (CACHE / f"{asked.label}.jsonl").open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        print(index, row["whole"], row["parts"], flush=True)
    OUT.write_text(report(asked.report or [asked.label]), encoding="utf-8")


if __name__ == "__main__":
    main()
