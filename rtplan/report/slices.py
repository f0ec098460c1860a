"""Pictures of slices: images with structures and isodoses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import AbstractPathEffect, withStroke
from numpy.typing import NDArray

from rtplan.domain import Image, Patient
from rtplan.errors import GeometryMismatch
from rtplan.report.content import Picture
from rtplan.report.figures import (
    DASHES,
    INK,
    ISODOSE_COLOURS,
    drawable,
    empty_figure,
    picture,
    style,
)
from rtplan.report.planes import Plane, join, sample
from rtplan.report.scene import Isodoses, Scene, doses_on
from rtplan.report.words import listed, number, shortened

Float = NDArray[np.float64]

WIDTH_MM = 186.0
CT_WINDOW_HU = (-160.0, 240.0)
#: Where each line bears its number, seen from the shown point (0: right, 90: down).
_LABEL_ANGLES_DEG = (0.0, 150.0, 40.0, 215.0, 320.0, 80.0)
#: Line styles of isodoses, from low to high.
ISODOSE_DASHES = (DASHES[2], DASHES[3], DASHES[1], DASHES[0], DASHES[4], DASHES[0])
_DARK: list[AbstractPathEffect] = [withStroke(linewidth=2.2, foreground="black", alpha=0.55)]


def window_of(image: Image, values: Sequence[Float]) -> tuple[float, float]:
    """Return the grey levels' lowest and highest value: fixed HU for a CT, percentiles for an MR."""
    if image.modality == "CT":
        return CT_WINDOW_HU
    seen = np.concatenate([v[np.isfinite(v) & (v > 0)] for v in values] or [np.empty(0)])
    if not seen.size:
        return 0.0, 1.0
    low, high = np.percentile(seen, [1.0, 99.5])
    return float(min(low, 0.0)), float(max(high, low + 1e-6))


def image_values(patient: Patient, image: Image, scene: Scene) -> tuple[Float, ...] | None:
    """Return an image on every plane of the scene; None when no registration joins their frames."""
    try:
        link = join(patient, image.grid.frame_of_reference, scene.grid.frame_of_reference)
        return tuple(sample(image, plane, link) for plane in scene.planes)
    except GeometryMismatch:
        return None


def panels(scene: Scene, right_mm: float = 0.0) -> tuple[Figure, list[Axes]]:
    """Return a figure with one axes per plane, all to one scale, and room on the right."""
    gap, top = 3.0, 5.5
    widths = [plane.size_mm[0] for plane in scene.planes]
    heights = [plane.size_mm[1] for plane in scene.planes]
    scale = (WIDTH_MM - right_mm - gap * (len(widths) - 1)) / sum(widths)
    scale = min(scale, 95.0 / max(heights))
    height = scale * max(heights) + top
    figure = empty_figure(WIDTH_MM, height)
    axes, x = [], 0.0
    for wide, high in zip(widths, heights, strict=True):
        y = height - top - scale * high
        box = (x / WIDTH_MM, y / height, scale * wide / WIDTH_MM, scale * high / height)
        axes.append(figure.add_axes(box))
        x += scale * wide + gap
    return figure, axes


def dress(axes: Axes, plane: Plane, colour: str) -> None:
    """Give a panel its title, the patient's directions, a scale bar and the marks of the other planes."""
    width, height = plane.size_mm
    tilt = f", tilted {plane.tilt_deg:.1f}°" if plane.tilt_deg else ""
    axes.set_title(plane.name.capitalize() + tilt, pad=3)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    x0, x1, y1, y0 = plane.extent
    axes.set_xlim(x0, x1)
    axes.set_ylim(y1, y0)
    back = "black" if colour == "white" else "white"
    halo, rim = ([withStroke(linewidth=w, foreground=back, alpha=0.85)] for w in (2.2, 4.0))
    spots = [(0.045, 0.5), (0.955, 0.5), (0.5, 0.95), (0.5, 0.05)]
    sides = [("left", "center"), ("right", "center"), ("center", "top"), ("center", "bottom")]
    for letter, spot, (across, along) in zip(plane.letters, spots, sides, strict=True):
        axes.text(
            *spot, letter, transform=axes.transAxes, ha=across, va=along,
            color=colour, fontsize=8.5, fontweight="bold", path_effects=halo,
        )  # fmt: skip
    bar = 50.0 if width > 120.0 else 20.0
    left, low = x0 + 0.04 * width, y1 - 0.05 * height
    axes.plot([left, left + bar], [low, low], color=colour, lw=2.0, solid_capstyle="butt", path_effects=rim)
    axes.text(
        left + bar / 2, low - 0.015 * height, f"{bar / 10:.0f} cm", color=colour, fontsize=7,
        ha="center", va="bottom", path_effects=halo,
    )  # fmt: skip
    _marks(axes, plane, colour)


def _marks(axes: Axes, plane: Plane, colour: str) -> None:
    x, y = plane.cross_mm
    x0, x1, y1, y0 = plane.extent
    tick = 0.03 * (x1 - x0)
    for xs, ys in (([x, x], [y0, y0 + tick]), ([x, x], [y1 - tick, y1]), ([x0, x0 + tick], [y, y]),
                   ([x1 - tick, x1], [y, y])):  # fmt: skip
        axes.plot(xs, ys, color=colour, lw=0.8, alpha=0.8)


def draw_outlines(axes: Axes, scene: Scene, rank: int, dark: bool) -> None:
    """Draw the structures and the body on one panel; light on a dark image."""
    tone = "#E8E8E8" if dark else INK
    axes.add_collection(LineCollection(scene.skins[rank], colors=[tone], linewidths=0.7), autolim=False)
    for name, lines in scene.outlines[rank].items():
        colour, dash = scene.looks[name]
        drawn = LineCollection(lines, colors=[colour], linestyles=[dash], linewidths=1.3)
        if dark:
            drawn.set_path_effects(_DARK)
        axes.add_collection(drawn, autolim=False)


def ticks_mm(plane: Plane) -> tuple[Float, Float]:
    """Return where the pixels lie across and down, mm, for contour lines."""
    _, rows, columns = plane.grid.shape
    step = np.float64(plane.step_mm)
    return np.arange(columns, dtype=np.float64) * step, np.arange(rows, dtype=np.float64) * step


def _isodose_lines(axes: Axes, plane: Plane, dose: Float, isodoses: Isodoses) -> None:
    if not np.isfinite(dose).any():
        return
    across, down = ticks_mm(plane)
    highest, lowest = np.nanmax(dose), np.nanmin(dose)
    for rank, level in enumerate(isodoses.levels_gy):
        if not lowest < level < highest:
            continue
        lines = axes.contour(
            across, down, np.ma.masked_invalid(dose), levels=[level],
            colors=[ISODOSE_COLOURS[rank]], linewidths=0.9,
        )  # fmt: skip
        lines.set_linestyle([ISODOSE_DASHES[rank]])
        if rank == 0:
            continue  # the lowest one is told by its dots; at the entrances its numbers would crowd
        angle = np.radians(_LABEL_ANGLES_DEG[rank])
        spot = (plane.cross_mm[0] + 60.0 * np.cos(angle), plane.cross_mm[1] + 60.0 * np.sin(angle))
        words = {level: isodoses.labels[rank]}
        for label in axes.clabel(lines, fmt=words, fontsize=6, inline_spacing=1, manual=[spot]):
            label.set_path_effects([withStroke(linewidth=1.6, foreground="black", alpha=0.8)])


def slices_picture(patient: Patient, name: str, words: str, scene: Scene) -> Picture | None:
    """Return the three planes of an image with structures and, where it has a dose, isodoses.

    Parameters
    ----------
    patient : Patient
        Whose image ``name`` is shown.
    name, words : str
        Role or arm, and what it is.
    scene : Scene
        See `rtplan.report.scene.scene_of`.

    Returns
    -------
    Picture or None
        None when the image's frame of reference is joined to the scene's by no registration.
    """
    image = patient.images[name]
    values = image_values(patient, image, scene)
    if values is None:
        return None
    doses = doses_on(patient, name, scene)
    low, high = window_of(image, values)
    with style():
        figure, shown = panels(scene)
        for rank, (axes, plane) in enumerate(zip(shown, scene.planes, strict=True)):
            axes.imshow(
                np.nan_to_num(values[rank], nan=low), cmap="gray", vmin=low, vmax=high,
                extent=plane.extent, interpolation="bilinear", aspect="equal",
            )  # fmt: skip
            draw_outlines(axes, scene, rank, dark=True)
            if doses is not None and scene.isodoses is not None:
                _isodose_lines(axes, plane, doses[rank], scene.isodoses)
            dress(axes, plane, "white")
        scale = (
            f"{number(low, 0)} to {number(high, 0)} HU"
            if image.modality == "CT"
            else "1st to 99.5th percentile"
        )
        return picture(
            figure,
            title=name,
            caption=f"{words}. Window {scale}.",
            alt=_alt(name, words, scene, doses is not None and scene.isodoses is not None),
            dpi=150,
        )


def _alt(name: str, words: str, scene: Scene, with_dose: bool) -> str:
    seen = [n for n in scene.looks if any(lines[n] for lines in scene.outlines)]
    drawn = f" Outlined: {listed(seen)}." if seen else " No structure is cut by these planes."
    lines = ""
    if with_dose and scene.isodoses is not None:
        lines = f" Isodose lines at {listed(scene.isodoses.words)}."
    return (
        f"Axial, coronal and sagittal slice of {name} ({words}) through {scene.centre_words}, "
        f"the patient's left on the right of the picture.{drawn}{lines}"
    )


def key_picture(scene: Scene, with_dose: bool) -> Picture | None:
    """Return the key to the slices: colours and line styles of structures and isodoses."""
    entries: list[tuple[Any, str]] = []
    for name, (colour, dash) in scene.looks.items():
        entries.append((Line2D([], [], color=colour, linestyle=dash, lw=2.2), shortened(drawable(name))))
    if any(body is not None for body in scene.bodies):
        entries.append((Line2D([], [], color="#E8E8E8", lw=1.0), "body outline"))
    if with_dose and scene.isodoses is not None:
        for rank, words in enumerate(scene.isodoses.words):
            line = Line2D([], [], color=ISODOSE_COLOURS[rank], linestyle=ISODOSE_DASHES[rank], lw=1.4)
            entries.append((line, words))
    if not entries:
        return None
    rows = -(-len(entries) // 5)
    with style():
        figure = empty_figure(WIDTH_MM, 4.6 * rows + 2.5)
        figure.set_facecolor("#2A2F33")
        legend = figure.legend(
            [e[0] for e in entries], [e[1] for e in entries], loc="center", ncol=min(5, len(entries)),
            labelcolor="white", handlelength=2.6, columnspacing=1.2, borderpad=0.0,
        )  # fmt: skip
        legend.set_in_layout(False)
        base = f" 100 % = {scene.isodoses.base}." if with_dose and scene.isodoses is not None else ""
        return picture(
            figure,
            title="Key to the slices",
            caption=base.strip() or "Colours and line styles of the structures.",
            alt=f"Key: structures {listed(scene.looks) or 'none'}; "
            f"isodose lines {listed(scene.isodoses.words) if base and scene.isodoses else 'none'}.",
            dpi=150,
        )
