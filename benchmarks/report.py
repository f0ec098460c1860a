"""Seconds and size of one patient's report, made again from the out folder of the demo and of a study.

Usage: python benchmarks/report.py [--out DIR] [--study DIR]      writes benchmarks/results/report.md
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BAR_S, BAR_MIB = 10.0, 5.0
TIMES = 3


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--out", type=Path, help="Out folder of rtplan demo; made when not given.")
    arguments.add_argument("--study", type=Path, help="Folder of rtplan study.")
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="rtplan-report-") as place:
        out = asked.out or Path(place) / "demo"
        if asked.out is None:
            call("demo", "--out", str(out), "--quiet")
        rows = [measure("demo, one patient, six arms", out)]
        rows += [measure("study", asked.study)] if asked.study else []
    text = "\n".join(
        [
            "# Seconds and size of a report",
            "",
            f"`python benchmarks/report.py` on {os.cpu_count()} cores, {platform.system()} "
            f"{platform.machine()}, Python {platform.python_version()}; `rtplan report OUT` as its own "
            f"process, {TIMES} times, the shortest. Other work ran beside it, load {os.getloadavg()[0]:.0f}: "
            "hence the processor time. "
            f"Bar for one patient: {BAR_S:.0f} s and {BAR_MIB:.0f} MB.",
            "",
            "| report | wall [s] | processor [s] | page [MB] | PDF [MB] |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
    (HERE / "results" / "report.md").write_text(text, encoding="utf-8")
    print(text)


def call(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "rtplan", *words], check=True, stdout=subprocess.DEVNULL)


def measure(title: str, out: Path) -> str:
    walls, processors = [], []
    for _ in range(TIMES):
        before = spent()
        start = time.perf_counter()
        call("report", str(out))
        walls.append(time.perf_counter() - start)
        processors.append(spent() - before)
    page, document = ((out / f"report.{ending}").stat().st_size / 1e6 for ending in ("html", "pdf"))
    return f"| {title} | {min(walls):.1f} | {min(processors):.1f} | {page:.2f} | {document:.2f} |"


def spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
