"""How exact is the DVH? 480 solids, curved doses, Nelms 2015, dicompyler-core; writes results/dvh.md."""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from shapes.solids import Case, all_cases, answers, defined_radius, quick_curved, true_radius, widest

from rtplan.dosimetry.dvh import Settings, dvh, value
from rtplan.errors import RtplanError
from rtplan.io import rtdose, rtstruct
from rtplan.io.crosscheck import peer_dvh

#: Seed of the shifts that are run once, when all constants stand.
HELD_OUT = 20261126
HERE = Path(__file__).resolve().parent
NELMS = HERE.parents[1] / "shared" / "data" / "nelms2015"
METRICS = {
    "V": "Volume[cc]",
    "D98": "D98%[Gy]",
    "D50": "D50%[Gy]",
    "D2": "D2%[Gy]",
    "mean": "Mean[Gy]",
    "min": "Min[Gy]",
    "max": "Max[Gy]",
}
#: Answers that were integrated before.
KNOWN: dict[tuple, dict[str, float]] = {}
Reference = Callable[[Case], tuple]


def defined(case: Case) -> tuple[np.ndarray, np.ndarray, float]:
    """Return heights and radii of the defined solid, and how far it reaches across."""
    return *defined_radius(case, "rounded"), widest(case)


def run(
    cases: list[Case], references: list[Reference], settings: Settings
) -> tuple[list[list[dict]], np.ndarray]:
    """Return for each reference the rows {metric: (error, error bound, cap bound)}, and seconds per case."""
    rows: list[list[dict]] = [[] for _ in references]
    seconds = []
    for case in cases:
        structure, dose = case.structure(), case.dose()
        start = time.process_time()
        made = dvh(structure, dose, settings)
        seconds.append(time.process_time() - start)
        for number, reference in enumerate(references):
            key = (reference.__name__, case.shape, case.radius_mm, case.slice_mm, case.gradient)
            key = (*key, *case.centre_mm.tolist())
            if key not in KNOWN:
                KNOWN[key] = answers(case, *reference(case))
            wanted = KNOWN[key]
            row = {}
            for name, truth in wanted.items():
                got = value(made, METRICS[name])
                scale = 100 / truth if name == "V" else 1.0
                row[name] = ((got.value - truth) * scale, got.error_bound * scale, got.cap_bound * scale)
            rows[number].append(row)
    return rows, np.array(seconds)


def table(title: str, rows: list[dict], *, caps: bool = False) -> list[str]:
    lines = [f"### {title} (n = {len(rows)})", ""]
    lines += [
        "| metric | median | p95 | max | bound median | bound / error | bound covers | with cap bound |"
    ]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for name in rows[0]:
        error = np.abs([row[name][0] for row in rows])
        bound = np.array([row[name][1] for row in rows])
        cap = np.array([row[name][2] for row in rows])
        ratio = np.median(bound) / max(np.median(error), 1e-9)
        cells = [
            f"{x:.4f}" if x >= 5e-4 else f"{x:.0e}"
            for x in (np.median(error), np.percentile(error, 95), error.max(), np.median(bound))
        ]
        cells += [f"{ratio:.1f}", f"{100 * np.mean(error <= bound):.1f} %"]
        cells += [f"{100 * np.mean(error <= bound + cap):.1f} %" if caps else ""]
        lines.append(f"| {name} ({'%' if name == 'V' else 'Gy'}) | {' | '.join(cells)} |")
    return [*lines, ""]


def solids(step: int) -> list[str]:
    cases = all_cases()[::step]
    (exact, true), seconds = run(cases, [defined, true_radius], Settings())
    known = [case.shape == "sphere" or case.gradient == "x" for case in cases]
    lines = ["## Linear dose, 1 Gy/mm, default settings", ""]
    lines += [
        "Milliseconds of processor time per case: median {:.0f}, p95 {:.0f}.".format(
            *1000 * np.percentile(seconds, [50, 95])
        ),
        "",
    ]
    lines += table("Against the solid that contours and caps define", exact)
    lines += table(
        "Against the true shape: spheres, cylinders across",
        [r for r, k in zip(true, known, strict=True) if k],
    )
    along = [r for r, k in zip(true, known, strict=True) if not k]
    lines += table("Against the true shape: cylinder ends, unknown by half a slice", along, caps=True)
    curved = all_cases(("curved",))[::step]
    lines += [*ends(curved)]
    for name in ("cubic", "linear"):
        (exact, true), _ = run(curved, [defined, true_radius], Settings(interpolation=name))
        spheres = [r for r, case in zip(true, curved, strict=True) if case.shape == "sphere"]
        lines += [f"## Curved dose (Gaussian, σ 20 mm, 60 Gy), {name} interpolation", ""]
        lines += table("Against the defined solid", exact)
        lines += table("Against the true spheres", spheres)
        lines += table("Against all true shapes (cylinder ends unknown)", true, caps=True)
        tubes = [r for r, case in zip(true, curved, strict=True) if case.shape == "cylinder"]
        lines += table("Against the true cylinders, ends unknown by half a slice", tubes, caps=True)
    return lines


def ends(cases: list[Case]) -> list[str]:
    """Return what the best rule for the ends could reach where all contours are alike (cylinders).

    From equal contours no rule can tell where between two slices a cylinder ends: it has to add the same
    part of a slice in every case. Here each part is tried with the true shape and dose otherwise, and the
    spheres count as free of error: a lower bound for every policy.
    """
    cylinders = [case for case in cases if case.shape == "cylinder"]
    lines = ["## The least error that any rule for the ends can have in the curved dose", ""]
    lines += ["Cylinders with the same part of a slice added at both ends; spheres counted as exact.", ""]
    lines += ["| part of a slice | D98 p95 | D50 p95 | D2 p95 | mean p95 |", "|---|---|---|---|---|"]
    truth = [quick_curved(case, -case.half_mm, case.half_mm) for case in cylinders]
    spheres = np.zeros((len(cases) - len(cylinders), 4))
    for part in np.linspace(0.0, 1.0, 11):
        found = []
        for case in cylinders:
            z, more = case.planes(), part * case.slice_mm
            found.append(quick_curved(case, z[0] - more, z[-1] + more))
        errors = np.concatenate([np.abs(np.array(found) - truth), spheres])
        cells = " | ".join(f"{x:.3f}" for x in np.percentile(errors, 95, axis=0))
        lines.append(f"| {part:.1f} | {cells} |")
    return [*lines, ""]


def held_out() -> str:
    """Return the table for shifts that no constant was set on and that were first looked at afterwards."""
    (exact,), _ = run(all_cases(seed=HELD_OUT), [defined], Settings())
    lines = [
        "# The DVH on shifts that were not looked at",
        "",
        f"`python benchmarks/dvh.py --held-out`; seed {HELD_OUT}. The constants of the error bound",
        "(`rtplan/dosimetry/bounds.py`, `doubt.py`, `extremes.py`) were set on seed 20261121, whose coverage",
        "in `dvh.md` is therefore not a test of them; seeds 7, 11 and 2026 were seen while they were tuned,",
        "so they are none either (2026 and 20261124 were the held-out seeds of earlier states of the code).",
        f"Seed {HELD_OUT} was first run when the constants stood, and none was changed after it.",
        "It tests new shifts only: shapes, radii, spacings and gradients are those of the tuning.",
        "",
        *table("Linear dose, 1 Gy/mm, against the defined solid", exact),
    ]
    return "\n".join(lines)


def nelms() -> list[str]:
    if not NELMS.is_dir():
        return ["## Nelms 2015: the data are not here", ""]
    with (NELMS / "analytic_metrics.csv").open(encoding="utf-8-sig") as stream:
        wanted = [row for row in csv.DictReader(stream) if row["Dose Voxel (mm)"] in ("1", "2", "3")]
    lines = ["## Nelms 2015 (half_slice; rounded and dicompyler-core beside)", ""]
    lines += ["Largest |error| by slice spacing: volume in %, doses in % of the maximum dose.", ""]
    lines += [
        "| slices | program | n | volume | D99 D95 D5 D1 | mean | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for spacing in ("1mm", "2mm", "3mm"):
        rows = [row for row in wanted if row["CT slice spacing (mm)"] == spacing]
        for program in ("half_slice", "rounded", "dicompyler-core"):
            start = time.perf_counter()
            errors = [e for e in (_nelms_errors(row, program) for row in rows) if e is not None]
            spent = time.perf_counter() - start
            if errors:
                worst = np.abs(errors).max(axis=0)
                cells = " | ".join(f"{x:.2f}" for x in worst)
                lines.append(f"| {spacing} | {program} | {len(errors)} | {cells} | {spent:.1f} |")
    return [*lines, ""]


def _nelms_errors(row: dict[str, str], program: str) -> tuple[float, float, float] | None:
    direction = "AntPost" if "AP" in row["Gradient direction"] else "SupInf"
    dose = NELMS / "dose" / f"Linear_{direction}_{row['Dose Voxel (mm)']}mm_Aligned.dcm"
    contours = NELMS / "structures" / f"{row['Structure name']}.dcm"
    if not dose.is_file() or not contours.is_file():
        return None
    structure = rtstruct.read(contours).structures[0]
    truth = {name: float(row[name]) / 100 for name in ("Dmean", "D99", "D95", "D5", "D1", "Dmax")}
    cc = float(row["Total Volume (cc)"])
    if program == "dicompyler-core":
        try:
            got = peer_dvh(contours, dose, structure.name)
        except RtplanError:
            return None
        doses, mean, volume = (
            [got[f"D{p}%[Gy]"] - truth[f"D{p}"] for p in (99, 95, 5, 1)],
            got["Mean[Gy]"],
            got["Volume[cc]"],
        )
    else:
        made = dvh(structure, rtdose.read(dose).dose, Settings(caps=program))
        doses = [value(made, f"D{p}%[Gy]").value - truth[f"D{p}"] for p in (99, 95, 5, 1)]
        mean, volume = made.curve.mean_gy, made.curve.total_cc
    percent = 100 / truth["Dmax"]
    return 100 * (volume / cc - 1), max(map(abs, doses)) * percent, (mean - truth["Dmean"]) * percent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="take every n-th case")
    parser.add_argument("--held-out", action="store_true", help="only the other seed, to its own file")
    asked = parser.parse_args()
    if asked.held_out:
        text = held_out()
        (HERE / "results" / "dvh_held_out.md").write_text(text, encoding="utf-8")
        print(text)
        return
    step = asked.every
    lines = [
        "# How exact is the DVH?",
        "",
        "`python benchmarks/dvh.py`; seed 20261121; errors are |rtplan − reference|.",
        "",
    ]
    if step > 1:
        lines += [f"Every {step}th case only.", ""]
    lines += [*nelms(), *solids(step)]
    text = "\n".join(lines)
    (HERE / "results" / "dvh.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
