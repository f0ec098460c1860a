"""Pictures of a cohort: Bland–Altman by arm, and ranges of dose differences by arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from rtplan.evaluation.agreement import Agreement
from rtplan.report.content import Picture
from rtplan.report.figures import COLOURS, GREY, INK, drawable, empty_figure, picture, style
from rtplan.report.risk_plots import round_up
from rtplan.report.words import listed, number

Float = NDArray[np.float64]
WIDTH_MM, COLUMNS = 186.0, 3
MARKS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True, eq=False)
class Pairs:
    """Risks of the patients on one arm and on the reference, fractions, shape (n,), and their agreement."""

    arm: str
    risk: Float
    reference: Float
    row: Agreement


def bland_altman(title: str, arms: Sequence[Pairs]) -> Picture:
    """Return one panel per arm: difference against mean risk, its mean and limits with 95 % intervals.

    Parameters
    ----------
    title : str
        Model and organ.
    arms : sequence of Pairs
        In order; all panels have one scale.
    """
    rows = -(-len(arms) // COLUMNS)
    height = 8.0 + 50.0 * rows
    top_x, end_y = _ends(arms)
    with style():
        figure = empty_figure(WIDTH_MM, height)
        grid = figure.add_gridspec(
            rows, COLUMNS, left=0.1, right=0.985, top=1.0 - 6.0 / height, bottom=12.0 / height,
            hspace=0.42, wspace=0.14,
        )  # fmt: skip
        for n, pairs in enumerate(arms):
            axes = figure.add_subplot(grid[n // COLUMNS, n % COLUMNS])
            _panel(axes, pairs)
            axes.set_xlim(0.0, top_x)
            axes.set_ylim(-end_y, end_y)
            axes.tick_params(labelleft=n % COLUMNS == 0)
            if n % COLUMNS == 0:
                axes.set_ylabel(f"arm − {pairs.row.reference_arm} [pp]")
            if n + COLUMNS >= len(arms):
                axes.set_xlabel("mean risk of the two [%]")
        said = "; ".join(f"{p.arm} {agreement_words(p.row)}" for p in arms)
        return picture(
            figure,
            title=title,
            caption="Dot: a patient; line: mean difference; dashed: limits of agreement; shaded: their 95 % "
            "intervals. All panels to one scale.",
            alt=f"Bland–Altman plots. {title}. {said}.",
            vector=True,
        )


def agreement_words(row: Agreement) -> str:
    """Return mean and limits of risks in words."""
    if row.mean is None:
        return "no difference"
    mean = f"{number(100 * row.mean, 3, sign=True)} pp on average"
    if row.lower is None or row.upper is None:
        return f"{mean} (no limits of agreement)"
    low, high = (number(100 * end, 3, sign=True) for end in (row.lower, row.upper))
    return f"{mean} (limits of agreement {low} to {high} pp)"


def _ends(arms: Sequence[Pairs]) -> tuple[float, float]:
    """Return the end of the risk axis, %, and of the difference axis, pp."""
    means = [50.0 * (p.risk + p.reference) for p in arms]
    changes = [np.abs(100.0 * (p.risk - p.reference)) for p in arms]
    limits = [
        abs(100.0 * end) for p in arms for ends in (p.row.lower_ci95, p.row.upper_ci95) for end in ends or ()
    ]
    largest = max([float(c.max(initial=0.0)) for c in changes] + limits, default=0.0)
    risk = max((float(m.max(initial=0.0)) for m in means), default=0.0)
    return min(round_up(max(risk, 0.1) * 1.05), 100.0), round_up(max(largest, 0.005) * 1.05)


def _panel(axes: Axes, pairs: Pairs) -> None:
    row = pairs.row
    for ends in (row.lower_ci95, row.upper_ci95):
        if ends is not None:
            axes.axhspan(100.0 * ends[0], 100.0 * ends[1], color=COLOURS[1], alpha=0.25, lw=0)
    for end in (row.lower, row.upper):
        if end is not None:
            axes.axhline(100.0 * end, color=INK, lw=1.1, linestyle=(0, (5, 1.5)))
    axes.axhline(0.0, color=GREY, lw=0.8)
    if row.mean is not None:
        axes.axhline(100.0 * row.mean, color=INK, lw=1.3)
    axes.plot(
        50.0 * (pairs.risk + pairs.reference), 100.0 * (pairs.risk - pairs.reference),
        ls="", marker="o", ms=3.5, mfc="none", mec=COLOURS[0], mew=1.1,
    )  # fmt: skip
    axes.set_title(drawable(pairs.arm))
    axes.grid(True)


def ranges_picture(rows: Mapping[str, Sequence[Agreement]], unit: str) -> Picture:
    """Return mean, limits of agreement and extremes of dose differences by arm, one panel per metric.

    Parameters
    ----------
    rows : mapping
        Words of a metric to its agreement by arm.
    unit : str
        Of all of them.
    """
    arms = list(dict.fromkeys(row.arm for listed_ in rows.values() for row in listed_))
    height = 14.0 + 5.6 * len(arms)
    with style():
        figure = empty_figure(WIDTH_MM, height)
        grid = figure.add_gridspec(
            1, len(rows), left=0.11, right=0.985, wspace=0.08, top=1.0 - 6.0 / height, bottom=11.0 / height
        )
        end = _widest(rows)
        for n, (words, agreements) in enumerate(rows.items()):
            axes = figure.add_subplot(grid[n])
            for row in agreements:
                _range(axes, arms.index(row.arm), row)
            axes.axvline(0.0, color=GREY, lw=0.9)
            axes.set_xlim(-end, end)
            axes.set_ylim(len(arms) - 0.4, -0.6)
            axes.set_yticks(range(len(arms)), [drawable(arm) for arm in arms])
            axes.tick_params(axis="y", length=0, labelleft=n == 0)
            axes.set_title(drawable(words))
            axes.set_xlabel(f"difference [{unit}]")
            axes.grid(True, axis="x")
        said = "; ".join(
            f"{words}: {listed(f'{r.arm} {number(r.mean or 0.0, 2, sign=True)} {unit}' for r in agreements)}"
            for words, agreements in rows.items()
        )
        return picture(
            figure,
            title="Dose differences over the cohort",
            caption="Dot: mean; thick line: limits of agreement; thin line with ends: smallest and largest. "
            "All panels to one scale.",
            alt=f"Dose differences by arm, mean over the cohort. {said}.",
            vector=True,
        )


def _range(axes: Axes, rank: int, row: Agreement) -> None:
    if row.mean is None:
        return
    if row.minimum is not None and row.maximum is not None:
        axes.plot([row.minimum, row.maximum], [rank] * 2, color=GREY, lw=1.0, marker="|", ms=6)
    if row.lower is not None and row.upper is not None:
        axes.plot([row.lower, row.upper], [rank] * 2, color=COLOURS[1], lw=3.0, solid_capstyle="butt")
    axes.plot([row.mean], [rank], ls="", marker="o", ms=5, color=INK)


def _widest(rows: Mapping[str, Sequence[Agreement]]) -> float:
    ends = [
        abs(end)
        for agreements in rows.values()
        for r in agreements
        for end in (r.mean, r.lower, r.upper, r.minimum, r.maximum)
        if end is not None
    ]
    return round_up(max([*ends, 0.05]) * 1.05)
