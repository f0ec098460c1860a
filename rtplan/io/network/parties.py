"""Who speaks with whom, and within which limits."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """What one peer may cost.

    Parameters
    ----------
    associations : int
        At the same time; one more is told so, and far more are cut off.
    object_bytes : int
        Of one data set.
    pdu_bytes : int
        Of one PDU that we receive; told to the peer.
    association_s : float
        From the connection (with TLS: from its handshake) to the request for an association.
    pdu_s : float
        From the first to the last byte of a PDU.
    idle_s : float
        Without any PDU.
    object_s : float
        From the command to the last byte of its data set.
    connect_s, answer_s : float
        To reach a peer, and until it answers one of our requests.
    """

    associations: int = 8
    object_bytes: int = 512 * MIB
    pdu_bytes: int = 128 * 2**10
    association_s: float = 15.0
    pdu_s: float = 30.0
    idle_s: float = 60.0
    object_s: float = 900.0
    connect_s: float = 10.0
    answer_s: float = 120.0


@dataclass(frozen=True)
class Peer:
    """Another application entity.

    Parameters
    ----------
    ae_title, address : str
        Its name and host.
    port : int or None
        Where it listens; None: it only calls.
    tls : bool
        Whether it is called by TLS.
    hostname : str
        That its certificate bears; empty: its address.
    """

    ae_title: str
    address: str
    port: int | None = None
    tls: bool = False
    hostname: str = ""


@dataclass(frozen=True)
class Caller:
    """Who has called: AE title (empty before it is said), address, and the names in its certificate."""

    ae_title: str
    address: str
    names: tuple[str, ...] = ()
