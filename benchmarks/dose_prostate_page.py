"""Tables of the boost network's errors, figures of its card, and the page of results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from dose_prostate_metrics import BARS, FIGURES, NEAR_MM, RISK, Row

from rtplan.learning.card import Figure
from rtplan.learning.zoo import Model


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


def split_of(rows: Mapping[str, list[Row]]) -> list[str]:
    """Return the network's errors by distance from the gland and by course."""
    own = rows["network"]
    far = [row["error far"] for row in own if not np.isnan(row["error far"])]
    near, share = (np.mean([row[key] for row in own]) for key in ("error near", "share far"))
    lines = [
        f"Where the dose is high: {near:.2f} % within {NEAR_MM:g} mm of the gland's target; beyond it "
        + (f"{np.mean(far):.2f} % in {len(far)} pelves" if far else "no voxel")
        + f" ({share:.1f} % of such voxels lie beyond).",
        "",
        "| fractions | pelves | risk planned, % | error of NTCP, pp (bias) | of rectal gEUD, Gy EQD2 (bias) "
        "| where planned NTCP ≥ 1 % |",
        "|---|---|---|---|---|---|",
    ]
    for fractions in sorted({row["fractions"] for row in own}):
        some = [row for row in own if row["fractions"] == fractions]
        cells = [_signed([row[key] for row in some]) for key in ("rectal NTCP", "rectal gEUD")]
        risky = [row["rectal NTCP"] for row in some if row["NTCP planned"] >= 1.0]
        least, most = (f([row["NTCP planned"] for row in some]) for f in (min, max))
        lines.append(
            f"| {fractions:g} | {len(some)} | {least:.1f} to {most:.1f} | {cells[0]} | {cells[1]} "
            f"| {_signed(risky) + f' in {len(risky)}' if risky else '–'} |"
        )
    return lines


def _signed(values: Sequence[float]) -> str:
    return f"{np.mean(np.abs(values)):.2f} ({np.mean(values):+.2f})"


def figures_of(sets: Mapping[str, Mapping[str, list[Row]]]) -> tuple[Figure, ...]:
    """Return the figures of the card."""
    found = []
    for data, rows in sets.items():
        for name, (unit, _) in BARS.items():
            mean, low, high = interval([row[name] for row in rows["network"]])
            found.append(
                Figure(
                    metric=FIGURES.get(name, f"mean absolute {name}[{unit}]"),
                    data=data,
                    value=round(mean, 3),
                    interval95=(round(low, 3), round(high, 3)),
                    n=len(rows["network"]),
                )
            )
    return tuple(found)


def note_scored(path: Path, weights: str, sets: Mapping[str, str]) -> list[str]:
    """Note that these weights were scored on these sets; return what is to be told of earlier weights.

    Parameters
    ----------
    path : Path
        ``scored.json`` beside the card: weights by set, in the order in which they were scored.
    weights : str
        SHA-256 of those that are scored now.
    sets : mapping
        What is told of a set, by its name in the file.
    """
    kept: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    told = []
    for name, words in sets.items():
        known = kept.setdefault(name, [])
        if weights[:12] not in known:
            known.append(weights[:12])
        before = known[: known.index(weights[:12])]
        told.append(
            f"{words} ({name}): "
            + (
                f"scored before with other weights ({', '.join(before)}), so **not blind**."
                if before
                else "no other weights were scored on it before."
            )
        )
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return told


def page(
    model: Model, sets: Mapping[str, Mapping[str, list[Row]]], told: Sequence[str], cases: int, cache: Path
) -> str:
    """Return the page of results; `told` says of each set whether it was scored before."""
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
        *(f"- {line}" for line in told),
        "",
    ]
    for data, rows in sets.items():
        lines += [f"## {data}", "", *table_of(rows), "", *split_of(rows), ""]
    lines += [*plans_lines(cache, model.sha256), *synthetic_lines(cache, model.sha256), *calls_lines(cache)]
    return "\n".join(lines)


def plans_lines(cache: Path, weights: str) -> list[str]:
    """Return the tables of mimicking and of the planner's scatter."""
    kept = cache / f"plans-{weights[:12]}.jsonl"
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


def synthetic_lines(cache: Path, weights: str) -> list[str]:
    """Return the table of predictions on CT and on a synthetic CT, both against the plan on CT."""
    path = cache / f"synthetic-{weights[:12]}.json"
    if not path.is_file():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))
    lines = [
        "## On a synthetic CT",
        "",
        f"{len(rows)} digital pelves (population `valid`, seeds of their own): predicted on the CT and on "
        "the synthetic CT of `synct_mr_pelvis` from the T2w, each against the plan **on the CT**; and both "
        "predictions against each other. Mean absolute (mean signed) differences.",
        "",
        "| | CT − planned | synthetic CT − planned | synthetic CT − CT |",
        "|---|---|---|---|",
    ]
    for name, (unit, _) in BARS.items():
        cells = []
        for way in ("CT", "SynCT", "SynCT - CT"):
            v = [row[way][name] for row in rows]
            cells.append(f"{np.mean(v):.2f}" if name.startswith("error") else _signed(v))
        lines.append(f"| {name}, {unit} | {' | '.join(cells)} |")
    return [*lines, ""]


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
