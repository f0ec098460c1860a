"""The DVH of organs contoured along voxels' edges against a dense sampling; writes results/dvh_jagged.md."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from shapes import jagged

from rtplan.dosimetry.dvh import dvh, value

#: Organs of each of six shapes; four doses each.
SHIFTS, SEED, HELD_OUT = 5, 11, 20261125
METRICS = {
    "V": "Volume[cc]",
    "D98": "D98%[Gy]",
    "D50": "D50%[Gy]",
    "D2": "D2%[Gy]",
    "mean": "Mean[Gy]",
    "min": "Min[Gy]",
    "max": "Max[Gy]",
}
RESULTS = Path(__file__).resolve().parent / "results"


def answers(seed: int, kept: Path | None) -> list[dict[str, dict[str, float]]]:
    """Return the answers of all organs, from a file where that holds them."""
    if kept is not None and kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    found = []
    for organ in jagged.organs(seed, SHIFTS):
        found.append(organ.truth.answers(jagged.DOSES))
        organ.__dict__.pop("truth")
    if kept is not None:
        kept.write_text(json.dumps(found), encoding="utf-8")
    return found


def table(seed: int, truths: list[dict[str, dict[str, float]]]) -> list[str]:
    """Return the lines for one seed."""
    doses = {kind: jagged.dose(kind) for kind in jagged.DOSES}
    errors, bounds, linear, seconds = [], [], [], []
    for organ, truth in zip(jagged.organs(seed, SHIFTS), truths, strict=True):
        for kind, dose in doses.items():
            start = time.process_time()
            made = dvh(organ.structure, dose)
            seconds.append(time.process_time() - start)
            got = [value(made, metric) for metric in METRICS.values()]
            scale = np.array([100 / truth[kind]["V"], *[1.0] * (len(METRICS) - 1)])
            errors.append(
                [abs(a.value - truth[kind][name]) for a, name in zip(got, METRICS, strict=True)] * scale
            )
            bounds.append([a.error_bound for a in got] * scale)
            linear.append(kind != "curved")
    error, bound, straight = np.array(errors), np.array(bounds), np.array(linear)
    lines = [f"## Seed {seed} (n = {len(error)})", ""]
    lines += [f"Milliseconds of processor time per case: median {1000 * np.median(seconds):.0f}.", ""]
    lines += ["| metric | median | p95 | max | max, linear doses | bound median | bound / error | covers |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for i, name in enumerate(METRICS):
        e, b = error[:, i], bound[:, i]
        numbers = (np.median(e), np.percentile(e, 95), e.max(), e[straight].max(), np.median(b))
        cells = " | ".join(f"{x:.4f}" for x in numbers)
        ratio, held = np.median(b) / max(np.median(e), 1e-9), 100 * np.mean(e <= b)
        lines.append(f"| {name} ({'%' if name == 'V' else 'Gy'}) | {cells} | {ratio:.1f} | {held:.1f} % |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=Path, help="folder that keeps the dense sampling's answers")
    asked = parser.parse_args()
    lines = [
        "# The DVH of organs contoured along voxels' edges",
        "",
        "`python benchmarks/dvh_jagged.py`: ellipsoids, crescents, two lobes, bent tubes, hollow walls and",
        "loops on voxels of 1.5×1.5×2.5 mm, drawn sizes, tilts and shifts; linear doses of 1 Gy/mm along x,",
        "z and obliquely, and a Gaussian (σ 20 mm, 60 Gy, 1 mm grid). |rtplan − dense sampling| of",
        "the solid that contours and caps (`rounded`) define; the sampling shares no lattice with rtplan",
        f"(`shapes/jagged.py`). Seed {SEED} set the bound's constants for sharp corners; seed {HELD_OUT}",
        "was run once, when they stood.",
        "",
    ]
    for seed in (SEED, HELD_OUT):
        kept = asked.answers / f"jagged_{seed}.json" if asked.answers else None
        lines += table(seed, answers(seed, kept))
    text = "\n".join(lines)
    (RESULTS / "dvh_jagged.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
