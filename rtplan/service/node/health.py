"""``/health`` and ``/metrics`` over HTTP, on loopback unless the configuration says otherwise."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rtplan.errors import OutputError
from rtplan.service.loopback import HEADERS, Response, plain

#: A request that takes longer is dropped (s), and so many are answered at the same time.
PATIENCE_S, AT_ONCE = 5.0, 16
#: What ``/metrics`` is sent as.
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class HealthServer(ThreadingHTTPServer):
    """Answers two addresses; anything else is not there.

    Parameters
    ----------
    address : (str, int)
        Host and port; port 0 takes a free one.
    health : callable
        Returns what is wrong, by subject; nothing when all is well.
    metrics : callable
        Returns the text of the metrics.

    Raises
    ------
    OutputError
        If the address cannot be listened on.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, address: tuple[str, int], health: Callable[[], Mapping[str, str]], metrics: Callable[[], str]
    ) -> None:
        self.health, self.metrics = health, metrics
        self._places = threading.BoundedSemaphore(AT_ONCE)
        try:
            super().__init__(address, _Handler)
        except (OSError, OverflowError) as failed:
            raise OutputError(
                f"Metrics cannot be served on {address[0]}, port {address[1]} "
                f"({getattr(failed, 'strerror', None) or failed}).",
                action="choose another metrics_port in [node].",
            ) from None
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    def server_bind(self) -> None:
        """Bind without asking any name server what this machine is called."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is a place for one more request."""
        return self._places.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and give the place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when somebody went away."""

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer nothing more."""
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: HealthServer
    timeout = PATIENCE_S

    def version_string(self) -> str:
        return "rtplan"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
        """Keep no log of those who ask."""

    def do_GET(self) -> None:
        self.close_connection = True
        response = self._response()
        self.send_response(response.status)
        for name, value in (("Content-Type", response.kind), ("Content-Length", str(len(response.body)))):
            self.send_header(name, value)
        for name, value in HEADERS:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.body)

    def _response(self) -> Response:
        if self.path == "/metrics":
            return Response(self.server.metrics().encode(), kind=PROMETHEUS)
        if self.path == "/health":
            wrong = dict(self.server.health())
            said = {"status": "degraded" if wrong else "ok", "wrong": wrong}
            status = HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK
            return Response(json.dumps(said).encode() + b"\n", status, "application/json")
        return plain(HTTPStatus.NOT_FOUND, "There are /health and /metrics.\n")
