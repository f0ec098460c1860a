"""TLS with certificates on both sides.

References
----------
PS3.15 annex B (BCP 195 profiles): TLS 1.2 or newer, forward secrecy; RFC 9325.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtplan.errors import FormatError

#: Suites of TLS 1.2 (those of 1.3 are all fit).
SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True)
class Certificates:
    """Our certificate with its key, and the authority whose certificates are believed (PEM files)."""

    cert: Path
    key: Path
    ca: Path


def server_context(files: Certificates) -> ssl.SSLContext:
    """Return what a listener needs: callers without a certificate of the authority are turned away."""
    context = _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(files: Certificates) -> ssl.SSLContext:
    """Return what a caller needs: the peer's certificate and its host name are checked."""
    return _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)


def _loaded(context: ssl.SSLContext, files: Certificates) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(SUITES)
    for path in (files.cert, files.key, files.ca):
        if not path.is_file():
            raise FormatError("A file of [node] tls is not there.", where=str(path), action="check the path.")
    try:
        context.load_cert_chain(files.cert, files.key)
        context.load_verify_locations(files.ca)
    except (OSError, ValueError) as wrong:
        raise FormatError(
            f"[node] tls: the certificates cannot be used ({getattr(wrong, 'reason', '') or 'unreadable'}).",
            where=f"{files.cert}, {files.key}, {files.ca}",
            action="give PEM files; the key belongs to the certificate and has no passphrase.",
        ) from None
    return context


def names_in(connection: Any) -> tuple[str, ...]:
    """Return the common name and the alternative names in the certificate of the other end."""
    if not isinstance(connection, ssl.SSLSocket):
        return ()
    try:
        said = connection.getpeercert() or {}
    except (OSError, ValueError):
        return ()
    subject: Any = said.get("subject", ())
    others: Any = said.get("subjectAltName", ())
    common = [value for part in subject for key, value in part if key == "commonName"]
    return tuple(dict.fromkeys([*common, *(str(value) for _, value in others)]))
