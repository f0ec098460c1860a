"""Maps of dose on three planes: differences between arms, and the spread of dose samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rtplan.domain import Dose, Patient
from rtplan.errors import GeometryMismatch
from rtplan.report.content import Picture
from rtplan.report.figures import DASHES, DIFFERENCE_COLOURS, INK, picture, style
from rtplan.report.planes import Plane, join, sample
from rtplan.report.scene import Scene, doses_on
from rtplan.report.slices import draw_outlines, dress, panels, ticks_mm
from rtplan.report.words import number

Float = NDArray[np.float64]

#: Ends of the colours' steps as shares of the scale: finer where little changes.
DIFFERENCE_STEPS = (-1.0, -0.5, -0.25, -0.1, -0.04, 0.04, 0.1, 0.25, 0.5, 1.0)
#: Ends of the colours of a spread as shares of the scale, and the colours: white for none, orange for more.
SPREAD_STEPS = (0.0, 0.05, 0.15, 0.3, 0.6, 1.0)
SPREAD_COLOURS = DIFFERENCE_COLOURS[5:10]


def difference_limit(maps: Sequence[Sequence[Float]]) -> float:
    """Return the end of the common colour scale, Gy: a round number that holds 99.5 % of the pixels.

    Examples
    --------
    >>> difference_limit([[np.array([[0.0, 0.3], [-0.9, 0.1]])]])
    1.0
    """
    seen = np.concatenate([np.abs(m[np.isfinite(m)]) for planes in maps for m in planes] or [np.zeros(1)])
    wanted = float(np.percentile(seen, 99.5)) if seen.size else 0.0
    for limit in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0):
        if wanted <= limit:
            return limit
    return 50.0


def differences_on(patient: Patient, arm: str, reference: str, scene: Scene) -> tuple[Float, ...] | None:
    """Return arm − reference on every plane inside the body, Gy; NaN elsewhere."""
    mine, other = doses_on(patient, arm, scene), doses_on(patient, reference, scene)
    if mine is None or other is None:
        return None
    maps = []
    for rank in range(len(scene.planes)):
        body = scene.bodies[rank]
        inside = np.ones(mine[rank].shape, bool) if body is None else body >= 0.5
        maps.append(np.where(inside, mine[rank] - other[rank], np.nan))
    return tuple(maps)


def difference_picture(
    arm: str, reference: str, maps: tuple[Float, ...], limit_gy: float, scene: Scene
) -> Picture:
    """Return the map of arm − reference on the three planes; lines show its sign."""
    steps = [limit_gy * step for step in DIFFERENCE_STEPS]
    with style():
        figure, axes = _map_figure(scene, maps, steps, DIFFERENCE_COLOURS)
        for rank, plane in enumerate(scene.planes):
            _sign_lines(axes[rank], plane, maps[rank], limit_gy)
        low, high = (f"{number(end, 2, sign=True)}" for end in _ends(maps))
        return picture(
            figure,
            title=f"{arm} − {reference}",
            caption=f"{low} to {high} Gy on these planes, through {scene.centre_words}. Thin lines at "
            f"±{limit_gy / 4.0:g} Gy, dashed where {arm} gives less.",
            alt=f"Map of the dose difference {arm} minus {reference}, axial, coronal and sagittal, "
            f"through {scene.centre_words}, from {low} to {high} Gy.",
            dpi=150,
        )


def spread_picture(patient: Patient, arm: str, spread: Dose, scene: Scene) -> Picture | None:
    """Return the map of a standard deviation of dose, Gy; None when it cannot be brought to the planes."""
    try:
        link = join(patient, spread.grid.frame_of_reference, scene.grid.frame_of_reference)
        maps = tuple(sample(spread, plane, link) for plane in scene.planes)
    except GeometryMismatch:
        return None
    maps = tuple(
        values if body is None else np.where(body >= 0.5, values, np.nan)
        for values, body in zip(maps, scene.bodies, strict=True)
    )
    limit = difference_limit([maps])
    with style():
        figure, axes = _map_figure(scene, maps, [limit * step for step in SPREAD_STEPS], SPREAD_COLOURS)
        for rank, plane in enumerate(scene.planes):
            _level_line(axes[rank], plane, maps[rank], 0.3 * limit)
        high = number(_ends(maps)[1], 2)
        return picture(
            figure,
            title=f"{arm}: standard deviation of the dose",
            caption=f"Up to {high} Gy on these planes. Thin line at {0.3 * limit:g} Gy.",
            alt=f"Map of the standard deviation of the dose samples of {arm}, axial, coronal and sagittal, "
            f"through {scene.centre_words}, up to {high} Gy.",
            dpi=150,
        )


def _map_figure(
    scene: Scene, maps: Sequence[Float], steps: Sequence[float], colours: Sequence[str]
) -> tuple[Figure, list[Axes]]:
    """Return the three planes in colours between steps, with structures and a scale."""
    figure, found = panels(scene, right_mm=17.0)
    bounds = BoundaryNorm(list(steps), len(colours), extend="both" if steps[0] < 0 else "neither")
    look: Colormap = ListedColormap(list(colours))
    shown: Any = None
    for rank, (axes, plane) in enumerate(zip(found, scene.planes, strict=True)):
        axes.set_facecolor("#E9ECEE")
        axes.patch.set_visible(True)
        shown = axes.imshow(
            maps[rank], cmap=look, norm=bounds, extent=plane.extent, interpolation="nearest", aspect="equal"
        )
        draw_outlines(axes, scene, rank, dark=False)
        dress(axes, plane, INK)
    _scale(figure, found[-1], shown, steps)
    return figure, found


def _scale(figure: Figure, last: Axes, shown: Any, steps: Sequence[float]) -> None:
    box = last.get_position()
    bar = figure.colorbar(
        shown, cax=figure.add_axes((box.x1 + 0.012, box.y0, 0.012, 0.92 * box.height)), spacing="uniform"
    )
    signed = "+" if steps[0] < 0 else ""
    bar.set_ticks(list(steps), labels=[f"{tick:{signed}.3g}".replace("-", "−") for tick in steps])
    bar.ax.set_title("Gy", fontsize=7.5, loc="left", pad=9)
    bar.ax.tick_params(labelsize=7, length=2)
    bar.outline.set_visible(False)


def _level_line(axes: Axes, plane: Plane, values: Float, level_gy: float) -> None:
    across, down = ticks_mm(plane)
    seen = np.ma.masked_invalid(values)
    if seen.count() and seen.min() < level_gy < seen.max():
        axes.contour(across, down, seen, levels=[level_gy], colors=[INK], linewidths=0.5)


def _sign_lines(axes: Axes, plane: Plane, values: Float, limit_gy: float) -> None:
    across, down = ticks_mm(plane)
    seen = np.ma.masked_invalid(values)
    if not seen.count():
        return
    for level, dash in ((-0.25 * limit_gy, DASHES[1]), (0.25 * limit_gy, DASHES[0])):
        if seen.min() < level < seen.max():
            lines = axes.contour(across, down, seen, levels=[level], colors=[INK], linewidths=0.5)
            lines.set_linestyle([dash])


def _ends(maps: Sequence[Float]) -> tuple[float, float]:
    seen = np.concatenate([m[np.isfinite(m)] for m in maps])
    return (float(seen.min()), float(seen.max())) if seen.size else (0.0, 0.0)
