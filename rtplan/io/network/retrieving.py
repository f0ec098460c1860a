"""Objects got from others: C-FIND, C-MOVE and C-GET of the study root (PS3.4 annex C)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import build_role, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from rtplan.errors import NetworkError
from rtplan.io.network.calling import Calling, reached
from rtplan.io.network.contexts import PLAIN, stored_classes, syntaxes_of
from rtplan.io.network.parties import Peer

#: Statuses of C-FIND, C-MOVE and C-GET that say that more comes.
PENDING = (0xFF00, 0xFF01)
#: Takes SOP class, SOP Instance UID, transfer syntax and encoded data set; returns a status.
Take = Callable[[str, str, str, bytes], int]


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


def find_series(calling: Calling, peer: Peer, study_uid: str) -> tuple[Series, ...]:
    """Return the series of a study that a peer knows (C-FIND, study root)."""
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    query.StudyInstanceUID = study_uid
    query.SeriesInstanceUID = query.Modality = ""
    query.NumberOfSeriesRelatedInstances = None
    found = []
    with reached(calling, peer, [build_context(StudyRootQueryRetrieveInformationModelFind)]) as association:
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
    with reached(calling, peer, [build_context(model)]) as association:
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
    with reached(calling, peer, contexts, handlers, roles) as association:
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
