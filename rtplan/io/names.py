"""Clinic names of structures to TG-263: shipped aliases, a clinic's own map; targets are never guessed."""

from __future__ import annotations

import difflib
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType

from rtplan import resources
from rtplan.domain import Notice
from rtplan.domain.nomenclature import KINDS
from rtplan.errors import FormatError

#: Where the aliases lie (``rtplan/io/aliases``).
SHELF = "io/aliases"
_SPECIAL = ("sides", "datasets")
_WELL_NAMED = re.compile(r"^[GCP]TV[a-z]{0,3}\d{0,2}(_\w+)?$")
_TARGET = re.compile(r"^(z?i?gtv|z?i?ctv|z?i?ptv|itv|igtv|ictv)", re.IGNORECASE)


@dataclass(frozen=True)
class NameMap:
    """A map of names to TG-263.

    Parameters
    ----------
    exact : mapping of str to str
        Names as written to TG-263, targets too: a clinic's own map, and those of public data sets.
    aliases : mapping of str to str
        Folded names (`fold`) without side to TG-263; a trailing ``*`` stands for the side.
    sides : mapping of str to str
        Folded words to ``L`` or ``R``.
    """

    exact: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    sides: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def tg263(self, name: str) -> str | None:
        """Return the TG-263 name, or None when the name is not known; a target only by the exact map.

        Examples
        --------
        >>> names = load()
        >>> names.tg263("Lt Femoral Head"), names.tg263("Harnblase"), names.tg263("blob")
        ('Femur_Head_L', 'Bladder', None)
        >>> names.tg263("PTV 60") is None
        True
        """
        if name in self.exact:
            return self.exact[name]
        if is_target(name):
            return None
        words = _words(name)
        whole = self.aliases.get(" ".join(words)) or self.aliases.get("".join(words))
        if whole and not whole.endswith("*"):
            return whole
        sides = {self.sides[word] for word in words if word in self.sides}
        rest = [word for word in words if word not in self.sides]
        sided = self.aliases.get(" ".join(rest)) or self.aliases.get("".join(rest))
        if sided and sided.endswith("*") and len(sides) == 1:
            return sided[:-1] + sides.pop()
        return None

    def candidates(self, name: str, count: int = 3) -> list[str]:
        """Return the TG-263 names whose aliases look most like a name; a help for the user, never used."""
        close = difflib.get_close_matches(" ".join(_words(name)), list(self.aliases), n=8, cutoff=0.6)
        return list(dict.fromkeys(self.aliases[word].replace("*", "L/R") for word in close))[:count]


def load(path: Path | None = None) -> NameMap:
    """Return the shipped aliases, with a clinic's own map before them.

    Parameters
    ----------
    path : Path, optional
        TOML with a table ``[names]``: ``"clinic name" = "TG-263 name"``; targets may stand there.

    Raises
    ------
    FormatError
        If the file does not parse or maps to something that is not a name.
    """
    shipped = _shipped()
    if path is None:
        return shipped
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8")).get("names")
    except (OSError, ValueError) as wrong:
        what = "cannot be read" if isinstance(wrong, OSError) else "is not valid TOML"
        raise FormatError(f"The map of names {what}.", where=str(path)) from None
    if not isinstance(table, dict) or not all(isinstance(v, str) and v.strip() for v in table.values()):
        action = 'write a table [names] with lines "clinic name" = "TG-263 name".'
        raise FormatError("The map of names has no table [names] of texts.", where=str(path), action=action)
    exact = {**shipped.exact, **{str(k): v.strip() for k, v in table.items()}}
    return NameMap(MappingProxyType(exact), shipped.aliases, shipped.sides)


@cache
def _shipped() -> NameMap:
    sides = {fold(w): s for s, listed in _toml("sides").items() for w in listed}
    aliases: dict[str, str] = {}
    for language in (name for name in resources.names(SHELF) if name not in _SPECIAL):
        for name, listed in _toml(language).items():
            for alias in (*listed, name.rstrip("*").replace("_", " ")):
                aliases.setdefault(" ".join(_words(alias)), name)
    for name in KINDS:
        aliases.setdefault(" ".join(_words(name)), name)
    exact = _toml("datasets")["exact"]
    return NameMap(MappingProxyType(exact), MappingProxyType(aliases), MappingProxyType(sides))


def _toml(name: str) -> dict[str, dict[str, str]]:
    return tomllib.loads(resources.find(SHELF, name).read_text(encoding="utf-8"))


def fold(text: str) -> str:
    """Return text in lower case without accents and signs.

    Examples
    --------
    >>> fold("Têtes Fémorales"), fold("Außenkontur")
    ('tetes femorales', 'aussenkontur')
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in plain if not unicodedata.combining(c)).strip()


def _words(name: str) -> list[str]:
    parted = re.sub(r"(?<=[a-zäöüéè])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[^0-9a-z]+", fold(parted)) if word]


def is_target(name: str) -> bool:
    """Whether a name begins as a target (GTV, CTV, PTV, ITV …)."""
    return bool(_TARGET.match(name.strip()))


def rename(found: Iterable[str], names: NameMap) -> tuple[dict[str, str], list[Notice]]:
    """Return for each name its TG-263 name, and a notice for each that keeps its own.

    A name is kept when it is unknown, and when two names would become one.
    """
    listed = list(found)
    wanted = {name: names.tg263(name) or name for name in listed}
    notices: list[Notice] = []
    for name in listed:
        said = _unmapped(name, names) if names.tg263(name) is None else None
        notices += [said] if said else []
    chosen = list(wanted.values())
    for target in sorted({choice for choice in chosen if chosen.count(choice) > 1}):
        rivals = [name for name, choice in wanted.items() if choice == target]
        wanted |= {name: name for name in rivals}
        message = f"{len(rivals)} names could be {target}: {', '.join(rivals)}. Each keeps its own."
        action = "say which one by a map of names."
        notices.append(Notice("NAME_DOUBLE", "warn", message, action, structure=target))
    return wanted, notices


def _unmapped(name: str, names: NameMap) -> Notice | None:
    if _WELL_NAMED.match(name):
        return None
    if is_target(name):
        message = f"The target {name!r} keeps its name: targets are never guessed."
        return Notice("NAME_KEPT", "info", message, "map it by a map of names if need be.", structure=name)
    close = names.candidates(name)
    hint = f" Nearest: {', '.join(close)}." if close else ""
    message = f"The structure {name!r} has no TG-263 name here and keeps its own.{hint}"
    return Notice("NAME_UNMAPPED", "info", message, "map it by a map of names.", structure=name)
