"""Processor time of all that reads DVHs in a run: each on its own, and sharing a ledger of those made before.

Usage: python benchmarks/ledger.py [--out DIR]      writes benchmarks/results/ledger.md
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rtplan.case.archive import read_case
from rtplan.case.curves import bands_of, curves_of
from rtplan.domain import Patient
from rtplan.dosimetry.judging import judge
from rtplan.dosimetry.ledger import Ledger
from rtplan.dosimetry.protocol import load_protocol
from rtplan.dosimetry.risk import Ask, estimate

HERE = Path(__file__).resolve().parent
PROTOCOL = load_protocol("prostate_boost_flame")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--out", type=Path, help="Out folder of rtplan demo; made when not given.")
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="rtplan-ledger-") as place:
        out = asked.out or Path(place) / "demo"
        if asked.out is None:
            subprocess.run([sys.executable, "-m", "rtplan", "demo", "--out", str(out), "--quiet"], check=True)
        patient = read_case(out).patient
    apart, ledger = measured(patient, Ledger), Ledger()
    shared = measured(patient, lambda: ledger)
    rows = [f"| {name} | {apart[name]:.1f} | {shared[name]:.1f} |" for name in apart]
    text = "\n".join(
        [
            "# Time of the DVHs of a run",
            "",
            f"`python benchmarks/ledger.py` on {os.cpu_count()} cores, {platform.system()} "
            f"{platform.machine()}, Python {platform.python_version()}; the demo's patient "
            f"({len(patient.structures)} structures, {len(patient.doses)} arms); processor time, once. The "
            "results are the same to the bit (tests/dosimetry/test_dosimetry_ledger.py).",
            "",
            "| reads DVHs | each on its own [s] | with a ledger [s] |",
            "|---|---|---|",
            *rows,
            f"| together | {sum(apart.values()):.1f} | {sum(shared.values()):.1f} |",
            "",
        ]
    )
    (HERE / "results" / "ledger.md").write_text(text, encoding="utf-8")
    print(text)


def measured(patient: Patient, ledger: Callable[[], Ledger]) -> dict[str, float]:
    """Return the processor seconds of everything that reads DVHs, in the order of a run."""
    curves: dict[str, Any] = {}
    work: dict[str, Callable[[], Any]] = {
        "metrics and goals (EvaluateProtocol)": lambda: judge(patient, PROTOCOL, ledger=ledger()),
        "risks (EstimateOutcome)": lambda: estimate(patient, PROTOCOL, Ask(ledger=ledger())),
        "curves for files and report": lambda: curves.update(curves_of(patient, ledger())),
        "bands for the report": lambda: bands_of(patient, curves, ledger()),
    }
    seconds = {}
    for name, part in work.items():
        start = time.process_time()
        part()
        seconds[name] = time.process_time() - start
    return seconds


if __name__ == "__main__":
    main()
