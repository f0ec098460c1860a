"""Keep the patient's identity out of what is read: names and numbers that came along in free text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rtplan.domain import Identity, Image, Patient
from rtplan.domain.nomenclature import KINDS

REMOVED = "[removed]"
#: Names of organs tell nobody; as a phantom's or test patient's name they would tear up the results.
_ORGANS = frozenset(name.casefold() for name in KINDS)


def _forms(name: str) -> set[str]:
    parts = [part for part in re.split(r"[\^\s,=]+", name) if part]
    if len(parts) < 2:
        return {name}
    orders = [parts, parts[::-1], [parts[1], parts[0], *parts[2:]], parts[:2], parts[1::-1]]
    return {gap.join(order) for order in orders for gap in ("^", " ", ", ", ",", "_", "-", "")} | {name}


def pattern(identity: Identity, key: str) -> re.Pattern[str] | None:
    """Return what finds the patient's name (in any order), identifier or birth date in a text.

    The pseudonym is no identity. None when nothing is known that is long enough to be told from other text.
    """
    words = _forms(identity.name) | {identity.patient_id, identity.birth_date}
    words = {word for word in words if len(word) >= 4 and word != key and word not in key}
    words = {word for word in words if word.casefold() not in _ORGANS}
    if not words:
        return None
    found = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![A-Za-z0-9])(?:{found})(?![A-Za-z0-9])", re.IGNORECASE)


def _clean(value: Any, identity: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return identity.sub(REMOVED, value)
    if isinstance(value, Mapping):
        return {_clean(key, identity): _clean(item, identity) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item, identity) for item in value]
    return value


def _apart(names: Mapping[str, str]) -> dict[str, str]:
    """Return cleaned names that are still one for each structure."""
    made: dict[str, str] = {}
    for name, cleaned in names.items():
        count = sum(other == cleaned or other.startswith(f"{cleaned} (") for other in made.values())
        made[name] = f"{cleaned} ({count + 1})" if count and cleaned != name else cleaned
    return made


def discreet(patient: Patient, provenance: Mapping[str, Any]) -> tuple[Patient, dict[str, Any]]:
    """Return patient and provenance with the identity taken out of every free text.

    Parameters
    ----------
    patient : Patient
        Its ``identity`` says what must not be seen.
    provenance : mapping
        The manifest; a command or a path may bear the patient's name.

    Returns
    -------
    Patient
        Without identity; descriptions, notices, reasons, names and settings cleaned.
    dict
        The cleaned provenance.
    """
    found = pattern(patient.identity, patient.key)
    plain = replace(patient, identity=Identity())
    if found is None:
        return plain, dict(provenance)

    def text(value: str) -> str:
        return found.sub(REMOVED, value)

    def maybe(value: str | None) -> str | None:
        return None if value is None else text(value)

    def image(item: Image) -> Image:
        return replace(item, source=replace(item.source, description=text(item.source.description)))

    names = _apart({name: text(name) for name in patient.structures})
    plain = replace(
        plain,
        images={name: image(item) for name, item in patient.images.items()},
        structures={names[n]: replace(s, name=names[n]) for n, s in patient.structures.items()},
        findings=tuple(
            replace(
                f,
                reason=maybe(f.reason),
                structure=names.get(f.structure or "", maybe(f.structure)),
                detail=_clean(f.detail, found),
            )
            for f in patient.findings
        ),
        notices=tuple(
            replace(
                n,
                message=text(n.message),
                action=text(n.action),
                file=maybe(n.file),
                structure=names.get(n.structure or "", maybe(n.structure)),
            )
            for n in patient.notices
        ),
        history=tuple(replace(r, settings=_clean(r.settings, found)) for r in patient.history),
    )
    cleaned: dict[str, Any] = _clean(provenance, found)
    return plain, cleaned
