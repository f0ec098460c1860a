"""Which packages and networks are here and under which licences, from metadata and model cards."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from rtplan import resources
from rtplan.errors import OutputError

#: What metadata may say, to the SPDX identifier that it surely means. The rest is kept in its own words.
SPDX = {
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache-2.0": "Apache-2.0",
    "BSD 3-Clause": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "BSD-2-Clause": "BSD-2-Clause",
    "BSD-3-Clause": "BSD-3-Clause",
    "CC-BY-4.0": "CC-BY-4.0",
    "ISC": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT": "MIT",
    "MIT License": "MIT",
    "MPL-2.0": "MPL-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
NOT_STATED = "not stated"
#: Extras that serve the making of rtplan, not its use.
MAKERS = ("dev", "docs")
RUNTIME = "runtime"


@dataclass(frozen=True)
class Package:
    """An installed package: its version, its licence as its metadata states it, and which packages it needs.

    ``wanted_by`` holds ``runtime`` or the extras of rtplan that ask for it, directly or through others.
    """

    name: str
    version: str
    licence: str
    needs: tuple[str, ...] = ()
    wanted_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Network:
    """Shipped weights: their licence, that of the data they were learned from, and their SHA-256."""

    name: str
    licence: str
    data: str
    sha256: str


@dataclass(frozen=True)
class Inventory:
    """rtplan itself, what it needs here, the networks it ships, and what it needs that is not here."""

    itself: Package
    packages: tuple[Package, ...]
    networks: tuple[Network, ...]
    missing: tuple[str, ...] = field(default=())


def inventory(path: Iterable[str] | None = None) -> Inventory:
    """Return what is installed of rtplan's dependencies, and its networks.

    Parameters
    ----------
    path
        Folders or wheels to look in; by default those of the running Python.

    Raises
    ------
    OutputError
        If rtplan itself is not among them (a source tree that was never installed).
    """
    known = _known(path)
    if "rtplan" not in known:
        raise OutputError(
            "rtplan is not installed here: it has no metadata.", action="install it by pip install ."
        )
    extras = [name for name in known["rtplan"].metadata.get_all("Provides-Extra", []) if name not in MAKERS]
    wanted: dict[str, set[str]] = {}
    missing: set[str] = set()
    for extra in ("", *extras):
        reached, absent = _closure(known, extra)
        for name in reached:
            wanted.setdefault(name, set()).add(extra or RUNTIME)
        missing |= absent if not extra else set()
    packages = tuple(
        replace(_package(known, name), wanted_by=_order(wanted[name]))
        for name in sorted(wanted)
        if name != "rtplan"
    )
    itself = _package(known, "rtplan", extras)
    return Inventory(itself, packages, _networks(), tuple(sorted(missing)))


def _order(wanted_by: set[str]) -> tuple[str, ...]:
    """Return ``runtime`` alone where it is among them, else the extras by name."""
    return (RUNTIME,) if RUNTIME in wanted_by else tuple(sorted(wanted_by))


def _known(path: Iterable[str] | None) -> dict[str, Distribution]:
    """Return the distributions by name; the first of a name is the one that Python imports."""
    found = distributions() if path is None else distributions(path=list(path))
    known: dict[str, Distribution] = {}
    for item in found:
        if name := item.metadata["Name"]:
            known.setdefault(normal(name), item)
    return known


def normal(name: str) -> str:
    """Return a package's name as indices compare it.

    Examples
    --------
    >>> normal("Typing_Extensions")
    'typing-extensions'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def _needs(item: Distribution, extras: Iterable[str]) -> dict[str, set[str]]:
    """Return the packages that one asks for on this machine, each with the extras it wants of them."""
    needs: dict[str, set[str]] = {}
    for line in item.requires or []:
        wanted = Requirement(line)
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": e}) for e in ("", *extras)):
            needs.setdefault(normal(wanted.name), set()).update(wanted.extras)
    return needs


def _closure(known: dict[str, Distribution], extra: str) -> tuple[set[str], set[str]]:
    """Return all packages that rtplan reaches with this extra, and those of them that are not here."""
    reached: dict[str, set[str]] = {}
    missing: set[str] = set()
    waiting = [("rtplan", {extra} - {""})]
    while waiting:
        name, extras = waiting.pop()
        if name in reached and extras <= reached[name]:
            continue
        if name not in known:
            missing.add(name)
            continue
        reached[name] = reached.get(name, set()) | extras
        waiting += list(_needs(known[name], reached[name]).items())
    return set(reached), missing


def _package(known: dict[str, Distribution], name: str, extras: Iterable[str] = ()) -> Package:
    item = known[name]
    needs = tuple(sorted(other for other in _needs(item, extras) if other in known))
    return Package(name, item.version, licence_of(item), needs)


def licence_of(item: Distribution) -> str:
    """Return a package's licence: its SPDX expression, else what its classifiers or its licence line say."""
    if expression := _field(item, "License-Expression"):
        return expression
    classified = [str(c).split(" :: ") for c in item.metadata.get_all("Classifier", [])]
    said = [words[-1] for words in classified if words[0] == "License" and words[-1] != "OSI Approved"]
    line = _field(item, "License")
    if line in SPDX or not said:
        # A whole licence text in this field: its head is no name that could be trusted.
        said = [line] if line and "\n" not in line and len(line) <= 80 and line != "UNKNOWN" else said
    return " / ".join(sorted(SPDX.get(words, words) for words in said)) or NOT_STATED


def _field(item: Distribution, name: str) -> str:
    return str(item.metadata[name]).strip() if name in item.metadata else ""


def _networks() -> tuple[Network, ...]:
    networks = []
    for name in resources.names("models"):
        plain = tomllib.loads(resources.find("models", name).read_text(encoding="utf-8"))
        if weights := plain.get("weights"):
            licence, data = _licences(plain)
            networks.append(Network(name, licence, data, weights["sha256"]))
    return tuple(networks)


def _licences(plain: dict[str, Any]) -> tuple[str, str]:
    said = plain.get("licence", NOT_STATED)
    if isinstance(said, dict):
        return str(said.get("weights", NOT_STATED)), str(said.get("data", NOT_STATED))
    return str(said), str(plain.get("source", NOT_STATED))


def wheels_in(folder: Path) -> list[str]:
    """Return the wheels of a folder as places to look in."""
    return [str(path) for path in sorted(folder.glob("*.whl"))]
