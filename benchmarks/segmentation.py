"""The shipped segmentation network on real T2w that it has not seen, one by one, and on digital pelves.

``python benchmarks/segmentation.py`` writes ``benchmarks/results/segmentation.md``; with ``--card`` also the
figures of the model's ``model.toml``. PROMISE12 needs h5py; without it the two cases are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from rtplan.domain import Grid, Image, Mask, Structure
from rtplan.evaluation.contours import compare
from rtplan.imaging.resample import resample
from rtplan.io.nifti import read_volume
from rtplan.io.volume_read import load
from rtplan.learning.card import Figure
from rtplan.learning.predict_segment import PASSES, Segmented, segment
from rtplan.learning.segments import LABELS
from rtplan.learning.zoo import Model, load_model, save_card
from rtplan.phantom.cohort import make_patient

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
RESULT = ROOT / "benchmarks" / "results" / "segmentation.md"
#: Voxels that are assumed where the file says none (PROMISE12 demo), mm.
ASSUMED_ZYX_MM = (3.0, 1.25, 1.25)
#: Field of view and voxels of the digital test images, as a prostate T2w has them, mm.
FIELD_ZYX_MM, STUDY_ZYX_MM = (84.0, 180.0, 180.0), (3.0, 1.0, 1.0)
BAND_MM, BINS = 10.0, 15
ORGANS = ("Prostate", "Prostate_TZ", "Prostate_PZ", "SeminalVes", "Bladder", "Rectum")
BARS = {"Prostate": 0.80, "Prostate_TZ": 0.70, "Prostate_PZ": 0.55}


@dataclass(frozen=True, eq=False)
class Case:
    """One image with its references; ``placed`` where the voxels' size is known."""

    group: str
    name: str
    image: Image
    references: dict[str, NDArray[np.bool_]]
    placed: bool = True


@dataclass(frozen=True, eq=False)
class Row:
    """The figures of one case, by structure; calibration of the gland; seconds of the processor."""

    case: Case
    figures: dict[str, dict[str, float | None]]
    ece: float | None
    pairs: tuple[NDArray[np.float64], NDArray[np.bool_]] | None
    seconds: float
    told: tuple[str, ...]


def main() -> None:
    """Score all cases and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="segment_pelvis_t2w")
    parser.add_argument("--patients", type=int, default=6, help="digital patients of the cohort study")
    parser.add_argument("--passes", type=int, default=PASSES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--card", action="store_true", help="write the figures into model.toml")
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = load_model(given.model)
    rows = []
    for case in (*real(), *digital(given.patients)):
        rows.append(score(model, case, given.passes))
        print(_line(rows[-1]), flush=True)
    text = page(model, rows, clock(model, given.passes), given)
    print(text)
    if not given.no_write:
        RESULT.write_text(text, encoding="utf-8")
    if given.card:
        from rtplan import resources

        save_card(
            resources.find("models", given.model).parent,
            model.card.model_copy(update={"figure": tuple(figures(rows))}),
        )


def real() -> Iterator[Case]:
    """Yield the five real cases, or those of them that can be read."""
    for name in ("test_001", "valid_020"):
        folder = DATA / "prostate158" / name
        for reader in sorted(folder.glob("t2_anatomy_reader*.nii.gz")):
            labels, _ = load(reader)
            image = read_volume(folder / "t2.nii.gz", kind="MR")
            yield Case(
                "real",
                f"Prostate158 {name}, reader {reader.name[-8]}",
                image,
                {"Prostate": labels > 0, "Prostate_TZ": labels == 1, "Prostate_PZ": labels == 2},
            )
    folder = DATA / "prostatex" / "ProstateX-0000"
    image = read_volume(next(folder.glob("*_t2w.mha")), kind="MR")
    gland, _ = load(folder / "gland_ai.nii.gz")
    zones, _ = load(folder / "zones_ai.nii.gz")
    central, peripheral = _zones(zones)
    yield Case(
        "real",
        "ProstateX-0000 (AI reference)",
        image,
        {"Prostate": gland > 0, "Prostate_TZ": central, "Prostate_PZ": peripheral},
    )
    yield from promise()


def _zones(zones: NDArray[np.floating]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return central and peripheral zone of a map of 1 and 2: the peripheral one lies behind."""
    places = {k: float(np.argwhere(zones == k)[:, 1].mean()) for k in (1, 2)}
    back = max(places, key=lambda k: places[k])
    return zones == 3 - back, zones == back


def promise() -> Iterator[Case]:
    """Yield the two PROMISE12 demo cases; their voxels' size is assumed."""
    if importlib.util.find_spec("h5py") is None:
        print("PROMISE12 left out: h5py is not installed")
        return
    import h5py

    with h5py.File(DATA / "promise12_demo" / "demo2.h5") as file:
        for number in (0, 1):
            array, gland = file[f"image{number}"][()], file[f"label{number}"][()] > 0
            grid = Grid.axial(array.shape, ASSUMED_ZYX_MM, (0.0, 0.0, 0.0))
            image = Image(grid, array.astype(np.float32), modality="MR")
            yield Case("real", f"PROMISE12 demo {number}", image, {"Prostate": gland}, placed=False)


def digital(count: int) -> Iterator[Case]:
    """Yield digital pelves of the cohort study as the phantom's scanner sees them, cut to a small field."""
    for seed in range(1, count + 1):
        patient = make_patient("study", seed, spacing_zyx_mm=STUDY_ZYX_MM, contrasts=("T2w",))
        masks = {n: patient.structures[n].region.array for n in ORGANS if n in patient.structures}
        middle = np.argwhere(masks["Prostate"]).mean(axis=0)
        image = patient.images["T2w"]
        half = np.array(FIELD_ZYX_MM) / np.array(STUDY_ZYX_MM) / 2.0
        start = np.maximum(np.rint(middle - half).astype(int), 0)
        stop = np.minimum(np.rint(middle + half).astype(int), image.grid.shape)
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        grid = image.grid.crop(tuple(start), tuple(stop))
        cut = Image(grid, np.ascontiguousarray(image.array[box]), modality="MR")
        masks = {n: m[box] for n, m in masks.items()}
        masks["Prostate_TZ"] = masks["Prostate"] & ~masks["Prostate_PZ"]
        yield Case("digital", f"study {seed}", cut, masks)


def score(model: Model, case: Case, passes: int) -> Row:
    """Return the figures of one case."""
    begun = time.process_time()
    found = segment(model, case.image, passes=passes)
    seconds = time.process_time() - begun
    by_name = {s.name: s for s in found.structures}
    grid = case.image.grid
    empty = np.zeros(grid.shape, bool)
    figures = {}
    for name, reference in case.references.items():
        if not reference.any():
            continue
        new = by_name.get(name, Structure(name, "ORGAN", Mask(grid, empty)))
        figures[name] = dict(compare(Structure(name, "ORGAN", Mask(grid, reference)), new).figures)
    pairs = band(found, case) if case.placed else None
    told = tuple(n.message for n in found.notices if n.code == "NOT_FOUND")
    return Row(case, figures, ece(*pairs) if pairs else None, pairs, seconds, told)


def band(found: Segmented, case: Case) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the gland's probability and the truth of the voxels near the reference's boundary."""
    gland, spacing = case.references["Prostate"], case.image.grid.spacing_zyx_mm
    away = np.where(
        gland,
        ndimage.distance_transform_edt(gland, sampling=spacing),
        ndimage.distance_transform_edt(~gland, sampling=spacing),
    )
    near = away <= BAND_MM
    zones = [LABELS.index(name) for name in ("Prostate_TZ", "Prostate_PZ")]
    p = found.probabilities[zones].astype(np.float64).sum(axis=0)
    return np.clip(p[near], 0.0, 1.0), gland[near]


def ece(p: NDArray[np.float64], truth: NDArray[np.bool_], bins: int = BINS) -> float:
    """Return the expected calibration error over bins of equal mass."""
    order = np.argsort(p, kind="stable")
    parts = zip(np.array_split(p[order], bins), np.array_split(truth[order], bins), strict=True)
    return float(sum(abs(a.mean() - b.mean()) * len(a) for a, b in parts) / len(p))


def clock(model: Model, passes: int) -> tuple[float, float, float]:
    """Return wall-clock seconds, processor seconds and peak GiB of a 320×320×60 T2w."""
    image = next(c for c in digital(1)).image
    grid = image.grid.with_spacing((1.4, 0.5625, 0.5625))
    grid = replace(grid, shape=(60, 320, 320))
    large = resample(image, grid, outside=float(image.array.min()))
    begun, worked = time.perf_counter(), time.process_time()
    segment(model, large, passes=passes)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return time.perf_counter() - begun, time.process_time() - worked, peak


def _value(row: Row, name: str, figure: str) -> str:
    value = row.figures.get(name, {}).get(figure)
    if figure not in ("Dice",) and not row.case.placed:
        return "–"
    return "–" if value is None else f"{value:.2f}"


def _line(row: Row) -> str:
    return f"{row.case.name}: " + ", ".join(f"{n} {_value(row, n, 'Dice')}" for n in row.figures)


def patients(rows: list[Row], group: str, name: str) -> list[float]:
    """Return the Dice of each patient of a group (mean over the readers)."""
    by: dict[str, list[float]] = {}
    for row in rows:
        if row.case.group == group and name in row.figures:
            by.setdefault(row.case.name.split(",")[0], []).append(row.figures[name]["Dice"] or 0.0)
    return [float(np.mean(v)) for v in by.values()]


def pooled(rows: list[Row], group: str) -> float | None:
    """Return the ECE over the band voxels of all cases of a group (first reader)."""
    seen = [r for r in rows if r.case.group == group and r.pairs and "reader 2" not in r.case.name]
    if not seen:
        return None
    return ece(np.concatenate([r.pairs[0] for r in seen]), np.concatenate([r.pairs[1] for r in seen]))


def figures(rows: list[Row]) -> Iterator[Figure]:
    """Yield the median Dice of each structure with its bootstrap interval over the patients."""
    for group, words in (("real", "real T2w, never trained on"), ("digital", "digital pelves, cohort study")):
        for name in ORGANS:
            dice = patients(rows, group, name)
            if dice:
                yield Figure(
                    metric=f"median Dice of {name}",
                    data=words,
                    value=round(float(np.median(dice)), 3),
                    interval95=interval(dice),
                    n=len(dice),
                )


def interval(values: list[float]) -> tuple[float, float]:
    """Return the bootstrap 95 % interval of the median; of three to six patients next to their range."""
    drawn = np.random.default_rng(1).choice(values, (2000, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return round(float(low), 3), round(float(high), 3)


def page(model: Model, rows: list[Row], took: tuple[float, float, float], given: argparse.Namespace) -> str:
    """Return the table."""
    card = model.card
    lines = [
        f"# Segmentation: {card.name}",
        "",
        f"`python benchmarks/segmentation.py --patients {given.patients} --passes {given.passes}`. "
        f"{card.training.steps} steps, {card.training.hours:.2f} h of wall clock; weights "
        f"{model.sha256[:12]}. Trained on painted digital pelves only. Five real patients prove little about "
        "others: each is printed.",
        "",
        "| case | gland Dice | HD95, mm | mean surface distance, mm | TZ Dice | PZ Dice | ECE of the gland |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            row.case.name,
            *(_value(row, "Prostate", f) for f in ("Dice", "HD95", "mean surface distance")),
            _value(row, "Prostate_TZ", "Dice"),
            _value(row, "Prostate_PZ", "Dice"),
            "–" if row.ece is None else f"{row.ece:.3f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| | median over the patients | bar | n |", "|---|---|---|---|"]
    for name, bar in BARS.items():
        dice = patients(rows, "real", name)
        lines.append(f"| Dice of {name}, real | {np.median(dice):.2f} | ≥ {bar:.2f} | {len(dice)} |")
    for group in ("real", "digital"):
        value = pooled(rows, group)
        if value is not None:
            lines.append(f"| ECE, voxels of all {group} cases together | {value:.3f} | ≤ 0.05 | |")
    lines += ["", "| digital, cohort study | median Dice | n |", "|---|---|---|"]
    for name in ORGANS:
        dice = patients(rows, "digital", name)
        if dice:
            lines.append(f"| {name} | {np.median(dice):.2f} | {len(dice)} |")
    told = [
        f"{row.case.name}: {text}" for row in rows if "reader 2" not in row.case.name for text in row.told
    ]
    lines += ["", "Not found: " + (" ".join(told) if told else "nothing that was asked for."), ""]
    lines += [
        f"320×320×60 voxels, {given.passes} passes, {given.threads} threads: {took[0]:.1f} s of wall clock "
        f"on a machine that others shared, {took[1]:.1f} processor seconds, peak {took[2]:.1f} GiB of the "
        "whole benchmark (bar: 60 s, 6 GiB).",
        "",
        "PROMISE12's file has no voxel size: "
        f"{'×'.join(str(s) for s in ASSUMED_ZYX_MM)} mm [z, y, x] is assumed, and only Dice is given. ECE: "
        f"probability of the gland within {BAND_MM:.0f} mm of the reference's boundary, {BINS} bins of equal "
        "mass. The digital images are made by the phantom's own scanner, not by the painter of the training. "
        "TZ: the gland but for its peripheral zone.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
