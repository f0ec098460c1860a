"""A DICOMweb server as seen by a client: store (STOW-RS), search (QIDO-RS), retrieve (WADO-RS); PS3.18."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import encode

from rtplan.errors import NetworkError
from rtplan.io import header as hd
from rtplan.io.network.retrieving import Series

# its log lines bear addresses with UIDs
logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True)
class WebPeer:
    """A DICOMweb server.

    Parameters
    ----------
    name, url : str
        What it is called here, and its root.
    user, password : str
        For HTTP Basic; empty: none.
    ca : Path or None
        Authority (PEM) that signed its certificate; None: those that `requests` ships.
    certificate : (Path, Path) or None
        Ours, with its key.
    timeout_s : float
        Until it answers.
    """

    name: str
    url: str
    user: str = ""
    password: str = ""
    ca: Path | None = None
    certificate: tuple[Path, Path] | None = None
    timeout_s: float = 60.0


def send(peer: WebPeer, path: Path) -> None:
    """Store one file.

    Raises
    ------
    NetworkError
        If the server cannot be reached or does not take it.
    """
    ds = hd.read(path, pixels=True)
    with _client(peer) as client:
        answer = client.store_instances([ds])
        failed = answer.get("FailedSOPSequence", None) if answer is not None else None
        if failed:
            reason = int(failed[0].get("FailureReason", 0) or 0)
            raise NetworkError(f"The server {peer.name} does not take an object (reason {reason:04X}).")


def find_series(peer: WebPeer, study_uid: str) -> tuple[Series, ...]:
    """Return the series of a study that a server knows."""
    with _client(peer) as client:
        rows = [Dataset.from_json(row) for row in client.search_for_series(study_instance_uid=study_uid)]
    return tuple(
        Series(
            study_uid,
            str(row.SeriesInstanceUID),
            str(row.get("Modality", "")),
            row.get("NumberOfSeriesRelatedInstances", None),
        )
        for row in rows
    )


def retrieve(peer: WebPeer, series: Series) -> Iterator[tuple[str, str, str, bytes]]:
    """Yield the objects of a series: SOP class, SOP Instance UID, transfer syntax and encoded data set."""
    with _client(peer) as client:
        for ds in client.iter_series(series.study_uid, series.series_uid):
            syntax = UID(ds.file_meta.TransferSyntaxUID)
            deflated = syntax.is_deflated
            content = encode(ds, syntax.is_implicit_VR, syntax.is_little_endian, deflated)
            if content is None:
                raise ValueError
            yield str(ds.SOPClassUID), str(ds.SOPInstanceUID), str(syntax), content


@contextmanager
def _client(peer: WebPeer) -> Iterator[Any]:
    """Give a client; what goes wrong becomes a NetworkError without the address, which bears UIDs."""
    session = requests.Session()
    session.trust_env = False  # no proxy and no password of somebody's surroundings
    if peer.user:
        session.auth = (peer.user, peer.password)
    if peer.ca is not None:
        session.verify = str(peer.ca)
    if peer.certificate is not None:
        session.cert = (str(peer.certificate[0]), str(peer.certificate[1]))
    try:
        with session:
            client = DICOMwebClient(peer.url, session=session, timeout=peer.timeout_s)
            client.set_http_retry_params(retry=False)  # the queue tries again
            yield client
    except requests.HTTPError as refused:
        code = getattr(refused.response, "status_code", "")
        raise NetworkError(f"The server {peer.name} refuses (HTTP {code}).") from None
    except requests.RequestException as failed:
        raise NetworkError(
            f"The server {peer.name} cannot be reached ({type(failed).__name__}).",
            action="check its url, certificate and user in [[web]].",
        ) from None
    except (ValueError, KeyError, AttributeError) as broken:
        raise NetworkError(
            f"The server {peer.name} answers what is no DICOMweb ({type(broken).__name__})."
        ) from None
