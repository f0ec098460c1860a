"""The shipped synthetic-CT network on patients it has not seen, beside an intensity lookup.

``python benchmarks/synct.py`` writes ``benchmarks/results/synct.md``; with ``--card`` also the figures of
``models/synct_mr_pelvis/model.toml`` and ``card.md``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.domain import Image, Mask, Patient
from rtplan.evaluation.image import dice, mean_absolute_error, mean_error
from rtplan.imaging.body import body_mask
from rtplan.io.datasets.npz import read_folder
from rtplan.learning.card import Card, Figure
from rtplan.learning.channels import BONE_HU, channels_of, image_of
from rtplan.learning.predict import synthesise
from rtplan.learning.zoo import load_model, save_card
from rtplan.phantom.cohort import make_patient

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "synct.md"
STS = ROOT.parent / "shared" / "data" / "sts" / "npz_2mm"
#: Pairs that were neither trained on nor used to choose the weights.
HELD_OUT = ("STS_010", "STS_040", "STS_014", "STS_022", "STS_028", "STS_036", "STS_044")
LOOKUP = ("STS_004", "STS_009", "STS_011", "STS_016", "STS_021", "STS_027", "STS_029", "STS_030")
ROLES = ("T2w", "T1w", "Dixon_IP")
EDGES = np.linspace(-4.0, 6.0, 101)


@dataclass(frozen=True)
class Row:
    """The figures of one patient in one contrast."""

    group: str
    name: str
    mae: float
    error: float
    lookup: float
    bone: float
    overlap: float
    seconds: float


def main() -> None:
    """Score all cases and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="synct_mr_pelvis")
    parser.add_argument("--patients", type=int, default=6, help="digital patients of the cohort valid")
    parser.add_argument("--first", type=int, default=101, help="seed of the first one")
    parser.add_argument("--card", action="store_true", help="write the figures into model.toml and card.md")
    given = parser.parse_args()
    model = load_model(given.model)
    rows = []
    lookups: dict[str, NDArray[np.float32]] = {}
    for role, patient in cases(given.patients, given.first):
        group = (
            f"digital valid, {role}" if patient.key.startswith("valid") else "real limbs and hips (STS), T1w"
        )
        if group not in lookups:
            lookups[group] = fit_lookup(model.card, role, group)
        rows.append(score(group, patient, role, lookups[group], model))
        print(rows[-1], flush=True)
    groups = {
        name: [row for row in rows if row.group == name] for name in dict.fromkeys(r.group for r in rows)
    }
    RESULT.write_text(table(groups, model.card, model.sha256), encoding="utf-8")
    if given.card:
        folder = ROOT / "models" / model.card.name
        card = model.card.model_copy(update={"figure": figures(groups)})
        save_card(folder, card)
        write_card(folder / "card.md", groups)


def cases(count: int, first: int) -> Iterator[tuple[str, Patient]]:
    """Yield role and patient of every held-out case."""
    for patient in read_folder(STS, only=HELD_OUT):
        yield "T1w", patient
    for seed in range(first, first + count):
        patient = make_patient("valid", seed, contrasts=("T2w", "T1w", "Dixon"))
        for role in ROLES:
            yield role, patient


def fit_lookup(card: Card, role: str, group: str) -> NDArray[np.float32]:
    """Return the median HU of each bin of normalised signal, from training patients of the same kind."""
    if group.startswith("digital"):
        train = [make_patient("train", seed, contrasts=("T2w", "T1w", "Dixon")) for seed in (1, 2, 3)]
    else:
        train = list(read_folder(STS, only=LOOKUP))
    signal, hu = [], []
    for patient in train:
        mr, ct = patient.images[role], patient.images["CT"]
        fine = card.model_copy(update={"spacing_zyx_mm": mr.grid.spacing_zyx_mm})
        seen = channels_of(mr, fine)
        both = seen.native_body.array & body_mask(ct).array
        signal.append(np.digitize(seen.array[0][both], EDGES))
        hu.append(ct.array[both])
    bins, values = np.concatenate(signal), np.concatenate(hu)
    return np.array(
        [np.median(values[bins == i]) if (bins == i).any() else 40.0 for i in range(len(EDGES) + 1)],
        np.float32,
    )


def score(group: str, patient: Patient, role: str, lookup: NDArray[np.float32], model) -> Row:
    mr, ct = patient.images[role], patient.images["CT"]
    start = time.perf_counter()
    made = synthesise(model, mr)
    seconds = time.perf_counter() - start
    bodies = body_mask(mr), body_mask(ct)
    both = Mask(ct.grid, bodies[0].array & bodies[1].array)
    fine = model.card.model_copy(update={"spacing_zyx_mm": mr.grid.spacing_zyx_mm})
    seen = channels_of(mr, fine)
    looked = image_of(
        lookup[np.digitize(seen.array[0], EDGES)], seen.body, mr, seen.native_body, (-1024, 3071)
    )
    return Row(
        group,
        patient.key,
        mean_absolute_error(made, ct, both),
        mean_error(made, ct, both),
        mean_absolute_error(looked, ct, both),
        dice(bone_of(made, both), bone_of(ct, both)),
        dice(*bodies),
        seconds,
    )


def bone_of(image: Image, within: Mask) -> Mask:
    """Return bone: HU 200 or more, in parts of 1 cc or more."""
    labels, _ = ndimage.label((image.array >= BONE_HU) & within.array)
    sizes = np.bincount(labels.ravel()) * image.grid.voxel_cc
    sizes[0] = 0.0
    return Mask(image.grid, sizes[labels] >= 1.0)


def interval(values: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean, by bootstrap over patients (2000 draws, seed 1)."""
    known = np.array([v for v in values if np.isfinite(v)])
    draws = np.random.default_rng(1).choice(known, (2000, known.size)).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return round(float(low), 3), round(float(high), 3)


def figures(groups: dict[str, list[Row]]) -> tuple[Figure, ...]:
    found = []
    for name, rows in groups.items():
        for metric, key in (("MAE_body[HU]", "mae"), ("Dice_bone[1]", "bone"), ("MAE_lookup[HU]", "lookup")):
            values = [float(getattr(row, key)) for row in rows]
            mean = round(float(np.nanmean(values)), 3)
            found.append(
                Figure(metric=metric, data=name, value=mean, interval95=interval(values), n=len(rows))
            )
    return tuple(found)


def summary(groups: dict[str, list[Row]]) -> str:
    lines = [
        "| data (n) | MAE, HU [95 % CI] | mean error | lookup MAE | bone Dice [95 % CI] | beats lookup |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in groups.items():
        mae, bone = [r.mae for r in rows], [r.bone for r in rows]
        low, high = interval(mae)
        bone_low, bone_high = interval(bone)
        lines.append(
            f"| {name} ({len(rows)}) | {np.mean(mae):.1f} [{low:.1f}, {high:.1f}] | "
            f"{np.mean([r.error for r in rows]):+.1f} | {np.mean([r.lookup for r in rows]):.1f} | "
            f"{np.nanmean(bone):.2f} [{bone_low:.2f}, {bone_high:.2f}] | "
            f"{sum(r.mae < r.lookup for r in rows)} of {len(rows)} |"
        )
    return "\n".join(lines)


def table(groups: dict[str, list[Row]], card: Card, sha256: str) -> str:
    lines = [
        f"# Synthetic CT by {card.name}",
        "",
        f"`python benchmarks/synct.py`; weights {sha256[:12]}, {card.training.steps} steps in "
        f"{card.training.hours:.2f} h on {card.training.hardware}. Scored on the intersection of CT body and",
        "MR body; bone = HU >= 200 in parts of 1 cc or more, the same rule on both. The lookup gives each",
        "MR signal the median HU that training patients of the same kind and contrast have there.",
        "",
        summary(groups),
        "",
        "| data | case | MAE | mean error | lookup | bone Dice | body overlap | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for rows in groups.values():
        for r in rows:
            lines.append(
                f"| {r.group} | {r.name} | {r.mae:.1f} | {r.error:+.1f} | {r.lookup:.1f} | {r.bone:.2f} | "
                f"{r.overlap:.2f} | {r.seconds:.1f} |"
            )
    return "\n".join(lines) + "\n"


def write_card(path: Path, groups: dict[str, list[Row]]) -> None:
    """Replace the part of the card between its two marks by the summary."""
    text = path.read_text(encoding="utf-8")
    head, rest = text.split("<!-- figures -->\n")[0], text.split("<!-- end of figures -->\n")[1]
    path.write_text(
        f"{head}<!-- figures -->\n{summary(groups)}\n<!-- end of figures -->\n{rest}", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
