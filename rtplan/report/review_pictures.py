"""Pictures of one structure for its reviewer: its contour on the image at three levels and from two sides."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from rtplan.domain import Image, Registration, Structure
from rtplan.imaging.contour import mask_on
from rtplan.report.content import Picture
from rtplan.report.figures import COLOURS, empty_figure, picture, style
from rtplan.report.planes import Plane, display_axes, outline, planes, sample, section
from rtplan.report.slices import window_of

Float = NDArray[np.float64]

#: Shown around the structure, and the least that is shown across, mm.
AROUND_MM, LEAST_MM = 25.0, 90.0
#: Where the axial slices lie, as shares of the slices that bear the structure.
LEVELS = ((1 / 6, "lower part"), (1 / 2, "middle"), (5 / 6, "upper part"))
VIEWS = (*(f"axial, {words}" for _, words in LEVELS), "coronal", "sagittal")
#: Colour of the contour: told from greys by all kinds of colour vision.
LINE = COLOURS[3]
SIZE_PX, SIDE_MM, DPI = 420, 60.0, 420 / (60.0 / 25.4)

_ONE_AT_A_TIME = Lock()  # matplotlib's settings are the process's


@dataclass(frozen=True, eq=False)
class View:
    """One of `VIEWS` of a structure: its name and its plane."""

    name: str
    plane: Plane


def views_of(structure: Structure, image: Image, link: Registration | None = None) -> tuple[View, ...]:
    """Return the planes that show a structure, all to one scale; none where it lies beside the image.

    Parameters
    ----------
    structure : Structure
        Contours or a mask.
    image : Image
        Whose slices are shown: every plane goes through voxel centres that the structure covers.
    link : Registration, optional
        Takes the structure's frame of reference to the image's.

    Returns
    -------
    tuple of View
        In the order of `VIEWS`. The axial ones lie in a lower, a middle and an upper slice of the structure;
        coronal and sagittal go through the median of its voxels, so that they cut it even when it is bent.

    Raises
    ------
    GeometryMismatch
        If the structure lies in another frame of reference and no registration is given.
    """
    grid = image.grid
    axes = display_axes(grid)
    points = grid.to_patient(np.argwhere(mask_on(structure, grid, link).array)) @ axes
    if not len(points):
        return ()
    low, high = points.min(axis=0), points.max(axis=0)
    half = 0.5 * max(float((high - low).max()) + 2.0 * AROUND_MM, LEAST_MM)
    middle = 0.5 * (low + high)
    box = (middle - half, middle + half)
    slices = np.unique(np.round(points[:, 2], 3))
    median = np.sort(points, axis=0)[len(points) // 2]
    step = 2.0 * half / SIZE_PX
    shown = []
    for (share, _), name in zip(LEVELS, VIEWS, strict=False):
        level = slices[min(int(share * len(slices)), len(slices) - 1)]
        shown.append(View(name, planes(grid, axes @ [median[0], median[1], level], box, step)[0]))
    _, coronal, sagittal = planes(grid, axes @ median, box, step)
    return (*shown, View("coronal", coronal), View("sagittal", sagittal))


def review_picture(
    structure: Structure, name: str, image: Image, view: View, link: Registration | None = None
) -> Picture:
    """Return one view of a structure's contour on an image.

    Parameters
    ----------
    structure : Structure
        Contours or a mask.
    name : str
        The image's name.
    image : Image
        What is shown in grey; black beside it.
    view : View
        See `views_of`.
    link : Registration, optional
        Takes the structure's frame of reference to the image's.
    """
    plane = view.plane
    values = sample(image, plane)
    lines = outline(section(structure, plane, image.grid, link), plane)
    low, high = window_of(image, [values])
    with _ONE_AT_A_TIME, style():
        figure = empty_figure(SIDE_MM, SIDE_MM)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.imshow(
            np.nan_to_num(values, nan=low), cmap="gray", vmin=low, vmax=high,
            extent=plane.extent, interpolation="bilinear", aspect="equal",
        )  # fmt: skip
        line = LineCollection(list(lines), colors=[LINE], linewidths=1.6)
        line.set_path_effects([withStroke(linewidth=3.0, foreground="black", alpha=0.6)])
        axes.add_collection(line, autolim=False)
        _letters(axes, plane)
        return picture(figure, caption=view.name, alt=alt_of(structure.name, name, view), dpi=DPI)


def alt_of(structure: str, image: str, view: View) -> str:
    """Return the words that stand for a view where it cannot be seen."""
    left, right, top, bottom = tuple(view.plane.letters)
    wide = view.plane.size_mm[0]
    return (
        f"Contour of {structure} on {image}, {view.name}; {wide:.0f} mm across; left edge {left}, right "
        f"edge {right}, top {top}, bottom {bottom}."
    )


def _letters(axes: Axes, plane: Plane) -> None:
    """Write the patient's directions at the edges, and a scale bar."""
    halo = [withStroke(linewidth=2.0, foreground="black", alpha=0.85)]
    spots = [(0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center"),
             (0.5, 0.98, "center", "top"), (0.5, 0.02, "center", "bottom")]  # fmt: skip
    for letter, (x, y, across, along) in zip(plane.letters, spots, strict=True):
        axes.text(
            x, y, letter, transform=axes.transAxes, ha=across, va=along,
            color="white", fontsize=11, fontweight="bold", path_effects=halo,
        )  # fmt: skip
    width, _ = plane.size_mm
    bar = 50.0 if width > 120.0 else 20.0
    left, _, bottom, _ = plane.extent
    x, y = left + 0.04 * width, bottom - 0.04 * width
    axes.plot([x, x + bar], [y, y], color="white", lw=2.0, solid_capstyle="butt", path_effects=halo)
    axes.text(
        x + 0.5 * bar, y - 0.015 * width, f"{bar / 10:.0f} cm",
        ha="center", va="bottom", color="white", fontsize=10, path_effects=halo,
    )  # fmt: skip
