"""A box about the gland of a digital patient as tissue labels: what a small field of view shows of him."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Grid
from rtplan.phantom.canvas import Canvas
from rtplan.phantom.draws import Cohort, Draws, table
from rtplan.phantom.mr import signals
from rtplan.phantom.paint_body import paint_body
from rtplan.phantom.paint_bones import paint_bones
from rtplan.phantom.paint_organs import paint_organs
from rtplan.phantom.prostate import draw_gland
from rtplan.phantom.skeleton import draw_skeleton
from rtplan.phantom.soft import grow_soft_tissue


@dataclass(frozen=True, eq=False)
class Section:
    """Part of a digital patient, no scanner has seen him.

    Parameters
    ----------
    name : str
        Cohort and seed.
    grid : Grid
        Axial.
    tissue : ndarray, shape (z, y, x)
        uint8; index of the tissue that fills most of the voxel, in the order of `tissues`.
    masks : mapping of str to ndarray of bool
        Structures by TG-263 name.
    t2w : ndarray, shape (tissues,)
        float32; signal of each tissue in this patient's T2w, relative.
    """

    name: str
    grid: Grid
    tissue: NDArray[np.uint8]
    masks: Mapping[str, NDArray[np.bool_]]
    t2w: NDArray[np.float32]


def tissues() -> tuple[str, ...]:
    """Return the names of the tissues in the order of their numbers."""
    return tuple(table("models/tissue", "relaxation")["tissue"])


def cut_section(
    cohort: Cohort, seed: int, spacing_zyx_mm: tuple[float, float, float], shape_zyx: tuple[int, int, int]
) -> Section:
    """Build the part of a digital patient in a box about the middle of his gland.

    The anatomy is that of `make_patient` with the same seed; only the voxels differ, and nothing is
    computed outside the box.
    """
    draws = Draws(cohort, int(seed))
    skeleton = draw_skeleton(draws)
    facts = table("models/anatomy", "layout")["body"]
    low = float(skeleton.landmarks["tuberosity"][2] - facts["field_below_tuberosity"])
    soft = grow_soft_tissue(skeleton, draws, low, low + facts["field_height"])
    middle = draw_gland(skeleton, draws).centre
    half = (np.array(shape_zyx) - 1) * np.array(spacing_zyx_mm) / 2.0
    corner = middle - half[::-1]
    origin = (float(corner[0]), float(corner[1]), float(corner[2]))
    canvas = Canvas(Grid.axial(shape_zyx, spacing_zyx_mm, origin, "2.25.1"), skeleton, soft, draws)
    paint_body(canvas)
    paint_bones(canvas)
    paint_organs(canvas, spacer=False)
    values = signals("T2w", draws)
    t2w = np.array([values[name] for name in tissues()], np.float32)
    return Section(f"{cohort}{seed:04d}", canvas.grid, _filled(canvas), dict(canvas.masks), t2w)


def _filled(canvas: Canvas) -> NDArray[np.uint8]:
    """Return the number of the tissue that covers at least half of each voxel, the front one of them."""
    number = {name: index for index, name in enumerate(tissues())}
    out = np.full(canvas.axes.shape, number["air"], np.uint8)
    for layer in canvas.layers:
        part = out[layer.box]
        part[layer.fraction >= 0.5] = number[layer.tissue]
    return out
