"""The shipped dose network on OpenKBP's validation patients, beside a lookup by distance.

``python benchmarks/dose_openkbp.py`` writes ``benchmarks/results/dose_openkbp.md``; with ``--card`` also the
figures of ``models/dose_openkbp/model.toml`` and ``card.md``. ``--held-out`` prints the scores of the fifth
of the training patients by which everything was chosen; ``openkbp/valid`` is for the last word.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rtplan.case.dose_training import held_out_names
from rtplan.case.openkbp import Evaluation, evaluate_openkbp
from rtplan.domain import Dose, Mask
from rtplan.evaluation.openkbp import Scores, score, score_patient
from rtplan.io.datasets.openkbp import openkbp_paths, read_openkbp
from rtplan.learning.card import Figure
from rtplan.learning.dose_settings import DoseData
from rtplan.learning.doses import FEASIBLE, FEATURES, DoseCase, dose_case_of
from rtplan.learning.zoo import Model, load_model, save_card

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "dose_openkbp.md"
DATA = ROOT.parent / "shared" / "data" / "openkbp"
#: The bars of this network: dose and DVH score, Gy.
BAR, FLOOR = (3.1, 2.1), (3.3, 2.2)
BINS = 32


def main() -> None:
    """Score and write the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="dose_openkbp")
    parser.add_argument("--held-out", action="store_true", help="the held-out fifth of the training patients")
    parser.add_argument("--save", type=Path, help="new folder for doses and pictures")
    parser.add_argument("--card", action="store_true", help="write the figures into model.toml and card.md")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = load_model(given.model)
    if given.held_out:
        held = held_out_names(DoseData(folder=str(DATA / "train")))
        for tta in (False, True):
            done = evaluate_openkbp(model, DATA / "train", tta=tta, only=held)
            print(f"mirror images {tta}:", said(done.scores), f"{done.seconds_per_patient:.2f} s", flush=True)
        return
    plain = evaluate_openkbp(model, DATA / "valid")
    mirrored = evaluate_openkbp(model, DATA / "valid", tta=True, save=given.save)
    lookup = score_lookup(fit_lookup())
    RESULT.write_text(page(model, plain, mirrored, lookup, given.threads), encoding="utf-8")
    if given.card:
        folder = ROOT / "models" / model.card.name
        save_card(folder, model.card.model_copy(update={"figure": figures(plain, mirrored, lookup)}))
        write_card(folder / "card.md", summary(plain, mirrored, lookup))


def _bins(case: DoseCase) -> NDArray[np.int64]:
    """Return the bin of each voxel: its distance to all targets, and to those of 70 Gy."""
    all_targets, high = (case.features[FEATURES.index(f"distance_{level}")] for level in (56, 70))
    return (all_targets.astype(np.int64) * BINS // 256) * BINS + high.astype(np.int64) * BINS // 256


def fit_lookup() -> NDArray[np.float64]:
    """Return the median dose by distance to all targets and to those of 70 Gy, of the training patients."""
    held = held_out_names(DoseData(folder=str(DATA / "train")))
    bins, doses = [], []
    for name, path in openkbp_paths(DATA / "train").items():
        if name not in held:
            case = dose_case_of(read_openkbp(path))
            inside = np.flatnonzero(case.mask(FEASIBLE).ravel())[::7]
            bins.append(_bins(case).ravel()[inside])
            doses.append(case.dose.ravel()[inside])
    at, dose = np.concatenate(bins), np.concatenate(doses)
    order = np.argsort(at, kind="stable")
    parts = np.split(dose[order], np.searchsorted(at[order], np.arange(1, BINS * BINS)))
    return np.array([np.median(part) if part.size else np.median(dose) for part in parts])


def score_lookup(table: NDArray[np.float64]) -> Scores:
    """Score the lookup on the validation patients."""
    scored = []
    for path in openkbp_paths(DATA / "valid").values():
        patient = read_openkbp(path)
        case = dose_case_of(patient)
        possible = patient.structures[FEASIBLE].region
        assert isinstance(possible, Mask)
        whole = np.zeros(possible.grid.shape, np.float32)
        box = tuple(slice(a, a + n) for a, n in zip(case.start, case.labels.shape, strict=True))
        whole[box] = table[_bins(case)] * case.mask(FEASIBLE)
        scored.append(score_patient(patient, Dose(possible.grid, whole)))
    return score(scored)


def said(scores: Scores) -> str:
    (a, b), (c, d) = scores.dose_interval95, scores.dvh_interval95
    return (
        f"dose {scores.dose_score:.3f} [{a:.2f}, {b:.2f}] Gy, "
        f"DVH {scores.dvh_score:.3f} [{c:.2f}, {d:.2f}] Gy, n = {scores.n}"
    )


def row(name: str, scores: Scores, seconds: str) -> str:
    (a, b), (c, d) = scores.dose_interval95, scores.dvh_interval95
    return (
        f"| {name} | {scores.dose_score:.2f} [{a:.2f}, {b:.2f}] | "
        f"{scores.dvh_score:.2f} [{c:.2f}, {d:.2f}] | {seconds} |"
    )


def summary(plain: Evaluation, mirrored: Evaluation, lookup: Scores) -> str:
    """Return the table of the scores."""
    return "\n".join(
        [
            f"**{plain.scores.n} validation patients, not the leaderboard's test set.**",
            "",
            "| prediction | dose score, Gy [95 % CI] | DVH score, Gy [95 % CI] | s per patient |",
            "|---|---|---|---|",
            row("network", plain.scores, f"{plain.seconds_per_patient:.2f}"),
            row("network, mean over 4 mirror images", mirrored.scores, f"{mirrored.seconds_per_patient:.2f}"),
            row("lookup by distance to the targets", lookup, ""),
        ]
    )


def verdict(scores: Scores) -> str:
    parts = []
    for name, value, bar, floor in zip(
        ("dose", "DVH"), (scores.dose_score, scores.dvh_score), BAR, FLOOR, strict=True
    ):
        met = "meets" if value <= bar else "misses"
        over = "meets" if value <= floor else "misses"
        parts.append(
            f"{name} score {value:.2f} Gy {met} the bar of {bar} Gy and {over} the floor of {floor} Gy"
        )
    return "; ".join(parts) + "."


def page(model: Model, plain: Evaluation, mirrored: Evaluation, lookup: Scores, threads: int) -> str:
    """Return the page of results."""
    training = model.card.training
    lines = [
        f"# Dose prediction by {model.card.name} on OpenKBP",
        "",
        f"`python benchmarks/dose_openkbp.py`; weights {model.sha256[:12]}, {training.steps} steps in "
        f"{training.hours:.2f} h on {training.hardware}. The scores are the challenge's own "
        "(rtplan/evaluation/openkbp.py). Intervals by bootstrap over patients. Seconds: features and network "
        f"on {threads} threads of a shared machine, without reading. The lookup gives each voxel the median "
        "dose that the patients learned from have at its distances to all targets and to those of 70 Gy.",
        "",
        summary(plain, mirrored, lookup),
        "",
        f"With mirror images: {verdict(mirrored.scores)}",
        "",
        "| metric | mean absolute difference, Gy |",
        "|---|---|",
        *(f"| {name} | {gy:.2f} |" for name, gy in mirrored.scores.per_metric.items()),
        "",
        "| patient | dose error, Gy |",
        "|---|---|",
        *(f"| {one.key} | {one.dose_error:.2f} |" for one in mirrored.patients),
    ]
    return "\n".join(lines) + "\n"


def figures(plain: Evaluation, mirrored: Evaluation, lookup: Scores) -> tuple[Figure, ...]:
    """Return the figures of the card."""
    found = []
    for what, scores in (
        ("openkbp/valid, 4 mirror images", mirrored.scores),
        ("openkbp/valid", plain.scores),
        ("openkbp/valid, lookup by distance", lookup),
    ):
        for metric, value, (low, high) in (
            ("dose_score[Gy]", scores.dose_score, scores.dose_interval95),
            ("dvh_score[Gy]", scores.dvh_score, scores.dvh_interval95),
        ):
            interval = (round(low, 3), round(high, 3))
            found.append(
                Figure(metric=metric, data=what, value=round(value, 3), interval95=interval, n=scores.n)
            )
    return tuple(found)


def write_card(path: Path, table: str) -> None:
    """Replace the part of the card between its two marks by the table."""
    text = path.read_text(encoding="utf-8")
    head, rest = text.split("<!-- figures -->\n")[0], text.split("<!-- end of figures -->\n")[1]
    path.write_text(f"{head}<!-- figures -->\n{table}\n<!-- end of figures -->\n{rest}", encoding="utf-8")


if __name__ == "__main__":
    main()
