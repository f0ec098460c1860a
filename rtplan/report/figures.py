"""How every figure looks, and how it becomes bytes: fonts, colours, line styles, PNG and SVG."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import MappingProxyType

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from PIL import Image as Pixels

from rtplan.report.content import Picture

#: Colours of structures: Okabe & Ito, those that can be told apart on black and on white.
COLOURS = ("#D55E00", "#56B4E9", "#009E73", "#E69F00", "#CC79A7", "#8C8C8C")
#: Line styles of arms (on white) and of the second and third turn through the colours (on images).
DASHES: tuple[tuple[int, tuple[float, ...]], ...] = (
    (0, ()),
    (0, (5, 1.5)),
    (0, (1, 1.2)),
    (0, (4, 1.2, 1, 1.2)),
    (0, (8, 2)),
    (0, (4, 1.2, 1, 1.2, 1, 1.2)),
)
#: Isodose lines from low to high.
ISODOSE_COLOURS = ("#9ECAE1", "#C6DBEF", "#FFFFFF", "#FFF7BC", "#FEC44F", "#FE9929")
#: Differences: blue for less, white for none, orange for more (told apart by all kinds of colour vision).
DIFFERENCE_COLOURS = (
    "#08306B", "#1F5FA0", "#4A90C4", "#8DBCDC", "#CFE1EF", "#FFFFFF",
    "#FBE0C4", "#F5B579", "#E48636", "#B8560F", "#6B2A00",
)  # fmt: skip
#: Colours that the palette of the PNGs must hold besides those of structures.
ACCENTS = tuple(colour for colour in (*ISODOSE_COLOURS, *DIFFERENCE_COLOURS) if colour != "#FFFFFF")
INK, GREY, RULE = "#1B2126", "#5B6770", "#D5DADE"
INCH_MM = 25.4

_STYLE = MappingProxyType(
    {
        "font.family": "DejaVu Sans",
        "font.size": 8.5,
        "axes.titlesize": 9.0,
        "axes.labelsize": 8.5,
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "text.color": INK,
        "xtick.color": GREY,
        "ytick.color": GREY,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "legend.fontsize": 8.0,
        "lines.linewidth": 1.4,
        "text.parse_math": False,
        "svg.hashsalt": "rtplan",
        "svg.fonttype": "path",
        "path.simplify": True,
        "path.simplify_threshold": 0.2,
    }
)


@contextmanager
def style() -> Iterator[None]:
    """Draw inside this: rtplan's look, and names taken as plain text (never as mathematics)."""
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE, "backend": "agg"}):
        yield


def fonts() -> dict[str, Path]:
    """Return the TrueType files that matplotlib brings: regular, bold, italic."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    names = {"regular": "DejaVuSans", "bold": "DejaVuSans-Bold", "italic": "DejaVuSans-Oblique"}
    return {face: folder / f"{name}.ttf" for face, name in names.items()}


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(FT2Font(str(fonts()["regular"])).get_charmap())


def drawable(text: str) -> str:
    r"""Return a text that the font can draw: control signs left out, unknown letters as ``□``.

    Examples
    --------
    >>> drawable("Blase\n\u819c $x$")
    'Blase □ $x$'
    """
    signs = (" " if sign in "\n\r\t" else sign for sign in text)
    kept = (sign for sign in signs if unicodedata.category(sign)[0] != "C")
    return "".join(sign if ord(sign) in _glyphs() else "□" for sign in kept)


def empty_figure(width_mm: float, height_mm: float) -> Figure:
    """Return a white figure of this size on paper, with its own canvas and no global state."""
    figure = Figure(figsize=(width_mm / INCH_MM, height_mm / INCH_MM), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


@cache
def _palette() -> Pixels.Image:
    """Return 256 colours: greys for the images, and every accent towards black and towards white."""
    levels = [0, *np.linspace(4, 248, 118).round().astype(int), 255]  # apart, so that white stays white
    greys = [(level, level, level) for level in levels]
    accents = [np.array(to_rgb(colour)) * 255.0 for colour in (*COLOURS, *ACCENTS)]
    ways = ((1.0, 0.0), (0.72, 0.0), (0.45, 0.0), (0.7, 0.3), (0.4, 0.6))  # share of the colour, of white
    mixed = [accent * share + 255.0 * white for accent in accents for share, white in ways]
    colours = [*greys, *((round(r), round(g), round(b)) for r, g, b in mixed)][:256]
    holder = Pixels.new("P", (1, 1))
    holder.putpalette([int(part) for colour in colours for part in colour] + [0] * (768 - 3 * len(colours)))
    return holder


def png_bytes(figure: Figure, dpi: float) -> tuple[bytes, tuple[int, int]]:
    """Return a figure as a PNG of 256 fixed colours, the same bytes every time, and its size."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(dpi)
    canvas.draw()
    pixels = Pixels.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy(), "RGB")
    small = pixels.quantize(palette=_palette(), dither=Pixels.Dither.NONE)
    stream = io.BytesIO()
    small.save(stream, format="PNG", compress_level=6, dpi=(dpi, dpi))
    return stream.getvalue(), pixels.size


def svg_text(figure: Figure) -> str:
    """Return a figure as SVG without date or maker, the same text every time."""
    stream = io.StringIO()
    blank = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(stream, format="svg", metadata=blank)
    return stream.getvalue()


def picture(
    figure: Figure, *, caption: str, alt: str, title: str = "", dpi: float = 150.0, vector: bool = False
) -> Picture:
    """Return a drawn figure as a picture of the report; call inside `style`.

    Parameters
    ----------
    figure : Figure
        Drawn.
    caption, alt, title : str
        Words beside it, words instead of it, and its name.
    dpi : float
        Of the PNG.
    vector : bool
        Whether the screen gets an SVG beside the PNG for paper.
    """
    svg = svg_text(figure) if vector else ""
    width_mm, height_mm = (float(side) * INCH_MM for side in figure.get_size_inches())
    png, size = png_bytes(figure, dpi)
    if vector:  # the screen's size: CSS pixels
        size = (round(width_mm / INCH_MM * 110), round(height_mm / INCH_MM * 110))
    return Picture(caption=caption, alt=alt, png=png, width_mm=width_mm, size_px=size, svg=svg, title=title)


def looks(names: Sequence[str]) -> dict[str, tuple[str, tuple[int, tuple[float, ...]]]]:
    """Return colour and line style per structure: colours first, then dashes, so print stays readable."""
    turns = len(COLOURS)
    return {
        name: (COLOURS[rank % turns], DASHES[(rank // turns) % len(DASHES)])
        for rank, name in enumerate(names)
    }
