"""Read a DVH export of any planning system that we know, and choose the curve of one structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rtplan.errors import FormatError, UnknownName
from rtplan.io import names as naming
from rtplan.io.dvh_text import eclipse, monaco, pinnacle, raystation
from rtplan.io.dvh_text.curve import Raw, TextDvh, curve_of
from rtplan.io.dvh_text.text import read_lines


class System(NamedTuple):
    """How a system's export is known, and read."""

    is_it: Callable[[list[str]], bool]
    read: Callable[[list[str], str], list[Raw]]


#: By the first of these heads that fits; Pinnacle's points are read with the tables beside them.
SYSTEMS = {
    eclipse.SYSTEM: System(eclipse.is_it, eclipse.read),
    raystation.SYSTEM: System(raystation.is_it, raystation.read),
    monaco.SYSTEM: System(monaco.is_it, monaco.read),
}


def raw_curves(path: Path) -> list[Raw]:
    """Return the curves of an export, unchecked.

    Raises
    ------
    FormatError
        If it is of no known system, or units are missing.
    """
    if path.is_dir():
        return pinnacle.read_folder(path)
    lines = read_lines(path)
    for system in SYSTEMS.values():
        if system.is_it(lines):
            return system.read(lines, path.name)
    if pinnacle.is_it(lines):
        return pinnacle.read_points(path)
    raise FormatError(
        f"The file is no DVH export of {', '.join(SYSTEMS)} or {pinnacle.SYSTEM}, and no table of rtplan.",
        where=path.name,
        action="export the DVH as text in English, or write a table (docs/formats).",
    )


def structures_of(path: Path) -> tuple[str, ...]:
    """Return the names of an export's structures, as they stand in the file."""
    return tuple(sorted({raw.structure for raw in raw_curves(path)}))


def read_dvh_text(
    path: str | Path, structure: str = "", *, plan: str = "", names: Path | None = None
) -> TextDvh:
    """Read the DVH of one structure from a planning system's text export.

    Parameters
    ----------
    path : str or Path
        The export; for Pinnacle its folder.
    structure : str
        Name in the file or, where the aliases or the map know it, in TG-263; may be left out where the
        file holds one structure.
    plan : str
        Name of the plan in the file, where it holds the structure for several.
    names : Path, optional
        A clinic's map of names to TG-263.

    Returns
    -------
    TextDvh
        With the TG-263 name where it is known; `rtplan.dosimetry.outcome.evaluate` takes it as it is.

    Raises
    ------
    FormatError
        If the file leaves open what its numbers are, or contradicts itself.
    UnknownName
        If there is no such structure; the message lists those that there are.
    """
    path = Path(path)
    found = raw_curves(path)
    if not found:
        raise FormatError("The file holds no DVH.", where=path.name)
    listed = sorted({raw.structure for raw in found})
    new, _ = naming.rename(listed, naming.load(names))
    wanted = _wanted(structure, listed, new, path.name)
    chosen = _one(found, wanted, plan, path.name)
    return replace(curve_of(chosen), structure=new[wanted])


def _wanted(structure: str, listed: Sequence[str], new: dict[str, str], where: str) -> str:
    """Return the structure's name in the file."""
    known = f"Known: {', '.join(f'{n} ({new[n]})' if new[n] != n else n for n in listed)}."
    if not structure:
        if len(listed) == 1:
            return listed[0]
        raise UnknownName(f"The file holds {len(listed)} structures: name one. {known}", where=where)
    if structure in listed:
        return structure
    mapped = [name for name in listed if new[name] == structure]
    if len(mapped) != 1:
        raise UnknownName(f"There is no structure {structure!r}. {known}", where=where)
    return mapped[0]


def _one(found: Sequence[Raw], name: str, plan: str, where: str) -> Raw:
    """Return the curve of a structure's name, of the plan where there are several."""
    own = [raw for raw in found if raw.structure == name and plan in ("", raw.plan)]
    if len(own) == 1:
        return own[0]
    if not own:
        raise UnknownName(f"There is no DVH of {name} for that plan.", where=where)
    raise UnknownName(
        f"The file holds {len(own)} DVHs of {name}.",
        where=where,
        action="name the plan as the file does (--plan), or export one plan.",
    )
