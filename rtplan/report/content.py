"""What a report consists of: blocks of sentences, tables and pictures, the same for page and document."""

from __future__ import annotations

from dataclasses import dataclass

#: Tones of a cell: none, met, missed, not evaluable or unverified, a heading of its row.
TONES = ("", "good", "bad", "quiet", "strong")


@dataclass(frozen=True)
class Cell:
    """One cell of a table: its text, and a tone that the text says as well."""

    text: str
    tone: str = ""


def row(*cells: str | Cell) -> tuple[Cell, ...]:
    """Return a row of cells; plain texts get no tone.

    Examples
    --------
    >>> row("Rectum", Cell("12.0 ✗", "bad"))[0]
    Cell(text='Rectum', tone='')
    """
    return tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in cells)


@dataclass(frozen=True)
class Table:
    """A table with a caption, a head, rows and notes.

    Parameters
    ----------
    caption : str
        What the table shows, in a sentence.
    head : tuple of str
        One title per column; the first column names the rows.
    rows : tuple of tuple of Cell
        Each as long as the head.
    widths : tuple of float
        Relative widths of the columns on paper.
    numeric : tuple of int
        Columns of numbers (set to the right).
    notes : tuple of str
        Below the table.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    widths: tuple[float, ...]
    numeric: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A figure as bytes, with the words that stand for it where it cannot be seen.

    Parameters
    ----------
    caption, alt : str
        What it shows; what one would say to somebody who cannot see it.
    title : str
        Its name, in front of the caption.
    png : bytes
        For paper, and for the screen where there is no SVG.
    svg : str
        Drawing for the screen; empty for pictures made of pixels.
    width_mm : float
        Natural width on paper.
    size_px : tuple of int
        Width and height on the screen.
    """

    caption: str
    alt: str
    png: bytes
    width_mm: float
    size_px: tuple[int, int]
    svg: str = ""
    title: str = ""


@dataclass(frozen=True)
class Message:
    """A notice in words: code, severity, what was found, where, what to do, how often."""

    code: str
    severity: str
    text: str
    action: str
    where: tuple[str, ...] = ()
    times: int = 1


@dataclass(frozen=True)
class Block:
    """One part of the report.

    Parameters
    ----------
    name : str
        Its anchor and its template's name.
    title : str
        Heading.
    sentences, pictures, tables, messages : tuple
        What it says, in this order unless its template orders them otherwise.
    absent : str
        Why there is nothing to say (no dose, …); such blocks are named together, not shown one by one.
    """

    name: str
    title: str
    sentences: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    messages: tuple[Message, ...] = ()
    absent: str = ""


@dataclass(frozen=True)
class Fact:
    """One line of the answer: a question's word and what is said to it."""

    term: str
    text: str
    tone: str = ""


@dataclass(frozen=True)
class Content:
    """A whole report.

    Parameters
    ----------
    title, subtitle : str
        The first heading and the line under it.
    warning : str
        Said once, at the top.
    lead : str
        The answer in one or two sentences.
    facts : tuple of Fact
        What carries the answer.
    glance : Table or None
        The arms at a glance.
    blocks : tuple of Block
        The rest, in order.
    footer : str
        Under the page.
    """

    title: str
    subtitle: str
    warning: str
    lead: str
    facts: tuple[Fact, ...]
    glance: Table | None
    blocks: tuple[Block, ...]
    footer: str = "Made by rtplan. Numbers with their full precision stand in findings.csv and findings.json."
