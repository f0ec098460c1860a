"""Risk per arm as dots and lines, and what each source makes of its interval as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from rtplan.domain import Finding
from rtplan.report.content import Picture
from rtplan.report.figures import COLOURS, GREY, INK, drawable, empty_figure, picture, style
from rtplan.report.words import number

WIDTH_MM = 186.0
#: Ends of an interval, as fractions.
Interval = tuple[float, float]


def round_up(value: float) -> float:
    """Return the next round number, for the end of a scale.

    Examples
    --------
    >>> round_up(6.4), round_up(0.13)
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
    height = 18.0 + 7.6 * len(arms)
    with style():
        figure = empty_figure(WIDTH_MM, height)
        parts = figure.add_gridspec(
            1, 2, width_ratios=[1.0, 1.0], left=0.105, right=0.985, wspace=0.13,
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


def budget_picture(
    title: str, parts: Sequence[str], bars: Mapping[str, tuple[Finding, Mapping[str, Interval | None]]]
) -> Picture:
    """Return how wide each source alone makes a risk's 95 % interval, as bars one below the other.

    Parameters
    ----------
    title : str
        Model and organ.
    parts : sequence of str
        Sources, from top to bottom.
    bars : mapping
        Panel title to its finding and the interval (fractions) of each source; None: not varied.
    """
    height = 17.0 + 6.0 * len(parts)
    with style():
        figure = empty_figure(WIDTH_MM, height)
        places = figure.add_gridspec(
            1, len(bars), left=0.17, right=0.985, wspace=0.13,
            top=1.0 - 3.0 / height, bottom=11.5 / height,
        )  # fmt: skip
        said = []
        for n, (words, (finding, found)) in enumerate(bars.items()):
            axes = figure.add_subplot(places[n])
            _part_bars(axes, parts, finding, found)
            unit = "pp" if finding.quantity == "difference" else "%"
            axes.set_xlabel(f"{words} [{unit}]")
            axes.set_yticks(range(len(parts)), [drawable(part) for part in parts])
            axes.tick_params(labelleft=n == 0)
            said += [
                f"{words}, {part}: {number(100 * ends[0], 2)} to {number(100 * ends[1], 2)} {unit}"
                if ends
                else f"{words}, {part}: not varied"
                for part, ends in found.items()
            ]
        return picture(
            figure,
            title=title,
            caption="Bar: 95 % interval from one source alone, hatched from all; line: the estimate.",
            alt=f"{title}. {'; '.join(said)}.",
            vector=True,
        )


def _part_bars(
    axes: Axes, parts: Sequence[str], finding: Finding, found: Mapping[str, Interval | None]
) -> None:
    value = 100.0 * (finding.value or 0.0)
    ends = [0.0, value]
    for rank, part in enumerate(parts):
        interval = found.get(part)
        if interval is None:
            _absent(axes, rank, "not varied")
            continue
        low, high = (100.0 * end for end in interval)
        last = rank == len(parts) - 1
        look: dict[str, Any] = (
            {"color": "white", "edgecolor": INK, "hatch": "////"} if last else {"color": COLOURS[1]}
        )
        axes.barh(rank, high - low, left=low, height=0.55, **look)
        ends += [low, high]
    axes.axvline(value, color=INK, lw=1.2)
    if finding.quantity == "difference":
        end = round_up(max(max(abs(e) for e in ends), 0.01) * 1.08)
        axes.set_xlim(-end, end)
    else:
        axes.set_xlim(0.0, round_up(max(max(ends), 0.1) * 1.08))
    axes.set_ylim(len(parts) - 0.5, -0.5)
    axes.grid(True, axis="x")
    axes.tick_params(axis="y", length=0)


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
        end = round_up(max(max(abs(e) for e in ends), 0.05) * 1.08)
        axes.set_xlim(-end, end)
    else:
        axes.set_xlim(0.0, round_up(max(max(ends), 0.5) * 1.08))
    axes.axvline(0.0, color=GREY, lw=1.0)
    axes.set_xlabel(title)
    axes.grid(True, axis="x")
    axes.tick_params(axis="y", length=0)


def _absent(axes: Axes, rank: int, word: str) -> None:
    axes.annotate(
        word, (0.0, rank), xytext=(5, 0), textcoords="offset points", xycoords=("data", "data"),
        ha="left", va="center", fontsize=7.5, color=GREY, style="italic",
    )  # fmt: skip
