"""Objects given to others: C-STORE, and storage commitment in both directions (PS3.4 annexes B and J)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import build_role, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from rtplan.errors import NetworkError
from rtplan.io.network.calling import Calling, reached
from rtplan.io.network.parties import Peer
from rtplan.io.network.references import Reference, as_sequence, references_of
from rtplan.io.part10 import open_header

#: So many contexts fit into one association.
MOST_CONTEXTS = 128


@dataclass(frozen=True)
class Item:
    """One file to send."""

    path: Path
    class_uid: str
    sop_uid: str


def send(calling: Calling, peer: Peer, items: Sequence[Item], tell: Callable[[Item, int, str], None]) -> None:
    """Send files as they lie over one association.

    Parameters
    ----------
    items : sequence of Item
        At most as many kinds (class and transfer syntax) as fit into one association.
    tell : callable
        Gets each item with its status and the peer's comment, in order; status -1: no context was accepted.

    Raises
    ------
    NetworkError
        If the peer cannot be reached or breaks off; items that were told of keep their status.
    """
    kinds = {item: (item.class_uid, _syntax_of(item.path)) for item in items}
    contexts = [build_context(uid, syntax) for uid, syntax in dict.fromkeys(kinds.values())]
    with reached(calling, peer, contexts[:MOST_CONTEXTS]) as association:
        accepted = {
            (str(context.abstract_syntax), str(context.transfer_syntax[0]))
            for context in association.accepted_contexts
        }
        for item in items:
            if kinds[item] not in accepted:
                tell(item, -1, "class or transfer syntax is not accepted")
                continue
            try:
                status = association.send_c_store(item.path)
            except (RuntimeError, ValueError):
                status = Dataset()
            if "Status" not in status:
                raise NetworkError(f"The peer {peer.ae_title} broke off.")
            tell(item, int(status.Status), str(status.get("ErrorComment", "") or ""))


def _syntax_of(path: Path) -> str:
    opened = open_header(path, ("SOPClassUID",))
    return "" if opened is None else str(opened.header.file_meta.TransferSyntaxUID)


def ask_to_keep(
    calling: Calling,
    peer: Peer,
    transaction: str,
    references: Sequence[Reference],
    committed: Callable[[str, Sequence[Reference], Sequence[Reference]], None],
    linger_s: float = 1.0,
) -> None:
    """Ask a peer for storage commitment (N-ACTION); the answer comes here within a while, or to our listener.

    Parameters
    ----------
    committed : callable
        Gets the transaction UID, what is kept and what is not.

    Raises
    ------
    NetworkError
        If the request is refused.
    """
    told = threading.Event()

    def on_report(event: Any) -> tuple[int, None]:
        said = event.event_information
        kept, lost = (references_of(said, name) for name in ("ReferencedSOPSequence", "FailedSOPSequence"))
        committed(str(said.TransactionUID), kept, lost)
        told.set()
        return 0x0000, None

    asked = Dataset()
    asked.TransactionUID, asked.ReferencedSOPSequence = transaction, as_sequence(references)
    model, instance = StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    handlers = [(evt.EVT_N_EVENT_REPORT, on_report)]
    with reached(calling, peer, [build_context(model)], handlers) as association:
        status, _ = association.send_n_action(asked, 1, model, instance)
        if status.get("Status", -1) != 0:
            raise NetworkError(f"The peer {peer.ae_title} refuses storage commitment.")
        told.wait(linger_s)


def report_kept(
    calling: Calling, peer: Peer, transaction: str, answer: Mapping[str, Sequence[Reference]]
) -> None:
    """Tell a peer what of its request is kept (N-EVENT-REPORT).

    Parameters
    ----------
    answer : mapping
        References under ``kept`` and ``lost``.

    Raises
    ------
    NetworkError
        If the peer does not take it.
    """
    report = Dataset()
    report.TransactionUID = transaction
    if answer["kept"]:
        report.ReferencedSOPSequence = as_sequence(answer["kept"])
    if answer["lost"]:
        report.FailedSOPSequence = as_sequence(answer["lost"])
    model, instance = StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    role = build_role(model, scp_role=True)
    with reached(calling, peer, [build_context(model)], roles=[role]) as association:
        status, _ = association.send_n_event_report(report, 2 if answer["lost"] else 1, model, instance)
        if status.get("Status", -1) != 0:
            raise NetworkError(f"The peer {peer.ae_title} does not take the report of storage commitment.")
