"""How well the shared MR-CT pairs lie on each other: what a faultless synthetic CT would score on them.

``python benchmarks/sts_alignment.py`` writes ``benchmarks/results/sts_alignment.md``. No network is
involved: each CT is laid on its MR by mutual information (`rtplan.imaging.laid`) and compared with itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtplan.domain import Image, Mask
from rtplan.evaluation.image import dice, mean_absolute_error
from rtplan.evaluation.synct import bodies_of, bone_of
from rtplan.imaging.body import body_mask
from rtplan.imaging.laid import Laid, laid_on
from rtplan.io.datasets.npz import read_folder

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "sts_alignment.md"
STS = ROOT.parent / "shared" / "data" / "sts" / "npz_2mm"
HEAD = """# How well the shared pairs lie on each other

`python benchmarks/sts_alignment.py`. Each CT is laid on its MR rigidly, by mutual information alone; it
stays where that gains less than a fifth or the registration is refused. The last two columns compare the
CT as laid with the CT as it came: about what a synthetic CT without any fault would score on the pair as it
came. It is no exact bound: a few HU are interpolation, a registration that is wrong itself adds to it, and a
limb that bent between the scans (STS_028, 029, 040 and 044, by eye: their bones lie beside those of the MR
afterwards too) is worse than it says. That a CT stays does not say that the pair agrees.
"""


@dataclass(frozen=True)
class Row:
    """One pair: how far its CT moves, what the MR tells of it before and after, laid CT against given CT."""

    key: str
    overlap: float
    shift_mm: float
    before: float
    after: float
    mae: float
    bone: float


def row_of(key: str, ct: Image, mr: Image, laid: Laid) -> Row:
    """Return the row of a pair; errors inside the intersection of CT body and MR body that both CTs show."""
    bodies = bodies_of(mr, ct)
    both = Mask(ct.grid, bodies.masks["intersection"].array & body_mask(laid.ct).array)
    return Row(
        key,
        bodies.overlap,
        laid.shift_mm,
        *laid.information,
        mean_absolute_error(laid.ct, ct, both),
        dice(bone_of(laid.ct, both), bone_of(ct, both)),
    )


def table(rows: Sequence[Row]) -> str:
    """Return the text of the result."""
    moved = [row for row in rows if row.shift_mm > 0.0]
    lines = [
        HEAD,
        f"{len(moved)} of {len(rows)} CTs move, in the median by {_median(moved, 'shift_mm'):.1f} mm;",
        f"for these the median is {_median(moved, 'mae'):.1f} HU, bone Dice {_median(moved, 'bone'):.2f}.",
        "",
        "| pair | body overlap | moved, mm | information as it came | as laid | MAE, HU | bone Dice |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        told = f"{r.shift_mm:.1f} | {r.before:.3f} | {r.after:.3f} | {r.mae:.1f} | {r.bone:.2f}"
        stays = f"stays | {r.before:.3f} | | |"
        lines.append(f"| {r.key} | {r.overlap:.3f} | {told if r.shift_mm > 0.0 else stays} |")
    return "\n".join(lines) + "\n"


def _median(rows: Sequence[Row], name: str) -> float:
    return float(np.nanmedian([getattr(row, name) for row in rows]))


def main() -> None:
    """Lay every CT on its MR and write the table."""
    rows = []
    for patient in read_folder(STS):
        mr, ct = patient.images["T1w"], patient.images["CT"]
        rows.append(row_of(patient.key, ct, mr, laid_on(ct, mr)))
        print(rows[-1], flush=True)
    RESULT.write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
