"""What comes over an association that we accepted is handed to callbacks, and their answers go back.

References
----------
PS3.7 (DIMSE), PS3.4 annexes A, B and J (Verification, Storage, Storage Commitment).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import evt

from rtplan.io.network.parties import Caller
from rtplan.io.network.references import Reference, references_of
from rtplan.io.network.spool import Spool
from rtplan.io.network.tls import names_in


@dataclass(frozen=True, eq=False)
class Incoming:
    """One object that came by C-STORE: still a temporary file."""

    caller: Caller
    class_uid: str
    sop_uid: str
    syntax: str
    spool: Spool


@dataclass(frozen=True)
class Callbacks:
    """What the listener asks and tells.

    Parameters
    ----------
    may_connect : callable
        Whether an address may connect at all; asked before a byte is read.
    may_associate : callable
        Why a caller may not associate; empty when it may.
    store : callable
        Gets an `Incoming`; returns status and comment for the C-STORE response.
    commit : callable
        Gets caller, transaction UID and references of a request for storage commitment; returns a status.
    committed : callable
        Gets caller, transaction UID, the references that a peer keeps, and those that it does not.
    tell : callable
        Gets what happened, and to whom: ``accepted``, ``released``, ``aborted``, ``refused: …``.
    """

    may_connect: Callable[[str], bool]
    may_associate: Callable[[Caller], str]
    store: Callable[[Incoming], tuple[int, str]]
    commit: Callable[[Caller, str, Sequence[Reference]], int]
    committed: Callable[[Caller, str, Sequence[Reference], Sequence[Reference]], None]
    tell: Callable[[str, Caller], None]


_ENDS = {
    evt.EVT_ACCEPTED: "accepted",
    evt.EVT_RELEASED: "released",
    evt.EVT_ABORTED: "aborted",
    evt.EVT_REJECTED: "refused: association",
    evt.EVT_CONN_CLOSE: "closed",
}


def caller_of(assoc: Any) -> Caller:
    """Return who is at the other end of an association that we accepted."""
    guard = assoc.dul.socket
    connection = getattr(guard, "socket", None)
    title = str(assoc.requestor.ae_title or "").strip()
    return Caller(title, str(assoc.requestor.address), names_in(connection))


def _on_requested(event: Any, callbacks: Callbacks) -> None:
    assoc = event.assoc
    assoc.requestor.ae_title = assoc.requestor.primitive.calling_ae_title
    caller = assoc.rtplan_caller = caller_of(assoc)
    why = callbacks.may_associate(caller)
    if why:
        callbacks.tell(f"refused: {why}", caller)
        assoc.acse.send_reject(0x01, 0x01, 0x03)
        assoc.kill()


def _on_end(event: Any, callbacks: Callbacks, word: str) -> None:
    assoc = event.assoc
    caller = getattr(assoc, "rtplan_caller", None) or Caller("", str(assoc.requestor.address))
    refused = getattr(assoc.dul.socket, "refused", "")
    if word in ("aborted", "closed"):
        assoc.dimse.discard()
        if refused and not getattr(assoc, "rtplan_told", False):
            assoc.rtplan_told = True
            callbacks.tell(f"refused: {refused}", caller)
    if word != "closed":
        callbacks.tell(word, caller)


def _on_echo(event: Any, callbacks: Callbacks) -> int:
    callbacks.tell("echo", event.assoc.rtplan_caller)
    return 0x0000


def _on_store(event: Any, callbacks: Callbacks) -> Any:
    request = event.request
    spool = request.DataSet
    if not isinstance(spool, Spool):
        return _status(0xC000, "no data set")
    try:
        syntax = str(event.context.transfer_syntax)
        class_uid, sop_uid = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
        incoming = Incoming(event.assoc.rtplan_caller, class_uid, sop_uid, syntax, spool)
        return _status(*callbacks.store(incoming))
    except Exception as unforeseen:
        callbacks.tell(f"failed: store ({type(unforeseen).__name__})", event.assoc.rtplan_caller)
        return _status(0xA700, "not stored")
    finally:
        spool.discard()


def _status(code: int, comment: str) -> Dataset:
    status = Dataset()
    status.Status = code
    if comment:
        status.ErrorComment = comment[:64]
    return status


def _on_action(event: Any, callbacks: Callbacks) -> tuple[int, None]:
    try:
        asked = event.action_information
        transaction, references = str(asked.TransactionUID), references_of(asked, "ReferencedSOPSequence")
        return callbacks.commit(event.assoc.rtplan_caller, transaction, references), None
    except Exception as unforeseen:
        callbacks.tell(f"failed: commitment ({type(unforeseen).__name__})", event.assoc.rtplan_caller)
        return 0x0110, None


def _on_report(event: Any, callbacks: Callbacks) -> tuple[int, None]:
    try:
        told = event.event_information
        kept, lost = (references_of(told, name) for name in ("ReferencedSOPSequence", "FailedSOPSequence"))
        callbacks.committed(event.assoc.rtplan_caller, str(told.TransactionUID), kept, lost)
    except Exception as unforeseen:
        callbacks.tell(f"failed: commitment ({type(unforeseen).__name__})", event.assoc.rtplan_caller)
        return 0x0110, None
    return 0x0000, None


def handlers(callbacks: Callbacks) -> list[Any]:
    """Return what pynetdicom calls at each event."""
    return [
        (evt.EVT_REQUESTED, _on_requested, [callbacks]),
        (evt.EVT_C_ECHO, _on_echo, [callbacks]),
        (evt.EVT_C_STORE, _on_store, [callbacks]),
        (evt.EVT_N_ACTION, _on_action, [callbacks]),
        (evt.EVT_N_EVENT_REPORT, _on_report, [callbacks]),
        *((event, _on_end, [callbacks, word]) for event, word in _ENDS.items()),
    ]
