"""Rigid MR-CT registration on the real pairs of soft-tissue sarcoma: writes results/registration.md.

The misregistered pairs must be repaired or refused; the good ones must be left where they lie.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from rtplan.domain import Grid, Image
from rtplan.errors import RegistrationError
from rtplan.imaging.register import identity, register
from rtplan.steps.register import Register

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data" / "sts"
HEAD = """# MR-CT registration on real pairs

`python benchmarks/registration.py`: {n} pairs, 2 mm x 2 mm x 3.27 mm, one frame of reference each.
"Believed" means that the bodies overlap by at least {believe:.2f} (Dice) where they lie, and the step leaves
them; below 0.93 it warns. The other ones are registered rigidly; a result is refused when the overlap stays
below 0.90, or the images agree less than before.

| set | pair | overlap | MI | fate | overlap after | MI after | shift mm | seconds |
|---|---|---|---|---|---|---|---|---|
"""


def load(path: Path) -> tuple[Image, Image]:
    raw = np.load(path)
    dz, dy, dx = (float(step) for step in raw["spacing_zyx"])
    grid = Grid.axial(raw["ct"].shape, (dz, dy, dx), (0.0, 0.0, 0.0), "frame")
    return Image(grid, raw["ct"], "CT"), Image(grid, raw["mr"], "MR")


def row(path: Path, believe: float) -> tuple[str, str]:
    ct, mr = load(path)
    start = time.perf_counter()
    before = identity(mr, ct).quality
    overlap, shared = before["body_overlap"], before["mutual_information"]
    after, fate = "- | - | -", "believed"
    if overlap < believe:
        try:
            found = register(mr, ct).quality
            after = (
                f"{found['body_overlap']:.3f} | {found['mutual_information']:.3f} | {found['shift_mm']:.1f}"
            )
            fate = "repaired"
        except RegistrationError:
            fate = "refused"
    seconds = time.perf_counter() - start
    kind = "misregistered" if "mis" in path.parent.name else "good"
    return fate, f"| {kind} | {path.stem} | {overlap:.3f} | {shared:.3f} | {fate} | {after} | {seconds:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "registration.md")
    out = parser.parse_args().out
    believe = Register().believe_overlap
    paths = sorted(DATA.glob("npz_2mm_misregistered/*.npz")) + sorted(DATA.glob("npz_2mm/*.npz"))
    lines = []
    fates: dict[tuple[str, str], int] = {}
    for path in paths:
        fate, line = row(path, believe)
        print(line, flush=True)
        lines.append(line)
        key = (path.parent.name, fate)
        fates[key] = fates.get(key, 0) + 1
    summary = "\n".join(f"- {folder}: {count} {fate}" for (folder, fate), count in sorted(fates.items()))
    head = HEAD.format(n=len(paths), believe=believe)
    out.write_text(head + "\n".join(lines) + "\n\n" + summary + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
