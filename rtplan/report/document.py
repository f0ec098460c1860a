"""The report as a PDF: A4, selectable text, embedded fonts, the same content as the page."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any
from xml.sax.saxutils import escape

from reportlab import rl_config
from reportlab.lib import colors
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    Image,
    KeepTogether,
    PageTemplate,
    Paragraph,
    Spacer,
)
from reportlab.platypus import Table as PdfTable

from rtplan.domain import Patient
from rtplan.report.assemble import assemble
from rtplan.report.content import Block, Cell, Content, Message, Picture, Table
from rtplan.report.figures import drawable, fonts
from rtplan.report.plots import Curves
from rtplan.report.problems import SEVERITIES
from rtplan.report.words import tied

rl_config.useA85 = 0  # pictures as bytes, not as text: smaller and faster
MARGIN_MM, WIDTH_MM = 12.0, 186.0
INK, QUIET = colors.HexColor("#1B2126"), colors.HexColor("#5B6770")
RULE, TINT = colors.HexColor("#D5DADE"), colors.HexColor("#F3F6F8")
BAD, GOOD = colors.HexColor("#A63603"), colors.HexColor("#00543D")


def render_pdf(patient: Patient, provenance: Mapping[str, Any], curves: Curves | None = None) -> bytes:
    """Return a patient's report as a PDF; parameters as in `rtplan.report.page.render`."""
    return document_of(assemble(patient, provenance, curves))


def document_of(content: Content) -> bytes:
    """Return assembled content as a PDF, the same bytes every time."""
    stream = io.BytesIO()
    document = _Report(stream, content)
    document.build(list(_story(content)))
    return stream.getvalue()


class _Report(BaseDocTemplate):  # type: ignore[misc]
    """A4 with page numbers, the warning on every page, and an outline of the headings."""

    def __init__(self, stream: io.BytesIO, content: Content) -> None:
        super().__init__(
            stream,
            pagesize=A4,
            leftMargin=MARGIN_MM * mm,
            rightMargin=MARGIN_MM * mm,
            topMargin=14 * mm,
            bottomMargin=16 * mm,
            title=f"rtplan report: {content.title}",
            subject=content.subtitle,
            author="rtplan",
            lang="en-GB",
            invariant=1,
        )
        self._foot = drawable(f"{content.subtitle}   ·   {content.warning}")
        frame = Frame(self.leftMargin, self.bottomMargin, self.width, self.height, 0, 0, 0, 0)
        self.addPageTemplates([PageTemplate("page", [frame], onPage=self._footer)])

    def _footer(self, canvas: Any, _: Any) -> None:
        canvas.saveState()
        canvas.setFont(_faces()["regular"], 7)
        canvas.setFillColor(QUIET)
        canvas.drawString(MARGIN_MM * mm, 9 * mm, self._foot[:150])
        canvas.drawRightString(A4[0] - MARGIN_MM * mm, 9 * mm, f"Page {canvas.getPageNumber()}")
        canvas.restoreState()

    def afterFlowable(self, flowable: Flowable) -> None:  # noqa: N802 - reportlab's name
        """Put headings into the document's outline."""
        title = getattr(flowable, "outline", None)
        if title:
            key = f"block-{self.canv.getPageNumber()}-{title}"
            self.canv.bookmarkPage(key)
            self.canv.addOutlineEntry(title, key, 0)


@cache
def _faces() -> dict[str, str]:
    """Register the fonts that matplotlib brings and return their names."""
    names = {}
    for face, path in fonts().items():
        names[face] = f"rtplan-{face}"
        pdfmetrics.registerFont(TTFont(names[face], str(path)))
    return names


def _text(face: str = "regular", size: float = 8.5, **more: Any) -> ParagraphStyle:
    settings = {"textColor": INK, "splitLongWords": True, **more}
    return ParagraphStyle(
        f"{face}{size}{sorted(more)}", fontName=_faces()[face], fontSize=size, leading=size * 1.35, **settings
    )


def _paragraph(text: str, style: ParagraphStyle) -> Paragraph:
    return Paragraph(escape(drawable(text)), style)


def _story(content: Content) -> Iterable[Flowable]:
    yield _paragraph(content.title, _text("bold", 17))
    yield _paragraph(content.subtitle, _text("regular", 8.5, textColor=QUIET))
    yield Spacer(1, 2 * mm)
    yield _boxed([_paragraph(content.warning, _text("bold", 9))], colors.white, INK)
    yield Spacer(1, 3 * mm)
    yield _heading("The answer in two minutes")
    yield _boxed([_paragraph(tied(content.lead), _text("bold", 11))], TINT, RULE)
    yield Spacer(1, 2 * mm)
    yield _facts(content)
    if content.glance is not None:
        yield from _table(content.glance)
    for block in content.blocks:
        yield from _block(block)


def _boxed(inside: list[Flowable], fill: Any, line: Any) -> Flowable:
    look = [
        ("BACKGROUND", (0, 0), (-1, -1), fill),
        ("BOX", (0, 0), (-1, -1), 0.8, line),
        ("TOPPADDING", (0, 0), (-1, -1), 5),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 6),
    ]
    return PdfTable([[inside]], colWidths=[WIDTH_MM * mm], style=look)


def _heading(title: str) -> Paragraph:
    heading = _paragraph(title, _text("bold", 12, spaceBefore=10, spaceAfter=4, keepWithNext=1))
    heading.outline = drawable(title)
    return heading


def _facts(content: Content) -> Flowable:
    rows = [
        [_paragraph(fact.term, _text("bold", 8.5)), _paragraph(tied(fact.text), _text("regular", 8.5))]
        for fact in content.facts
    ]
    look = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)]
    look += [("TOPPADDING", (0, 0), (-1, -1), 1.5), ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5)]
    return PdfTable(rows, colWidths=[38 * mm, (WIDTH_MM - 38) * mm], splitInRow=1, style=look)


def _block(block: Block) -> Iterable[Flowable]:
    first = block.pictures[0] if block.pictures else None
    tall = first.width_mm * first.size_px[1] / first.size_px[0] + 25.0 if first else 45.0
    yield CondPageBreak(tall * mm)
    yield _heading(block.title)
    for sentence in block.sentences:
        yield _paragraph(tied(sentence), _text("regular", 8.5, spaceAfter=3))
    for picture in block.pictures:
        yield _picture(picture)
    for table in block.tables:
        yield from _table(table)
    for message in block.messages:
        yield _message(message)


def _picture(picture: Picture) -> Flowable:
    wide, high = picture.size_px
    width = min(picture.width_mm, WIDTH_MM) * mm
    image = Image(io.BytesIO(picture.png), width=width, height=width * high / wide)
    name = escape(drawable(picture.title))
    name = f"<font name='{_faces()['bold']}'>{name}</font> · " if name else ""
    style = _text("regular", 8, spaceAfter=2, spaceBefore=3)
    words = Paragraph(name + escape(drawable(tied(picture.caption))), style)
    return KeepTogether([words, image, Spacer(1, 2.5 * mm)])


def _table(table: Table) -> Iterable[Flowable]:
    size = 7.5 if len(table.head) < 9 else 6.6
    total = sum(table.widths)
    widths = [WIDTH_MM * mm * width / total for width in table.widths]
    head = [
        _paragraph(title, _text("bold", size, alignment=_side(table, n)))
        for n, title in enumerate(table.head)
    ]
    rows = [[_cell(cell, size, _side(table, n)) for n, cell in enumerate(cells)] for cells in table.rows]
    look = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LINEBELOW", (0, 0), (-1, 0), 0.9, INK),
        ("LINEBELOW", (0, 1), (-1, -1), 0.4, RULE),
        ("LEFTPADDING", (0, 0), (-1, -1), 2.5),
        ("RIGHTPADDING", (0, 0), (-1, -1), 2.5),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
    ]
    yield _paragraph(table.caption, _text("bold", 8.5, spaceBefore=6, spaceAfter=2, keepWithNext=1))
    yield PdfTable([head, *rows], colWidths=widths, repeatRows=1, splitInRow=1, style=look)
    for note in table.notes:
        yield _paragraph(note, _text("regular", 7, textColor=QUIET, spaceBefore=1.5))


def _side(table: Table, column: int) -> int:
    return int(TA_RIGHT) if column in table.numeric else 0


def _cell(cell: Cell, size: float, side: int) -> Paragraph:
    face = "bold" if cell.tone in ("strong", "bad") else "regular"
    colour = {"bad": BAD, "good": GOOD, "quiet": QUIET}.get(cell.tone, INK)
    return _paragraph(cell.text, _text(face, size, alignment=side, textColor=colour))


def _message(message: Message) -> Flowable:
    times = f" (×{message.times})" if message.times > 1 else ""
    lines = [
        _paragraph(f"{SEVERITIES[message.severity]} · {message.code}{times}", _text("bold", 8.5)),
        _paragraph(message.text, _text("regular", 8.5)),
    ]
    if message.where:
        lines.append(_paragraph(f"Where: {'; '.join(message.where)}", _text("regular", 7.5, textColor=QUIET)))
    if message.action:
        lines.append(_paragraph(f"What to do: {message.action}", _text("regular", 8.5)))
    lines.append(Spacer(1, 2.5 * mm))
    return KeepTogether(lines)
