"""The page of benchmarks/scale.py from the numbers of its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Numbers = Mapping[str, Any]
#: The comparison: volumes, voxels of each, nodes, hours.
VOLUMES, VOXELS, NODES, HOURS = 500, 384 * 384 * 160, 100, 6.0


def _verdict(met: bool) -> str:
    return "met" if met else "not met"


def steps(n: Numbers) -> list[str]:
    """Return patients per hour and core, by part."""
    total = sum(np.mean(v) for v in n["parts"].values())
    cpu, million = float(np.mean(n["cpu"])), n["voxels"] / 1e6
    theirs = 3600 * NODES * HOURS / VOLUMES
    rows = [
        f"| {name} | {np.mean(v):.2f} | {100 * np.mean(v) / total:.0f} % | {3600 / np.mean(v):,.0f} |"
        for name, v in n["parts"].items()
        if np.mean(v) >= 0.005
    ]
    return [
        f"{n['patients']} digital patients (CT, T2w and structures as DICOM, {million:.1f} million voxels an",
        "image) through all of `rtplan run`: synthetic CT, six arms, a plan with 7 fields, goals, risk,",
        "report, DICOM. One worker of one thread; the first patient, which loads what the others find, is",
        "left out.",
        "",
        "| part | seconds | share | patients per hour and core |",
        "|---|---|---|---|",
        *rows,
        f"| **whole patient** | **{np.mean(n['seconds']):.1f}** | | **{3600 / np.mean(n['seconds']):.0f}** |",
        "",
        f"By processor time {cpu:.1f} s, **{3600 / cpu:.0f} patients per hour and core**.",
        f"Largest memory {n['peak_mib']:.0f} MiB; results {n['mib']:.0f} MiB a patient.",
        "",
        f"Elsewhere {VOLUMES} volumes of 384×384×160 were segmented on {NODES} nodes in {HOURS:.0f} h:",
        f"{theirs:.0f} node-seconds a volume. Ours: {cpu:.0f} core-seconds a patient of {million:.1f}",
        f"million voxels; {cpu * VOXELS / n['voxels']:.0f} at their {VOXELS / 1e6:.1f} million,",
        "if every part grew with the voxels. The tasks differ (theirs segments; ours makes a synthetic CT, a",
        "plan, doses on six densities and risks, and segments nothing): a scale, not a contest.",
    ]


def efficiency(n: Numbers) -> list[str]:
    """Return how two workers compare with one."""
    found = {w: ", ".join(f"{run['span']:.1f}" for run in runs) for w, runs in n["runs"].items()}
    return [
        f"{n['patients']} patients (small question) on one and on two single-threaded workers; seconds",
        f"from the first start to the last end: {found['1']} on one, {found['2']} on two. The best counts.",
        "",
        f"Efficiency **{n['efficiency']:.3f}** (bar 0.9: {_verdict(n['efficiency'] >= 0.9)}). The",
        f"same patients took {n['cpu_ratio']:.3f} times the processor time on two workers: what the machine",
        f"itself loses when both cores work. Load at the end {n['load']:.1f}.",
    ]


def memory(n: Numbers) -> list[str]:
    """Return what a worker held over many patients."""
    growth = 100 * (n["late"] / n["early"] - 1)
    what = "with plan, two arms and report" if n["plans"] else "without targets (read, arms, report, DICOM)"
    at = [i for i in (1, 10, 25, 50, 100, 150, 200) if i <= len(n["held"])]
    held = ", ".join(f"{n['held'][i - 1]:.0f}" for i in at)
    return [
        f"{n['patients']} patients {what} on one worker.",
        f"Held after patient {', '.join(map(str, at))}: {held} MiB.",
        "",
        f"Median of patients 11 to 40 {n['early']:.0f} MiB, of the last 30 {n['late']:.0f} MiB: growth",
        f"**{growth:+.1f} %** (bar 5 %: {_verdict(growth <= 5.0)}). Largest peak {max(n['peak']):.0f} MiB.",
    ]


def overhead(n: Numbers) -> list[str]:
    """Return what scheduling takes beside the work."""
    rows = []
    for name in ("small", "whole"):
        work, own, idle = (n[name][key] for key in ("work_s", "own_s", "idle_s"))
        share = 100 * (own + idle) / work
        told = f"{1e3 * own:.0f} | {1e3 * idle:.0f} | {share:.2f} %"
        rows.append(f"| {name} | {work:.2f} | {told} |")
    return [
        "Processor time of the process that schedules and keeps the manifest, and how long a worker waits",
        "for its next patient, beside the processor time of the work; from the first start to the last end.",
        "",
        "| patients | work [s] | scheduling [ms] | waiting [ms] | both, of the work |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"Of a whole patient **{share:.2f} %** (bar 1 %: {_verdict(share <= 1.0)}).",
    ]


def model(n: Numbers) -> list[str]:
    """Return formula and simulation for a large cohort."""
    rows = [
        f"| {r['workers']} | {r['model']:.2f} | {np.mean(r['simulated']):.2f} "
        f"({min(r['simulated']):.2f} to {max(r['simulated']):.2f}) | "
        f"{100 * (r['model'] / np.mean(r['simulated']) - 1):+.1f} % | {r['lost']:.1f} | "
        f"{r['model'] * r['workers']:.0f} |"
        for r in n["rows"]
    ]
    return [
        "hours = start + max(N·s, N·(t + s + l) / W) + tail (`benchmarks/cohort/model.py`), with the",
        f"measured times t of whole patients (mean {n['mean']:.1f} s) and the scheduler's",
        f"s = {1e3 * n['service']:.0f} ms.",
        "",
        f"Assumed: N = {n['count']} patients like those; each worker one core as fast as here;",
        f"{n['start']:.0f} s until a worker is ready; a worker dies {n['deaths_per_hour']:g} times an hour;",
        "files come and go as fast as on this disk (the share is not modelled); nobody else uses the nodes.",
        f"Results take {n['gib']:.0f} GiB.",
        "",
        "| workers | model [h] | simulated [h], three seeds | difference | lost to deaths [h] | core-hours |",
        "|---|---|---|---|---|---|",
        *rows,
    ]


#: Parts in the order of the page: title and text.
PARTS: dict[str, tuple[str, Callable[[Numbers], list[str]]]] = {
    "steps": ("Patients per hour and core", steps),
    "efficiency": ("From one worker to two", efficiency),
    "memory": ("Memory over 200 patients", memory),
    "memory_plans": ("Memory over patients with plans", memory),
    "overhead": ("What scheduling costs", overhead),
    "model": ("10 000 patients", model),
}


def page(kept: Callable[[str], Numbers | None]) -> str:
    """Return the result page from the parts that were run."""
    lines = [
        "# What a cohort costs",
        "",
        "Written by `benchmarks/scale.py`; each part says where and when it ran.",
    ]
    for part, (title, text) in PARTS.items():
        numbers = kept(part)
        lines += ["", f"## {title}", ""]
        if numbers is None:
            lines.append(f"Not run (`--part {part}`).")
            continue
        lines += [*text(numbers), "", f"({numbers['machine']}; {numbers['day']}.)"]
    return "\n".join(lines) + "\n"
