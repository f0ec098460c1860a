"""The listener: strangers are turned away before anything is read, and every connection is guarded.

References
----------
PS3.8 (upper layer).
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Any

from pynetdicom import AE, _config
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from rtplan.errors import OutputError
from rtplan.io.network.answers import Callbacks, handlers
from rtplan.io.network.contexts import supported
from rtplan.io.network.guard import GuardedSocket, Machine
from rtplan.io.network.parties import Caller, Limits
from rtplan.io.network.spool import SpoolingProvider, SpoolPlace

#: How many connections beyond the limit of associations may wait to be told so.
WAITING = 8

# pynetdicom's log lines quote data sets, and so the patient
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
_config.LOG_HANDLER_LEVEL = "none"
_config.STORE_SEND_CHUNKED_DATASET = True  # files are sent as they lie, never decoded


@dataclass(frozen=True, eq=False)
class Door:
    """What the listener is: its name and address, limits, certificate, and where data sets are written to."""

    ae_title: str
    address: tuple[str, int]
    limits: Limits
    place: SpoolPlace
    context: ssl.SSLContext | None = None
    commitment: bool = True


class Listener:
    """Listens until it is stopped.

    Raises
    ------
    OutputError
        If the address cannot be listened on.
    """

    def __init__(self, door: Door, callbacks: Callbacks) -> None:
        self.door = door
        self._ae = AE(door.ae_title)
        self._ae.maximum_associations = door.limits.associations
        self._ae.maximum_pdu_size = door.limits.pdu_bytes
        self._ae.acse_timeout = door.limits.association_s
        self._ae.network_timeout = door.limits.idle_s
        self._ae.dimse_timeout = door.limits.answer_s
        self._ae.require_called_aet = True
        try:
            self._server = _Server(self._ae, door, callbacks)
        except (OSError, OverflowError) as failed:
            raise OutputError(
                f"It cannot be listened on {door.address[0]}, port {door.address[1]} "
                f"({getattr(failed, 'strerror', None) or failed}).",
                action="choose another host or port in [node]; ports below 1024 need a right of their own.",
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    @property
    def active(self) -> int:
        """How many associations there are, those that are still being negotiated too."""
        return sum(1 for assoc in self._ae.active_associations if assoc.is_acceptor)

    @property
    def alive(self) -> bool:
        """Whether connections are accepted."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to accept connections."""
        self._thread.start()

    def stop(self, patience_s: float = 5.0) -> None:
        """Accept nothing more, give associations a while to end, then abort them."""
        self._server.end()
        self._thread.join(timeout=5.0)
        if self._all_ended(patience_s):
            return
        for assoc in self._ae.active_associations:
            if assoc.is_established:
                assoc._abort_nonblocking()
        if self._all_ended(1.0):
            return
        for assoc in self._ae.active_associations:  # those that hang within a PDU
            assoc.dul.socket.cut()
            assoc.dul.kill_dul()

    def _all_ended(self, patience_s: float) -> bool:
        end = time.monotonic() + patience_s
        while self.active and time.monotonic() < end:
            time.sleep(0.02)
        return not self.active


class _Server(ThreadedAssociationServer):
    """pynetdicom's server; it turns strangers away before it reads, and shakes hands in their own threads."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, ae: AE, door: Door, callbacks: Callbacks) -> None:
        self.door, self.callbacks = door, callbacks
        contexts = supported(commitment=door.commitment)
        super().__init__(
            ae, door.address, ae.ae_title, contexts, None, handlers(callbacks), request_handler=_Handler
        )
        ae._servers.append(self)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a connection is kept: known address, and not far too many."""
        caller = Caller("", client_address[0])
        if not self.callbacks.may_connect(caller.address):
            self.callbacks.tell("refused: unknown address", caller)
            return False
        if len(self.active_associations) >= self.door.limits.associations + WAITING:
            self.callbacks.tell("refused: too many connections", caller)
            return False
        return True

    def end(self) -> None:
        """Stop listening."""
        self.shutdown()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say that a connection failed; a traceback could quote what was sent."""
        self.callbacks.tell("refused: connection failed", Caller("", client_address[0]))


class _Handler(RequestHandler):
    request: Any

    def handle(self) -> None:
        context = self.server.door.context
        if context is not None and not self._shake_hands(context):
            return
        super().handle()

    def _shake_hands(self, context: ssl.SSLContext) -> bool:
        """Make the connection one of TLS, within the time for an association."""
        plain = self.request
        late = threading.Timer(self.server.door.limits.association_s, _cut, [plain])
        late.daemon = True
        late.start()
        try:
            plain.settimeout(self.server.door.limits.association_s)
            self.request = context.wrap_socket(plain, server_side=True)
        except (OSError, ValueError):
            self.server.callbacks.tell("refused: TLS", Caller("", self.client_address[0]))
            _cut(plain)
            plain.close()
            return False
        finally:
            late.cancel()
        return True

    def _create_association(self) -> Any:
        assoc = super()._create_association()
        door = self.server.door
        assoc.dul.event_queue.get(block=False)  # the replaced socket's own "connected"
        assoc.dul.socket = None
        assoc.set_socket(GuardedSocket(assoc, self.request, door.limits))
        assoc.dimse = SpoolingProvider(assoc, door.place)
        assoc.dul.daemon = True
        assoc.dul.state_machine = Machine(assoc.dul)
        return assoc


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
