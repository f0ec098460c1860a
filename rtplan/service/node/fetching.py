"""Fetches other series of a study before its pipeline runs: C-FIND with C-MOVE or C-GET, or DICOMweb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rtplan.errors import NetworkError
from rtplan.io.network import retrieving
from rtplan.io.network.answers import Incoming
from rtplan.io.network.calling import Calling
from rtplan.io.network.parties import Caller, Peer
from rtplan.io.network.retrieving import Series
from rtplan.io.network.spool import Spool, SpoolPlace, head_of
from rtplan.service.node.config import FetchSettings
from rtplan.service.node.store import SUCCESS, Store

if TYPE_CHECKING:
    from rtplan.io.network.web import WebPeer


class Fetcher:
    """Asks peers for series, and puts what comes into the store.

    Parameters
    ----------
    calling : Calling
        Who asks.
    peers, webs : mapping
        Whom, by name.
    store : Store
        Takes what comes over our own association; what a peer moves comes to the listener.
    place : SpoolPlace
        Where data sets are written to.
    """

    def __init__(
        self,
        calling: Calling,
        peers: Mapping[str, Peer],
        webs: Mapping[str, WebPeer],
        store: Store,
        place: SpoolPlace,
    ) -> None:
        self._calling, self._peers, self._webs = calling, peers, webs
        self._store, self._place = store, place

    def fetch(self, asked: FetchSettings, study_uid: str) -> int:
        """Fetch the series of the modalities that are asked for; return how many objects came.

        Raises
        ------
        NetworkError
            If the source cannot be reached, has none of one modality, or not all came.
        """
        if asked.by == "web":
            return self._by_web(asked, study_uid)
        peer = self._peers[asked.source]
        wanted = _wanted(asked, retrieving.find_series(self._calling, peer, study_uid))
        return sum(self._series(asked, peer, series) for series in wanted)

    def _series(self, asked: FetchSettings, peer: Peer, series: Series) -> int:
        if asked.by == "move":
            moved = retrieving.move(self._calling, peer, series)
        else:
            moved = retrieving.get(self._calling, peer, series, self._taker(asked.source))
        if moved.failed or (series.count is not None and moved.completed < series.count):
            raise NetworkError(
                f"Not all objects of a series came from {asked.source} ({moved.failed} failed)."
            )
        return moved.completed

    def _by_web(self, asked: FetchSettings, study_uid: str) -> int:
        from rtplan.io.network import web

        server, take = self._webs[asked.source], self._taker(asked.source)
        count = 0
        for series in _wanted(asked, web.find_series(server, study_uid)):
            for class_uid, sop_uid, syntax, content in web.retrieve(server, series):
                if take(class_uid, sop_uid, syntax, content) != SUCCESS[0]:
                    raise NetworkError(f"An object from {asked.source} could not be stored.")
                count += 1
        return count

    def _taker(self, source: str) -> retrieving.Take:
        def take(class_uid: str, sop_uid: str, syntax: str, content: bytes) -> int:
            spool = Spool(self._place, head_of(class_uid, sop_uid, syntax))
            try:
                spool.write(content)
                return self._store.take(Incoming(Caller(source, ""), class_uid, sop_uid, syntax, spool))[0]
            finally:
                spool.close()

        return take


def _wanted(asked: FetchSettings, found: Sequence[Series]) -> list[Series]:
    """Return the series of the modalities asked for; raise NetworkError when one has none."""
    there = {series.modality for series in found}
    lacking = [modality for modality in asked.modalities if modality not in there]
    if lacking:
        raise NetworkError(f"{asked.source} has no {lacking[0]} of the study.")
    return [series for series in found if series.modality in asked.modalities]
