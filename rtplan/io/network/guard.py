"""A socket that measures what comes in: PDUs, commands and data sets of bounded size and time.

References
----------
PS3.8 section 9.3 (PDUs) and annex E (message control header).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from typing import Any

from pynetdicom import evt
from pynetdicom.fsm import StateMachine
from pynetdicom.transport import AssociationSocket

from rtplan.io.network.parties import Limits

#: Type, reserved byte and length; no PDU has the type of `REFUSED`, so the state machine aborts on it.
HEADER, REFUSED = 6, b"\xff"
#: Option of Linux that forgoes delayed acknowledgements until the next read.
QUICK = getattr(socket, "TCP_QUICKACK", None)
DATA, KNOWN = 4, range(1, 8)
#: A request for an association with 128 contexts stays far below; a command set too.
MOST_NEGOTIATION, MOST_COMMAND = 2**18, 2**16


class Meter:
    """Adds up the fragments of one message, and says why it is too much.

    Examples
    --------
    >>> meter = Meter(Limits(object_bytes=4))
    >>> fragment = lambda flags, data: struct.pack(">IBB", len(data) + 2, 1, flags) + data
    >>> meter.feed(fragment(3, b"command")), meter.feed(fragment(0, b"12345678"))
    ('', '')
    >>> meter.feed(fragment(0, b"9"))
    'object too large'
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._command = self._data = 0
        self._began = time.monotonic()

    def feed(self, body: bytes | bytearray) -> str:
        """Take the body of a P-DATA-TF; return what is wrong, empty when nothing is.

        A data set above the limit is still taken to its end (and refused by a status) up to twice the limit.
        """
        at = 0
        while at + HEADER <= len(body):
            length, _, flags = struct.unpack_from(">IBB", body, at)
            if length < 2:
                return "fragment without a header"
            self._add(flags, length - 2)
            at += 4 + length
            if self._command > MOST_COMMAND:
                return "command too large"
            if self._data > 2 * self.limits.object_bytes:
                return "object too large"
            if self._data and time.monotonic() - self._began > self.limits.object_s:
                return "object too slow"
            if flags & 3 == 2:
                self._data = 0
        return ""

    def _add(self, flags: int, count: int) -> None:
        if not flags & 1:
            self._data += count
            return
        self._command += count
        if flags & 2:
            self._command = self._data = 0
            self._began = time.monotonic()


class Machine(StateMachine):
    """The state machine of an association; what it does not foresee ends the connection."""

    def do_action(self, event: str) -> None:
        """Do what an event asks; cut the connection where the protocol is breached."""
        try:
            super().do_action(event)
        except Exception:
            guard = self.dul.socket
            guard.refused = guard.refused or "breach of protocol"
            guard.cut()
            self.dul.kill_dul()
            address = self.dul.assoc.remote.get("address")
            evt.trigger(self.dul.assoc, evt.EVT_CONN_CLOSE, {"address": address})


class GuardedSocket(AssociationSocket):
    """The socket of an association that we accepted.

    Attributes
    ----------
    refused : str
        Why the peer was cut off; empty while it was not.
    """

    def __init__(self, assoc: Any, client_socket: socket.socket, limits: Limits) -> None:
        super().__init__(assoc, client_socket=client_socket)
        client_socket.settimeout(limits.pdu_s)
        self.limits = limits
        self.refused = ""
        self._meter = Meter(limits)
        self._body_of: int | None = None
        self._deadline = 0.0

    def cut(self) -> None:
        """End the connection from another thread: whoever reads from it gets its end."""
        connection = self.socket
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def recv(self, nr_bytes: int) -> bytearray:
        """Read the header of a PDU or, after one, its body."""
        if self._body_of is None:
            return self._header(nr_bytes)
        kind, self._body_of = self._body_of, None
        body = self._read(nr_bytes)
        if kind == DATA and not self.refused:
            self.refused = self._meter.feed(body)
        return body

    def _header(self, nr_bytes: int) -> bytearray:
        self._deadline = time.monotonic() + self.limits.pdu_s
        self._hurry()
        header = self._read(nr_bytes)
        if len(header) < HEADER:
            return header
        kind, _, length = struct.unpack(">BBL", header)
        most = self.limits.pdu_bytes if kind == DATA else MOST_NEGOTIATION
        if not self.refused and kind in KNOWN and length > most:
            self.refused = "PDU too large"
        elif not self.refused and kind not in KNOWN:
            self.refused = "no PDU"
        if self.refused:
            return bytearray(REFUSED + header[1:])
        self._body_of = kind
        return header

    def _hurry(self) -> None:
        """Acknowledge at once: a sender with Nagle's algorithm waits 40 ms for it before its next PDU."""
        if QUICK is not None and self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_TCP, QUICK, 1)

    def _read(self, count: int) -> bytearray:
        """Read so many bytes, or fewer when the peer closes; raise TimeoutError at the deadline."""
        content = bytearray(count)
        view, have = memoryview(content), 0
        while have < count:
            left = self._deadline - time.monotonic()
            if left <= 0 or self.socket is None:
                self.refused = self.refused or "PDU too slow"
                raise TimeoutError
            try:
                self.socket.settimeout(left)
                got = self.socket.recv_into(view[have:])
            except TimeoutError:
                self.refused = self.refused or "PDU too slow"
                raise
            if not got:
                break
            have += got
        if self.socket is not None:
            self.socket.settimeout(self.limits.pdu_s)
        view.release()
        return content[:have]
