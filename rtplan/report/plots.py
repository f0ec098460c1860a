"""Line plots: the DVHs of all arms in one figure, and risk per arm as dots and lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from rtplan.domain import Finding
from rtplan.report.content import Picture
from rtplan.report.figures import COLOURS, DASHES, GREY, INK, drawable, empty_figure, looks, picture, style
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
class _Chart:
    """The curves that are drawn, on common doses: ``dose`` in Gy, ``shown`` as on the axis."""

    curves: Curves
    arms: tuple[str, ...]
    names: tuple[str, ...]
    dose: Float
    shown: Float

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
        return looks(self.names)[name][0]


def dvh_picture(curves: Curves, arms: Sequence[str], names: Sequence[str], axis: Axis) -> Picture:
    """Return the DVHs of all arms in one figure, and below it their difference to the first arm.

    Parameters
    ----------
    curves : mapping
        Arm to structure to (dose in Gy, volume in %).
    arms : sequence of str
        In order; the first one is what the others are compared with. One line style each.
    names : sequence of str
        Structures, one colour each.
    axis : Axis
        How the dose is written.
    """
    dose = np.linspace(0.0, _highest(curves, arms, names), _SAMPLES)
    chart = _Chart(curves, tuple(arms), tuple(names), dose, dose / axis.gy)
    several = len(arms) > 1
    with style():
        figure = empty_figure(WIDTH_MM, 128.0 if several else 88.0)
        layout = figure.add_gridspec(
            2 if several else 1, 1, height_ratios=[2.3, 1] if several else [1],
            left=0.075, right=0.985, top=0.9, bottom=0.085 if several else 0.125, hspace=0.12,
        )  # fmt: skip
        lowest = top = figure.add_subplot(layout[0])
        _volumes(top, chart)
        if several:
            lowest = figure.add_subplot(layout[1], sharex=top)
            top.tick_params(labelbottom=False)
            _volume_differences(lowest, chart)
        lowest.set_xlabel(axis.title)
        _keys(figure, chart)
        second = f" Lower panel: volume on each arm minus volume on {arms[0]}." if several else ""
        return picture(
            figure,
            title="Cumulative DVHs",
            caption=f"One colour per structure, one line style per arm.{second}",
            alt=f"Cumulative dose-volume histograms of {listed(names)} on {listed(arms)}.{second} "
            "The tables of goals and of dose metrics give the values.",
            vector=True,
        )


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


def _round_up(value: float) -> float:
    """Return the next round number, for the end of a scale.

    Examples
    --------
    >>> _round_up(6.4), _round_up(0.13)
    (8.0, 0.15)
    """
    if value <= 0.0:
        return 1.0
    ten = 10.0 ** np.floor(np.log10(value))
    step = next(s for s in (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0) if s * ten >= value * (1 - 1e-9))
    return float(round(step * ten, 12))


def risk_picture(
    title: str, arms: Sequence[str], values: Mapping[str, Finding], changes: Mapping[str, Finding]
) -> Picture:
    """Return risk per arm and its difference to the reference as dots with their 95 % intervals.

    Parameters
    ----------
    title : str
        Model and organ, for the words of the picture.
    arms : sequence of str
        From top to bottom.
    values, changes : mapping of str to Finding
        By arm: the risk (fraction), its difference to the reference (fraction). Either may be empty.
    """
    height = 18.0 + 6.4 * len(arms)
    with style():
        figure = empty_figure(WIDTH_MM, height)
        parts = figure.add_gridspec(
            1, 2, width_ratios=[1.0, 1.0], left=0.105, right=0.985, wspace=0.07,
            top=1.0 - 6.0 / height, bottom=11.5 / height,
        )  # fmt: skip
        left = figure.add_subplot(parts[0])
        right = figure.add_subplot(parts[1], sharey=left)
        _dots(left, arms, values, "risk [%]", signed=False)
        _dots(right, arms, changes, "difference to the reference [percentage points]", signed=True)
        left.set_yticks(range(len(arms)), [drawable(arm) for arm in arms])
        left.set_ylim(len(arms) - 0.4, -0.6)
        right.tick_params(labelleft=False)
        said = "; ".join(f"{a} {number(100 * (f.value or 0.0), 2)} %" for a, f in values.items())
        moved = "; ".join(
            f"{a} {number(100 * (f.value or 0.0), 2, sign=True)} pp" for a, f in changes.items()
        )
        return picture(
            figure,
            title=title,
            caption="Dot: estimate; line: 95 % interval; open dot: no published interval. "
            "Left: absolute scale from 0.",
            alt=f"{title}. Risk: {said or 'not given'}. Difference to the reference: {moved or 'not given'}.",
            vector=True,
        )


_HALO = [withStroke(linewidth=2.5, foreground="white")]


def _dots(
    axes: Axes, arms: Sequence[str], findings: Mapping[str, Finding], title: str, *, signed: bool
) -> None:
    ends = [0.0]
    for rank, arm in enumerate(arms):
        finding = findings.get(arm)
        if finding is None or finding.value is None:
            _absent(axes, rank, "reference" if signed and findings else "not evaluable")
            continue
        value = 100.0 * finding.value
        ends.append(value)
        if finding.interval95 is not None:
            low, high = (100.0 * end for end in finding.interval95)
            axes.plot([low, high], [rank, rank], color=COLOURS[0], lw=2.0, solid_capstyle="butt")
            axes.plot([low, low, high, high], [rank] * 4, color=COLOURS[0], ls="", marker="|", ms=7)
            ends += [low, high]
        face = INK if finding.interval95 is not None else "white"
        axes.plot([value], [rank], marker="o", ms=6, mfc=face, mec=INK, mew=1.3, ls="")
        axes.annotate(
            number(value, 2, sign=signed), (value, rank), xytext=(0, 5), textcoords="offset points",
            ha="center", va="bottom", fontsize=7.5, path_effects=_HALO,
        )  # fmt: skip
    if signed:
        end = _round_up(max(max(abs(e) for e in ends), 0.05) * 1.08)
        axes.set_xlim(-end, end)
    else:
        axes.set_xlim(0.0, _round_up(max(max(ends), 0.5) * 1.08))
    axes.axvline(0.0, color=GREY, lw=1.0)
    axes.set_xlabel(title)
    axes.grid(True, axis="x")
    axes.tick_params(axis="y", length=0)


def _absent(axes: Axes, rank: int, word: str) -> None:
    axes.annotate(
        word, (0.0, rank), xytext=(5, 0), textcoords="offset points", xycoords=("data", "data"),
        ha="left", va="center", fontsize=7.5, color=GREY, style="italic",
    )  # fmt: skip
