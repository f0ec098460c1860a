"""Seconds and memory of each step of the demo, and of the real cases where their data are at hand.

Usage: python benchmarks/pipeline.py [--out DIR]      writes benchmarks/results/pipeline.md
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data"

CASES = {
    "demo (digital patient)": ["demo"],
    "STS_040 (real MR and CT, cropped)": [
        "run",
        str(DATA / "sts/dicom/STS_040"),
        "--protocol",
        "sts_preop_50gy",
    ],
    "STS_010 (real MR and CT, cropped)": [
        "run",
        str(DATA / "sts/dicom/STS_010"),
        "--protocol",
        "sts_preop_50gy",
    ],
    "ProstateX-0000 (real T2w alone)": [
        "run",
        str(DATA / "prostatex/ProstateX-0000/dicom_t2tra"),
        "--protocol",
        "prostate_boost_flame",
    ],
}

# The child prints its own peak: the largest process of the chain is the command itself.
CHILD = """
import resource, sys
from rtplan.cli import main
try:
    main(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--out", type=Path, default=Path("out/benchmark"))
    out = arguments.parse_args().out
    lines = [
        "# Seconds and memory of the pipeline",
        "",
        f"`python benchmarks/pipeline.py` on {os.cpu_count()} cores, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}. Wall clock; peak is that of the whole "
        "process after the step.",
    ]
    for title, call in CASES.items():
        if call[0] == "run" and not Path(call[1]).exists():
            lines += ["", f"## {title}", "", "Left out: its data are not here."]
            continue
        lines += measure(title, call, out / title.split()[0])
    table = "\n".join(lines) + "\n"
    (HERE / "results" / "pipeline.md").write_text(table, encoding="utf-8")
    print(table)


def measure(title: str, call: list[str], out: Path) -> list[str]:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *call, "--out", str(out), "--overwrite", "--quiet"],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - start
    peak_gib = int(done.stderr.split()[-1]) / 2**20
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    rows = [f"| {s['name']} | {s['seconds']:.1f} | {s['peak_mib']:.0f} |" for s in manifest["steps"]]
    rest = seconds - sum(s["seconds"] for s in manifest["steps"])
    page_mib = (out / "report.html").stat().st_size / 2**20
    return [
        "",
        f"## {title}",
        "",
        f"**{seconds:.0f} s, {peak_gib:.2f} GiB** in all, report {page_mib:.1f} MiB.",
        "",
        "| step | seconds | peak MiB |",
        "|---|---|---|",
        *rows,
        f"| start, reading, writing, report | {rest:.1f} | |",
    ]


if __name__ == "__main__":
    main()
