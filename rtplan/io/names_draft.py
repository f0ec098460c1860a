"""A draft of a clinic's map of names: what is known, and what a person must say, with the nearest names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rtplan.domain import Notice
from rtplan.domain.structure import Kind
from rtplan.errors import DicomError, RtplanError
from rtplan.io import rtstruct
from rtplan.io.index import index
from rtplan.io.names import TARGETS, NameMap, is_target, rename, target_candidates

Status = Literal["mapped", "double", "target", "unknown"]

#: What stands above each part of the draft.
_HEADINGS: dict[Status, str] = {
    "mapped": "Known. Check each line.",
    "double": "Several structures could be the same. Take the # off one line of each.",
    "target": "Targets are never guessed. Correct the name and take the # off.",
    "unknown": "Not known. Correct the name and take the # off where a protocol needs it.",
}


@dataclass(frozen=True)
class NameDraft:
    """What a draft says of one name.

    Parameters
    ----------
    name : str
        As in the structure sets.
    kind : str
        RTROIInterpretedType, as rtplan reads it.
    sets : int
        Number of structure sets that hold it.
    status : str
        ``mapped``, ``double`` (another name means the same), ``target`` or ``unknown``.
    tg263 : str or None
        The TG-263 name, when it is mapped or double.
    candidates : tuple of str
        Nearest names, never used.
    """

    name: str
    kind: Kind
    sets: int
    status: Status
    tg263: str | None = None
    candidates: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for ``--json``."""
        return {**vars(self), "candidates": list(self.candidates)}


def draft(folder: Path, names: NameMap) -> tuple[tuple[NameDraft, ...], tuple[Notice, ...]]:
    """Return a draft for all structure sets below a folder, and what could not be read.

    Names of one structure set decide what is double; the same name in another patient is the same line.

    Raises
    ------
    DicomError
        If there is no structure set that can be read.
    """
    found: dict[str, tuple[Kind, int]] = {}
    doubles: set[str] = set()
    notices: list[Notice] = []
    sets = 0
    for entry in index(Path(folder)).objects("RTSTRUCT"):
        try:
            item = rtstruct.read(entry.path)
        except RtplanError as wrong:
            notices.append(
                Notice("RTSTRUCT_BROKEN", "warn", wrong.message, wrong.action, file=str(entry.path))
            )
            continue
        sets += 1
        for structure in item.structures:
            found[structure.name] = (structure.kind, found.get(structure.name, ("ORGAN", 0))[1] + 1)
        doubles |= _doubles({structure.name: structure.kind for structure in item.structures}, names)
    if not sets:
        raise DicomError(
            "There is no structure set that can be read.", where=str(folder), action="give a folder with one."
        )
    lines = [_line(name, kind, count, names, doubles) for name, (kind, count) in found.items()]
    return tuple(sorted(lines, key=lambda line: (line.tg263 or "~", line.name))), tuple(notices)


def _doubles(listed: dict[str, Kind], names: NameMap) -> set[str]:
    """Return the names of one structure set that could be the same as another one's."""
    said = {notice.structure for notice in rename(listed, names)[1] if notice.code == "NAME_DOUBLE"}
    wanted = {name: names.of(name, kind) or name for name, kind in listed.items()}
    return {name for name in listed if wanted[name] in said and name not in names.exact}


def _line(name: str, kind: Kind, sets: int, names: NameMap, doubles: set[str]) -> NameDraft:
    known = names.of(name, kind)
    if name in doubles:
        return NameDraft(name, kind, sets, "double", known or name)
    if known is not None:
        return NameDraft(name, kind, sets, "mapped", known)
    if is_target(name) or kind in TARGETS:
        guess = target_candidates(name) or target_candidates(f"{kind} {name}")
        return NameDraft(name, kind, sets, "target", candidates=tuple(guess))
    return NameDraft(name, kind, sets, "unknown", candidates=tuple(names.candidates(name)))


def toml_of(lines: Iterable[NameDraft]) -> str:
    """Return the draft as TOML that `names.load` takes: what is not sure stands behind a #."""
    listed = list(lines)
    text = [
        "# Structure names to TG-263: a draft by rtplan names. Once checked, give it back by --names FILE.",
        "[names]",
    ]
    for status, heading in _HEADINGS.items():
        part = [line for line in listed if line.status == status]
        if part:
            text += ["", f"# {heading}", *map(_written, part)]
    return "\n".join(text) + "\n"


def _written(line: NameDraft) -> str:
    wanted = line.tg263 or (line.candidates[0] if line.candidates else line.name)
    others = f", or {', '.join(line.candidates[1:])}" if line.candidates[1:] else ""
    said = f"{_quoted(line.name)} = {_quoted(wanted)}"
    return f"{said}  # {line.kind}" if line.status == "mapped" else f"# {said}  # {line.kind}{others}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
