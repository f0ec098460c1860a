"""The dose engine beside PyDoseRT and pyRadPlan, in water and in a pelvis; writes results/dose_peers.md.

The peers live beside the project, each needs versions of its own:
``python3 -m venv .venv-peers && .venv-peers/bin/pip install pydosert==1.5.0`` and
the same with ``.venv-peers/pyradplan`` and ``pyRadPlan==0.5.0 'numpy<2.4' 'pydantic<2.13'``.
Other places: ``python benchmarks/dose_peers.py --peers DIR --pyradplan DIR``. An absent peer is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dose_slabs import FROM_MM, LOST, MIDDLE_MM, SHOWN_MM, SLABS, TO_MM, kept, line, over_water
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rtplan.domain import Grid, Image, Mask
from rtplan.imaging.contour import mask_on
from rtplan.phantom.cohort import make_patient
from rtplan.planning.algorithm import ALGORITHMS
from rtplan.planning.around import centre_of
from rtplan.planning.beam import load_beam
from rtplan.planning.density import load_curve
from rtplan.planning.openfield import open_field
from rtplan.planning.raytrace import sampled

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT.parent / "shared" / "data" / "beam" / "generic_truebeam_6mv_tmr.csv"
OUT = ROOT / "benchmarks" / "results" / "dose_peers.md"
PICTURE = ROOT / "docs" / "dose_engine_peers.png"
MODEL, CURVE = load_beam("generic_6mv"), load_curve("matrad_default")
TPR = 0.666
DEPTHS_MM, SIDES_MM = (50.0, 100.0, 150.0, 200.0), (40.0, 100.0, 200.0)
SLAB_SIDES_MM = (40.0, 100.0)
COLOURS = {"rtplan": "#1B2126", "rtplan cone": "#D55E00", "PyDoseRT": "#009E73", "pyRadPlan": "#CC79A7"}
BESIDE_MM = (-60.0, -40.0, -20.0, 0.0, 20.0, 40.0, 60.0)
PELVIS = ("valid", 1)
Float = NDArray[np.float64]
Doses = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Scene:
    """A density image and its body; all engines get the same."""

    image: Image
    body: Mask

    @property
    def density(self) -> NDArray[np.float32]:
        """Density relative to water, 0 outside the body."""
        made: NDArray[np.float32] = CURVE.of(torch.tensor(self.image.array)).numpy() * self.body.array
        return made


def scenes() -> dict[str, Scene]:
    """Return the two tanks, the pelvis, the same outline full of water, and the ellipse of the times."""
    pelvis = digital_pelvis()
    water = Scene(pelvis.image.with_array(np.where(pelvis.body.array, 0.0, -1000.0)), pelvis.body)
    grid = Grid.axial((80, 140, 140), (3.0, 3.0, 3.0), (-208.5, -208.5, -118.5))
    x, y = (grid.to_patient(np.stack(np.indices(grid.shape), axis=-1))[..., i] for i in (0, 1))
    ellipse = filled(grid, (x / 180) ** 2 + (y / 110) ** 2 < 1)
    return {
        "tank": tank((101, 120, 101), 3.0), "fine": tank((101, 75, 101), 2.0),
        "pelvis": pelvis, "water": water, "ellipse": ellipse,
    } | {f"slab of {name}": slab(hu) for name, (hu, _, _) in SLABS.items()}  # fmt: skip


def slab(hu: float) -> Scene:
    """Return the tank with a slab of this HU across the beam."""
    water = tank((101, 120, 101), 3.0)
    y = water.image.grid.to_patient(np.stack(np.indices(water.image.grid.shape), axis=-1))[..., 1]
    return Scene(
        water.image.with_array(np.where((y > FROM_MM) & (y < TO_MM), hu, water.image.array)), water.body
    )


def tank(shape: tuple[int, int, int], spacing_mm: float) -> Scene:
    """Return water with its surface at y = 0 under ten voxels of air, centred on x = z = 0."""
    first = (-spacing_mm * (shape[2] // 2), -9.5 * spacing_mm, -spacing_mm * (shape[0] // 2))
    inside = np.zeros(shape, np.bool_)
    inside[:, 10:] = True
    return filled(Grid.axial(shape, (spacing_mm,) * 3, first), inside)


def filled(grid: Grid, inside: NDArray[np.bool_]) -> Scene:
    """Return water inside, air outside."""
    return Scene(Image(grid, np.where(inside, 0.0, -1000.0)), Mask(grid, inside))


def digital_pelvis() -> Scene:
    """Return the CT of a digital pelvis on 80 x 140 x 140 voxels of 3 mm, its target in the middle voxel."""
    patient = make_patient(*PELVIS, spacing_zyx_mm=(3.0, 3.0, 3.0), contrasts=())  # type: ignore[arg-type]
    ct = patient.images["CT"]
    body = mask_on(patient.structure("External"), ct.grid).array
    target = mask_on(patient.structure("PTVp"), ct.grid)
    place = np.round(ct.grid.to_index(np.array(centre_of(target)))).astype(int)
    shape = np.array((80, 140, 140))
    index = np.stack(np.indices(shape), axis=-1) - shape // 2 + place
    seen = ((index >= 0) & (index < ct.grid.shape)).all(axis=-1)
    k, j, i = np.moveaxis(np.clip(index, 0, np.array(ct.grid.shape) - 1), -1, 0)
    inside = body[k, j, i] & seen
    grid = Grid.axial((80, 140, 140), (3.0, 3.0, 3.0), (-210.0, -210.0, -120.0))  # the target at 0, 0, 0
    return Scene(Image(grid, np.where(inside, ct.array[k, j, i], -1000.0)), Mask(grid, inside))


def field(
    scene: str, side_mm: float, isocentre_mm: tuple[float, float, float], *gantry: float
) -> dict[str, Any]:
    """Return one calculation, as the peers' scripts read it."""
    return {"scene": scene, "side": side_mm, "isocentre": list(isocentre_mm), "gantry": list(gantry)}


def fields() -> dict[str, dict[str, Any]]:
    """Return all calculations by name."""
    made = {f"depth {d:g}": field("tank", 100.0, (0.0, d, 0.0), 0.0) for d in DEPTHS_MM}
    made |= {f"side {s:g}": field("tank", s, (0.0, 100.0, 0.0), 0.0) for s in SIDES_MM}
    made |= {
        f"{s} {a:g}": field(f"slab of {s}", a, (0.0, 100.0, 0.0), 0.0) for s in SLABS for a in SLAB_SIDES_MM
    }
    made["profile"] = field("fine", 100.0, (0.0, 100.0, 0.0), 0.0)
    for scene in ("pelvis", "water"):
        made |= {f"{scene} {g}": field(scene, 80.0, (0.0, 0.0, 0.0), float(g)) for g in (0, 90)}
    return made


TIMED = field("ellipse", 80.0, (0.0, 0.0, 0.0), *(360.0 / 7 * i for i in range(7)))


def own(
    all_scenes: dict[str, Scene], algorithm: str, repeats: int
) -> tuple[Doses, dict[str, list[float]], str]:
    """Return this project's doses by name, times and version."""
    engine = ALGORITHMS[algorithm](MODEL, CURVE, "cpu")

    def dose(job: dict[str, Any]) -> NDArray[np.float32]:
        scene = all_scenes[job["scene"]]
        beams = [open_field((job["side"],) * 2, tuple(job["isocentre"]), gantry_deg=g) for g in job["gantry"]]
        return engine.calculate(beams, [scene.image], scene.body, scene.image.grid)[0].array

    doses = {name: dose(job) for name, job in fields().items()}
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        dose(TIMED)
        seconds.append(time.perf_counter() - start)
    name = "rtplan" if algorithm == "pencil" else f"rtplan {algorithm}"
    return doses, {name: [seconds[0], min(seconds[1:])]}, f"torch {torch.__version__}"


def peer(python: Path, script: str, given: Path) -> tuple[Doses, dict[str, list[float]], str] | str:
    """Return a peer's doses, times and version; or why it was left out."""
    if not python.exists():
        place = python.parents[1].name
        return f"left out: there is no environment {place} (see the head of benchmarks/dose_peers.py)"
    answer = given.with_name(f"{script}.npz")
    path = ROOT / "benchmarks" / "peers" / f"{script}.py"
    call = [str(python), str(path), str(given), str(answer)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"left out: it failed with {(done.stderr.strip().splitlines() or ['no message'])[-1]!r}"
    found = np.load(answer)
    doses = {name: found[f"dose_{number}"] for number, name in enumerate(fields())}
    return doses, json.loads(str(found["times"])), str(found["version"])


def write_given(path: Path, all_scenes: dict[str, Scene]) -> None:
    """Write what the peers' scripts read."""
    arrays: dict[str, Any] = {}
    for name, scene in all_scenes.items():
        grid = scene.image.grid
        hu = np.where(scene.body.array, scene.image.array, -1000.0).astype(np.float32)
        arrays |= {f"{name}_density": scene.density, f"{name}_hu": hu}
        arrays |= {f"{name}_origin_xyz": grid.affine[:3, 3], f"{name}_spacing_zyx": grid.spacing_zyx_mm}
    jobs = {"fields": list(fields().values()), "timed": TIMED, "tpr_20_10": TPR,
            "source_fwhm_mm": MODEL.source_fwhm_mm, "threads": torch.get_num_threads()}  # fmt: skip
    np.savez(path, jobs=json.dumps(jobs), **arrays)


def read(dose: NDArray[np.float32], grid: Grid, points: Float) -> Float:
    """Return a dose at points, shape (n, 3), LPS mm; linear between voxels."""
    index = grid.to_index(points)
    place = torch.as_tensor((2.0 * index[:, ::-1] + 1.0) / np.array(dose.shape[::-1]) - 1.0)
    found: Float = sampled(torch.as_tensor(dose.astype(np.float64))[None], place, 1)[0].numpy()
    return found


class Reader:
    """One engine's doses on the common grids."""

    def __init__(self, doses: Doses, all_scenes: dict[str, Scene]) -> None:
        self.doses, self.grids = doses, {name: scene.image.grid for name, scene in all_scenes.items()}

    def at_isocentre(self, name: str) -> float:
        """Dose of a field at its isocentre."""
        job = fields()[name]
        return float(read(self.doses[name], self.grids[job["scene"]], np.array([job["isocentre"]]))[0])

    def profile(self) -> tuple[float, float]:
        """Width at half the dose and 20-80 % penumbra (mean of both sides) of 10 x 10 cm at 10 cm, mm."""
        x = np.arange(-90.0, 90.05, 0.1)
        dose = read(self.doses["profile"], self.grids["fine"], np.stack([x, 0 * x + 100.0, 0 * x], axis=1))
        relative = dose / dose[x.size // 2]
        sides = [np.interp((0.2, 0.5, 0.8), relative[part], x[part]) for part in (x < 0, slice(None))]
        right = np.interp((0.2, 0.5, 0.8), relative[x > 0][::-1], x[x > 0][::-1])
        left = sides[0]
        return float(right[1] - left[1]), float((left[2] - left[0] + right[0] - right[2]) / 2.0)

    def over_water(self, slab: str, side: float, depth: Float) -> Float:
        """Slab over water at depths of the axis."""
        points = np.stack([0.0 * depth, depth, 0.0 * depth], axis=1)
        there, water = (
            read(self.doses[name], self.grids["tank"], points)
            for name in (f"{slab} {side:g}", f"side {side:g}")
        )
        return there / water

    def on_axis(self, gantry: int, beside: Float | None = None) -> Float:
        """Pelvis over water at places of the axis, ``BESIDE_MM`` if none (above 0: behind the isocentre)."""
        way = np.array(BESIDE_MM if beside is None else beside)[:, None] * np.array(
            [[0.0, 1.0, 0.0] if gantry == 0 else [-1.0, 0.0, 0.0]]
        )
        pelvis, water = (read(self.doses[f"{s} {gantry}"], self.grids[s], way) for s in ("pelvis", "water"))
        return pelvis / water

    def ratio(self, gantry: int) -> Float:
        """Pelvis over water in every voxel."""
        water = self.doses[f"water {gantry}"].astype(np.float64)
        return np.divide(
            self.doses[f"pelvis {gantry}"], water, out=np.full(water.shape, np.nan), where=water > 0
        )


def in_water(readers: dict[str, Reader]) -> Iterator[str]:
    """Lines of the tables in water."""
    yield "| 10 x 10 cm at the isocentre, relative to 10 cm deep | 5 cm | 15 cm | 20 cm |"
    yield "|---|---|---|---|"
    if TABLE.exists():
        table = np.genfromtxt(TABLE, delimiter=",", names=True)
        tmr = np.interp(np.array(DEPTHS_MM) / 10.0, table["depth_cm"], table["tmr_10x10"])
        yield "| TrueBeam table | " + " | ".join(f"{x:.3f}" for x in np.delete(tmr / tmr[1], 1)) + " |"
    for name, reader in readers.items():
        dose = np.array([reader.at_isocentre(f"depth {d:g}") for d in DEPTHS_MM])
        yield f"| {name} | " + " | ".join(f"{x:.3f}" for x in np.delete(dose / dose[1], 1)) + " |"
    yield ""
    yield "| 10 cm deep | 4 x 4 / 10 x 10 | 20 x 20 / 10 x 10 | width at 50 %, mm | penumbra 20-80 %, mm |"
    yield "|---|---|---|---|---|"
    for name, reader in readers.items():
        small, reference, large = (reader.at_isocentre(f"side {s:g}") for s in SIDES_MM)
        width, penumbra = reader.profile()
        yield f"| {name} | {small / reference:.3f} | {large / reference:.3f} | {width:.1f} | {penumbra:.1f} |"


def in_pelvis(readers: dict[str, Reader], all_scenes: dict[str, Scene]) -> Iterator[str]:
    """Lines of the table in the pelvis: on the axis, and over the field."""
    head = " | ".join(f"{d:+g} mm" if d else "isocentre" for d in BESIDE_MM)
    for gantry in (0, 90):
        yield ""
        yield f"| gantry {gantry}, % | {head} | field, against rtplan: mean ± sd, 95 % below |"
        yield "|---|" + "---|" * (len(BESIDE_MM) + 1)
        first = next(iter(readers.values()))
        dose = first.doses[f"water {gantry}"]
        level = 0.5 * first.at_isocentre(f"water {gantry}")
        part = (dose > level) & all_scenes["pelvis"].body.array & near_axis(all_scenes["pelvis"].image.grid)
        for name, reader in readers.items():
            axis = " | ".join(f"{100.0 * (x - 1.0):+.2f}" for x in reader.on_axis(gantry))
            off = 100.0 * (reader.ratio(gantry)[part] / first.ratio(gantry)[part] - 1.0)
            beside = f"{off.mean():+.2f} ± {off.std():.2f}, {np.percentile(np.abs(off), 95):.2f}"
            yield f"| {name} | {axis} | {'–' if reader is first else beside} |"


def in_slabs(readers: dict[str, Reader]) -> Iterator[str]:
    """Lines of the slabs, with the kept Monte-Carlo values."""
    _, left, _ = kept()
    yield (
        "| slab from 6 to 11.1 cm | field, cm | by | before, 5 cm | in it, 7 cm | in it, 8.5 cm "
        "| behind, 11.5 cm | behind, 13 cm | behind, 18 cm |"
    )
    yield "|" + "---|" * 9
    for slab_ in SLABS:
        for side in SLAB_SIDES_MM:
            for name, reader in readers.items():
                yield line(slab_, side, name, SHOWN_MM, reader.over_water(slab_, side, SHOWN_MM))
            if slab_ in LOST:
                continue
            ratio, error = over_water(left, f"{slab_} as water", side)
            yield line(slab_, side, "Monte Carlo, water of its density", MIDDLE_MM, ratio, error)


def picture(readers: dict[str, Reader]) -> None:
    """Draw 10 x 10 cm through the slabs, and the axes in the pelvis."""
    _, left, _ = kept()
    figure = Figure(figsize=(9.0, 5.6))
    axes = figure.subplots(2, 3)
    for panel, slab_ in zip(axes[0], SLABS, strict=True):
        for name, reader in readers.items():
            panel.plot(SHOWN_MM, reader.over_water(slab_, 100.0, SHOWN_MM), label=name, color=COLOURS[name])
        if slab_ not in LOST:
            ratio, _ = over_water(left, f"{slab_} as water", 100.0)
            panel.plot(
                MIDDLE_MM[1:66:2], ratio[1:66:2], "o", ms=3, mfc="none", color="#0072B2", label="Monte Carlo"
            )
        panel.axvspan(FROM_MM, TO_MM, color="#F3F6F8", zorder=0)
        panel.set(xlabel="depth [mm]", title=f"{slab_}, 10 x 10 cm")
    beside = np.arange(-80.0, 81.0, 2.0)
    for panel, gantry in zip(axes[1], (0, 90), strict=False):
        for name, reader in readers.items():
            panel.plot(beside, reader.on_axis(gantry, beside), label=name, color=COLOURS[name])
        panel.set(xlabel="behind the isocentre [mm]", title=f"pelvis, gantry {gantry}")
    axes[1, 2].axis("off")
    axes[1, 2].legend(*axes[0, 0].get_legend_handles_labels(), frameon=False, loc="center")
    for row in axes:
        row[0].set_ylabel("dose over that in water")
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=90, metadata={"Software": None})


def by_quality(readers: dict[str, Reader]) -> Iterator[str]:
    """Lines on how much of the difference at the isocentre is the beam's quality."""
    yield "| at the isocentre, % | gantry 0 | gantry 90 | gantry 90 from rtplan's by TPR20,10 |"
    yield "|---|---|---|---|"
    own_fall, own_value = 0.0, 0.0
    for name, reader in readers.items():
        fall = np.log(reader.at_isocentre("depth 200") / reader.at_isocentre("depth 100"))
        front, side = (100.0 * (reader.on_axis(g)[BESIDE_MM.index(0.0)] - 1.0) for g in (0, 90))
        own_fall, own_value = own_fall or fall, own_value or side
        yield f"| {name} | {front:+.2f} | {side:+.2f} | {own_value * fall / own_fall:+.2f} |"


def near_axis(grid: Grid) -> NDArray[np.bool_]:
    """Return the voxels within 60 mm of the isocentre along the body and off its skin: no build-up."""
    points = grid.to_patient(np.stack(np.indices(grid.shape), axis=-1))
    near: NDArray[np.bool_] = np.linalg.norm(points, axis=-1) < 60.0
    return near


def report(found: dict[str, Any], all_scenes: dict[str, Scene]) -> Iterator[str]:
    """Lines of the whole report."""
    there = {name: answer for name, answer in found.items() if not isinstance(answer, str)}
    readers = {name: Reader(answer[0], all_scenes) for name, answer in there.items()}
    yield from ["# The dose engine beside its peers", "", "Made by `python benchmarks/dose_peers.py`.", ""]
    for name, answer in found.items():
        yield f"- {name}: {answer if isinstance(answer, str) else answer[2]}"
    yield from ["", SETTING, "", "## Water", "", *in_water(readers), "", WATER]
    yield from ["", "## Slabs: dose over the same program's in water, less 1, %", "", *in_slabs(readers)]
    yield from ["", IN_SLABS]
    picture(readers)
    yield from ["", "## An inhomogeneous pelvis", "", IN_PELVIS, *in_pelvis(readers, all_scenes)]
    yield from ["", "## Why they differ", "", *by_quality(readers), "", WHY, "", "## Time", ""]
    yield "| 7 open fields of 8 x 8 cm, 80x140x140 voxels of 3 mm | first call, s | best further call, s |"
    yield "|---|---|---|"
    for answer in there.values():
        for name, (cold, warm) in answer[1].items():
            yield f"| {name} | {cold:.2f} | {warm:.2f} |"
    threads, cores, load = torch.get_num_threads(), os.cpu_count(), os.getloadavg()[0]
    yield ""
    yield f"Body an ellipse of 360 x 220 mm. One run, one after another; threads: {threads}, cores: {cores}."
    yield "pyRadPlan was called once, its geometry included; rtplan keeps nothing between calls. Times at"
    yield f"load {load:.1f}" + (" (the machine was shared: upper bounds)." if load > threads + 0.5 else ".")


SETTING = """\
All engines get the same densities (our curve, 0 outside the body), the same grid (3 mm; 2 mm for the
profile) and open fields; doses are relative, so calibration plays no part. rtplan: `generic_6mv`, fitted to
the TrueBeam table. PyDoseRT: `PencilDepthEngine`, TPR20,10 = 0.666, our source width, kernel of 101 voxels,
no head scatter, no off-axis profile. pyRadPlan: its own machine `Generic` (another 6 MV beam, with matRad's
kernels), HU and matRad's default curve (ours too), cut-off 200 mm."""

WATER = """\
Isocentre at each depth, so the first table is a ratio of TMRs. rtplan is fitted to this table; PyDoseRT
takes one number of it (TPR20,10), from which its kernels follow by a published parametrisation; pyRadPlan's
beam is another machine's and more penetrating. Output factors hold phantom scatter alone in the peers."""

IN_SLABS = """\
The slabs of dose_slabs.md, with its Monte-Carlo values. The three pencil beams know the radiological depth
alone, and so agree with each other and not with the Monte Carlo in and behind the slabs; the collapsed cone
loses and regains electrons and scatter as it does."""

IN_PELVIS = """\
Digital pelvis valid:1, isocentre in the middle of the target, open 8 x 8 cm field. Each number is an
engine's dose in the pelvis over its own dose in the same outline full of water, less 1, in %: what the
engine makes of the inhomogeneity. Negative places lie before the isocentre, seen from the source. The last
column is over all voxels within 60 mm of the isocentre that get more than half of its dose."""

WHY = """\
The beam's quality is one cause: the same surplus of water costs a softer beam more. The last column takes
rtplan's gantry 90 value and scales it by the logarithm of each engine's own TPR20,10. Another, not isolated
here: rtplan and pyRadPlan read the radiological depth at the point of dose, PyDoseRT at the pencil that
sends the scatter, and it projects and turns its dose on the voxel grid. None of these three scales its
kernels sideways with density or knows of lost electronic equilibrium: their agreement is no proof in or
behind gas and cortical bone. rtplan's collapsed cone does both; what it differs by from the others is that
(its output factors hold head scatter, fitted to the pencil beam's)."""


def main() -> None:
    """Calculate, print the tables and write them."""
    parser = argparse.ArgumentParser(description="The dose engine beside PyDoseRT and pyRadPlan.")
    parser.add_argument("--peers", type=Path, default=ROOT / ".venv-peers")
    parser.add_argument("--pyradplan", type=Path, default=ROOT / ".venv-peers" / "pyradplan")
    places = parser.parse_args()
    all_scenes = scenes()
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "given.npz"
        write_given(given, all_scenes)
        found = {
            "rtplan": own(all_scenes, "pencil", 4),
            "rtplan cone": own(all_scenes, "cone", 2),
            "PyDoseRT": peer(places.peers / "bin" / "python", "pydosert_dose", given),
            "pyRadPlan": peer(places.pyradplan / "bin" / "python", "pyradplan_dose", given),
        }
        text = "\n".join(report(found, all_scenes)) + "\n"
    print(text)
    OUT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
