"""Pictures of a spacer's benefit: the same slices without and with the gel, and the rectum's DVH."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from rtplan.domain import Dose, Grid, Image, Structure
from rtplan.report.content import Picture
from rtplan.report.figures import ISODOSE_COLOURS, drawable, empty_figure, looks, picture, style
from rtplan.report.planes import Plane, display_axes, outline, planes, sample, section
from rtplan.report.plots import Drawing, dvh_picture
from rtplan.report.slices import CT_WINDOW_HU, ISODOSE_DASHES, dress, ticks_mm
from rtplan.report.words import listed, number, shortened

Float = NDArray[np.float64]
#: Colour and line style.
Look = tuple[str, tuple[int, tuple[float, ...]]]

WIDTH_MM = 186.0
#: What is shown round the middle of the gland: to the left and right, to the front, to the back, up and down.
AROUND_MM = {"side": 60.0, "front": 45.0, "back": 75.0, "along": 55.0}
#: Structures that are drawn, where they are there.
DRAWN = ("Rectum", "Prostate", "GTVp", "Spacer", "Bladder")
#: Isodose lines, % of the prescription, and which of the report's colours and line styles each has.
LEVELS_PERCENT = ((50.0, 0, 0), (70.0, 3, 1), (95.0, 2, 3))
#: Round each panel, mm on paper: above (its title), between two, and below all (the key).
TOP_MM, GAP_MM, KEY_MM = 5.5, 4.0, 12.0


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
    shown = _planes(sides[0].image.grid, middle_mm)
    names = [n for n in _ranked(target) if any(n in side.structures for side in sides)]
    outlines = [[_outlines(side, plane, names) for plane in shown] for side in sides]
    seen = [n for n in names if any(lines[n] for row in outlines for lines in row)]
    colours = {n: look for n, look in looks(_ranked(target)).items() if n in seen}
    scale = (WIDTH_MM - GAP_MM * (len(shown) - 1)) / sum(plane.size_mm[0] for plane in shown)
    row = scale * max(plane.size_mm[1] for plane in shown) + TOP_MM
    whole = len(sides) * row + KEY_MM
    with style():
        figure = empty_figure(WIDTH_MM, whole)
        for r, side in enumerate(sides):
            x = 0.0
            for plane, lines in zip(shown, outlines[r], strict=True):
                wide, high = (scale * size for size in plane.size_mm)
                y = whole - r * row - TOP_MM - high
                panel = figure.add_axes((x / WIDTH_MM, y / whole, wide / WIDTH_MM, high / whole))
                _panel(panel, side, plane, {n: (lines[n], colours[n]) for n in seen}, prescribed_gy)
                x += wide + GAP_MM
        _key(figure, colours, prescribed_gy, whole)
        said = f"Slices through the middle of the prostate {' and '.join(s.name for s in sides)}"
        return picture(
            figure,
            title="Before and after",
            caption=f"{said}. Isodose lines of each plan; "
            f"window {number(CT_WINDOW_HU[0], 0)} to {number(CT_WINDOW_HU[1], 0)} HU.",
            alt=f"{said}. Outlined: {listed(seen)}. The gel lies between prostate and rectum, and the "
            "rectum lies further back with it.",
            dpi=150,
        )


def _planes(grid: Grid, middle_mm: Float) -> list[Plane]:
    axes = display_axes(grid)
    centre = axes.T @ middle_mm
    low = centre - np.array([AROUND_MM["side"], AROUND_MM["front"], AROUND_MM["along"]])
    high = centre + np.array([AROUND_MM["side"], AROUND_MM["back"], AROUND_MM["along"]])
    return [p for p in planes(grid, middle_mm, (low, high), 0.6) if p.name in ("axial", "sagittal")]


def _outlines(side: Side, plane: Plane, names: Sequence[str]) -> dict[str, tuple[Float, ...]]:
    """Return the outlines of structures on a plane; none where one is absent or not cut."""
    there = {n: side.structures[n] for n in names if n in side.structures}
    return {n: outline(section(there[n], plane, side.image.grid), plane) if n in there else () for n in names}


def _panel(
    axes: Axes,
    side: Side,
    plane: Plane,
    drawn: Mapping[str, tuple[tuple[Float, ...], Look]],
    prescribed_gy: float,
) -> None:
    low, high = CT_WINDOW_HU
    values = np.nan_to_num(sample(side.image, plane), nan=low)
    axes.imshow(values, cmap="gray", vmin=low, vmax=high, extent=plane.extent, interpolation="bilinear")
    for lines, (colour, dash) in drawn.values():
        one = LineCollection(lines, colors=[colour], linestyles=[dash], linewidths=1.4)
        one.set_path_effects([withStroke(linewidth=2.2, foreground="black", alpha=0.5)])
        axes.add_collection(one, autolim=False)
    _isodoses(axes, plane, sample(side.dose, plane), prescribed_gy)
    dress(axes, plane, "white")
    axes.set_title(f"{side.name.capitalize()}, {axes.get_title(loc='left').lower()}", pad=3)


def _isodoses(axes: Axes, plane: Plane, dose: Float, prescribed_gy: float) -> None:
    if not np.isfinite(dose).any():
        return
    across, down = ticks_mm(plane)
    for percent, colour, dash in LEVELS_PERCENT:
        level = percent * prescribed_gy / 100.0
        if np.nanmin(dose) < level < np.nanmax(dose):
            lines = axes.contour(
                across, down, np.ma.masked_invalid(dose), levels=[level],
                colors=[ISODOSE_COLOURS[colour]], linewidths=1.1,
            )  # fmt: skip
            lines.set_linestyle([ISODOSE_DASHES[dash]])


def _key(figure: Figure, colours: Mapping[str, Look], prescribed_gy: float, whole_mm: float) -> None:
    """Draw the key in two rows under the panels: structures, and isodose lines."""
    structures = [(Line2D([], [], color=c, linestyle=d, lw=2.0), shortened(drawable(n), 14))
                  for n, (c, d) in colours.items()]  # fmt: skip
    isodoses = [
        (
            Line2D([], [], color=ISODOSE_COLOURS[c], linestyle=ISODOSE_DASHES[d], lw=1.4),
            f"{p:.0f} % of {prescribed_gy:g} Gy ({number(p * prescribed_gy / 100.0)} Gy)",
        )
        for p, c, d in LEVELS_PERCENT
    ]
    figure.patches.append(
        Rectangle((0.0, 0.0), 1.0, (KEY_MM - 1.0) / whole_mm, transform=figure.transFigure, color="#2A2F33")
    )
    for rank, entries in enumerate((structures, isodoses)):
        legend = figure.legend(
            [line for line, _ in entries], [words for _, words in entries], loc="center",
            bbox_to_anchor=(0.5, (KEY_MM - 1.0) * (0.73 - 0.46 * rank) / whole_mm), ncol=len(entries),
            labelcolor="white", fontsize=7.5, handlelength=2.6, columnspacing=1.6, borderpad=0.0,
        )  # fmt: skip
        legend.set_in_layout(False)


def curves_picture(
    curves: Mapping[str, Mapping[str, tuple[Float, Float]]], names: Sequence[str], target: str
) -> Picture:
    """Return the DVHs of both plans: ``curves[side][structure]``, the side without a gel first.

    Structures have the colours that they have in the slices with this planning target.
    """
    ranked = tuple(dict.fromkeys((*_ranked(target), *names)))
    return dvh_picture(Drawing(curves, tuple(curves), tuple(names), ranked=ranked))


def _ranked(target: str) -> tuple[str, ...]:
    return (target, *DRAWN)
