"""Lines and numbers of an exported text file: its encoding, decimal sign and units."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from rtplan.errors import FormatError

#: A DVH export has some hundred kilobytes; beyond this the file is something else.
MOST_BYTES = 64 * 2**20
#: Gy of one unit.
DOSE_UNITS = {"gy": 1.0, "cgy": 0.01}
_POINT = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
_COMMA = re.compile(r"^[+-]?\d+,\d+([eE][+-]?\d+)?$")
#: What a number looks like, with either sign.
NUMBER = r"[+-]?(?:\d+(?:[.,]\d*)?|\.\d+)(?:[eE][+-]?\d+)?"


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file in UTF-8 or UTF-16 with its mark, else in Windows' Latin alphabet.

    Raises
    ------
    FormatError
        If it cannot be read, is too large, or is no text.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise FormatError("The file is too large for a DVH export.", where=path.name)
        data = path.read_bytes()
    except OSError as wrong:
        raise FormatError("The DVH file cannot be read.", where=path.name) from wrong
    for encoding in ("utf-16", "utf-8-sig") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig",):
        try:
            text = data.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        text = data.decode("cp1252", errors="replace")
    if "\0" in text:
        raise FormatError("The file is no text.", where=path.name)
    return text.splitlines()


def is_number(word: str) -> bool:
    """Whether a word is a number, with a decimal point or a decimal comma.

    Examples
    --------
    >>> is_number("1.42e-006"), is_number("3,5"), is_number("1,234.5"), is_number("N/A")
    (True, True, False, False)
    """
    return bool(_POINT.match(word) or _COMMA.match(word))


def numbers(rows: Iterable[Iterable[str]], where: str) -> list[list[float]]:
    """Return rows of words as numbers; one decimal sign in all of them.

    Raises
    ------
    FormatError
        If a word is no number, or some have a point and others a comma.
    """
    table = [list(row) for row in rows]
    words = [word for row in table for word in row]
    comma = any("," in word for word in words)
    if comma and any("." in word for word in words):
        raise FormatError("Some numbers have a decimal point and others a comma.", where=where)
    for word in words:
        if not is_number(word):
            raise FormatError("A line of the DVH holds something else than numbers.", where=where)
    return [[float(word.replace(",", ".")) for word in row] for row in table]


def number(word: str) -> float | None:
    """Return a header's number, or None where it is none (``N/A``, ``not defined``)."""
    word = word.strip()
    return float(word.replace(",", ".")) if is_number(word) else None


def gy_of(unit: str, where: str) -> float:
    """Return the Gy of one unit of dose.

    Raises
    ------
    FormatError
        If it is neither Gy nor cGy; a dose weighted by RBE is not a physical dose.
    """
    plain = unit.strip().casefold()
    if plain not in DOSE_UNITS:
        raise FormatError(
            f"The unit of dose is {unit.strip()!r}, wanted Gy or cGy.",
            where=where,
            action="export the DVH with absolute physical dose.",
        )
    return DOSE_UNITS[plain]


def volume_unit_of(unit: str, where: str) -> str:
    """Return ``cc`` or ``%`` for a unit of volume (cm³ in any encoding, ccm, cc, %).

    Examples
    --------
    >>> volume_unit_of("cm³", ""), volume_unit_of("ccm", ""), volume_unit_of("%", "")
    ('cc', 'cc', '%')
    """
    plain = unit.strip().casefold()
    if plain == "%":
        return "%"
    if plain in ("cc", "ccm") or re.match(r"^cm\W?\W?3?$|^cm.{1,3}$", plain):
        return "cc"
    raise FormatError(f"The unit of volume is {unit.strip()!r}, wanted cm³ or %.", where=where)
