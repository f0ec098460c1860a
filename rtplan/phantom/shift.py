"""How far the study population lies outside the training ranges, as a table."""

from __future__ import annotations

from dataclasses import dataclass

from rtplan.phantom.draws import Draws


@dataclass(frozen=True)
class Shift:
    """One parameter in two cohorts.

    Parameters
    ----------
    name : str
        The parameter; its unit is in the name.
    train, study : tuple of float
        Lowest and highest value.
    outside : float
        Share of the study's range that lies outside the training range, 0..1.
    """

    name: str
    train: tuple[float, float]
    study: tuple[float, float]
    outside: float


def shifts() -> tuple[Shift, ...]:
    """Return every parameter with its training and study range.

    Examples
    --------
    >>> next(s for s in shifts() if s.name == "subcutaneous_mm").outside
    1.0
    """
    train, study = Draws("train", 0).ranges, Draws("study", 0).ranges
    out = []
    for name, (low, high) in study.items():
        first, last = train[name]
        width = high - low
        shared = max(min(high, last) - max(low, first), 0.0)
        apart = 0.0 if first <= low <= last else 1.0
        outside = 1.0 - shared / width if width > 0.0 else apart
        out.append(Shift(name, (first, last), (low, high), round(outside, 3)))
    return tuple(out)


def shift_text() -> str:
    """Return the table as Markdown."""
    lines = ["| parameter | train, valid | study | study outside train |", "|---|---|---|---|"]
    for s in shifts():
        train, study = (f"{a:g} – {b:g}" for a, b in (s.train, s.study))
        lines.append(f"| {s.name} | {train} | {study} | {100 * s.outside:.0f} % |")
    return "\n".join(lines)
