"""Pictures of a spacer's benefit: the same slices without and with the gel, and the rectum's DVH."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from rtplan.domain import Dose, Image, Structure
from rtplan.report.content import Picture
from rtplan.report.figures import ISODOSE_COLOURS, drawable, empty_figure, looks, picture, style
from rtplan.report.planes import Plane, display_axes, outline, planes, sample, section
from rtplan.report.plots import Drawing, dvh_picture
from rtplan.report.slices import CT_WINDOW_HU
from rtplan.report.words import listed, shortened

Float = NDArray[np.float64]

WIDTH_MM = 186.0
#: What is shown round the middle of the gland: to the left and right, to the front, to the back, up and down.
AROUND_MM = {"side": 60.0, "front": 45.0, "back": 75.0, "along": 55.0}
#: Structures that are drawn, where they are there.
DRAWN = ("Rectum", "Prostate", "GTVp", "Spacer", "Bladder")
#: Isodose lines, % of the prescription, and which of the report's colours each has.
LEVELS_PERCENT = ((50.0, 1), (70.0, 4), (95.0, 2))


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two rows: its name, image, structures and dose."""

    name: str
    image: Image
    structures: Mapping[str, Structure]
    dose: Dose


def slices_picture(sides: Sequence[Side], middle_mm: Float, prescribed_gy: float, target: str) -> Picture:
    """Return axial and sagittal slices through the middle of the gland, one row for each side.

    Parameters
    ----------
    sides : sequence of Side
        Without and with the gel, on one grid.
    middle_mm : ndarray, shape (3,)
        The shown point, LPS mm.
    prescribed_gy : float
        100 % of the isodose lines.
    target : str
        Name of the planning target, drawn as well.
    """
    grid = sides[0].image.grid
    axes = display_axes(grid)
    centre = axes.T @ middle_mm
    low = centre - np.array([AROUND_MM["side"], AROUND_MM["front"], AROUND_MM["along"]])
    high = centre + np.array([AROUND_MM["side"], AROUND_MM["back"], AROUND_MM["along"]])
    shown = [p for p in planes(grid, middle_mm, (low, high), 0.6) if p.name in ("axial", "sagittal")]
    names = [n for n in (target, *DRAWN) if any(n in side.structures for side in sides)]
    colours = looks(names)
    with style():
        top, gap = 5.0, 4.0
        widths, heights = ([p.size_mm[k] for p in shown] for k in (0, 1))
        scale = (WIDTH_MM - gap) / sum(widths)
        row = scale * max(heights) + top
        figure = empty_figure(WIDTH_MM, len(sides) * row + 11.0)
        whole = len(sides) * row + 11.0
        for r, side in enumerate(sides):
            x = 0.0
            for plane in shown:
                wide, high_ = scale * plane.size_mm[0], scale * plane.size_mm[1]
                y = whole - r * row - top - high_
                panel = figure.add_axes((x / WIDTH_MM, y / whole, wide / WIDTH_MM, high_ / whole))
                _panel(panel, side, plane, names, prescribed_gy)
                panel.set_title(f"{side.name}, {plane.name}", pad=2)
                x += wide + gap
        handles = [Line2D([], [], color=colours[n][0], linestyle=colours[n][1], lw=2.0) for n in names]
        handles += [Line2D([], [], color=ISODOSE_COLOURS[c], lw=1.4) for _, c in LEVELS_PERCENT]
        words = [shortened(drawable(n), 14) for n in names]
        words += [f"{p:.0f} % ({p * prescribed_gy / 100.0:.1f} Gy)" for p, _ in LEVELS_PERCENT]
        legend = figure.legend(
            handles, words, loc="lower left", ncol=-(-len(words) // 2), handlelength=1.4, borderpad=0.3
        )
        legend.set_in_layout(False)
        for text in legend.get_texts():
            text.set_fontsize(6.5)
        frame = legend.get_frame()
        frame.set_facecolor("#2A2F33")
        frame.set_alpha(1.0)
        legend.set_frame_on(True)
        for text in legend.get_texts():
            text.set_color("white")
        said = f"Slices through the middle of the prostate {' and '.join(s.name for s in sides)}"
        return picture(
            figure,
            title="Before and after",
            caption=f"{said}. Isodose lines of each plan; "
            f"window {CT_WINDOW_HU[0]:g} to {CT_WINDOW_HU[1]:g} HU.",
            alt=f"{said}. Outlined: {listed(names)}. The gel lies between prostate and rectum, and the "
            "rectum lies further back with it.",
            dpi=150,
        )


def _panel(axes: Axes, side: Side, plane: Plane, names: Sequence[str], prescribed_gy: float) -> None:
    low, high = CT_WINDOW_HU
    values = np.nan_to_num(sample(side.image, plane), nan=low)
    axes.imshow(values, cmap="gray", vmin=low, vmax=high, extent=plane.extent, interpolation="bilinear")
    colours = looks(names)
    for name in names:
        if name not in side.structures:
            continue
        lines = outline(section(side.structures[name], plane, side.image.grid), plane)
        drawn = LineCollection(
            lines, colors=[colours[name][0]], linestyles=[colours[name][1]], linewidths=1.4
        )
        drawn.set_path_effects([withStroke(linewidth=2.2, foreground="black", alpha=0.5)])
        axes.add_collection(drawn, autolim=False)
    dose = sample(side.dose, plane)
    rows, columns = dose.shape
    across, down = np.arange(columns) * plane.step_mm, np.arange(rows) * plane.step_mm
    for percent, colour in LEVELS_PERCENT:
        level = percent * prescribed_gy / 100.0
        if np.isfinite(dose).any() and np.nanmin(dose) < level < np.nanmax(dose):
            axes.contour(
                across, down, np.ma.masked_invalid(dose), levels=[level],
                colors=[ISODOSE_COLOURS[colour]], linewidths=0.9,
            )  # fmt: skip
    x0, x1, y1, y0 = plane.extent
    axes.set_xlim(x0, x1)
    axes.set_ylim(y1, y0)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    for letter, place in zip(plane.letters[:2], (0.03, 0.97), strict=True):
        axes.text(
            place, 0.5, letter, transform=axes.transAxes, color="white", ha="center", va="center",
            fontsize=8, fontweight="bold",
        )  # fmt: skip


def curves_picture(curves: Mapping[str, Mapping[str, tuple[Float, Float]]], names: Sequence[str]) -> Picture:
    """Return the DVHs of both plans: ``curves[side][structure]``, the side without a gel first."""
    return dvh_picture(Drawing(curves, tuple(curves), tuple(names)))
