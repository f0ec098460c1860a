"""The two kinds of destinations: DICOM peers and DICOMweb servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtplan.errors import FormatError, NetworkError
from rtplan.io.network import storing
from rtplan.io.network.calling import Calling
from rtplan.io.network.parties import Peer
from rtplan.io.network.references import Reference
from rtplan.io.network.storing import Item
from rtplan.service.node.config import NodeSettings, PeerSettings, WebSettings
from rtplan.service.node.courier import Committed, Tell

if TYPE_CHECKING:
    from rtplan.io.network.web import WebPeer


@dataclass(frozen=True, eq=False)
class DicomDestination:
    """A peer that listens."""

    calling: Calling
    peer: Peer
    commits: bool

    @property
    def name(self) -> str:
        """Its AE title."""
        return self.peer.ae_title

    def send(self, items: Sequence[Item], tell: Tell) -> None:
        """Send by C-STORE."""
        storing.send(self.calling, self.peer, items, tell)

    def ask(self, transaction: str, references: Sequence[Reference], committed: Committed) -> None:
        """Ask for storage commitment."""
        storing.ask_to_keep(self.calling, self.peer, transaction, references, committed)

    def report(self, transaction: str, kept: Sequence[Reference], lost: Sequence[Reference]) -> None:
        """Answer a request for storage commitment."""
        storing.report_kept(self.calling, self.peer, transaction, {"kept": kept, "lost": lost})


@dataclass(frozen=True, eq=False)
class WebDestination:
    """A DICOMweb server; it has no storage commitment."""

    server: WebPeer
    commits: bool = False

    @property
    def name(self) -> str:
        """What it is called here."""
        return self.server.name

    def send(self, items: Sequence[Item], tell: Tell) -> None:
        """Send by STOW-RS, one object in each request."""
        from rtplan.io.network import web

        for item in items:
            web.send(self.server, item.path)
            tell(item, 0, "")

    def ask(self, transaction: str, references: Sequence[Reference], committed: Committed) -> None:
        """There is nothing to ask."""

    def report(self, transaction: str, kept: Sequence[Reference], lost: Sequence[Reference]) -> None:
        """Nobody asks by DICOMweb."""
        raise NetworkError(f"{self.name} cannot be told what is kept.")


def peer_of(settings: PeerSettings) -> Peer:
    """Return a peer as the transport knows it."""
    return Peer(settings.ae_title, settings.address, settings.port, settings.tls, settings.hostname)


def web_peer_of(settings: WebSettings, node: NodeSettings) -> WebPeer:
    """Return a DICOMweb server as the transport knows it; its password is read from its file.

    Raises
    ------
    FormatError
        If the file of the password cannot be read.
    """
    from rtplan.io.network.web import WebPeer

    password = ""
    if settings.password_file is not None:
        try:
            password = settings.password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise FormatError(
                f"The password of {settings.name} cannot be read.",
                where=str(settings.password_file),
                action="give a file with the password alone, readable by the node's user.",
            ) from None
    own = None if node.tls is None else (node.tls.cert, node.tls.key)
    return WebPeer(
        settings.name, settings.url, settings.user, password, settings.ca, own, node.timeouts.answer_s
    )
