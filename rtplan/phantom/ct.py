"""The CT of an anatomy: HU per tissue as drawn, texture, blur and noise."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from rtplan.domain import Image, Source
from rtplan.phantom.anatomy import Anatomy
from rtplan.phantom.draws import Draws, table
from rtplan.phantom.field import Array, grain

#: Range of a CT's stored values, HU.
LOWEST_HU, HIGHEST_HU = -1024.0, 3071.0


def densities(draws: Draws) -> dict[str, float]:
    """Return the HU of each tissue of one patient: mean + sd x a draw per group of tissues."""
    shift = {g: draws[f"hu_{g}"] for g in ("fat", "soft", "bone", "fluid")} | {"none": 0.0}
    tissues = table("models/tissue", "hu")["tissue"]
    own = {name: 0.3 * draws.stream(f"hu/{name}").standard_normal() for name in tissues}
    return {
        name: float(np.clip(t["mean"] + t["sd"] * (shift[t["group"]] + own[name]), *t["published"]))
        for name, t in tissues.items()
    }


def scan_ct(anatomy: Anatomy, draws: Draws) -> Image:
    """Return the CT of an anatomy on its grid, float32 HU."""
    tissues = table("models/tissue", "hu")["tissue"]
    rng, grid = draws.stream("ct"), anatomy.grid
    _, dy, dx = grid.spacing_zyx_mm
    fine = grain(rng, grid.shape, (0.5, 1.6 / dy, 1.6 / dx))
    clean = anatomy.paint(densities(draws), {n: t["texture"] for n, t in tissues.items()}, fine)
    blur = draws["ct_blur_mm"]
    clean = ndimage.gaussian_filter(clean, (0.0, blur / dy, blur / dx), truncate=3.0)
    values = clean + _noise(rng, anatomy, draws["ct_noise_hu"])
    values = np.round(np.clip(values, LOWEST_HU, HIGHEST_HU))
    source = Source(patient_position="HFS", description=f"digital patient, cohort {draws.cohort}, CT")
    return Image(grid, values.astype(np.float32), modality="CT", source=source)


def _noise(rng: np.random.Generator, anatomy: Anatomy, level_hu: float) -> Array:
    """Noise that grows towards the middle of the body, with faint streaks across the hips, HU."""
    nz, ny, nx = anatomy.grid.shape
    _, dy, dx = anatomy.grid.spacing_zyx_mm
    body = anatomy.masks["External"]
    depth = ndimage.gaussian_filter(body[::2, ::4, ::4].astype(np.float32), (0, 60.0 / dy / 4, 60.0 / dx / 4))
    depth = np.repeat(np.repeat(np.repeat(depth, 2, 0)[:nz], 4, 1)[:, :ny], 4, 2)[:, :, :nx]
    speckle = grain(rng, anatomy.grid.shape, (0.3, 0.8 / dy, 0.8 / dx))
    streak = grain(rng, anatomy.grid.shape, (0.0, 0.7, 18.0 / dx))
    return np.asarray(level_hu * (0.35 + 0.75 * depth) * (speckle + 0.25 * depth * streak), np.float32)
