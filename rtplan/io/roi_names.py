"""Names of regions as planning systems take them: short, in their letters, unique; and their colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rtplan.errors import StructureError
from rtplan.io import modules as md

#: Longest ROIName that every planning system takes (clinical.md G.3).
NAME_LENGTH = 16
#: Colours by kind, and a round of them for organs (RGB).
COLOURS = {
    "GTV": (255, 0, 0),
    "CTV": (255, 128, 0),
    "PTV": (230, 25, 75),
    "EXTERNAL": (0, 160, 0),
    "SUPPORT": (128, 128, 128),
    "MARKER": (255, 255, 0),
    "CONTROL": (170, 170, 255),
}
ORGAN_COLOURS = (
    (165, 90, 40),
    (255, 215, 0),
    (0, 130, 200),
    (145, 30, 180),
    (70, 240, 240),
    (240, 50, 230),
    (210, 245, 60),
    (0, 128, 128),
    (220, 190, 255),
    (170, 110, 40),
    (128, 128, 0),
    (0, 0, 160),
)


def colour(kind: str, number: int) -> tuple[int, int, int]:
    """Return the colour (RGB) of the ROI of this kind and number."""
    return COLOURS.get(kind, ORGAN_COLOURS[number % len(ORGAN_COLOURS)])


def short_names(
    names: Sequence[str], length: int = NAME_LENGTH, fitting: Callable[[str], str] = str
) -> dict[str, str]:
    """Return for each name one of at most ``length`` characters; all are unique regardless of case.

    Parameters
    ----------
    names : sequence of str
        Full names.
    length : int
        Most characters of a short one.
    fitting : callable
        Puts a name into the letters that are allowed.

    Raises
    ------
    StructureError
        If two names are alike.

    Examples
    --------
    >>> list(short_names(["Rectum", "Glnd_Submand_L_Part", "Glnd_Submand_L_Pole"]).values())
    ['Rectum', 'Glnd_Submand_L_P', 'Glnd_Submand_L~2']
    """
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if list(names).count(name) > 1})
        raise StructureError(f"Two structures bear one name: {', '.join(twice)}.", action="rename one.")
    taken: set[str] = set()
    short: dict[str, str] = {}
    fits = {name: md.clipped(fitting(name), 64) for name in names}
    for name in sorted(names, key=lambda n: (fits[n] != n, len(fits[n]) > length)):  # who fits keeps his name
        base = md.clipped(fits[name], length) or "ROI"
        choice, count = base, 1
        while choice.casefold() in taken:
            count += 1
            choice = f"{base[: length - len(str(count)) - 1]}~{count}"
        taken.add(choice.casefold())
        short[name] = choice
    return {name: short[name] for name in names}
