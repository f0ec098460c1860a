"""The residuals of a synthetic-CT network on patients it has not seen: distribution, correlation, coverage.

``python benchmarks/residuals.py`` measures and writes ``models/<model>/residuals.toml`` and
``benchmarks/results/residuals.md``. The digital patients (cohort ``valid``, 101 and later) and the real test
pairs (STS) are cut in halves: on the first half the quantiles by class of tissue, the correlation and, by
leaving out one patient at a time, the factor are fitted; on the second half the coverage is checked.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from rtplan.domain import Image
from rtplan.imaging.body import body_mask
from rtplan.io.datasets.npz import read_folder
from rtplan.learning.predict import synthesise
from rtplan.learning.residuals import FILE, Correlation, Coverage, Residuals, ResidualSet, TissueResidual
from rtplan.learning.zoo import Model, load_model
from rtplan.phantom.cohort import make_patient

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "residuals.md"
STS = ROOT.parent / "shared" / "data" / "sts" / "npz_2mm"
#: Real pairs that were neither trained on nor used to choose the weights, in the order of the halves.
REAL_FIT = ("STS_010", "STS_022", "STS_036", "STS_044")
REAL_CHECK = ("STS_014", "STS_028", "STS_040")
ROLES = ("T2w", "T1w", "Dixon_IP")
#: Lower ends of the classes of predicted HU, and where bone begins.
EDGES = (-1024.0, -120.0, -60.0, 0.0, 30.0, 60.0, 100.0, 200.0, 300.0)
BONE_FROM = 100.0
LEVELS = (0.002, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.998)
#: Each case gives at most so many voxels to the quantiles.
VOXELS = 200_000
#: Pairs of voxels are looked at up to this distance, mm.
FAR_MM = 60.0


@dataclass(frozen=True, eq=False)
class Case:
    """One image pair: predicted and true HU on the intersection of the two bodies."""

    patient: str
    within: NDArray[np.bool_]
    hu: NDArray[np.float32]
    residual: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]


def main() -> None:
    """Measure both sets and write data and table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="synct_mr_pelvis")
    parser.add_argument("--first", type=int, default=101, help="seed of the first digital patient")
    parser.add_argument("--patients", type=int, default=12, help="digital patients, half of them to fit")
    given = parser.parse_args()
    model = load_model(given.model)
    seeds = range(given.first, given.first + given.patients)
    digital = list(digital_cases(model, seeds))
    half = given.patients // 2
    names = [f"valid{seed:04d}" for seed in seeds]
    real = list(real_cases(model))
    sets = (
        measured("digital", "digital pelves, cohort valid", digital, names[:half], names[half:]),
        measured("real", "limbs and hips, STS", real, REAL_FIT, REAL_CHECK),
    )
    write(model, sets)
    crossed = {
        "digital": [s.held_out for s in (sets[0], measured("x", "", digital, names[half:], names[:half]))],
        "real": [s.held_out for s in (sets[1], measured("x", "", real, REAL_CHECK, REAL_FIT))],
    }
    RESULT.write_text(table(model, sets, crossed, {"digital": digital, "real": real}), encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))


def digital_cases(model: Model, seeds: Sequence[int]) -> Iterator[Case]:
    for seed in seeds:
        start = time.perf_counter()
        patient = make_patient("valid", seed, contrasts=("T2w", "T1w", "Dixon"))
        for role in ROLES:
            yield case_of(patient.key, model, patient.images[role], patient.images["CT"])
        print(f"{patient.key}: {time.perf_counter() - start:.0f} s", flush=True)


def real_cases(model: Model) -> Iterator[Case]:
    for patient in read_folder(STS, only=(*REAL_FIT, *REAL_CHECK)):
        yield case_of(patient.key, model, patient.images["T1w"], patient.images["CT"])


def case_of(key: str, model: Model, mr: Image, ct: Image) -> Case:
    made = synthesise(model, mr).array
    within = body_mask(mr).array & body_mask(ct).array
    return Case(key, within, made[within], ct.array[within] - made[within], ct.grid.spacing_zyx_mm)


def measured(
    name: str, data: str, cases: Sequence[Case], fit: Sequence[str], check: Sequence[str]
) -> ResidualSet:
    """Fit a set on the patients ``fit`` and check it on ``check``."""
    mine = [case for case in cases if case.patient in fit]
    others = [case for case in cases if case.patient in check]
    factor = fitted_factor(mine)
    left = {key: _coverage_of_one(mine, key, factor) for key in fit}
    tissue = quantiles(mine)
    draft = ResidualSet(
        name=name,
        data=data,
        date=datetime.now(UTC).date().isoformat(),
        script="benchmarks/residuals.py",
        factor=round(factor, 3),
        levels=LEVELS,
        tissue=tissue,
        correlation=correlation(mine, tissue),
        left_out=_coverage(left),
        held_out=_coverage(dict.fromkeys(fit, 0.0)),
    )
    found = {key: coverage(draft, [c for c in others if c.patient == key]) for key in check}
    return draft.model_copy(update={"held_out": _coverage(found)})


def quantiles(cases: Sequence[Case]) -> tuple[TissueResidual, ...]:
    """Return the residuals by class, each case with the same weight."""
    hu = np.concatenate([case.hu[:: max(1, len(case.hu) // VOXELS)] for case in cases])
    residual = np.concatenate([case.residual[:: max(1, len(case.hu) // VOXELS)] for case in cases])
    which = np.digitize(hu, EDGES[1:])
    found = []
    for number, edge in enumerate(EDGES):
        own = residual[which == number].astype(np.float64)
        found.append(
            TissueResidual(
                from_hu=edge,
                group="bone" if edge >= BONE_FROM else "soft",
                bias_hu=round(float(own.mean()), 1),
                sd_hu=round(float(own.std()), 1),
                quantiles_hu=tuple(round(float(q), 1) for q in np.quantile(own, LEVELS)),
                voxels=len(own),
            )
        )
    return tuple(found)


def fitted_factor(cases: Sequence[Case]) -> float:
    """Return the factor with which patients left out are covered to 90 % on average."""
    names = list(dict.fromkeys(case.patient for case in cases))

    def excess(factor: float) -> float:
        return float(np.mean([_coverage_of_one(cases, name, factor) for name in names])) - 0.9

    return float(optimize.brentq(excess, 0.3, 4.0, xtol=1e-3))


def _coverage_of_one(cases: Sequence[Case], name: str, factor: float) -> float:
    """Return the coverage of one patient by the others."""
    tissue = quantiles([case for case in cases if case.patient != name])
    own = [case for case in cases if case.patient == name]
    return float(np.mean([_covered(tissue, factor, case) for case in own]))


def coverage(found: ResidualSet, cases: Sequence[Case]) -> float:
    """Return the part of the voxels whose residual lies in the 90 % interval, mean over cases."""
    return float(np.mean([_covered(found.tissue, found.factor, case) for case in cases]))


def _covered(tissue: Sequence[TissueResidual], factor: float, case: Case) -> float:
    low, middle, high = (LEVELS.index(level) for level in (0.05, 0.5, 0.95))
    q = np.array([item.quantiles_hu for item in tissue])
    ends = q[:, [middle]] + factor * (q[:, [low, high]] - q[:, [middle]])
    which = np.digitize(case.hu, EDGES[1:])
    return float(np.mean((case.residual >= ends[which, 0]) & (case.residual <= ends[which, 1])))


def _coverage(found: dict[str, float]) -> Coverage:
    values = [round(value, 4) for value in found.values()]
    return Coverage(
        patients=tuple(found), mean=round(float(np.mean(values)), 4), lowest=min(values), highest=max(values)
    )


def scores_of(tissue: Sequence[TissueResidual], case: Case) -> NDArray[np.float64]:
    """Return the residuals of a case as normal scores."""
    nodes = special.ndtri(np.array(LEVELS))
    which = np.digitize(case.hu, EDGES[1:])
    scores = np.zeros(len(case.hu))
    for number, item in enumerate(tissue):
        here = which == number
        scores[here] = np.interp(case.residual[here], item.quantiles_hu, nodes)
    return scores


def correlation(cases: Sequence[Case], tissue: Sequence[TissueResidual]) -> Correlation:
    """Return the shares common to a patient, and nugget and length of the rest."""
    offsets: dict[str, list[float]] = {"soft": [], "bone": []}
    sums: dict[float, list[float]] = {}
    for case in cases:
        scores = scores_of(tissue, case)
        bone = case.hu >= BONE_FROM
        for name, group in (("soft", ~bone), ("bone", bone)):
            mean = float(scores[group].mean())
            offsets[name].append(mean**2)
            scores[group] = (scores[group] - mean) / scores[group].std()
        for distance, product, count in correlogram(case, scores):
            total = sums.setdefault(round(distance, 3), [0.0, 0.0])
            total[0] += product
            total[1] += count
    h = np.array(sorted(sums))
    rho = np.array([sums[key][0] / sums[key][1] for key in sorted(sums)])
    nugget, length = optimize.curve_fit(
        lambda x, nugget, length: (1.0 - nugget) * np.exp(-x / length), h, rho, (0.2, 8.0),
        bounds=((0.0, 0.5), (0.99, 100.0)),
    )[0]  # fmt: skip
    return Correlation(
        offset={name: round(min(float(np.mean(values)), 0.99), 4) for name, values in offsets.items()},
        nugget=round(float(nugget), 4),
        length_mm=round(float(length), 3),
    )


def correlogram(case: Case, scores: NDArray[np.float64]) -> Iterator[tuple[float, float, int]]:
    """Yield distance, sum of products and number of pairs, along the image's axes."""
    volume = np.zeros(case.within.shape)
    volume[case.within] = scores
    for axis, step in enumerate(case.spacing_mm):
        moved, held = np.moveaxis(volume, axis, 0), np.moveaxis(case.within, axis, 0)
        for n in range(1, min(int(FAR_MM / step), moved.shape[0] - 1) + 1):
            count = int(np.count_nonzero(held[n:] & held[:-n]))
            if count:
                yield n * step, float(np.sum(moved[n:] * moved[:-n])), count


def write(model: Model, sets: Sequence[ResidualSet]) -> None:
    """Write ``residuals.toml`` beside the card."""
    whole = Residuals(
        schema=1, model=model.card.name, weights_sha256=model.sha256, set=tuple(sets)
    )  # fmt: skip
    plain = whole.model_dump(by_alias=True, mode="json")
    lines = [
        "# True HU minus the network's, on patients that it was not trained on.",
        "# Made by benchmarks/residuals.py; what the numbers mean: rtplan/learning/residuals.py.",
        "schema = 1",
        f'model = "{plain["model"]}"',
        f'weights_sha256 = "{plain["weights_sha256"]}"',
    ]
    for item in plain["set"]:
        lines += ["", "[[set]]"]
        lines += [f"{key} = {_toml(value)}" for key, value in item.items() if key != "tissue"]
        for tissue in item["tissue"]:
            lines += ["[[set.tissue]]", *(f"{key} = {_toml(value)}" for key, value in tissue.items())]
    path = ROOT / "models" / model.card.name / FILE
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def table(
    model: Model,
    sets: Sequence[ResidualSet],
    crossed: dict[str, list[Coverage]],
    cases: dict[str, list[Case]],
) -> str:
    lines = [
        f"# Residuals of {model.card.name}",
        "",
        f"`python benchmarks/residuals.py`; weights {model.sha256[:12]}. Residual = true HU minus the",
        "network's, on the intersection of CT body and MR body.",
        "",
        "## Part of the voxels in the 90 % interval, mean over patients (lowest, highest)",
        "",
        "| set | patients fitted | factor | left out one by one | held out | halves exchanged |",
        "|---|---|---|---|---|---|",
    ]
    for item in sets:
        lines.append(
            f"| {item.name} | {len(item.left_out.patients)} | {item.factor:.2f} | {_said(item.left_out)} | "
            f"{_said(item.held_out)} | {_said(crossed[item.name][1])} |"
        )
    lines += [
        "",
        "## Held-out patients",
        "",
        "| set | patient | voxels in the 90 % interval |",
        "|---|---|---|",
    ]
    for item in sets:
        for key in item.held_out.patients:
            own = coverage(item, [c for c in cases[item.name] if c.patient == key])
            lines.append(f"| {item.name} | {key} | {100 * own:.1f} % |")
    lines += ["", "## By class of predicted HU", "", "| set | from, HU | bias | SD | 5 % | 95 % | voxels |"]
    lines.append("|---|---|---|---|---|---|---|")
    for item in sets:
        for tissue in item.tissue:
            low, high = (tissue.quantiles_hu[LEVELS.index(level)] for level in (0.05, 0.95))
            lines.append(
                f"| {item.name} | {tissue.from_hu:.0f} | {tissue.bias_hu:+.0f} | {tissue.sd_hu:.0f} | "
                f"{low:+.0f} | {high:+.0f} | {tissue.voxels} |"
            )
    lines += ["", "## Correlation", "", "| set | common to a patient, soft | bone | nugget | length, mm |"]
    lines.append("|---|---|---|---|---|")
    for item in sets:
        how = item.correlation
        lines.append(
            f"| {item.name} | {how.offset['soft']:.2f} | {how.offset['bone']:.2f} | {how.nugget:.2f} | "
            f"{how.length_mm:.1f} |"
        )
    return "\n".join(lines) + "\n"


def _said(found: Coverage) -> str:
    return f"{100 * found.mean:.1f} % ({100 * found.lowest:.1f}, {100 * found.highest:.1f})"


if __name__ == "__main__":
    main()
