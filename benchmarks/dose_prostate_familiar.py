"""Which pelves are too unlike those that the boost network has learned: limits, and how they judge.

``--learn`` writes ``models/dose_prostate_boost/familiar.toml`` anew, for the weights that are there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
from dose_prostate import HELD_OUT, ROOT, picai_cases
from dose_spread import toml

from rtplan.case.boost_cohort import gather_boost
from rtplan.learning.boost import BODY, ORGANS, BoostCase
from rtplan.learning.boost_familiar import FILE, Limits, load_limits, pelvis_measures
from rtplan.learning.boost_settings import BoostSettings
from rtplan.learning.familiar import Familiar, fit_familiar
from rtplan.learning.settings import parse
from rtplan.learning.zoo import load_model

MODEL = ROOT / "models" / "dose_prostate_boost"
OUT = ROOT / "benchmarks" / "results" / "dose_prostate_familiar.md"
#: Refused beyond so many times the distance of warning; chosen on the pelves that chose the weights.
REFUSE_TIMES = 1.4
_BITS = (*ORGANS, BODY)


def main() -> None:
    """Fit where asked, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=ROOT / "out" / "dose_prostate_boost" / "cache")
    parser.add_argument("--learn", action="store_true")
    given = parser.parse_args()
    settings = parse(MODEL / "train.toml", BoostSettings)
    model = load_model("dose_prostate_boost")
    if given.learn:
        rows = [pelvis_measures(c) for data in settings.data for c in gather_boost(data, given.cache)]
        limits = Limits(
            schema=1,
            model=model.card.name,
            weights_sha256=model.sha256,
            data="the pelves of train.toml",
            date=date.today().isoformat(),
            script="benchmarks/dose_prostate_familiar.py",
            familiar=fit_familiar(rows, REFUSE_TIMES),
        )
        (MODEL / FILE).write_text(toml(limits), encoding="utf-8")
    limits = load_limits(model)
    assert limits is not None, "begin with --learn"
    chose = [c for data in settings.validation for c in gather_boost(data, given.cache)]
    sets = {
        "pelves that chose the weights": chose,
        "held-out digital pelves": gather_boost(HELD_OUT, given.cache),
        "pelves with real glands and lesions": picai_cases(given.cache),
    }
    sets |= {f"the first, {what}": [change(c) for c in chose] for what, change in CHANGES.items()}
    OUT.write_text(page(limits.familiar, sets), encoding="utf-8")
    print(OUT.read_text(encoding="utf-8"))


def page(familiar: Familiar, sets: dict[str, Sequence[BoostCase]]) -> str:
    """Return the table of distances and verdicts."""
    lines = [
        "# Pelves unlike those that the boost network has learned",
        "",
        f"`python benchmarks/dose_prostate_familiar.py`. {len(familiar.names)} measures of "
        f"{familiar.patients} pelves (Mahalanobis distance per measure, shrunk correlation). Warned beyond "
        f"{familiar.warn:.2f} (99th percentile of the learned, each from the others), "
        f"refused beyond {familiar.refuse:.2f}.",
        "",
        "| pelves | n | distance, least to greatest | warned | refused |",
        "|---|---|---|---|---|",
    ]
    for name, cases in sets.items():
        far = [familiar.distance(pelvis_measures(case)) for case in cases]
        refused = sum(one > familiar.refuse for one in far)
        warned = sum(one > familiar.warn for one in far) - refused
        lines.append(f"| {name} | {len(far)} | {min(far):.2f} to {max(far):.2f} | {warned} | {refused} |")
    lines += [
        "",
        "It looks at contours, density of the target and prescription, not at the dose: a pelvis inside the "
        "limits may still be predicted badly. A structure that is missing does not count here; the planner's "
        "inputs refuse it elsewhere.",
    ]
    return "\n".join(lines) + "\n"


def flipped(case: BoostCase, axis: int) -> BoostCase:
    """Return a case whose anatomy is mirrored along an axis."""
    return replace(
        case,
        labels=np.flip(case.labels, axis),
        parts=np.flip(case.parts, axis + 1),
        density=np.flip(case.density, axis),
    )


def exchanged(case: BoostCase) -> BoostCase:
    """Return a case with the names of rectum and bladder exchanged."""
    one, two = (np.uint8(_BITS.index(name)) for name in ("Rectum", "Bladder"))
    left = case.labels & ~np.uint8((1 << one) | (1 << two))
    return replace(
        case, labels=left | (((case.labels >> one) & 1) << two) | (((case.labels >> two) & 1) << one)
    )


CHANGES: dict[str, Callable[[BoostCase], BoostCase]] = {
    "upside down": lambda case: flipped(case, 0),
    "front to back": lambda case: flipped(case, 1),
    "rectum and bladder exchanged": exchanged,
    "1.4 times as large": lambda case: replace(case, spacing_zyx_mm=(5.6, 5.6, 5.6)),
    "0.7 times as large": lambda case: replace(case, spacing_zyx_mm=(2.8, 2.8, 2.8)),
    "targets 60 mm higher": lambda case: replace(case, parts=np.roll(case.parts, 15, axis=1)),
}


if __name__ == "__main__":
    main()
