"""One anatomy on a grid: painted layers of tissue from back to front, and the masks of the structures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Grid
from rtplan.phantom.canvas import Canvas, Layer
from rtplan.phantom.draws import Draws, table
from rtplan.phantom.field import Array
from rtplan.phantom.paint_body import paint_body
from rtplan.phantom.paint_bones import paint_bones
from rtplan.phantom.paint_organs import paint_organs
from rtplan.phantom.prostate import Gland
from rtplan.phantom.rectum import Course
from rtplan.phantom.shapes import Shape
from rtplan.phantom.skeleton import Skeleton, draw_skeleton
from rtplan.phantom.soft import SoftTissue, grow_soft_tissue


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A digital patient before any scanner has seen him.

    Parameters
    ----------
    grid : Grid
        Axial grid of all arrays.
    layers : tuple of Layer
        From back (air) to front.
    masks : mapping of str to ndarray of bool, shape (z, y, x)
        Structures by TG-263 name.
    skeleton, gland, course
        What was drawn, in closed form.
    """

    grid: Grid
    layers: tuple[Layer, ...]
    masks: Mapping[str, NDArray[np.bool_]]
    skeleton: Skeleton
    gland: Gland
    course: Course

    def paint(self, values: Mapping[str, float], texture: Mapping[str, float], grain: Array) -> Array:
        """Return the image of one value per tissue, mixed by partial volume, with grain, shape (z, y, x)."""
        out = np.full(self.grid.shape, np.float32(values["air"]))
        for layer in self.layers:
            value, rough = np.float32(values[layer.tissue]), np.float32(texture[layer.tissue])
            part = out[layer.box]
            part += layer.fraction * (value + rough * grain[layer.box] - part)
        return out


def build_anatomy(
    draws: Draws,
    spacing_zyx_mm: tuple[float, float, float],
    frame: str,
    *,
    spacer: bool,
    shape: Shape | None = None,
) -> Anatomy:
    """Draw a patient, with a real prostate where one is given, on a grid that shows his skin all round."""
    canvas = lay_body(draws, spacing_zyx_mm, frame)
    gland, course = paint_organs(canvas, spacer=spacer, shape=shape)
    return Anatomy(canvas.grid, tuple(canvas.layers), canvas.masks, canvas.skeleton, gland, course)


def lay_body(draws: Draws, spacing_zyx_mm: tuple[float, float, float], frame: str) -> Canvas:
    """Return the canvas with body and bones, before any organ."""
    facts = table("models/anatomy", "layout")["body"]
    skeleton = draw_skeleton(draws)
    low = float(skeleton.landmarks["tuberosity"][2] - facts["field_below_tuberosity"])
    soft = grow_soft_tissue(skeleton, draws, low, low + facts["field_height"])
    grid = _grid(soft, low, spacing_zyx_mm, frame)
    canvas = Canvas(grid, skeleton, soft, draws)
    paint_body(canvas)
    paint_bones(canvas)
    return canvas


def _grid(soft: SoftTissue, low: float, spacing: tuple[float, float, float], frame: str) -> Grid:
    facts = table("models/anatomy", "layout")["body"]
    margin, dz, dy, dx = facts["air_margin"], *spacing
    inside = (soft.skin < 0) & (
        np.abs(soft.axes.z - low - 0.5 * facts["field_height"])[:, None, None] < 0.5 * facts["field_height"]
    )
    y, x = soft.axes.y[inside.any((0, 2))], soft.axes.x[inside.any((0, 1))]
    nx = int(np.ceil((x[-1] - x[0] + 2 * margin) / dx / 4.0)) * 4
    ny = int(np.ceil((y[-1] - y[0] + 2 * margin) / dy / 4.0)) * 4
    nz = max(round(facts["field_height"] / dz), 2)
    origin = (
        0.5 * float(x[0] + x[-1]) - 0.5 * (nx - 1) * dx,
        0.5 * float(y[0] + y[-1]) - 0.5 * (ny - 1) * dy,
        low,
    )
    return Grid.axial((nz, ny, nx), spacing, origin, frame)
