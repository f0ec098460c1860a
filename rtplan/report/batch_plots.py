"""Pictures of a batch: where the time goes, and how the differences between arms are spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rtplan.evaluation.spread import Spread
from rtplan.report.content import Picture
from rtplan.report.figures import COLOURS, GREY, INK, drawable, empty_figure, picture, style
from rtplan.report.words import listed, number

Float = NDArray[np.float64]
WIDTH_MM = 186.0
#: Findings that are drawn: metric begins with, heading.
DRAWN = (("NTCP", "NTCP [pp]"), ("Mean[Gy]", "mean dose [Gy]"), ("D98%[Gy]", "D98% [Gy]"))
_MOST = 12


def parts_picture(taken: Mapping[str, Float]) -> Picture:
    """Return one bar per part: median seconds, with a line from the smallest to the largest."""
    names = list(taken)
    height = 16.0 + 5.0 * len(names)
    with style():
        figure = empty_figure(WIDTH_MM, height)
        axes = figure.add_axes((0.19, 12.0 / height, 0.79, 1.0 - 14.0 / height))
        for rank, name in enumerate(names):
            seconds = taken[name]
            axes.barh(rank, float(np.median(seconds)), color=COLOURS[1], height=0.6)
            axes.plot([seconds.min(), seconds.max()], [rank, rank], color=INK, lw=1.0)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_yticks(range(len(names)), [drawable(name) for name in names])
        axes.set_xlabel("seconds")
        axes.grid(True, axis="x")
        said = "; ".join(f"{name} {number(float(np.median(s)), 1)} s" for name, s in taken.items())
        return picture(
            figure,
            caption="Bar: median; line: smallest to largest.",
            alt=f"Seconds by part. {said}.",
            vector=True,
        )


def spread_picture(changes: Sequence[Spread]) -> Picture | None:
    """Return one panel per drawn finding: median, quartiles and extremes of each arm; None without any."""
    panels = {words: [s for s in changes if s.metric.startswith(name)][:_MOST] for name, words in DRAWN}
    panels = {words: rows for words, rows in panels.items() if rows}
    if not panels:
        return None
    height = 16.0 + 4.6 * max(len(rows) for rows in panels.values())
    with style():
        figure = empty_figure(WIDTH_MM, height)
        grid = figure.add_gridspec(
            1, len(panels), left=0.15, right=0.985, wspace=1.25, top=1.0 - 6.0 / height, bottom=10.0 / height
        )
        for n, (words, rows) in enumerate(panels.items()):
            axes = figure.add_subplot(grid[n])
            scale = 100.0 if rows[0].unit == "1" else 1.0
            for rank, row in enumerate(rows):
                low, middle, high = row.quartiles or (0.0, 0.0, 0.0)
                ends = [scale * float(row.values[0]), scale * float(row.values[-1])]
                axes.plot(ends, [rank, rank], color=GREY, lw=0.9)
                axes.plot([scale * low, scale * high], [rank, rank], color=COLOURS[1], lw=5.0)
                axes.plot([scale * middle], [rank], marker="|", color=INK, ms=9, mew=1.4, ls="")
            axes.axvline(0.0, color=GREY, lw=0.8)
            axes.set_ylim(len(rows) - 0.4, -0.6)
            axes.set_yticks(range(len(rows)), [drawable(f"{r.structure} {r.arm}") for r in rows])
            axes.set_title(words)
            axes.grid(True, axis="x")
        names = listed(panels)
        return picture(
            figure,
            caption="Difference to the reference: line from the smallest to the largest, bar between the "
            "quartiles, stroke at the median.",
            alt=f"Spread of the differences over the patients: {names}. The table says the same.",
            vector=True,
        )
