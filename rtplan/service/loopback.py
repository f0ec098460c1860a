"""A server for one person's browser on this machine: 127.0.0.1 alone, and nothing without its token.

References
----------
RFC 9110 (HTTP), RFC 6265 (cookies), Content Security Policy Level 3; against DNS rebinding the Host is
checked, against requests forged by other pages the Origin, a SameSite cookie and a token in each form.
"""

from __future__ import annotations

import hmac
import os
import secrets
import socketserver
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from rtplan.errors import OutputError

HOST = "127.0.0.1"
#: The largest body of a request, how much more is read and thrown away before it is refused, and fields.
MOST_BYTES, MOST_DRAINED, MOST_FIELDS = 2**20, 2**24, 4000
PATIENCE_S = 20.0

_COMMON = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
#: For our pages: own pictures and styles, forms to ourselves.
POLICY = f"{_COMMON}; img-src 'self' data:; style-src 'self'; form-action 'self'"
#: For a page that brings its styles and pictures with it.
POLICY_ALONE = f"{_COMMON}; img-src data:; style-src 'unsafe-inline'; form-action 'none'"
HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
_ENTRANCE = (
    b'<!DOCTYPE html><html lang="en-GB"><meta charset="utf-8"><title>rtplan</title>'
    b'<link rel="icon" href="data:,"><meta http-equiv="refresh" content="0; url=/">'
    b'<p><a href="/">Go on</a></p></html>\n'
)
_CLOSED = "This page needs the address that rtplan printed when it started.\n"


@dataclass(frozen=True)
class Request:
    """What was asked by somebody who holds the token: a path without its query, the query, the form."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Response:
    """What is answered; ``last`` stops the server afterwards."""

    body: bytes
    status: int = 200
    kind: str = "text/html; charset=utf-8"
    policy: str = POLICY
    headers: tuple[tuple[str, str], ...] = ()
    last: bool = False


Answer = Callable[[Request], Response]


def plain(status: int, text: str) -> Response:
    """Return an answer in plain text."""
    return Response(text.encode(), status, "text/plain; charset=utf-8")


class LoopbackServer(ThreadingHTTPServer):
    """Serves one callable to whoever holds the token.

    Parameters
    ----------
    answer : callable
        Gets each `Request` that passed every check; called from several threads.
    port : int
        0: any free one.

    Attributes
    ----------
    url : str
        Where a browser enters; bears the token.
    form_token : str
        What each form must send back as ``form_token``.

    Raises
    ------
    OutputError
        If the port is taken or may not be used.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    allow_reuse_address = os.name == "posix"  # elsewhere it would let another program listen too

    def __init__(self, answer: Answer, *, port: int = 0) -> None:
        self.answer = answer
        self.token = secrets.token_urlsafe(32)
        self.form_token = secrets.token_urlsafe(32)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as failed:
            raise OutputError(
                f"Port {port} cannot be used ({getattr(failed, 'strerror', None) or failed}).",
                action="choose another --port, or leave it out: a free one is found.",
            ) from None
        self.origin = f"http://{HOST}:{self.server_port}"
        self.url = f"{self.origin}/?token={self.token}"
        self.cookie = f"rtplan-{self.server_port}"  # cookies are not told apart by port

    def server_bind(self) -> None:
        """Bind without asking any name server what this machine is called."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a browser went away (a traceback could bear what was asked)."""


def same(one: str, other: str) -> bool:
    """Whether two secrets are the same, in a time that does not tell how much of them is."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode())


class _Refused(Exception):
    def __init__(self, status: int, text: str = _CLOSED) -> None:
        self.response = plain(status, text)
        super().__init__()


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackServer
    timeout = PATIENCE_S

    def version_string(self) -> str:
        return "rtplan"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
        """Keep no log: addresses bear the token."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what cannot be read, and methods other than GET and POST, as any stranger; echo nothing."""
        self._send(plain(HTTPStatus.FORBIDDEN, _CLOSED))

    def do_GET(self) -> None:
        self._handle(self._get)

    def do_POST(self) -> None:
        self._handle(self._post)

    def _handle(self, handle: Callable[[str, Mapping[str, str]], Response]) -> None:
        self.close_connection = True
        try:
            path, query = self._known()
            response = handle(path, query)
        except _Refused as refused:
            response = refused.response
        except (TimeoutError, ConnectionError):
            return
        except Exception as unforeseen:
            words = f"Something went wrong that rtplan did not foresee ({type(unforeseen).__name__}).\n"
            response = plain(HTTPStatus.INTERNAL_SERVER_ERROR, words)
        self._send(response)
        if response.last:
            threading.Thread(target=self.server.shutdown, daemon=True).start()

    def _known(self) -> tuple[str, dict[str, str]]:
        """Return path and query of a request that holds the token; refuse all others alike."""
        own = self.server
        names = self.headers.get_all("Host") or []
        if names not in ([f"{HOST}:{own.server_port}"], [f"localhost:{own.server_port}"]):
            raise _Refused(HTTPStatus.FORBIDDEN)
        try:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=20))
            jar = SimpleCookie("; ".join(self.headers.get_all("Cookie") or []))
        except (ValueError, CookieError):
            raise _Refused(HTTPStatus.FORBIDDEN) from None
        shown = jar[own.cookie].value if own.cookie in jar else ""
        if not (same(shown, own.token) or same(query.get("token", ""), own.token)):
            raise _Refused(HTTPStatus.FORBIDDEN)
        return parts.path, query

    def _get(self, path: str, query: Mapping[str, str]) -> Response:
        if "token" in query:
            return self._enter()
        return self.server.answer(Request(path, query))

    def _enter(self) -> Response:
        """Give the cookie, and lead on to the address without the token.

        By a page, not by a redirect: a browser that comes from elsewhere (a terminal, a mail) would not
        send a SameSite=Strict cookie on a redirect.
        """
        cookie = f"{self.server.cookie}={self.server.token}; HttpOnly; SameSite=Strict; Path=/"
        return Response(_ENTRANCE, headers=(("Set-Cookie", cookie),))

    def _post(self, path: str, query: Mapping[str, str]) -> Response:
        if any(value not in (self.server.origin, self._localhost) for value in self._all("Origin")):
            raise _Refused(HTTPStatus.FORBIDDEN)
        if any(value != "same-origin" for value in self._all("Sec-Fetch-Site")):
            raise _Refused(HTTPStatus.FORBIDDEN)
        form = self._form(self._body())
        if not same(form.pop("form_token", ""), self.server.form_token):
            raise _Refused(HTTPStatus.FORBIDDEN, "The form is not from this server; load the page again.\n")
        return self.server.answer(Request(path, query, form))

    @property
    def _localhost(self) -> str:
        return f"http://localhost:{self.server.server_port}"

    def _all(self, header: str) -> list[str]:
        return self.headers.get_all(header) or []

    def _body(self) -> bytes:
        lengths = self._all("Content-Length")
        if self._all("Transfer-Encoding") or len(lengths) != 1 or not _is_whole(lengths[0]):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "The length of the form is wanted.\n")
        length = int(lengths[0])
        if length > MOST_BYTES:
            if length <= MOST_DRAINED:  # else the browser would see a broken line instead of the answer
                self._drain(length)
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The form is too large.\n")
        body = self.rfile.read(length)
        if len(body) != length:
            raise _Refused(HTTPStatus.BAD_REQUEST, "The form broke off.\n")
        return body

    def _drain(self, length: int) -> None:
        while length > 0:
            got = len(self.rfile.read(min(length, 2**16)))
            if not got:
                return
            length -= got

    def _form(self, body: bytes) -> dict[str, str]:
        wanted = "application/x-www-form-urlencoded"
        if [kind.split(";")[0].strip().lower() for kind in self._all("Content-Type")] != [wanted]:
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"A form is wanted ({wanted}).\n")
        try:
            pairs = parse_qsl(
                body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict",
                max_num_fields=MOST_FIELDS,
            )  # fmt: skip
        except ValueError:
            raise _Refused(HTTPStatus.BAD_REQUEST, "The form cannot be read.\n") from None
        form = dict(pairs)
        if len(form) != len(pairs):
            raise _Refused(HTTPStatus.BAD_REQUEST, "A field of the form stands twice.\n")
        return form

    def _send(self, response: Response) -> None:
        try:
            self.send_response(response.status)
            own = (("Content-Type", response.kind), ("Content-Length", str(len(response.body))))
            policy = (("Content-Security-Policy", response.policy), ("Connection", "close"))
            for name, value in (*own, *policy, *HEADERS, *response.headers):
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.body)
        except (TimeoutError, ConnectionError):
            return


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 12
