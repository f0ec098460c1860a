"""Pictures of a dose network's errors: violins by structure, and the worst patients slice by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from rtplan.domain import Dose, Mask
from rtplan.report.content import Picture
from rtplan.report.figures import (
    COLOURS,
    DIFFERENCE_COLOURS,
    GREY,
    INK,
    RULE,
    empty_figure,
    looks,
    picture,
    style,
)

#: Metrics in the order of the violins, with their colours.
METRICS = {
    "D_0.1_cc": COLOURS[1],
    "mean": COLOURS[2],
    "D_99": COLOURS[0],
    "D_95": COLOURS[3],
    "D_1": COLOURS[4],
}
#: Doses are drawn in bands of 10 Gy.
BANDS = ("#000000", "#08306B", "#1F5FA0", "#4A90C4", "#8DBCDC", "#FFF7BC", "#FEC44F", "#E48636")
TOP_GY, DIFFERENCE_GY = 80.0, 15.0


@dataclass(frozen=True, eq=False)
class Shown:
    """A patient to show: the dose error (Gy), both doses, and masks by name."""

    key: str
    error: float
    reference: Dose
    predicted: Dose
    masks: Mapping[str, Mask]


def errors_picture(signed: Mapping[str, Sequence[float]]) -> Picture:
    """Return violins of predicted − reference by structure and metric.

    Parameters
    ----------
    signed : mapping
        ``"structure|metric"`` to the differences of the patients, Gy.
    """
    with style():
        figure = empty_figure(186.0, 95.0)
        axes = figure.add_axes((0.08, 0.24, 0.90, 0.66))
        structures = list(dict.fromkeys(key.split("|")[0] for key in sorted(signed, key=_rank)))
        for place, structure in enumerate(structures):
            metrics = [metric for metric in METRICS if f"{structure}|{metric}" in signed]
            for turn, metric in enumerate(metrics):
                at = place + 0.26 * (turn - (len(metrics) - 1) / 2)
                _violin(axes, at, np.asarray(signed[f"{structure}|{metric}"]), METRICS[metric])
        axes.axhline(0.0, color=INK, linewidth=0.8)
        axes.set_xticks(range(len(structures)), structures, rotation=30, ha="right")
        axes.set_ylabel("predicted − planned [Gy]")
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        handles = [Line2D([], [], color=colour, linewidth=5, alpha=0.6) for colour in METRICS.values()]
        figure.legend(handles, list(METRICS), ncols=5, loc="upper center")
        return picture(
            figure,
            title="Errors by structure",
            caption="Difference of each DVH metric over the patients; a dot is a patient, a bar the median.",
            alt="Violins of the differences between predicted and planned DVH metrics, by structure.",
        )


def _rank(key: str) -> tuple[bool, str]:
    return key.startswith("PTV"), key


def _violin(axes: Axes, at: float, values: NDArray[np.float64], colour: str) -> None:
    if values.size >= 3 and np.ptp(values) > 0.0:
        parts = axes.violinplot([values], [at], widths=0.24, showextrema=False, showmedians=False)
        for body in list(parts["bodies"]):  # type: ignore[call-overload]
            body.set_facecolor(colour)
            body.set_alpha(0.45)
    axes.plot(np.full(values.size, at), values, ".", color=colour, markersize=2.5)
    axes.plot([at - 0.09, at + 0.09], [np.median(values)] * 2, color=INK, linewidth=1.2)


def worst_picture(patients: Sequence[Shown]) -> Picture:
    """Return one row per patient: planned, predicted and difference on the slice that errs most; DVHs."""
    with style():
        figure = empty_figure(186.0, 50.0 * len(patients) + 10.0)
        bands = ListedColormap(BANDS)
        colours = LinearSegmentedColormap.from_list("difference", DIFFERENCE_COLOURS)
        grid = figure.add_gridspec(
            len(patients),
            5,
            width_ratios=(1, 1, 1, 0.36, 1.35),
            left=0.02,
            right=0.88,
            wspace=0.06,
            top=0.94,
            bottom=0.14,
            hspace=0.35,
        )
        for row, shown in enumerate(patients):
            difference = shown.predicted.array - shown.reference.array
            k = int(np.abs(difference).sum(axis=(1, 2)).argmax())
            panels: tuple[tuple[str, NDArray[np.float32], Colormap, float, float], ...] = (
                (f"{shown.key}: planned", shown.reference.array[k], bands, 0.0, TOP_GY),
                ("predicted", shown.predicted.array[k], bands, 0.0, TOP_GY),
                (
                    f"difference (±{DIFFERENCE_GY:.0f} Gy)",
                    difference[k],
                    colours,
                    -DIFFERENCE_GY,
                    DIFFERENCE_GY,
                ),
            )
            _, dy, dx = shown.reference.grid.spacing_zyx_mm
            for column, (title, plane, palette, low, high) in enumerate(panels):
                axes = figure.add_subplot(grid[row, column])
                shade = axes.imshow(
                    plane, cmap=palette, vmin=low, vmax=high, aspect=dy / dx, interpolation="nearest"
                )
                if row == len(patients) - 1 and column > 0:
                    _key(figure, axes, shade, column)
                axes.set_title(title)
                axes.set_xticks([])
                axes.set_yticks([])
                for name, mask in shown.masks.items():
                    if name.startswith("PTV") and mask.array[k].any():
                        axes.contour(mask.array[k], [0.5], colors=[GREY], linewidths=0.7)
            _dvh(figure.add_subplot(grid[row, 4]), shown, last=row == len(patients) - 1)
        return picture(
            figure,
            title="The worst patients",
            caption="Largest dose error; doses in bands of 10 Gy. Slice with the largest error, targets "
            "outlined; DVH full: planned, dashed: predicted. Left on the picture is the patient's right.",
            alt="Planned and predicted dose, their difference and DVHs of the worst patients.",
        )


def _key(figure: Figure, axes: Axes, shade: AxesImage, column: int) -> None:
    """Draw the key of a palette below its panels: doses below the first two, differences below the third."""
    place = axes.get_position()
    wide = 2 if column == 1 else 1
    left = place.x0 if wide == 1 else place.x0 - place.width - 0.01
    own = figure.add_axes((left, place.y0 - 0.045, place.x1 - left, 0.012))
    bar = figure.colorbar(shade, cax=own, orientation="horizontal")
    bar.set_label("dose [Gy]" if column == 1 else "predicted − planned [Gy]")
    bar.ax.tick_params(labelsize=6)


def _dvh(axes: Axes, shown: Shown, *, last: bool) -> None:
    doses = np.linspace(0.0, 80.0, 161)
    named = [name for name, mask in shown.masks.items() if mask.array.any() and name != "PossibleDose"]
    for name, (colour, _) in looks(named).items():
        width = 1.5 if name.startswith("PTV") else 0.9
        inside = shown.masks[name].array
        for dose, dash in ((shown.reference, "-"), (shown.predicted, "--")):
            values = np.sort(dose.array[inside])
            volume = 100.0 * (1.0 - np.searchsorted(values, doses, side="left") / values.size)
            axes.plot(doses, volume, dash, color=colour, linewidth=width, label=name if dash == "-" else None)
    axes.set_title(f"dose error {shown.error:.2f} Gy")
    axes.set_ylabel("volume [%]")
    axes.set_ylim(0.0, 101.0)
    axes.grid(color=RULE)
    axes.legend(
        fontsize=6.0, loc="upper left", bbox_to_anchor=(1.0, 1.03), handlelength=1.2, labelspacing=0.3
    )
    if last:
        axes.set_xlabel("dose [Gy]")
        lines = [Line2D([], [], color=INK, linestyle=dash) for dash in ("-", "--")]
        axes.figure.legend(lines, ["planned", "predicted"], ncols=2, loc="lower right", fontsize=6.5)
