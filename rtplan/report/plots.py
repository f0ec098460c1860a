"""The DVHs of all arms in one figure, with bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from rtplan.dosimetry.bands import Band
from rtplan.report.content import Picture
from rtplan.report.figures import DASHES, INK, drawable, empty_figure, looks, picture, style
from rtplan.report.words import listed, number, shortened

Float = NDArray[np.float64]

#: Dose (Gy) and volume (%) of one cumulative DVH, both shape (n,).
Curve = tuple[Float, Float]
#: Curves by arm, then by structure.
Curves = Mapping[str, Mapping[str, Curve]]

WIDTH_MM = 186.0
MOST_CURVES = 6
_SAMPLES = 241


@dataclass(frozen=True)
class Axis:
    """The dose axis of a DVH: its title, and what a Gy is divided by (1: Gy; else a relative dose)."""

    title: str = "dose [Gy]"
    gy: float = 1.0


def curve_names(curves: Curves, order: Sequence[str]) -> tuple[str, ...]:
    """Return the structures that have curves: those of ``order`` first, the rest by name."""
    there = {name for arm in curves.values() for name in arm}
    ranked = [name for name in order if name in there]
    return (*ranked, *sorted(there - set(ranked)))


@dataclass(frozen=True, eq=False)
class Drawing:
    """What a figure of DVHs shows.

    Parameters
    ----------
    curves : mapping
        Arm to structure to (dose in Gy, volume in %).
    arms : tuple of str
        In order; the first one is what the others are compared with. One line style each.
    names : tuple of str
        Structures, one colour each.
    axis : Axis
        How the dose is written.
    banded : str
        The arm whose bands are drawn.
    bands : mapping
        Structure to band.
    ranked : tuple of str
        Structures by whose rank colours are given, where another figure has them too; else ``names``.
    """

    curves: Curves
    arms: tuple[str, ...]
    names: tuple[str, ...]
    axis: Axis = field(default_factory=Axis)
    banded: str = ""
    bands: Mapping[str, Band] = field(default_factory=dict)
    ranked: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Chart:
    """The curves that are drawn, on common doses: ``dose`` in Gy, ``shown`` as on the axis."""

    curves: Curves
    arms: tuple[str, ...]
    names: tuple[str, ...]
    dose: Float
    shown: Float
    ranked: tuple[str, ...]

    def volume(self, arm: str, name: str) -> Float | None:
        """Return the volume in % at the common doses; None without a curve."""
        gy, percent = self.curves.get(arm, {}).get(name, (np.empty(0), np.empty(0)))
        if len(gy) == 0:
            return None
        return np.asarray(np.interp(self.dose, gy, percent, right=0.0), np.float64)

    def dash(self, arm: str) -> tuple[int, tuple[float, ...]]:
        """Return the line style of an arm."""
        return DASHES[self.arms.index(arm) % len(DASHES)]

    def colour(self, name: str) -> str:
        """Return the colour of a structure."""
        return looks(self.ranked)[name][0]


def dvh_picture(drawing: Drawing) -> Picture:
    """Return the DVHs of all arms in one figure, and below it their difference to the first arm."""
    curves, arms, names, axis = drawing.curves, drawing.arms, drawing.names, drawing.axis
    dose = np.linspace(0.0, _highest(curves, arms, names), _SAMPLES)
    chart = _Chart(curves, tuple(arms), tuple(names), dose, dose / axis.gy, tuple(drawing.ranked or names))
    several = len(arms) > 1
    with style():
        figure = empty_figure(WIDTH_MM, 128.0 if several else 88.0)
        layout = figure.add_gridspec(
            2 if several else 1, 1, height_ratios=[2.3, 1] if several else [1],
            left=0.075, right=0.985, top=0.9, bottom=0.085 if several else 0.125, hspace=0.12,
        )  # fmt: skip
        lowest = top = figure.add_subplot(layout[0])
        _bands(top, chart, drawing)
        _volumes(top, chart)
        if several:
            lowest = figure.add_subplot(layout[1], sharex=top)
            top.tick_params(labelbottom=False)
            _volume_differences(lowest, chart)
        lowest.set_xlabel(axis.title)
        _keys(figure, chart)
        second = f" Lower panel: volume on each arm minus volume on {arms[0]}." if several else ""
        band = _band_words(drawing)
        return picture(
            figure,
            title="Cumulative DVHs",
            caption=f"One colour per structure, one line style per arm.{band}{second}",
            alt=f"Cumulative dose-volume histograms of {listed(names)} on {listed(arms)}.{band}{second} "
            "The tables of goals and of dose metrics give the values.",
            vector=True,
        )


def _bands(axes: Axes, chart: _Chart, drawing: Drawing) -> None:
    for name in chart.names:
        band = drawing.bands.get(name)
        if band is not None:
            axes.fill_between(
                band.dose_gy / drawing.axis.gy, band.low_percent, band.high_percent,
                color=chart.colour(name), alpha=0.3, lw=0,
            )  # fmt: skip


def _band_words(drawing: Drawing) -> str:
    """Return what the bands are and how wide they get, for those who cannot see them."""
    shown = {name: band for name, band in drawing.bands.items() if name in drawing.names}
    if not shown:
        return " No band: neither dose samples nor bounds are there."
    widths = {name: float(np.max(band.high_percent - band.low_percent)) for name, band in shown.items()}
    name = max(widths, key=lambda n: widths[n])
    what = listed(dict.fromkeys(band.what for band in shown.values()))
    return f" Band on {drawing.banded}: {what}; widest {number(widths[name], 1)} pp ({name})."


def _highest(curves: Curves, arms: Sequence[str], names: Sequence[str]) -> float:
    there = [curves[arm][name] for arm in arms for name in names if name in curves.get(arm, {})]
    ends = [float(np.max(gy, initial=0.0, where=np.asarray(percent) > 0.02)) for gy, percent in there]
    return 1.03 * max(ends, default=0.0) or 1.0


def _volumes(axes: Axes, chart: _Chart) -> None:
    for arm in reversed(chart.arms):
        for name in chart.names:
            volume = chart.volume(arm, name)
            if volume is not None:
                width = 1.7 if arm == chart.arms[0] else 1.2
                axes.plot(chart.shown, volume, color=chart.colour(name), linestyle=chart.dash(arm), lw=width)
    _names_on_curves(axes, chart)
    axes.set_ylim(0, 102)
    axes.set_xlim(0, chart.shown[-1])
    axes.set_ylabel("volume [%]")
    axes.grid(True)


def _names_on_curves(axes: Axes, chart: _Chart) -> None:
    """Write each structure's name on its curve of the first arm, at heights that keep the names apart."""
    volumes = {name: chart.volume(chart.arms[0], name) for name in chart.names}
    there = {name: volume for name, volume in volumes.items() if volume is not None}
    order = sorted(there, key=lambda n: -float(np.abs(there[n] - 50.0).argmin()))
    for name, height in zip(order, np.linspace(80.0, 16.0, max(len(order), 2)), strict=False):
        x = chart.shown[int(np.argmin(np.abs(there[name] - height)))]
        box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": chart.colour(name), "lw": 0.9}
        words = shortened(drawable(name), 18)
        axes.text(x, height, words, fontsize=7.5, ha="center", va="center", bbox=box)


def _volume_differences(axes: Axes, chart: _Chart) -> None:
    biggest = 0.5
    for name in chart.names:
        base = chart.volume(chart.arms[0], name)
        for arm in chart.arms[1:]:
            volume = chart.volume(arm, name)
            if volume is None or base is None:
                continue
            change = volume - base
            axes.plot(chart.shown, change, color=chart.colour(name), linestyle=chart.dash(arm), lw=1.1)
            biggest = max(biggest, float(np.abs(change).max()))
    axes.axhline(0.0, color=INK, lw=0.8)
    axes.set_ylim(-1.1 * biggest, 1.1 * biggest)
    axes.set_ylabel(f"volume − {chart.arms[0]} [pp]")
    axes.grid(True)


def _keys(figure: Figure, chart: _Chart) -> None:
    by_arm = [Line2D([], [], color=INK, linestyle=chart.dash(arm), lw=1.4) for arm in chart.arms]
    by_name = [Line2D([], [], color=chart.colour(name), lw=2.4) for name in chart.names]
    names = [shortened(drawable(name), 18) for name in chart.names]
    several = len(chart.arms) > 1  # one arm needs no key: its lines are the curves
    rows = [(by_arm, list(chart.arms), 1.0, 3.4)] if several else []
    for handles, labels, height, length in (*rows, (by_name, names, 0.955 if several else 1.0, 1.6)):
        figure.legend(
            handles,
            labels,
            loc="upper left",
            bbox_to_anchor=(0.065, height),
            ncol=len(labels),
            handlelength=length,
        )
