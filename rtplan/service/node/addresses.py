"""Who may call: addresses that are asked before a byte is read, and AE titles bound to them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from rtplan.errors import FormatError
from rtplan.io.network.parties import Caller
from rtplan.service.node.config import PeerSettings


@dataclass(frozen=True)
class Callers:
    """The peers that may call, by AE title, and the addresses of each."""

    peers: dict[str, PeerSettings]
    addresses: dict[str, frozenset[str]]

    def may_connect(self, address: str) -> bool:
        """Whether any peer has this address."""
        return any(_bare(address) in known for known in self.addresses.values())

    def why_not(self, caller: Caller) -> str:
        """Return why a caller may not associate; empty when it may."""
        peer = self.peers.get(caller.ae_title)
        if peer is None:
            return "unknown AE title"
        if _bare(caller.address) not in self.addresses[caller.ae_title]:
            return "AE title from a wrong address"
        if peer.certificate and peer.certificate not in caller.names:
            return "certificate of somebody else"
        return ""


def callers_of(peers: Sequence[PeerSettings]) -> Callers:
    """Return who may call; host names are asked for once.

    Raises
    ------
    FormatError
        If the address of a peer cannot be found.
    """
    may = {peer.ae_title: peer for peer in peers if peer.may_call}
    return Callers(may, {title: _addresses(peer) for title, peer in may.items()})


def _addresses(peer: PeerSettings) -> frozenset[str]:
    try:
        found = socket.getaddrinfo(peer.address, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise FormatError(
            f"The address of the peer {peer.ae_title} cannot be found.",
            where=f"peer {peer.ae_title}, address",
            action="give its IP address, or a name that this machine can look up.",
        ) from None
    return frozenset(_bare(str(entry[4][0])) for entry in found)


def _bare(address: str) -> str:
    """Return an IPv4 address for what an IPv6 socket calls it."""
    return address.removeprefix("::ffff:")
