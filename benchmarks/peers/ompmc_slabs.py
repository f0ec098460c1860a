"""A narrow photon beam through slabs by ompMC (EGSnrc's physics), run in its own environment.

Takes a JSON file with the job, gives an npz file (see dose_slabs.py). A narrow beam, scored in columns round
its path, stands for a divergent square field whose axis it is: by turning about the source, what a ray at
an angle gives to the axis is what the middle ray gives at that angle. Slabs are taken as wide as the world,
and their tilt towards the turned rays (below 4 degrees for a 10 x 10 cm field) is left out.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import ompmc

#: Lines of the spectrum are this wide, MeV.
LINE_MEV = 0.002


def main() -> None:
    """Run every phantom of the job; keep the energy within each field's window, by repeat and depth."""
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    half = np.concatenate([[5.0], np.arange(7.5, 30.1, 2.5), np.arange(35.0, 130.1, 5.0), [200.0]]) / 10.0
    lateral = np.concatenate([-half[::-1], half])
    depth = np.arange(job["deep_mm"] / job["step_mm"] + 1) * job["step_mm"] / 10.0
    found = {}
    for name, layers in job["phantoms"].items():
        phantom = geometry(lateral, np.append(depth, depth[-1] + 10.0), layers)
        runs = []
        for repeat in range(job["repeats"]):
            energy = shower(phantom, job, repeat)[:, :, : depth.size - 1]
            runs.append([windows(energy, lateral, np.array(w) / 10.0) for w in job["windows_mm"]])
        found[f"energy_{name}"] = np.array(runs)
        print(name, "done", flush=True)
    np.savez(sys.argv[2], version=ompmc.__version__, **found)


def geometry(lateral: np.ndarray, depth: np.ndarray, layers: list) -> ompmc.Geometry:
    """Return the phantom; each layer has a medium, its density in g/cm3 and where it ends in mm."""
    media = sorted({medium for medium, _, _ in layers})
    middle = 5.0 * (depth[1:] + depth[:-1])
    which = np.searchsorted([end for _, _, end in layers], middle)
    shape = (lateral.size - 1, lateral.size - 1, middle.size)
    density, material = np.empty(shape, order="F"), np.empty(shape, np.int32, order="F")
    density[:] = np.array([d for _, d, _ in layers])[which]
    material[:] = np.array([media.index(m) + 1 for m, _, _ in layers])[which]
    return ompmc.Geometry(lateral, lateral, depth, media, density, material)


def shower(phantom: ompmc.Geometry, job: dict, repeat: int) -> np.ndarray:
    """Return the mean energy left in each voxel by one photon of the narrow beam."""
    energy, number = [], []
    for line, share in zip(job["energy_mev"], job["energy_fluence"], strict=True):
        energy += [line - LINE_MEV / 2.0, line + LINE_MEV / 2.0]
        number += [0.0, share / line]
    spectrum = ompmc.Spectrum.from_histogram(energy, number, e_min=LINE_MEV)
    physics = ompmc.Physics(
        pegs_file=ompmc.data_path() / "pegs4" / "521icru.pegs4dat",
        global_ecut=0.7, global_pcut=0.01, n_split=1, seeds=(job["seed"], repeat + 1),
    )  # fmt: skip
    narrow = ompmc.CollimatedSource(ssd=1000.0, x_min=-1e-4, x_max=1e-4, y_min=-1e-4, y_max=1e-4)
    dose, _ = ompmc.calc_cube(
        phantom, narrow, spectrum, physics,
        n_histories=job["histories"] // job["repeats"], n_batches=2, output_dose=False,
    )  # fmt: skip
    return dose


def windows(energy: np.ndarray, lateral: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Return the energy within +-half (one for each depth) of the beam, linear between the columns' edges."""
    whole = np.zeros((lateral.size, lateral.size, energy.shape[2]))
    whole[1:, 1:] = energy.cumsum(axis=0).cumsum(axis=1)
    found = np.empty(half.size)
    for k, h in enumerate(half):
        ends = [np.interp(x, lateral, np.arange(lateral.size)) for x in (-h, h)]
        rows = [
            np.array([np.interp(p, np.arange(lateral.size), row) for row in whole[:, :, k]]) for p in ends
        ]
        low, high = (np.interp(ends, np.arange(lateral.size), row) for row in rows)
        found[k] = high[1] - high[0] - low[1] + low[0]
    return found


if __name__ == "__main__":
    main()
