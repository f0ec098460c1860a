"""The page of a boost's sweep: the reader moves the boost's dose and sees dose, goals and risk; no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from rtplan.domain import Dose, Finding, Image, Structure
from rtplan.imaging.contour import mask_on
from rtplan.imaging.resample import resample
from rtplan.report.assemble import WARNING
from rtplan.report.content import Cell, Picture, Table, row
from rtplan.report.figures import COLOURS, GREY, ISODOSE_COLOURS, drawable, empty_figure, picture, style
from rtplan.report.own_error import OwnError, change_told, ntcp_of
from rtplan.report.page import filled
from rtplan.report.slices import CT_WINDOW_HU
from rtplan.report.words import number

WIDTH_MM, HEIGHT_MM = 186.0, 68.0
#: Half of the side of the shown square about the boost, mm.
AROUND_MM = 65.0
#: Isodose lines, % of the gland's prescription, and which of the report's colours each has.
LEVELS_PERCENT = ((30.0, 0), (50.0, 1), (70.0, 3), (95.0, 2), (110.0, 4), (120.0, 5))


@dataclass(frozen=True, eq=False)
class Shown:
    """One dose of the boost: what is predicted for it.

    Parameters
    ----------
    boost_gy : float
        Prescribed to the boost.
    own : bool
        Whether it is the protocol's.
    dose : Dose
        Predicted.
    gtv_gy : tuple of float
        D98 %, D50 % and D2 % of the boost's contour.
    findings : tuple of Finding
        Goals and risks on that dose.
    """

    boost_gy: float
    own: bool
    dose: Dose
    gtv_gy: tuple[float, float, float]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, eq=False)
class Scene:
    """What the doses are shown on.

    Parameters
    ----------
    key : str
        The patient's pseudonym.
    image : Image
        The density image.
    structures : tuple of Structure
        That are outlined; the last is the boost, whose middle slice is shown.
    gland_gy : float
        100 % of the isodose lines.
    protocol, model : str
        Names.
    error : OwnError
        What the network errs by.
    """

    key: str
    image: Image
    structures: tuple[Structure, ...]
    gland_gy: float
    protocol: str
    model: str
    error: OwnError = field(default_factory=OwnError)


def sweep_page(scene: Scene, stops: Sequence[Shown]) -> str:
    """Return the page: one panel for each dose of the boost, chosen by radio buttons (arrow keys move them).

    Parameters
    ----------
    scene : Scene
        What the doses are shown on.
    stops : sequence of Shown
        From low to high; the protocol's own is shown first.
    """
    first = next((rank for rank, stop in enumerate(stops) if stop.own), 0)
    shown = [
        {
            "stop": stop,
            "label": f"{stop.boost_gy:g} Gy",
            "picture": panel(scene, stops, rank),
            "table": goals(stop, None if rank == first else stops[first], scene.error),
        }
        for rank, stop in enumerate(stops)
    ]
    return filled("sweep.html", scene=scene, shown=shown, first=first, warning=WARNING)


def panel(scene: Scene, stops: Sequence[Shown], rank: int) -> Picture:
    """Return slice, boost's dose and risk for one dose of the boost; the curves run over all."""
    stop = stops[rank]
    risks = [ntcp_of(s.findings) for s in stops]
    with style():
        figure = empty_figure(WIDTH_MM, HEIGHT_MM)
        parts = figure.add_gridspec(
            1, 3, width_ratios=[1.0, 0.85, 0.85], left=0.01, right=0.985, wspace=0.36, top=0.9, bottom=0.17
        )
        _slice(figure.add_subplot(parts[0]), scene, stop)
        _boost(figure.add_subplot(parts[1]), stops, stop)
        _risk(figure.add_subplot(parts[2]), stops, risks, rank, scene.error)
        risk = risks[rank]
        told = "not evaluable" if risk is None or risk.value is None else f"{number(100.0 * risk.value, 1)} %"
        d98, d50, d2 = stop.gtv_gy
        return picture(
            figure,
            title=f"Boost {stop.boost_gy:g} Gy",
            caption=f"{scene.structures[-1].name}: D98 % {number(d98, 1)} Gy, D50 % {number(d50, 1)} Gy, "
            f"D2 % {number(d2, 1)} Gy; risk {told}. Isodose lines: "
            + ", ".join(f"{percent:g}" for percent, _ in LEVELS_PERCENT)
            + f" % of {scene.gland_gy:g} Gy. Bar: 95 % interval of the risk model's parameters; "
            "band: the network's own mean error.",
            alt=f"Predicted dose for a boost of {stop.boost_gy:g} Gy: median in the boost "
            f"{number(d50, 1)} Gy, risk {told}.",
            dpi=130.0,
        )


def goals(stop: Shown, own: Shown | None = None, error: OwnError | None = None) -> Table:
    """Return goals and risks of one dose of the boost, the risks beside those for the protocol's own."""
    there = None if own is None else ntcp_of(own.findings)
    rows = []
    for found in stop.findings:
        if found.limit is None and found.metric != "NTCP":
            continue
        factor, unit = (100.0, "%") if found.metric == "NTCP" else (1.0, found.unit)
        said = "not evaluable" if found.value is None else f"{number(factor * found.value, 2)} {unit}"
        judged = str(found.detail.get("would_be", found.verdict)).replace("_", " ")
        tone = {"missed": "bad", "met": "good", "wish met": "good"}.get(judged, "quiet")
        mark = "" if found.verified else " (unverified)"
        name = found.structure or ""
        limit = found.limit or (found.model or "")
        verdict = change_told(found, there, error or OwnError()) if found.metric == "NTCP" else judged + mark
        rows.append(row(name, found.metric, limit, said, Cell(verdict, tone)))
    return Table(
        caption=f"Goals and risk for a boost of {stop.boost_gy:g} Gy, on the predicted dose",
        head=(
            "structure",
            "metric",
            "limit or model",
            "value",
            "would be (risk: against the protocol's)",
        ),
        rows=tuple(rows),
        widths=(2.0, 2.0, 2.0, 1.2, 1.5),
        numeric=(3,),
    )


def _slice(axes: Axes, scene: Scene, stop: Shown) -> None:
    boost = mask_on(scene.structures[-1], scene.image.grid)
    k, j, i = (round(float(c)) for c in np.argwhere(boost.array).mean(axis=0))
    grid = scene.image.grid
    plane = grid.crop((k, 0, 0), (k + 1, *grid.shape[1:]))
    _, dy, dx = grid.spacing_zyx_mm
    ny, nx = grid.shape[1:]
    extent = ((-0.5 - i) * dx, (nx - 0.5 - i) * dx, (ny - 0.5 - j) * dy, (-0.5 - j) * dy)
    low, high = CT_WINDOW_HU
    axes.imshow(
        scene.image.array[k], cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="bilinear"
    )
    x, y = (np.arange(nx) - i) * dx, (np.arange(ny) - j) * dy
    percent = 100.0 * resample(stop.dose, plane).array[0] / scene.gland_gy
    for level, colour in LEVELS_PERCENT:
        if percent.max() > level:
            axes.contour(x, y, percent, levels=[level], colors=[ISODOSE_COLOURS[colour]], linewidths=1.0)
    for rank, structure in enumerate(scene.structures):
        inside = mask_on(structure, plane).array[0]
        if inside.any() and not inside.all():
            axes.contour(x, y, inside, levels=[0.5], colors=[COLOURS[rank % len(COLOURS)]], linewidths=1.1)
            v, u = np.argwhere(inside)[0]
            text = axes.text(
                x[u], y[v] - 2.0, drawable(structure.name), fontsize=6.5, color="white", ha="center"
            )
            text.set_path_effects([withStroke(linewidth=1.5, foreground="black")])
    axes.set_xlim(-AROUND_MM, AROUND_MM)
    axes.set_ylim(AROUND_MM, -AROUND_MM)
    axes.set_axis_off()
    axes.set_title(f"predicted, boost {stop.boost_gy:g} Gy")


def _boost(axes: Axes, stops: Sequence[Shown], stop: Shown) -> None:
    level = [s.boost_gy for s in stops]
    for rank, words in enumerate(("D98 %", "D50 %", "D2 %")):
        values = [s.gtv_gy[rank] for s in stops]
        axes.plot(level, values, color=COLOURS[rank], marker="o", markersize=2.5, label=words)
        axes.plot([stop.boost_gy], [stop.gtv_gy[rank]], color=COLOURS[rank], marker="o", markersize=6.0)
    axes.axvline(stop.boost_gy, color=GREY, linewidth=0.8)
    axes.set_xlabel("boost prescribed [Gy]")
    axes.set_title("dose in the boost [Gy]")
    axes.legend(loc="best")


def _risk(
    axes: Axes, stops: Sequence[Shown], risks: Sequence[Finding | None], rank: int, error: OwnError
) -> None:
    pairs = [(s.boost_gy, f) for s, f in zip(stops, risks, strict=True) if f is not None]
    axes.set_xlabel("boost prescribed [Gy]")
    axes.set_title("risk, NTCP [%]")
    if not pairs:
        axes.text(0.5, 0.5, "not evaluable", transform=axes.transAxes, ha="center")
        return
    level, percent = [gy for gy, _ in pairs], [100.0 * (f.value or 0.0) for _, f in pairs]
    own = error.ntcp_pp.get(pairs[0][1].model or "")
    if own is not None:
        low, high = ([min(max(p + sign * own, 0.0), 100.0) for p in percent] for sign in (-1.0, 1.0))
        axes.fill_between(level, low, high, color=COLOURS[0], alpha=0.2, linewidth=0.0)
    axes.plot(
        level,
        percent,
        color=COLOURS[0],
        marker="o",
        markersize=2.5,
    )
    here = risks[rank]
    if here is not None and here.value is not None:
        at, middle = stops[rank].boost_gy, 100.0 * here.value
        axes.plot([at], [middle], color=COLOURS[0], marker="o", markersize=6.0)
        if here.interval95 is not None:
            axes.plot([at, at], [100.0 * end for end in here.interval95], color=COLOURS[0], linewidth=1.8)
    axes.axvline(stops[rank].boost_gy, color=GREY, linewidth=0.8)
    axes.set_ylim(bottom=0.0)
