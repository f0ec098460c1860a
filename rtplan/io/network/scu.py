"""What we ask of others: to store, find, move, get and keep objects (the SCU side of each service).

References
----------
PS3.4 annexes A, B, C and J.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from rtplan.errors import NetworkError
from rtplan.io.network.contexts import PLAIN, stored_classes, syntaxes_of
from rtplan.io.network.parties import Limits, Peer
from rtplan.io.network.references import Reference, as_sequence, references_of
from rtplan.io.part10 import open_header

#: Statuses of C-FIND, C-MOVE and C-GET that say that more comes.
PENDING = (0xFF00, 0xFF01)
#: Takes SOP class, SOP Instance UID, transfer syntax and encoded data set; returns a status.
Take = Callable[[str, str, str, bytes], int]
#: So many contexts fit into one association.
MOST_CONTEXTS = 128


@dataclass(frozen=True, eq=False)
class Calling:
    """Who calls: our AE title, limits, and certificates for peers that want TLS."""

    ae_title: str
    limits: Limits
    context: ssl.SSLContext | None = None


@dataclass(frozen=True)
class Item:
    """One file to send."""

    path: Path
    class_uid: str
    sop_uid: str


@dataclass(frozen=True)
class Series:
    """What a query tells of one series."""

    study_uid: str
    series_uid: str
    modality: str
    count: int | None


@dataclass(frozen=True)
class Moved:
    """How many objects a retrieval brought, and how many not."""

    completed: int
    failed: int


@contextmanager
def _reached(
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
    with _reached(calling, peer, [build_context(Verification)]) as association:
        if association.send_c_echo().get("Status", -1) != 0:
            raise NetworkError(f"The peer {peer.ae_title} does not answer C-ECHO.")


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
    with _reached(calling, peer, contexts[:MOST_CONTEXTS]) as association:
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


def find_series(calling: Calling, peer: Peer, study_uid: str) -> tuple[Series, ...]:
    """Return the series of a study that a peer knows (C-FIND, study root)."""
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    query.StudyInstanceUID = study_uid
    query.SeriesInstanceUID = query.Modality = ""
    query.NumberOfSeriesRelatedInstances = None
    found = []
    with _reached(calling, peer, [build_context(StudyRootQueryRetrieveInformationModelFind)]) as association:
        for status, row in association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind):
            _demand_going(status, peer, "C-FIND")
            if row is not None and status.Status in PENDING:
                count = row.get("NumberOfSeriesRelatedInstances", None)
                uid, modality = str(row.SeriesInstanceUID), str(row.get("Modality", ""))
                found.append(Series(study_uid, uid, modality, None if count in (None, "") else int(count)))
    return tuple(found)


def move(calling: Calling, peer: Peer, series: Series) -> Moved:
    """Have a peer send a series to us (C-MOVE); our own listener gets it."""
    model = StudyRootQueryRetrieveInformationModelMove
    with _reached(calling, peer, [build_context(model)]) as association:
        answers = association.send_c_move(_identifier(series), calling.ae_title, model)
        return _moved(answers, peer, "C-MOVE")


def get(calling: Calling, peer: Peer, series: Series, take: Take) -> Moved:
    """Get a series over our own association (C-GET).

    Parameters
    ----------
    take : callable
        Gets SOP class, SOP Instance UID, transfer syntax and encoded data set; returns a status.
    """

    def on_store(event: Any) -> int:
        request = event.request
        content = request.DataSet.getvalue()
        syntax = str(event.context.transfer_syntax)
        return take(str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID), syntax, content)

    model = StudyRootQueryRetrieveInformationModelGet
    classes = stored_classes()
    contexts = [build_context(model)] + [build_context(uid, _few(kind)) for uid, kind in classes.items()]
    roles = [build_role(uid, scp_role=True) for uid in classes]
    handlers = [(evt.EVT_C_STORE, on_store)]
    with _reached(calling, peer, contexts, handlers, roles) as association:
        return _moved(association.send_c_get(_identifier(series), model), peer, "C-GET")


def _few(kind: str) -> list[str]:
    """Return syntaxes for C-GET: the peer chooses one for all, so only what every archive can make."""
    return [syntax for syntax in syntaxes_of(kind) if syntax in PLAIN[:2]]


def _identifier(series: Series) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "SERIES"
    identifier.StudyInstanceUID, identifier.SeriesInstanceUID = series.study_uid, series.series_uid
    return identifier


def _moved(answers: Any, peer: Peer, service: str) -> Moved:
    last = Dataset()
    for status, _ in answers:
        _demand_going(status, peer, service)
        last = status
    completed = last.get("NumberOfCompletedSuboperations", 0) or 0
    return Moved(int(completed), int(last.get("NumberOfFailedSuboperations", 0) or 0))


def _demand_going(status: Dataset, peer: Peer, service: str) -> None:
    code = status.get("Status", None)
    if code is None:
        raise NetworkError(f"The peer {peer.ae_title} broke off during {service}.")
    if code not in (*PENDING, 0x0000, 0xB000):
        raise NetworkError(f"The peer {peer.ae_title} refuses {service} (status {code:04X}).")


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
    with _reached(calling, peer, [build_context(model)], handlers) as association:
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
    with _reached(calling, peer, [build_context(model)], roles=[role]) as association:
        status, _ = association.send_n_event_report(report, 2 if answer["lost"] else 1, model, instance)
        if status.get("Status", -1) != 0:
            raise NetworkError(f"The peer {peer.ae_title} does not take the report of storage commitment.")
