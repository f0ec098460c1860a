"""The report of a commissioned beam: deviations in a table, measured points and the model in pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rtplan.domain import Finding
from rtplan.planning.commission import Row
from rtplan.report.content import Block, Content, Fact, Picture, Table, row
from rtplan.report.figures import COLOURS, INK, empty_figure, picture, style

WORDS = {"tmr": "TMR", "pdd": "Depth dose", "profile": "Profile", "output_factor": "Output factor"}
WIDTH_MM, HEIGHT_MM = 186.0, 150.0


def commissioning(
    name: str, rows: Sequence[Row], findings: Sequence[Finding], facts: Sequence[Fact]
) -> Content:
    """Return the report of a beam called ``name``."""
    blocks = (
        Block("residuals", "Model against measurement", pictures=(pictured(rows),), tables=(_table(rows),)),
    )
    worst = max((f for f in findings if f.value is not None), key=lambda f: f.value or 0.0)
    return Content(
        title=f"Beam {name}",
        subtitle="Commissioning of a beam model",
        warning="Research use only. A fit to measurements is no acceptance test of a treatment machine.",
        lead=f"The largest deviation is {worst.value:.2f} % ({worst.detail['what']}).",
        facts=tuple(facts),
        glance=None,
        blocks=blocks,
        footer="Made by rtplan. All rows stand in residuals.csv.",
    )


def _table(rows: Sequence[Row]) -> Table:
    lines = []
    for one in rows:
        off = one.deviation_percent
        fitted = one.depth_mm >= 10.0
        seen = off[fitted] if fitted.any() else off
        number = f"{len(seen)}" + (f" (+ {int((~fitted).sum())} shallow)" if not fitted.all() else "")
        lines.append(
            row(
                WORDS[one.quantity],
                f"{one.field_mm:g}",
                number,
                f"{seen.mean():+.2f}",
                f"{np.sqrt((seen**2).mean()):.2f}",
                f"{np.abs(seen).max():.2f}",
            )
        )
    return Table(
        "Deviation of the model, in % of the measured value (profiles: % of the axis).",
        ("quantity", "field, mm", "points", "mean, %", "rms, %", "largest, %"),
        tuple(lines),
        (3.0, 1.5, 2.5, 1.5, 1.5, 1.5),
        (1, 3, 4, 5),
        ("Points above 10 mm depth are not fitted: electrons from the machine's head are not modelled.",),
    )


def pictured(rows: Sequence[Row]) -> Picture:
    """Return the figure: depth doses, profiles, output factors, and all deviations."""
    with style():
        figure: Figure = empty_figure(WIDTH_MM, HEIGHT_MM)
        axes = figure.subplots(2, 2)
        _depths(axes[0, 0], [r for r in rows if r.quantity in ("tmr", "pdd")])
        _profiles(axes[0, 1], [r for r in rows if r.quantity == "profile"])
        _outputs(axes[1, 0], [r for r in rows if r.quantity == "output_factor"])
        _deviations(axes[1, 1], rows)
        figure.tight_layout()
        return picture(
            figure,
            title="Model and measurement",
            caption="Points: measured; lines: the model.",
            alt="Depth doses, profiles and output factors, measured and modelled, and their deviations.",
        )


def _depths(axes: Axes, rows: Sequence[Row]) -> None:
    for number, one in enumerate(rows):
        order = np.argsort(one.depth_mm)
        scale = 100.0 if one.quantity == "tmr" else 1.0
        colour = COLOURS[number % len(COLOURS)]
        label = f"{one.field_mm:g} mm"
        axes.plot(one.depth_mm[order], scale * one.modelled[order], color=colour, label=label)
        axes.plot(one.depth_mm, scale * one.measured, ".", color=colour, markersize=4)
    axes.set(xlabel="depth [mm]", ylabel="depth dose, TMR [%]")
    axes.legend(frameon=False, fontsize=6, title="field", title_fontsize=6)


def _profiles(axes: Axes, rows: Sequence[Row]) -> None:
    for number, one in enumerate(rows):
        for depth in np.unique(one.depth_mm):
            here = np.flatnonzero(one.depth_mm == depth)
            order = here[np.argsort(one.offset_mm[here])]
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(one.offset_mm[order], one.modelled[order], color=colour)
            axes.plot(one.offset_mm[order], one.measured[order], ".", color=colour, markersize=3)
    axes.set(xlabel="distance from the axis [mm]", ylabel="profile [% of the axis]")


def _outputs(axes: Axes, rows: Sequence[Row]) -> None:
    sides = [one.field_mm for one in rows]
    axes.plot(sides, [one.modelled.mean() for one in rows], color=INK)
    axes.plot(sides, [one.measured.mean() for one in rows], ".", color=COLOURS[0])
    axes.set(xlabel="field [mm]", ylabel="output factor")


def _deviations(axes: Axes, rows: Sequence[Row]) -> None:
    for number, quantity in enumerate(WORDS):
        here = [one for one in rows if one.quantity == quantity]
        if here:
            off = np.concatenate([one.deviation_percent for one in here])
            depth = np.concatenate([one.depth_mm for one in here])
            axes.plot(depth, off, ".", markersize=3, color=COLOURS[number], label=WORDS[quantity])
    axes.axhline(0.0, color=INK, linewidth=0.6)
    axes.set(xlabel="depth [mm]", ylabel="model - measurement [%]", ylim=(-5.0, 5.0))
    axes.legend(frameon=False, fontsize=6)
