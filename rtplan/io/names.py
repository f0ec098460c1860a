"""Clinic names of structures to TG-263: shipped aliases, a clinic's own map; targets are never guessed."""

from __future__ import annotations

import difflib
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rtplan import resources
from rtplan.domain import Notice
from rtplan.domain.nomenclature import KINDS
from rtplan.domain.structure import Kind
from rtplan.errors import FormatError

#: Where the aliases lie (``rtplan/io/aliases``).
SHELF = "io/aliases"
_SPECIAL = ("sides", "datasets")
#: Kinds of structures that are never named by an alias.
TARGETS = ("GTV", "CTV", "PTV")
#: Words that say only that the structure is one.
_NEUTRAL = ("oar", "roi")
#: How alike a name must look to be offered (ratio of `difflib`).
ALIKE = 0.72
_WELL_NAMED = re.compile(r"^([GCP]TV[a-z]{0,3}\d{0,2}(_\w+)?|\w+_PRV\d{1,2}(_[LR])?|z[A-Z_]\w*)$")
_TARGET = re.compile(r"^(z?i?gtv|z?i?ctv|z?i?ptv|itv|igtv|ictv)", re.IGNORECASE)
_TARGET_WORD = re.compile(r"(^|[^a-z])[zi]?i?([gcp]tv|itv)", re.IGNORECASE)
#: What parts of a target's name say, as TG-263's classifiers.
_CLASSIFIERS = (
    ("n", re.compile(r"(?i)(?<![a-z])l[nk](?![a-z])|node|lymph|nodal|ganglion|linfono")),
    ("sv", re.compile(r"(?i)(?<![a-z])sv(?![a-z])|samenbl|seminal|zaadbl|sädesbl|vescicol|vesícul|vésicul")),
    ("p", re.compile(r"(?i)prost|boost|prim")),
)


@dataclass(frozen=True)
class NameMap:
    """A map of names to TG-263.

    Parameters
    ----------
    exact : mapping of str to str
        Names as written to TG-263, targets too: a clinic's own map, and those of public data sets.
    aliases : mapping of str to str
        Folded names (`fold`) without spaces and side to TG-263; a trailing ``*`` stands for the side.
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
        if _TARGET_WORD.search(name):
            return None
        words = [word for word in _words(name) if word not in _NEUTRAL]
        whole = self.aliases.get("".join(words))
        if whole and not whole.endswith("*"):
            return whole
        sides = {self.sides[word] for word in words if word in self.sides}
        sided = self.aliases.get("".join(word for word in words if word not in self.sides))
        if sided and sided.endswith("*") and len(sides) == 1:
            return sided[:-1] + sides.pop()
        return None if sides else self._joined("".join(words))

    def of(self, name: str, kind: Kind) -> str | None:
        """Return the TG-263 name of a structure; of one that is drawn as a target only by the exact map."""
        known = self.tg263(name)
        return known if kind not in TARGETS or name in self.exact or known == name else None

    def _joined(self, text: str) -> str | None:
        """Return the name of text that bears its side without a space (``lungl``, ``huftkopfre``)."""
        found = set()
        for word, side in self.sides.items():
            for rest in (text.removesuffix(word), text.removeprefix(word)):
                sided = self.aliases.get(rest, "") if rest != text else ""
                if sided.endswith("*"):
                    found.add(sided[:-1] + side)
        return found.pop() if len(found) == 1 else None

    def candidates(self, name: str, count: int = 3) -> list[str]:
        """Return the TG-263 names whose aliases look most like a name; a help for the user, never used."""
        words = _words(name)
        rest = [word for word in words if word not in self.sides]
        runs = {"".join(rest[a:b]) for a in range(len(rest)) for b in range(a + 1, len(rest) + 1)}
        known = sorted((run for run in runs if run in self.aliases), key=len, reverse=True)
        close = difflib.get_close_matches("".join(words), list(self.aliases), n=8, cutoff=ALIKE)
        found = [self.aliases[word] for word in (*known, *close)]
        said = [self.sides[word] for word in words if word in self.sides][:1] or ["L", "R"]
        sided = [n for f in found for n in ([f[:-1] + s for s in said] if f.endswith("*") else [f])]
        return list(dict.fromkeys(sided))[:count]


def target_candidates(name: str) -> list[str]:
    """Return TG-263 names that a target's name could mean; a help for the user, never used.

    Examples
    --------
    >>> target_candidates("PTV Prostata 60 Gy"), target_candidates("ptv LN 4500"), target_candidates("CTV")
    (['PTVp_6000'], ['PTVn_4500'], ['CTV', 'CTVp'])
    """
    kind = re.search(r"(?i)([gcp]tv|itv)", name)
    if kind is None:
        return []
    dose = re.search(r"(?<![\d.,])(\d{2,4}(?:[.,]\d+)?)(?![\d.,])", name)
    value = float(dose[1].replace(",", ".")) if dose else 0.0
    level = f"_{round(value if value >= 1000 else value * 100)}" if value else ""
    said = next((letter for letter, pattern in _CLASSIFIERS if pattern.search(name)), None)
    return [f"{kind[1].upper()}{letter}{level}" for letter in ((said,) if said else ("", "p"))]


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
        what = "cannot be read" if isinstance(wrong, OSError) else f"is not valid TOML ({wrong})"
        raise FormatError(f"The map of names {what}.", where=str(path)) from None
    if not isinstance(table, dict):
        action = 'write a table [names] with lines "clinic name" = "TG-263 name".'
        raise FormatError("The map of names has no table [names].", where=str(path), action=action)
    for clinic, name in table.items():
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > 64:
            action = "give a TG-263 name in quotes, or remove the line."
            raise FormatError(
                f"The map of names maps {clinic!r} to what is no name.", where=str(path), action=action
            )
    exact = {**shipped.exact, **{str(k): v.strip() for k, v in table.items()}}
    return NameMap(MappingProxyType(exact), shipped.aliases, shipped.sides)


@cache
def _shipped() -> NameMap:
    sides = {fold(w): s for s, listed in _toml("sides").items() for w in listed}
    aliases: dict[str, str] = {}
    for alias, name in _listed():
        aliases.setdefault(alias, name)
    for name in KINDS:
        aliases.setdefault("".join(_words(name)), name)
    exact = _toml("datasets")["exact"]
    return NameMap(MappingProxyType(exact), MappingProxyType(aliases), MappingProxyType(sides))


def _listed() -> Iterator[tuple[str, str]]:
    """Yield every alias of every language with its name, those with a language's own sides written out."""
    for language in (name for name in resources.names(SHELF) if name not in _SPECIAL):
        table = _toml(language)
        own = table.pop("sides", {})
        for name, listed in table.items():
            for alias in (*listed, name.rstrip("*").replace("_", " ")):
                words = "".join(_words(alias))
                yield words, name
                for side, marks in own.items() if name.endswith("*") else ():
                    for mark in map(fold, marks):
                        yield words + mark, name[:-1] + side
                        yield mark + words, name[:-1] + side


def _toml(name: str) -> dict[str, Any]:
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
    """Return the folded words of a name; a capital within a word begins another one."""
    name = unicodedata.normalize("NFC", name)
    parted = re.sub(r"(?<=[^\W\d_A-Z])(?=[A-ZÀ-ÖØ-Þ])|(?<=[A-Z])(?=[A-Z][a-zß-ÿ])", " ", name)
    return [word for word in re.split(r"[^0-9a-zœæøð]+", fold(parted)) if word]


def is_target(name: str) -> bool:
    """Whether a name begins as a target (GTV, CTV, PTV, ITV …)."""
    return bool(_TARGET.match(name.strip()))


def rename(found: Iterable[str] | Mapping[str, Kind], names: NameMap) -> tuple[dict[str, str], list[Notice]]:
    """Return for each name the one it bears from here on, and a notice for each that keeps its own.

    A name is kept when it is unknown, and when two names would become one; but a line of the clinic's own
    map always holds, and what stands in its way is called ``… (not mapped)``.

    Parameters
    ----------
    found : iterable of str, or mapping of str to str
        Names, best with the kinds of their structures: what is drawn as a target is named by the map alone.
    names : NameMap
        What is known.
    """
    listed = list(dict.fromkeys(found))
    kinds = dict(found) if isinstance(found, Mapping) else {}
    known = {name: names.of(name, kinds.get(name, "ORGAN")) for name in listed}
    wanted = {name: known[name] or name for name in listed}
    notices = [
        said
        for name in listed
        if known[name] is None and (said := _unmapped(name, kinds.get(name, "ORGAN"), names))
    ]
    chosen = list(wanted.values())
    for target in sorted({choice for choice in chosen if chosen.count(choice) > 1}):
        rivals = [name for name, choice in wanted.items() if choice == target]
        mapped = [name for name in rivals if name in names.exact]
        ends = "each keeps its own name"
        if len(mapped) == 1:
            ends = f"by the map it is {mapped[0]!r}"
        elif target in rivals:
            ends = "only the one called so bears it, the others keep their own names"
        wanted |= {name: name for name in rivals if mapped != [name]}
        if len(mapped) == 1 and target in rivals and target != mapped[0]:
            wanted[target] = f"{target} (not mapped)"
        message = f"{len(rivals)} structures could be {target}: {', '.join(map(repr, rivals))}; {ends}."
        action = "say which one by a map of names (rtplan names writes a draft; then --names FILE)."
        notices.append(Notice("NAME_DOUBLE", "warn", message, action, structure=target))
    return wanted, notices


def _unmapped(name: str, kind: Kind, names: NameMap) -> Notice | None:
    if _WELL_NAMED.match(name):
        return None
    action = "map it by --names FILE if a protocol needs it (rtplan names writes a draft)."
    if is_target(name) or kind in TARGETS:
        close = target_candidates(name) or target_candidates(f"{kind} {name}")
        hint = f" It could be {' or '.join(close)}." if close else ""
        message = f"The target {name!r} keeps its name: targets are never guessed.{hint}"
        return Notice("NAME_KEPT", "info", message, action, structure=name)
    close = names.candidates(name)
    hint = f" Nearest: {', '.join(close)}." if close else ""
    message = f"The structure {name!r} has no TG-263 name here and keeps its own.{hint}"
    return Notice("NAME_UNMAPPED", "info", message, action, structure=name)
