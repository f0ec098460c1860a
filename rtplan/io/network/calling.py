"""An association with a peer that we ask for something."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pynetdicom import AE
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification

from rtplan.errors import NetworkError
from rtplan.io.network.parties import Limits, Peer


@dataclass(frozen=True, eq=False)
class Calling:
    """Who calls: our AE title, limits, and certificates for peers that want TLS."""

    ae_title: str
    limits: Limits
    context: ssl.SSLContext | None = None


@contextmanager
def reached(
    calling: Calling,
    peer: Peer,
    contexts: Sequence[PresentationContext],
    handlers: Sequence[Any] = (),
    roles: Sequence[Any] = (),
) -> Iterator[Any]:
    """Give an association with a peer; it is released at the end, or aborted after an error."""
    if peer.port is None:
        raise NetworkError(f"The peer {peer.ae_title} has no port.", action="add port to its [[peer]].")
    ae = AE(calling.ae_title)
    ae.maximum_pdu_size = calling.limits.pdu_bytes
    ae.connection_timeout = calling.limits.connect_s
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = calling.limits.answer_s
    tls = None
    if peer.tls:
        tls = (calling.context, peer.hostname or peer.address)
    association = ae.associate(
        peer.address, peer.port, contexts=list(contexts), ae_title=peer.ae_title,
        ext_neg=list(roles) or None, evt_handlers=list(handlers) or None, tls_args=tls,
    )  # fmt: skip
    if not association.is_established:
        what = "rejects the association" if association.is_rejected else "cannot be reached"
        association.abort()
        raise NetworkError(
            f"The peer {peer.ae_title} {what}.", action="check its address, port and AE titles."
        )
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    if association.is_established:
        association.release()


def echo(calling: Calling, peer: Peer) -> None:
    """Verify that a peer answers.

    Raises
    ------
    NetworkError
        If it does not.
    """
    with reached(calling, peer, [build_context(Verification)]) as association:
        if association.send_c_echo().get("Status", -1) != 0:
            raise NetworkError(f"The peer {peer.ae_title} does not answer C-ECHO.")
