"""Clean Descriptors: of a description only words that are known to name no person are kept."""

from __future__ import annotations

import json
import re
from functools import cache

from rtplan import resources
from rtplan.domain.nomenclature import KINDS
from rtplan.domain.patient import ARMS
from rtplan.io import names as naming
from rtplan.io.rtplan_write import INTENT

_TOKEN = re.compile(r"[^\W_]+", re.UNICODE)
_NUMBER = re.compile(r"\(?\d{1,5}(\.\d+)?(?:\)|(?=\s?(?:fx|fractions?|gy|cgy|mm|cc|mu)\b))", re.IGNORECASE)
#: The part of a target's name that says which it is.
_TARGET = re.compile(r"z?i?([gcp]tv|itv)[a-z]?\d{0,2}", re.IGNORECASE)
#: Keys of the settings in our own plans.
_KEY = re.compile(r"[a-z][a-z0-9_]{0,40}")


@cache
def vocabulary() -> frozenset[str]:
    """Return the folded words that a description may keep."""
    path = resources.shelf("io/confidentiality") / "words.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    listed = {word for line in lines if not line.startswith("#") for word in line.split()}
    known = naming.load()
    listed |= {part for alias in known.aliases for part in alias.split()}
    listed |= set(known.sides)
    for name in (*KINDS, *ARMS, *known.aliases.values(), *known.exact.values()):
        listed |= {naming.fold(name), *(naming.fold(part) for part in re.split(r"[_*]", name))}
    return frozenset(word for word in listed if len(word) > 1)


def is_known(word: str) -> bool:
    """Whether a word, without digits at its end (two at most), stands in the vocabulary."""
    folded = naming.fold(word)
    return folded in vocabulary() or re.sub(r"\d{1,2}$", "", folded) in vocabulary()


def cleaned(text: str) -> str:
    """Return a description with its known words alone; numbers stay only with a unit or in brackets.

    Examples
    --------
    >>> cleaned("T2w tse tra, Mrs Miller 1950-01-01"), cleaned("rtplan dose CT EQD2(1.5)")
    ('T2w tse tra', 'rtplan dose CT EQD2(1.5)')
    """
    if text.startswith(INTENT):
        return _intent(text)
    kept, place = [], 0
    while place < len(text):
        number = _NUMBER.match(text, place)
        word = _TOKEN.match(text, place)
        if number:
            kept.append(number[0])
            place = number.end()
        elif word:
            kept.append(word[0] if is_known(word[0]) else "\0")
            place = word.end()
        else:
            kept.append(text[place])
            place += 1
    joined = "".join(kept)
    if "\0" not in joined:
        return joined
    return re.sub(r"\s{2,}", " ", re.sub(r"[^\w\s()%.]*\0[^\w\s()]*", "", joined)).strip(" ,;:-_/.()")


def structure_name(name: str, names: naming.NameMap) -> str | None:
    """Return the name of a structure when it names no person, else None.

    Kept are the names that the map knows, and targets whose parts are known words or doses.

    Examples
    --------
    >>> names = naming.load()
    >>> [structure_name(name, names) for name in ("Harnblase", "PTVp_7700", "Miller")]
    ['Harnblase', 'PTVp_7700', None]
    """
    if names.tg263(name) or naming.fold(name) in vocabulary():
        return name
    parts = [part for part in re.split(r"[_\s]+", name) if part]
    if not parts:
        return None
    if _TARGET.fullmatch(parts[0]):
        known = all(is_known(part) or re.fullmatch(r"\d{1,4}(\.\d)?", part) for part in parts[1:])
    else:
        known = all(is_known(part) for part in parts)
    return name if known else None


def _intent(text: str) -> str:
    """Return the facts that rtplan wrote of a plan, numbers and known words alone."""
    try:
        facts = json.loads(text.removeprefix(INTENT))
    except ValueError:
        return INTENT.strip()
    return INTENT + json.dumps(_plain(facts))


def _plain(fact: object) -> object:
    if isinstance(fact, dict):
        return {key: _plain(value) for key, value in fact.items() if _KEY.fullmatch(str(key))}
    if isinstance(fact, list):
        return [_plain(value) for value in fact]
    return fact if not isinstance(fact, str) or cleaned(fact) == fact else ""
