"""Slabs of lung, gas and bone in water: both algorithms beside Monte Carlo; writes results/dose_slabs.md.

The Monte-Carlo values are ompMC's (a C version of EGSnrc's physics) with the very energies of the cone's beam
(models/beams), in a run of its own: ``python3 -m venv .venv-peers/ompmc`` and there ``pip install
ompmc==0.4.0``, then ``python benchmarks/dose_slabs.py --ompmc .venv-peers/ompmc`` (about ten minutes of one
core). They are kept in benchmarks/slabs/ompmc.csv, and without ``--ompmc`` are read from there.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import torch
from dose_cone import CONE, CURVE, DEPTHS_MM, FITTED, MODEL, PENCIL, PICTURES, ROOT, UNSEEN, column, tank
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rtplan.planning.beam import Horn
from rtplan.planning.coneaxis import cone_on_axis
from rtplan.planning.kernel import load_kernel

matplotlib.use("agg")
OUT, KEPT = ROOT / "benchmarks" / "results" / "dose_slabs.md", ROOT / "benchmarks" / "slabs" / "ompmc.csv"
SEED, HISTORIES, REPEATS = 20, 1_000_000, 8
#: HU of the slabs, and what they are for the Monte Carlo: a medium and its electrons per mass, over water's.
SLABS = {
    "lung": (-750.0, "LUNG521ICRU", 0.5505 / 0.5551),
    "gas": (-1000.0, "AIR521ICRU", 0.4992 / 0.5551),
    "cortical bone": (1300.0, "ICRPBONE521ICRU", 0.5213 / 0.5551),
}
WATER = "H2O521ICRU"
#: Slabs in which the Monte Carlo left no energy at all: its electrons end there, so it is not asked.
LOST = ("gas",)
#: Where the slab lies (whole voxels), the voxels' depth, the surface's distance from the source, mm.
FROM_MM, TO_MM, STEP_MM, SSD_MM = 60.0, 111.0, 3.0, 900.0
SIDES_MM, ISOCENTRE_MM, DEEP_MM = (40.0, 100.0), 100.0, 300.0
READ_MM = (50.0, 70.0, 85.0, 115.0, 130.0, 180.0)
MIDDLE_MM = np.arange(STEP_MM / 2.0, DEEP_MM, STEP_MM)
SHOWN_MM = MIDDLE_MM[1:66]
Float = NDArray[np.float64]
#: Energy left in a field's window and its standard error, by phantom, kind of window and side; (2, depths).
Left = dict[tuple[str, str, float], Float]


def main() -> None:
    """Calculate or read the Monte-Carlo values, print the tables and write them."""
    parser = argparse.ArgumentParser(description="Slabs: pencil beam, collapsed cone, Monte Carlo.")
    parser.add_argument("--ompmc", type=Path, help="an environment that holds ompMC")
    place = parser.parse_args().ompmc
    if place is not None:
        write_kept(*monte_carlo(place / "bin" / "python"))
    head, left, spectrum = kept()
    lines = ["# Slabs across the beam", "", "Made by `python benchmarks/dose_slabs.py`.", "", *head, ""]
    lines += [SETTING, "", "## Dose over the same program's in water, less 1, %", "", *in_slabs(left), ""]
    lines += [
        SLAB,
        "",
        "## Water: the same spectrum by the cone and by Monte Carlo",
        "",
        *in_water(left, spectrum),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    OUT.write_text(text, encoding="utf-8")


def monte_carlo(python: Path) -> tuple[str, Left]:
    """Return a line on the run, and what it left."""
    job = {
        "energy_mev": CONE.cone.spectrum.energy_mev, "energy_fluence": CONE.cone.spectrum.energy_fluence,
        "deep_mm": DEEP_MM, "step_mm": STEP_MM, "phantoms": phantoms(),
        "windows_mm": [list(half) for half in windows().values()],
        "histories": HISTORIES, "repeats": REPEATS, "seed": SEED,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder) / "job.json", Path(folder) / "answer.npz"
        given.write_text(json.dumps(job), encoding="utf-8")
        script = ROOT / "benchmarks" / "peers" / "ompmc_slabs.py"
        call = [str(python), str(script), str(given), str(answer)]
        one = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL, env=one)
        found = np.load(answer)
        left: Left = {}
        for phantom in job["phantoms"]:
            runs = found[f"energy_{phantom}"]  # (repeats, windows, depths)
            error = runs.std(axis=0, ddof=1) / np.sqrt(REPEATS)
            for which, (kind, side) in enumerate(windows()):
                left[phantom, kind, side] = np.stack([runs.mean(axis=0)[which], error[which]])
        version = str(found["version"])
    spectrum = ", ".join(
        f"{e:g}: {f:g}" for e, f in zip(job["energy_mev"], job["energy_fluence"], strict=True)
    )
    said = f"ompMC {version}, {HISTORIES} photons a phantom; energy fluence by MeV {{{spectrum}}}"
    return said, left


def phantoms() -> dict[str, list[tuple[str, float, float]]]:
    """Return the layers of each phantom: medium, g/cm3, where it ends in mm."""
    made = {"water": [(WATER, 1.0, 1e6)]}
    for name, (hu, medium, electrons) in SLABS.items():
        density = float(CURVE.of(torch.tensor(hu, dtype=torch.float64)))
        for words, what, mass in ((f"{name} as water", WATER, density), (name, medium, density / electrons)):
            made[words] = [(WATER, 1.0, FROM_MM), (what, mass, TO_MM), (WATER, 1.0, 1e6)]
    return made


def windows() -> dict[tuple[str, float], Float]:
    """Return half the side of each field at each depth: fixed surface, and isocentre at the point."""
    made: dict[tuple[str, float], Float] = {
        ("surface", side): side / 2.0 * (SSD_MM + MIDDLE_MM) / MODEL.sad_mm for side in SIDES_MM
    }
    every = sorted(FITTED + UNSEEN)
    return made | {("isocentre", 10.0 * s): np.full(MIDDLE_MM.size, 5.0 * s) for s in every}


def write_kept(said: str, left: Left) -> None:
    """Write the values of a run: one line for each phantom, window and depth."""
    KEPT.parent.mkdir(exist_ok=True)
    with KEPT.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# {said}\n")
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["phantom", "window", "side_mm", "depth_mm", "energy_mev", "standard_error_mev"])
        for (phantom, kind, side), values in left.items():
            if kind == "surface" or phantom == "water":
                for depth, energy, error in zip(MIDDLE_MM, *values, strict=True):
                    rows.writerow([phantom, kind, f"{side:g}", depth, f"{energy:.6g}", f"{error:.2g}"])


def kept() -> tuple[list[str], Left, dict[float, float]]:
    """Return lines on the run that was kept, its values, and its energy fluence by MeV."""
    with KEPT.open(encoding="utf-8", newline="") as file:
        said = file.readline()[1:].strip()
        rows = list(csv.DictReader(file))
    left: dict[tuple[str, str, float], list[tuple[float, float]]] = {}
    for row in rows:
        key = row["phantom"], row["window"], float(row["side_mm"])
        left.setdefault(key, []).append((float(row["energy_mev"]), float(row["standard_error_mev"])))
    pairs = (pair.split(":") for pair in said[said.index("{") + 1 : said.index("}")].split(","))
    spectrum = {float(energy): float(share) for energy, share in pairs}
    return [f"Monte Carlo: {said}."], {key: np.array(values).T for key, values in left.items()}, spectrum


def over_water(left: Left, phantom: str, side: float) -> tuple[Float, Float]:
    """Return Monte Carlo's dose in a phantom over that in water at each depth, and its standard error.

    The mean of three voxels, but not across a face of the slab.
    """
    _, mass, _ = next(layer for layer in phantoms()[phantom][1:2])
    slab = (MIDDLE_MM > FROM_MM) & (MIDDLE_MM < TO_MM)
    here, water = left[phantom, "surface", side], left["water", "surface", side]
    ratio, error = here[0] / water[0], np.hypot(here[1], here[0] * water[1] / water[0]) / water[0]
    ratio, error = (x / np.where(slab, mass, 1.0) for x in (ratio, error))
    beside = (slab[1:] == slab[:-1]).astype(float)
    share = np.stack([np.append(0.0, beside), np.ones(slab.size), np.append(beside, 0.0)])
    share /= share.sum(axis=0)
    near = np.arange(slab.size) + np.array([[-1], [0], [1]])
    near = near.clip(0, slab.size - 1)
    return (share * ratio[near]).sum(axis=0), np.sqrt((share**2 * error[near] ** 2).sum(axis=0))


def in_slabs(left: Left) -> Iterator[str]:
    """Lines of the slabs, and the picture."""
    figure = Figure(figsize=(9.0, 5.2))
    axes = figure.subplots(2, 3, sharex=True)
    yield (
        "| slab from 6 to 11.1 cm | field, cm | by | before, 5 cm | in it, 7 cm | in it, 8.5 cm "
        "| behind, 11.5 cm | behind, 13 cm | behind, 18 cm |"
    )
    yield "|" + "---|" * 9
    colour = {"cone": "#D55E00", "pencil": "#1B2126"}
    for row, side in enumerate(SIDES_MM):
        depth = list(SHOWN_MM)
        water = {e: column(e, *tank(side, 240.0), depth, side, ISOCENTRE_MM) for e in (CONE, PENCIL)}
        for place, (slab, (hu, _, _)) in enumerate(SLABS.items()):
            panel = axes[row, place]
            for name, engine in (("cone", CONE), ("pencil", PENCIL)):
                dose = column(engine, *tank(side, 240.0, (hu, FROM_MM, TO_MM)), depth, side, ISOCENTRE_MM)
                ratio = dose / water[engine]
                yield line(slab, side, name, SHOWN_MM, ratio)
                panel.plot(depth, ratio, label=name, color=colour[name])
            for phantom, mark in ((f"{slab} as water", "o"), (slab, "x")) if slab not in LOST else ():
                ratio, error = over_water(left, phantom, side)
                words = "Monte Carlo, " + ("water of its density" if mark == "o" else "its own medium")
                yield line(slab, side, words, MIDDLE_MM, ratio, error)
                panel.plot(
                    MIDDLE_MM[:66:2], ratio[:66:2], mark, ms=3, mfc="none", color="#0072B2", label=words
                )
            panel.axvspan(FROM_MM, TO_MM, color="#F3F6F8", zorder=0)
            panel.set_title(f"{slab}, {side / 10:g} x {side / 10:g} cm", fontsize=9)
            panel.set_ylim(0.5, 1.4)
            if row:
                panel.set_xlabel("depth [mm]")
            if not place:
                panel.set_ylabel("dose over that in water")
    axes[0, 0].legend(frameon=False, fontsize=6)
    figure.tight_layout()
    figure.savefig(PICTURES / "dose_engine_slabs.png", dpi=90, metadata={"Software": None})


def line(slab: str, side: float, by: str, depth: Float, ratio: Float, error: Float | None = None) -> str:
    """Return a line of the table; with an error (Monte Carlo), the largest standard error follows."""
    cells = " | ".join(f"{100.0 * (np.interp(d, depth, ratio) - 1.0):+.1f}" for d in READ_MM)
    worst = "" if error is None else f" (± {100.0 * max(np.interp(d, depth, error) for d in READ_MM):.1f})"
    return f"| {slab} | {side / 10:g} x {side / 10:g} | {by}{worst} | {cells} |"


def in_water(left: Left, spectrum: dict[float, float]) -> Iterator[str]:
    """Lines of the TMR in water: the cone's formula and Monte Carlo against each other and the table."""
    kernel = load_kernel(CONE.cone.kernel)
    made = CONE.cone.spectrum
    assert tuple(spectrum) == made.energy_mev
    same = made.model_copy(update={"energy_fluence": tuple(spectrum.values())})
    cone = CONE.cone.model_copy(update={"extra_focal": None, "spectrum": same})
    flat = Horn(radius_mm=(0.0,), relative_fluence=(1.0,))
    without = MODEL.model_copy(update={"cone": cone, "horn": flat})
    depths = np.array(DEPTHS_MM)
    yield (
        "| cone's formula over Monte Carlo, less 1, % | "
        + " | ".join(f"{d / 10:g} cm" for d in depths)
        + " |"
    )
    yield "|" + "---|" * (len(depths) + 1)
    near = MIDDLE_MM[2:9]
    errors = []
    for side in sorted(10.0 * s for s in FITTED + UNSEEN):
        energy, error = left["water", "isocentre", side]
        errors.append(float((error / energy)[: MIDDLE_MM.searchsorted(255.0)].max()))
        found = np.exp(np.interp(depths, MIDDLE_MM, np.log(energy))) / top(near, energy[2:9])
        peak, deep = (cone_on_axis(without, kernel, side, d, MODEL.sad_mm - d) for d in (near, depths))
        off = 100.0 * (deep / top(near, peak) / found - 1.0)
        yield f"| {side / 10:g} x {side / 10:g} cm | " + " | ".join(f"{x:+.2f}" for x in off) + " |"
    yield ""
    yield f"Isocentre at the point; standard error of a value up to {100.0 * max(errors):.2f} %. Head scatter"
    yield "and horn, which the Monte Carlo does not hold, are left out of the formula here."


def top(depth: Float, values: Float) -> float:
    """Return the maximum of a parabola through values round it: less noise than the largest of them."""
    a, b, c = np.polyfit(depth, values, 2)
    return float(c - b**2 / (4.0 * a))


SETTING = """\
Slabs as wide as the world from 6 to 11.1 cm depth, surface at 90 cm, isocentre 10 cm deep. The Monte Carlo
(voxels of 3 mm along the beam) has eight energies as lines in the shares above, which may be those of an
earlier fit: the ratios hardly feel that. It has no head scatter and no horn, and scores a narrow beam in
columns round it, which by turning about the source gives every field at once; the tilt of the outer rays
towards the slab is left out. Each slab was run twice: as water of that electron density, which is what the
algorithms mean, and as its own medium (ICRU lung, ICRP cortical bone; dose to that medium)."""

SLAB = """\
The pencil beam knows only the radiological depth: it cannot lose electrons in lung or gas (4 x 4 cm, in the
slab) nor build up behind them. In gas the Monte Carlo left no energy at all: its electrons seem to end there
instead of crossing, so its values in and behind gas are not shown, and none of another source is at hand."""


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
