"""A name or a path to a file of ``protocols/`` or ``models/``; the only place that knows where they lie."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rtplan.errors import ModelError, UnknownName

_PACKAGE = Path(__file__).resolve().parent
_PLACES = (_PACKAGE, _PACKAGE.parent)


def shelf(kind: str) -> Path:
    """Return the folder of a kind of resource (``protocols``, ``models``, ``models/ntcp``).

    Raises
    ------
    UnknownName
        If there is no such folder.
    """
    for place in _PLACES:
        if (place / kind).is_dir():
            return place / kind
    raise UnknownName(f"There is no shelf {kind!r} in this installation.")


def names(kind: str) -> tuple[str, ...]:
    """Return the names on a shelf: its TOML files and the folders that hold a ``model.toml``, sorted."""
    folder = shelf(kind)
    files = {path.stem for path in folder.glob("*.toml")}
    models = {path.parent.name for path in folder.glob("*/model.toml")}
    return tuple(sorted(files | models))


def find(kind: str, name: str) -> Path:
    """Return the TOML file of a name on a shelf, or the file itself when a path is given.

    Raises
    ------
    UnknownName
        If neither is there; the message lists the known names.
    """
    given = Path(name)
    if given.suffix == ".toml" and given.is_file():
        return given
    folder = shelf(kind)
    for path in (folder / f"{name}.toml", folder / name / "model.toml"):
        if path.parent.parent in (folder, folder.parent) and path.is_file():
            return path
    raise UnknownName(
        f"There is no {name!r} among {kind}.",
        action=f"choose one of {', '.join(names(kind)) or 'none'}, or give the path of a TOML file.",
    )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def checked(path: Path, wanted_sha256: str) -> Path:
    """Return the path when the file's SHA-256 is the wanted one; raise ModelError otherwise."""
    if not path.is_file():
        raise ModelError("The weights are missing.", where=path.name)
    if sha256(path) != wanted_sha256:
        raise ModelError(
            "The file is not the one its card describes: the SHA-256 differs.",
            where=path.name,
            action="install rtplan again, or correct the card if the weights are your own.",
        )
    return path
