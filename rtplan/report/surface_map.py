"""The dose on the wall of a tubular organ as a picture: unwrapped, the anal end below."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rtplan.dosimetry.surface import SurfaceMap
from rtplan.report.figures import GREY, INK, drawable, empty_figure, style


def surface_png(surface: SurfaceMap, levels_gy: Sequence[float], title: str = "dose [Gy]") -> bytes:
    """Return the map as a PNG, the same bytes every time.

    Parameters
    ----------
    surface : SurfaceMap
        Across the picture theta (the back is cut), up the centroid line, in mm and in parts of its length.
    levels_gy : sequence of float
        Where lines are drawn.
    title : str
        Of the scale.
    """
    with style():
        figure = empty_figure(150.0, 92.0)
        axes = figure.add_axes((0.095, 0.09, 0.72, 0.82))
        extent = (-180.0, 180.0, 0.0, surface.length_mm)
        shown = axes.imshow(
            surface.dose_gy, origin="lower", extent=extent, aspect="auto", cmap="cividis", vmin=0.0
        )
        inside = [level for level in levels_gy if surface.dose_gy.min() < level < surface.dose_gy.max()]
        if inside:
            lines = axes.contour(
                surface.theta_deg, surface.s_mm, surface.dose_gy, levels=sorted(inside), colors="white",
                linewidths=0.9,
            )  # fmt: skip
            axes.clabel(lines, fmt="%g", fontsize=7.0)
        axes.axvline(0.0, color=GREY, lw=0.6, linestyle=(0, (1, 2)))
        axes.set_xticks([-180, -90, 0, 90, 180], ["posterior", "right", "anterior", "left", "posterior"])
        axes.set_ylabel("from the inferior end [mm]")
        parts = axes.twinx()
        parts.set_ylim(0.0, 1.0)
        parts.set_yticks([0.0, 0.25, 0.5, 0.75, 1.0])
        parts.tick_params(labelsize=7.0, colors=GREY)
        bar = figure.colorbar(shown, cax=figure.add_axes((0.89, 0.09, 0.022, 0.82)))
        bar.set_label(drawable(title))
        words = f"{surface.structure}: {surface.total_cm2:.1f} cm² of wall, {surface.length_mm:.0f} mm long"
        axes.set_title(drawable(words), color=INK)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=150.0, metadata={"Software": None})
        return stream.getvalue()
