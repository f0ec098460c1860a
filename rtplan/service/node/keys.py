"""What UIDs are called outside the database: keyed hashes, so that no file, log or folder names a study."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from rtplan.errors import OutputError

#: File of the node's own key; without it the names mean nothing.
KEY_FILE = "node.key"
STUDY_DIGITS, INSTANCE_DIGITS = 16, 24


def own_key(folder: Path) -> bytes:
    """Return the key of a node's folder, made at its first start and readable by its owner alone."""
    path = folder / KEY_FILE
    if not path.exists():
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        with open(part, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
            stream.write(secrets.token_hex(32).encode())
            stream.flush()
            os.fsync(stream.fileno())
        part.rename(path)
    key = path.read_bytes()
    if len(key) != 64:
        raise OutputError("The node's key is damaged.", where=str(path), action="restore it from a copy.")
    return key


def hashed(key: bytes, uid: str, digits: int = STUDY_DIGITS) -> str:
    """Return the name of a UID.

    Examples
    --------
    >>> hashed(b"k", "1.2.3") == hashed(b"k", "1.2.3") != hashed(b"other", "1.2.3")
    True
    """
    return hmac.new(key, uid.encode(), hashlib.sha256).hexdigest()[:digits]
